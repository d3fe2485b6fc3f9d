// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/memmap.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "absl/strings/str_cat.h"
#include "sim/machine/machine.h"
#include "sim/mm/boot.h"
#include "sim/mm/buddy.h"
#include "sim/mm/owners.h"
#include "sim/mm/slab.h"

extern "C" {
struct page* sim_mem_map;
unsigned long sim_uninit_pages;
unsigned long sim_max_pfn;
unsigned int sim_max_page_order;
unsigned int sim_pageblock_order;
nodemask_t node_states[NR_NODE_STATES];
unsigned int nr_node_ids;
}

namespace sim {
namespace {

std::vector<std::unique_ptr<MemMap>> maps;
bool SameSpans(const std::vector<NodeSpan>& a, const std::vector<NodeSpan>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const NodeSpan& x, const NodeSpan& y) {
                      return x.start_pfn == y.start_pfn &&
                             x.nr_pages == y.nr_pages && x.nid == y.nid;
                    });
}

void RestPage(MemMap* map, uint64_t pfn) {
  if (map->nid[pfn] < 0) return;  // reserved though it does not exist
  memset(&map->pages[pfn], 0, sizeof(struct page));
  if (map->nid[pfn] > 0) {
    map->pages[pfn].flags = static_cast<uint64_t>(map->nid[pfn])
                            << SIM_NODE_SHIFT;
  }
}

// Whole host pages of struct pages that do not exist are taken away.
void MakeHole(MemMap* map, uint64_t pfn, uint64_t end) {
  constexpr uint64_t kPerHostPage = 4096 / sizeof(struct page);
  const uint64_t first = round_up(pfn, kPerHostPage);
  const uint64_t last = round_down(end, kPerHostPage);
  if (first < last &&
      mprotect(&map->pages[first], (last - first) * sizeof(struct page),
               PROT_NONE) != 0) {
    abort();
  }
  for (; pfn < end; ++pfn) {
    if (pfn == first && first < last) pfn = last;
    if (pfn < end) map->poisoned.push_back(pfn);
  }
}

MemMap* MakeMap(const std::vector<NodeSpan>& spans, uint64_t end_pfn) {
  auto map = std::make_unique<MemMap>();
  map->spans = spans;
  map->end_pfn = end_pfn;
  // Whole words of the touched bitmap, so that resetting needs no bounds.
  const uint64_t slots = (end_pfn + 4095) / 4096 * 4096;
  map->mapped_bytes = slots * sizeof(struct page);
  void* mem = mmap(nullptr, map->mapped_bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mem == MAP_FAILED) abort();
  map->pages = static_cast<struct page*>(mem);
  map->nid.assign(slots, -1);
  map->owner.assign(slots, static_cast<uint8_t>(Owner::kHole));
  map->touched.assign(slots / 64, 0);
  map->touched_owner.assign(slots / 4096, 0);
  map->exists.assign(slots / 64, 0);
  for (const NodeSpan& span : spans) {
    const uint64_t end = span.start_pfn + span.nr_pages;
    std::fill(map->nid.begin() + static_cast<long>(span.start_pfn),
              map->nid.begin() + static_cast<long>(end),
              static_cast<int8_t>(span.nid));
    std::fill(map->owner.begin() + static_cast<long>(span.start_pfn),
              map->owner.begin() + static_cast<long>(end),
              static_cast<uint8_t>(Owner::kFree));
    SetBits(map->exists.data(), span.start_pfn, span.nr_pages);
    map->frames[span.nid] += span.nr_pages;
    // Fresh memory is zero: right for node 0 as it is.
    for (uint64_t pfn = span.start_pfn; span.nid > 0 && pfn < end; ++pfn) {
      map->pages[pfn].flags = static_cast<uint64_t>(span.nid) << SIM_NODE_SHIFT;
    }
  }
  std::vector<NodeSpan> sorted = spans;
  std::sort(sorted.begin(), sorted.end(),
            [](const NodeSpan& a, const NodeSpan& b) {
              return a.start_pfn < b.start_pfn;
            });
  uint64_t at = 0;
  for (const NodeSpan& span : sorted) {
    MakeHole(map.get(), at, span.start_pfn);
    at = span.start_pfn + span.nr_pages;
  }
  MakeHole(map.get(), at, slots);
  maps.push_back(std::move(map));
  return maps.back().get();
}

template <typename Fn>
void TakeBits(std::vector<uint64_t>* words, Fn fn) {
  for (uint64_t word = 0; word < words->size(); ++word) {
    uint64_t bits = (*words)[word];
    if (bits == 0) continue;
    (*words)[word] = 0;
    for (; bits != 0; bits &= bits - 1) {
      fn(word * 64 + static_cast<unsigned>(__builtin_ctzl(bits)));
    }
  }
}

void ResetTouched(MemMap* map) {
  for (uint64_t pfn : map->poisoned) {
    memset(&map->pages[pfn], PAGE_POISON_PATTERN & 0xff, sizeof(struct page));
  }
  TakeBits(&map->touched, [map](uint64_t pfn) { RestPage(map, pfn); });
  TakeBits(&map->touched_owner, [map](uint64_t chunk) {
    for (uint64_t pfn = chunk * 64; pfn < chunk * 64 + 64; ++pfn) {
      map->owner[pfn] =
          static_cast<uint8_t>(map->nid[pfn] < 0 ? Owner::kHole : Owner::kFree);
    }
  });
}

}  // namespace

MemMap* current_map;

namespace {

// Calls fn(word, mask) for the words of Map().uninit in which the frames are.
template <typename Fn>
void ForUninit(uint64_t pfn, uint64_t nr, Fn fn) {
  for (const uint64_t end = std::min(pfn + nr, Map().end_pfn); pfn < end;) {
    const uint64_t n = std::min(end - pfn, 64 - pfn % 64);
    if (fn(pfn / 64, ~uint64_t{0} >> (64 - n) << pfn % 64)) return;
    pfn += n;
  }
}

}  // namespace

void MarkInitialised(uint64_t pfn, uint64_t nr) {
  uint64_t* bits = Map().uninit.data();
  ForUninit(pfn, nr, [bits](uint64_t word, uint64_t mask) {
    const uint64_t now = bits[word] & mask;
    bits[word] &= ~mask;
    sim_uninit_pages -=
        ~now == 0 ? 64 : static_cast<unsigned>(__builtin_popcountl(now));
    return false;
  });
}

void ReportUninit(uint64_t pfn, uint64_t nr) {
  const uint64_t* bits = Map().uninit.data();
  ForUninit(pfn, nr, [bits](uint64_t word, uint64_t mask) {
    const uint64_t bad = bits[word] & mask;
    if (bad == 0) return false;
    M().Report(
        "discipline",
        absl::StrCat("page frame ",
                     word * 64 + static_cast<unsigned>(__builtin_ctzl(bad)),
                     ": its struct page is used, which nobody has "
                     "initialised"));
    return true;
  });
}

struct page* CompoundHead(uint64_t pfn) {
  struct page* page = pfn_to_page(pfn);
  sim_page_access(page);
  if (page->compound_head & 1) {
    return reinterpret_cast<struct page*>(page->compound_head - 1);
  }
  if ((page->flags >> PG_head) & 1) return page;
  // A tail page that was never written: its head is aligned to its order.
  uint64_t last = pfn;
  for (unsigned order = 7; order < 32 && (1UL << order) < 2 * Map().end_pfn;
       ++order) {
    const uint64_t head = pfn & ~((uint64_t{1} << order) - 1);
    if (head == last) continue;
    if (Map().nid[head] < 0) break;
    last = head;
    auto* folio = reinterpret_cast<struct folio*>(pfn_to_page(head));
    if (((folio->flags >> PG_head) & 1) != 0 && folio->_order >= order) {
      return pfn_to_page(head);
    }
  }
  return page;
}

// What the loader leaves of a kernel's static data: nothing. Frames' owners
// and struct pages go back to rest.
void MmReset() {
  const Geometry& geometry = M().geometry();
  const uint64_t end_pfn = M().memory().end_pfn();
  if (current_map == nullptr || current_map->end_pfn != end_pfn ||
      !SameSpans(current_map->spans, geometry.spans)) {
    current_map = nullptr;
    for (const auto& map : maps) {
      if (map->end_pfn == end_pfn && SameSpans(map->spans, geometry.spans)) {
        current_map = map.get();
      }
    }
    if (current_map == nullptr) current_map = MakeMap(geometry.spans, end_pfn);
  }
  ResetTouched(current_map);
  sim_mem_map = current_map->pages;
  current_map->uninit = current_map->exists;
  sim_uninit_pages = 0;
  for (uint64_t frames : current_map->frames) sim_uninit_pages += frames;
  sim_max_pfn = 0;
  sim_max_page_order = geometry.max_page_order;
  sim_pageblock_order = geometry.pageblock_order;
  const uint64_t blocks = (end_pfn >> geometry.pageblock_order) + 1;
  current_map->pageblock_type.assign(blocks, MIGRATE_MOVABLE);
  current_map->pageblock_isolated.assign(blocks, 0);
  memset(current_map->owned, 0, sizeof(current_map->owned));
  for (int nid = 0; nid < MAX_NUMNODES; ++nid) {
    current_map->owned[nid][static_cast<int>(Owner::kFree)] =
        current_map->frames[nid];
  }
  memset(node_states, 0, sizeof(node_states));
  nr_node_ids = 1;
  MemblockReset();
  BuddyReset();
  SlabReset();
  VmallocReset();
  FolioReset();
  PinReset();
}

// Follows setup_arch() and numa_init() of x86: all RAM is added to memblock
// without a node, then each span gets its node. Left out: any firmware
// reservation but that of the first page, which x86 keeps as well.
void MemblockAddRam() {
  for (const NodeSpan& span : M().geometry().spans) {
    memblock_add(PFN_PHYS(span.start_pfn), PFN_PHYS(span.nr_pages));
  }
  for (const NodeSpan& span : M().geometry().spans) {
    memblock_set_node(PFN_PHYS(span.start_pfn), PFN_PHYS(span.nr_pages),
                      span.nid);
    node_set(span.nid, node_states[N_POSSIBLE]);
    node_set(span.nid, node_states[N_ONLINE]);
    nr_node_ids = std::max(nr_node_ids, static_cast<unsigned>(span.nid) + 1);
  }
  if (M().memory().Exists(0)) memblock_reserve(0, PAGE_SIZE);
}

// Follows mm/mm_init.c:free_area_init(): nodes that have memory, one zone per
// node. Left out: the zones DMA, DMA32 and MOVABLE, memoryless nodes.
void FreeAreaInit() {
  sim_max_pfn = memblock_end_of_DRAM() >> PAGE_SHIFT;
  for (const NodeSpan& span : M().geometry().spans) {
    node_set(span.nid, node_states[N_NORMAL_MEMORY]);
    node_set(span.nid, node_states[N_MEMORY]);
  }
  BuildZones();
}

// Follows mm/mm_init.c:memmap_init_range(): pageblocks are movable, those that
// touch a KHO scratch region CMA. All struct pages are deferred, see memmap.h.
void MemmapInit() {
  for (unsigned i = 0; i < kho_scratch_cnt; ++i) {
    const uint64_t first = kho_scratch[i].addr >> PAGE_SHIFT;
    const uint64_t end = PFN_UP(kho_scratch[i].addr + kho_scratch[i].size);
    for (uint64_t pfn = first >> sim_pageblock_order << sim_pageblock_order;
         pfn < end && pfn < Map().end_pfn; pfn += pageblock_nr_pages) {
      SetPageblockType(pfn, MIGRATE_CMA);
    }
  }
}

// Follows mm/mm_init.c:mm_core_init() from memblock_free_all() on.
void MmCoreInit() {
  memblock_free_all();
  SlabInit();
}

}  // namespace sim

extern "C" {

// mm/memory_hotplug.c, without sections: exact to the frame.
struct page* pfn_to_online_page(unsigned long pfn) {
  return pfn_valid(pfn) ? pfn_to_page(pfn) : nullptr;
}

bool pfn_valid(unsigned long pfn) { return sim::M().memory().Exists(pfn); }

int pfn_to_nid(unsigned long pfn) { return sim::M().memory().NodeOf(pfn); }

// What is called a page here may be a folio of a test, and none of the map's.
void sim_check_uninit(const void* page) {
  if (sim::current_map == nullptr) return;
  const uint64_t at = reinterpret_cast<uintptr_t>(page) -
                      reinterpret_cast<uintptr_t>(sim_mem_map);
  const uint64_t pfn = at / sizeof(struct page);
  if (pfn >= sim::Map().end_pfn) return;
  if (sim::Map().nid[pfn] < 0) {
    sim::M().Report("discipline",
                    absl::StrCat("page frame ", pfn,
                                 ": its struct page is used, but it is a "
                                 "hole"));
    return;
  }
  sim::ReportUninit(pfn, 1);
}

}  // extern "C"
