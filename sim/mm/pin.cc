// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/pin.h"

#include "absl/strings/str_cat.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/memmap.h"
#include "sim/mm/memory_failure.h"
#include "sim/mm/migrate.h"

// Follows mm/gup.c for folios of memfds. Left out: device memory, the zero
// page, draining of LRU caches, statistics.

namespace sim {
namespace {

constexpr int kMaxActors = 64;
bool memalloc_pin[kMaxActors + 1];

bool* MemallocPin() {
  const int actor = CurrentActor() + 1;
  return &memalloc_pin[actor <= kMaxActors ? actor : kMaxActors];
}

// gup_put_folio()
void Unpin(struct folio* folio, int refs) {
  if (folio_test_large(folio)) {
    if (folio->_pincount.counter < refs) {
      M().Report("discipline", absl::StrCat("page frame ", folio_pfn(folio),
                                            ": unpinned, but not pinned"));
      return;
    }
    folio->_pincount.counter -= refs;
  } else {
    refs *= kPinBias;
  }
  folio_put_refs(folio, refs);
}

// mm/filemap.c:filemap_get_folios_contig()
unsigned GetFoliosContig(struct address_space* mapping, pgoff_t* start,
                         pgoff_t end, struct folio_batch* fbatch) {
  while (*start <= end && fbatch->nr < FOLIO_BATCH_SIZE) {
    auto* folio =
        static_cast<struct folio*>(xa_load(&mapping->i_pages, *start));
    if (folio == nullptr || xa_is_value(folio)) break;
    if (!folio_try_get(folio)) continue;  // it moves, or leaves
    if (xa_load(&mapping->i_pages, *start) != folio) {
      folio_put(folio);
      continue;
    }
    fbatch->folios[fbatch->nr++] = folio;
    *start += static_cast<pgoff_t>(folio_nr_pages(folio));
  }
  return fbatch->nr;
}

// collect_longterm_unpinnable_folios(): counts those that may not be pinned
// where they are; what can be isolated for migration goes to the list.
unsigned long CollectUnpinnable(struct list_head* list, struct folio** folios,
                                unsigned long nr) {
  unsigned long collected = 0;
  const struct folio* previous = nullptr;
  for (unsigned long i = 0; i < nr; ++i) {
    if (folios[i] == previous) continue;
    previous = folios[i];
    if (folio_is_longterm_pinnable(folios[i])) continue;
    ++collected;
    IsolateFolio(folios[i], list);
  }
  return collected;
}

std::string Stuck(struct folio* folio) {
  return absl::StrCat("page frame ", folio_pfn(folio),
                      " has a memory error, cannot be moved, and is pinned "
                      "where it may not stay");
}

// check_and_migrate_movable_folios(): 0, all stay pinned where they are;
// -EAGAIN, some were moved, none is pinned; other errors, none is pinned.
long CheckAndMigrate(struct folio** folios, unsigned long nr) {
  LIST_HEAD(movable);
  if (CollectUnpinnable(&movable, folios, nr) == 0) return 0;
  for (unsigned long i = 0; i < nr; ++i) {
    // Memory that is isolated may be so for a while only.
    if (!folio_test_hwpoison(folios[i]) || !list_empty(&movable) ||
        PageblockType(folio_pfn(folios[i])) == MIGRATE_ISOLATE ||
        folio_is_longterm_pinnable(folios[i]))
      continue;
    // Linux would try for good. Who calls it has to look for such pages; an
    // error may still come after that.
    if (HasNewError(folios[i]) && CanStop()) {
      M().NoteLinuxHang("memfd_pin_folios: " + Stuck(folios[i]));
      StopHistory();
    }
    M().Report("discipline", Stuck(folios[i]));
    unpin_folios(folios, nr);
    return -EBUSY;
  }
  // Migration wants no reference but its own.
  for (unsigned long i = 0; i < nr; ++i) {
    unpin_folio(folios[i]);
    folios[i] = nullptr;
  }
  long ret = -EAGAIN;
  if (!list_empty(&movable) &&
      MigrateFolios(&movable, NUMA_NO_NODE, GFP_USER | __GFP_NOWARN,
                    MR_LONGTERM_PIN) != 0) {
    ret = -ENOMEM;
  }
  PutbackFolios(&movable);
  return ret;
}

}  // namespace

void PinReset() { memset(memalloc_pin, 0, sizeof(memalloc_pin)); }

int PinFolio(struct folio* folio, int refs) {
  Step("try_grab_folio");
  if (WARN_ON(folio_ref_count(folio) <= 0)) return -ENOMEM;
  if (folio_test_large(folio)) {
    folio_ref_add(folio, refs);
    folio->_pincount.counter += refs;
  } else {
    folio_ref_add(folio, refs * kPinBias);
  }
  return 0;
}

}  // namespace sim

extern "C" {

unsigned int memalloc_pin_save(void) {
  bool* pin = sim::MemallocPin();
  const unsigned old = *pin;
  *pin = true;
  return old;
}

void memalloc_pin_restore(unsigned int flags) {
  *sim::MemallocPin() = flags != 0;
}

bool sim_memalloc_pin(void) { return *sim::MemallocPin(); }

void unpin_folio(struct folio* folio) { sim::Unpin(folio, 1); }

void unpin_folios(struct folio** folios, unsigned long nfolios) {
  if (WARN_ON(IS_ERR_VALUE(nfolios))) return;
  for (unsigned long i = 0; i < nfolios;) {
    unsigned long j = i + 1;
    while (j < nfolios && folios[j] == folios[i]) ++j;
    if (folios[i] != nullptr) sim::Unpin(folios[i], static_cast<int>(j - i));
    i = j;
  }
}

bool folio_maybe_dma_pinned(struct folio* folio) {
  if (folio_test_large(folio)) return folio->_pincount.counter > 0;
  return folio_ref_count(folio) >= sim::kPinBias;
}

// Left out: ZONE_MOVABLE (there is none), device and DAX memory.
bool folio_is_longterm_pinnable(struct folio* folio) {
  const int type = sim::PageblockType(folio_pfn(folio));
  return type != MIGRATE_CMA && type != MIGRATE_ISOLATE;
}

// Holes in the range are filled. What lies where nothing may be pinned for
// long is migrated first, and pinning starts over.
long memfd_pin_folios(struct file* memfd, loff_t start, loff_t end,
                      struct folio** folios, unsigned int max_folios,
                      pgoff_t* offset) {
  sim::MightSleep("memfd_pin_folios");
  if (start < 0 || start > end || max_folios == 0 || memfd == nullptr) {
    return -EINVAL;
  }
  const bool huge = is_file_hugepages(memfd);
  if (!huge && !shmem_file(memfd)) return -EINVAL;
  if (end >= i_size_read(file_inode(memfd))) return -EINVAL;
  if (sim::M().Fails(sim::FailKind::kOther, "memfd_pin_folios")) {
    return -ENOMEM;
  }
  const unsigned order = huge ? huge_page_order(hstate_file(memfd)) : 0;
  const unsigned shift = PAGE_SHIFT + order;
  const unsigned int flags = memalloc_pin_save();
  unsigned nr_folios;
  long ret;
  do {
    nr_folios = 0;
    pgoff_t start_idx = static_cast<pgoff_t>(start >> shift) << order;
    const pgoff_t end_idx = static_cast<pgoff_t>(end >> shift) << order;
    struct folio* filled = nullptr;
    struct folio_batch fbatch;
    folio_batch_init(&fbatch);
    while (start_idx <= end_idx && nr_folios < max_folios) {
      const unsigned nr_found =
          sim::GetFoliosContig(memfd->f_mapping, &start_idx, end_idx, &fbatch);
      // The reference that came with a hole's new folio kept it until here.
      if (filled != nullptr) folio_put(filled);
      filled = nullptr;
      for (unsigned i = 0; i < nr_found && nr_folios < max_folios; ++i) {
        struct folio* folio = fbatch.folios[i];
        if (sim::PinFolio(folio, 1) != 0) {
          folio_batch_release(&fbatch);
          ret = -EINVAL;
          goto err;
        }
        if (nr_folios == 0) {
          *offset = static_cast<unsigned long>(start) & (folio_size(folio) - 1);
        }
        folios[nr_folios++] = folio;
      }
      folio_batch_release(&fbatch);
      if (nr_found == 0) {
        filled = memfd_alloc_folio(memfd, start_idx);
        if (IS_ERR(filled)) {
          ret = PTR_ERR(filled);
          filled = nullptr;
          if (ret != -EEXIST) goto err;
        }
      }
    }
    ret = sim::CheckAndMigrate(folios, nr_folios);
  } while (ret == -EAGAIN);
  memalloc_pin_restore(flags);
  return ret != 0 ? ret : static_cast<long>(nr_folios);
err:
  memalloc_pin_restore(flags);
  unpin_folios(folios, nr_folios);
  return ret;
}

}  // extern "C"
