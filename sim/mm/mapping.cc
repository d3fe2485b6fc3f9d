// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/mapping.h"

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/filemap.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlbfs.h"
#include "sim/mm/memfd.h"
#include "sim/mm/shmem.h"
#include "sim/mm/vfs.h"

namespace sim {
namespace {

constexpr unsigned long kTaskSize = 1UL << 47;
constexpr int kOomRetries = 8;

// Locks that sim_try_to_migrate() left to sim_remap_folio().
struct HeldLock {
  struct folio* folio;
  struct address_space* space;
};
HeldLock held_locks[8];

HeldLock* FindHeld(const struct folio* folio) {
  for (HeldLock& lock : held_locks) {
    if (lock.folio == folio) return &lock;
  }
  return nullptr;
}

unsigned long PageOf(struct vm_area_struct* vma, unsigned long addr) {
  return (addr - vma->vm_start) >> (PAGE_SHIFT + MappingOf(vma)->order);
}

unsigned long AddrOf(struct vm_area_struct* vma, unsigned long page) {
  return vma->vm_start + (page << (PAGE_SHIFT + MappingOf(vma)->order));
}

bool IsHugetlb(const struct vm_area_struct* vma) {
  return vma->vm_flags & VM_HUGETLB;
}

Mapping* MapErr(long err) { return static_cast<Mapping*>(ERR_PTR(err)); }

// do_mmap(): flags of the mapping, or -errno.
long VmFlags(struct file* file, unsigned flags, vm_flags_t* vm_flags) {
  *vm_flags = VM_READ | VM_MAYWRITE;
  if (flags & kMapWrite) *vm_flags |= VM_WRITE;
  if (flags & kMapNoReserve) *vm_flags |= VM_NORESERVE;
  if (!(flags & kMapPrivate)) {
    if ((flags & kMapWrite) && !(file->f_mode & FMODE_WRITE)) return -EACCES;
    *vm_flags |= VM_SHARED | VM_MAYSHARE;
    if (!(file->f_mode & FMODE_WRITE)) *vm_flags &= ~(VM_SHARED | VM_MAYWRITE);
  }
  if (!(file->f_mode & FMODE_READ)) return -EACCES;
  return memfd_check_seals_mmap(file, vm_flags);
}

bool CountsAsWritable(const struct vm_area_struct* vma) {
  return (vma->vm_flags & VM_SHARED) && (vma->vm_flags & VM_MAYWRITE);
}

// vma_link_file() and the file system's mmap(), which fails or not.
int LinkVma(struct file* file, Mapping* mapping) {
  struct vm_area_struct* vma = &mapping->vma;
  struct address_space* space = file->f_mapping;
  if (is_file_hugepages(file)) {
    const int err = HugetlbfsFileMmap(file, vma);
    if (err) return err;
  }
  IMmapLockWrite(space);
  list_add_tail(&mapping->in_i_mmap, &space->i_mmap);
  IMmapUnlockWrite(space);
  return 0;
}

// zap_pte_range() for shmem; the caller holds i_mmap_rwsem or the mmap lock.
void ZapSmall(struct vm_area_struct* vma, unsigned long start,
              unsigned long end, bool even_cows) {
  struct mm_struct* mm = vma->vm_mm;
  for (unsigned long addr = start; PteNext(vma, &addr, end);
       addr += PAGE_SIZE) {
    spin_lock(&mm->page_table_lock);
    const unsigned long pte = PteGet(vma, addr);
    struct folio* folio = PteFolio(pte);
    const bool keep = (pte & kPteAnon) && !even_cows;
    if (pte && !keep) PteSet(vma, addr, 0);
    spin_unlock(&mm->page_table_lock);
    if (!(pte & kPtePresent) || keep) continue;
    RemoveRmap(folio);
    if (pte & kPteAnon) folio->mapping = nullptr;
    folio_put(folio);
  }
}

// unmap_region(): the whole mapping goes.
void ZapAll(struct vm_area_struct* vma) {
  struct address_space* space = vma->vm_file->f_mapping;
  if (!IsHugetlb(vma)) {
    ZapSmall(vma, vma->vm_start, vma->vm_end, true);
    return;
  }
  HugetlbVmaLockWrite(vma);
  IMmapLockWrite(space);
  UnmapHugepageRange(vma, vma->vm_start, vma->vm_end);
  HugetlbVmaUnlockWriteFree(vma);
  IMmapUnlockWrite(space);
}

// What an access needs: the page present, writable for a store. True: *phys is
// where the word lies, until the next step.
bool Translate(struct vm_area_struct* vma, unsigned long addr,
               unsigned long offset, bool write, char** at) {
  const unsigned long pte = PteGet(vma, addr);
  if (!(pte & kPtePresent) || (write && !(pte & kPteWrite))) return false;
  *at = static_cast<char*>(folio_address(PteFolio(pte))) + offset;
  return true;
}

// The MMU and the fault handler of the architecture: until the access may go
// through. 0 or kAccess....
long Access(struct vm_area_struct* vma, unsigned long page,
            unsigned long offset, bool write, char** at) {
  Mapping* mapping = MappingOf(vma);
  if (page >= mapping->nr_pages ||
      offset + sizeof(u64) > PAGE_SIZE << mapping->order) {
    return kAccessSigsegv;
  }
  if (write && !(vma->vm_flags & VM_WRITE)) return kAccessSigsegv;
  const unsigned long addr = AddrOf(vma, page);
  int oom = 0;
  for (;;) {
    // Here a program is interrupted: the page may go, a signal may come.
    Step(write ? "store" : "load");
    if (sim_fatal_signal_pending()) return kAccessKilled;
    if (Translate(vma, addr, offset, write, at)) return 0;

    down_read(&vma->vm_mm->mmap_lock);
    const unsigned fault = IsHugetlb(vma) ? HugetlbFault(vma, addr, write)
                                          : ShmemFault(vma, addr, write);
    up_read(&vma->vm_mm->mmap_lock);
    if (sim_fatal_signal_pending()) return kAccessKilled;
    if (fault & kFaultOom) {
      // pagefault_out_of_memory() tries again, and again. Here the OOM killer
      // takes the process in the end.
      if (oom++ == kOomRetries) return kAccessKilled;
    } else if (fault) {
      return kAccessSigbus;
    }
  }
}

// For each vma that may map the folio, and the address it has there. `locked`:
// i_mmap_rwsem is held.
template <typename Fn>
void RmapWalk(struct folio* folio, struct address_space* space, bool locked,
              Fn fn) {
  const unsigned long tagged = reinterpret_cast<unsigned long>(space);
  const pgoff_t index = folio->index;
  auto visit = [&](struct vm_area_struct* vma) {
    fn(vma, vma->vm_start + ((index - vma->vm_pgoff) << PAGE_SHIFT));
    return true;
  };
  if (!space) return;
  if (tagged & 1) {
    visit(reinterpret_cast<struct vm_area_struct*>(tagged - 1));
    return;
  }
  if (!locked) IMmapLockWrite(space);
  ForEachVma(space, index, index + folio_nr_pages(folio), visit);
  if (!locked) IMmapUnlockWrite(space);
}

// hugetlb_folio_mapping_lock_write(): only tries, since truncation takes the
// folio's lock inside i_mmap_rwsem.
bool TryHold(struct folio* folio) {
  struct address_space* space = folio->mapping;
  HeldLock* free = FindHeld(nullptr);
  if (!free || !down_write_trylock(&space->i_mmap_rwsem)) return false;
  *free = {folio, space};
  return true;
}

}  // namespace

void MappingReset() {
  for (HeldLock& lock : held_locks) lock = {nullptr, nullptr};
}

unsigned long PteGet(struct vm_area_struct* vma, unsigned long addr) {
  void* entry = xa_load(&MappingOf(vma)->ptes, PageOf(vma, addr));
  return entry ? xa_to_value(entry) : 0;
}

bool PteAlloc(struct vm_area_struct* vma, unsigned long addr) {
  Mapping* mapping = MappingOf(vma);
  const int err = xa_insert(&mapping->ptes, PageOf(vma, addr), xa_mk_value(0),
                            GFP_KERNEL_ACCOUNT);
  return err == 0 || err == -EBUSY;
}

void PteSet(struct vm_area_struct* vma, unsigned long addr, unsigned long pte) {
  xa_store(&MappingOf(vma)->ptes, PageOf(vma, addr), xa_mk_value(pte),
           GFP_ATOMIC);
}

bool PteNext(struct vm_area_struct* vma, unsigned long* addr,
             unsigned long end) {
  if (*addr >= end) return false;
  unsigned long page = PageOf(vma, *addr);
  const unsigned long last = PageOf(vma, end - 1);
  void* entry = xa_find(&MappingOf(vma)->ptes, &page, last, XA_PRESENT);
  while (entry && !xa_to_value(entry))
    entry = xa_find_after(&MappingOf(vma)->ptes, &page, last, XA_PRESENT);
  if (!entry) return false;
  *addr = AddrOf(vma, page);
  return true;
}

void WaitLocked(struct folio* folio) {
  MightSleep("folio_wait_locked");
  if (folio_test_locked(folio)) Block(folio, false);
}

// The migrating folio stays locked as long as its entries stand.
void MigrationEntryWait(struct vm_area_struct* vma, unsigned long addr) {
  for (;;) {
    const unsigned long pte = PteGet(vma, addr);
    if (!(pte & kPteMigration) || !folio_test_locked(PteFolio(pte))) return;
    Block(PteFolio(pte), false);
  }
}

// Follows folio_add_new_anon_rmap() and hugetlb_add_new_anon_rmap().
void AddAnonRmap(struct folio* folio, struct vm_area_struct* vma,
                 unsigned long addr) {
  folio->mapping = reinterpret_cast<struct address_space*>(
      reinterpret_cast<unsigned long>(vma) | 1);
  folio->index = ((addr - vma->vm_start) >> PAGE_SHIFT) + vma->vm_pgoff;
  if (folio_test_hugetlb(folio)) folio_clear_hugetlb_restore_reserve(folio);
  atomic_inc(&folio->_mapcount);
}

void UnmapMappingPages(struct address_space* mapping, pgoff_t start,
                       pgoff_t end, bool even_cows) {
  IMmapLockWrite(mapping);
  ForEachVma(mapping, start, end, [&](struct vm_area_struct* vma) {
    const pgoff_t first = start > vma->vm_pgoff ? start - vma->vm_pgoff : 0;
    const pgoff_t pages = (vma->vm_end - vma->vm_start) >> PAGE_SHIFT;
    const pgoff_t last =
        end - vma->vm_pgoff < pages ? end - vma->vm_pgoff : pages;
    ZapSmall(vma, vma->vm_start + (first << PAGE_SHIFT),
             vma->vm_start + (last << PAGE_SHIFT), even_cows);
    return true;
  });
  IMmapUnlockWrite(mapping);
}

void CopyUserFolio(struct folio* to, const struct folio* from) {
  PhysicalMemory& memory = M().memory();
  const u64 dst = folio_pfn(to);
  const u64 src = folio_pfn(from);
  const u64 nr = static_cast<u64>(folio_nr_pages(from));
  for (u64 i = 0; i < nr; i++) {
    if (memory.IsDirty(src + i)) {
      memory.MarkDirty(dst + i);
      memcpy(__va(PFN_PHYS(dst + i)), __va(PFN_PHYS(src + i)), PAGE_SIZE);
    } else {
      memory.Zero(dst + i, 1);
    }
  }
}

void ZeroSegment(struct folio* folio, size_t start, size_t end) {
  PhysicalMemory& memory = M().memory();
  const u64 pfn = folio_pfn(folio);
  Step("zero");
  while (start < end) {
    const size_t page = start / PAGE_SIZE;
    const size_t stop =
        (page + 1) * PAGE_SIZE < end ? (page + 1) * PAGE_SIZE : end;
    if (memory.IsDirty(pfn + page))
      memset(static_cast<char*>(folio_address(folio)) + start, 0, stop - start);
    start = stop;
  }
}

// Follows do_mmap() and mmap_region().
Mapping* Mmap(struct mm_struct* mm, struct file* file, unsigned long off,
              unsigned long len, unsigned flags) {
  const unsigned order = MappingOrder(file->f_mapping);
  const unsigned shift = PAGE_SHIFT + order;
  const unsigned long max_pages =
      static_cast<unsigned long>(MAX_LFS_FILESIZE) >> shift;
  if (!len) return MapErr(-EINVAL);
  if (len > max_pages || off > max_pages - len) return MapErr(-EOVERFLOW);

  down_write(&mm->mmap_lock);
  Mapping* mapping = nullptr;
  const unsigned long size = len << shift;
  const unsigned long start =
      (mm->next_addr + (PAGE_SIZE << order) - 1) & ~((PAGE_SIZE << order) - 1);
  vm_flags_t vm_flags = 0;
  long err =
      size > kTaskSize - start ? -ENOMEM : VmFlags(file, flags, &vm_flags);
  if (!err) {
    mapping =
        static_cast<Mapping*>(kzalloc(sizeof(Mapping), GFP_KERNEL_ACCOUNT));
    if (!mapping) err = -ENOMEM;
  }
  if (!err) {
    struct vm_area_struct* vma = &mapping->vma;
    vma->vm_start = start;
    vma->vm_end = start + size;
    vma->vm_mm = mm;
    vma->vm_flags = vm_flags;
    vma->vm_pgoff = off << order;
    vma->vm_file = get_file(file);
    vma->sim_mapping = mapping;
    mapping->order = order;
    mapping->nr_pages = len;
    xa_init(&mapping->ptes);
    if (CountsAsWritable(vma)) err = MappingMapWritable(file->f_mapping);
    if (!err) {
      err = LinkVma(file, mapping);
      if (err && CountsAsWritable(vma)) MappingUnmapWritable(file->f_mapping);
    }
    if (err) {
      fput(file);
      kfree(mapping);
    } else {
      mm->next_addr = vma->vm_end;
      list_add_tail(&mapping->in_mm, &mm->mappings);
    }
  }
  up_write(&mm->mmap_lock);
  return err ? MapErr(err) : mapping;
}

// Follows do_munmap() of a whole mapping.
int Munmap(Mapping* mapping) {
  struct vm_area_struct* vma = &mapping->vma;
  struct mm_struct* mm = vma->vm_mm;
  struct file* file = vma->vm_file;
  down_write(&mm->mmap_lock);
  list_del(&mapping->in_mm);
  ZapAll(vma);

  IMmapLockWrite(file->f_mapping);
  list_del(&mapping->in_i_mmap);
  if (CountsAsWritable(vma)) MappingUnmapWritable(file->f_mapping);
  IMmapUnlockWrite(file->f_mapping);

  if (IsHugetlb(vma)) HugetlbVmOpClose(vma);
  xa_destroy(&mapping->ptes);
  kfree(mapping);
  up_write(&mm->mmap_lock);
  fput(file);
  return 0;
}

// Follows mm_alloc().
struct mm_struct* MmAlloc() {
  auto* mm = static_cast<struct mm_struct*>(
      kzalloc(sizeof(struct mm_struct), GFP_KERNEL_ACCOUNT));
  if (!mm) return nullptr;
  sim_init_rwsem(&mm->mmap_lock, "mm->mmap_lock");
  sim_spin_lock_init(&mm->page_table_lock, "mm->page_table_lock");
  INIT_LIST_HEAD(&mm->mappings);
  mm->next_addr = 1UL << 32;
  return mm;
}

void MmExit(struct mm_struct* mm) {
  while (!list_empty(&mm->mappings))
    Munmap(list_first_entry(&mm->mappings, Mapping, in_mm));
  kfree(mm);
}

struct folio* MappedFolio(Mapping* mapping, unsigned long page) {
  if (page >= mapping->nr_pages) return nullptr;
  const unsigned long pte = PteGet(&mapping->vma, AddrOf(&mapping->vma, page));
  return pte & kPtePresent ? PteFolio(pte) : nullptr;
}

}  // namespace sim

using sim::kPteMigration;
using sim::kPtePresent;
using sim::MakePte;
using sim::PteFolio;
using sim::PteGet;
using sim::PteSet;

namespace {
constexpr unsigned long kPteKept = sim::kPteWrite | sim::kPteAnon;
}  // namespace

extern "C" {

void sim_try_to_migrate(struct folio* folio) {
  const bool file_huge =
      folio_test_hugetlb(folio) && folio->mapping && !folio_test_anon(folio);
  if (file_huge && !sim::TryHold(folio)) return;
  bool stopped = false;
  sim::RmapWalk(
      folio, folio->mapping, file_huge,
      [&](struct vm_area_struct* vma, unsigned long addr) {
        // For huge_pmd_unshare(), which follows in the kernel.
        if (stopped || (file_huge && !sim::HugetlbVmaTrylockWrite(vma))) {
          stopped = true;
          return;
        }
        if (file_huge) sim::HugetlbVmaUnlockWrite(vma);
        spin_lock(&vma->vm_mm->page_table_lock);
        const unsigned long pte = PteGet(vma, addr);
        const bool maps = (pte & kPtePresent) && PteFolio(pte) == folio;
        if (maps) {
          PteSet(vma, addr, MakePte(folio, kPteMigration | (pte & kPteKept)));
          sim::RemoveRmap(folio);
        }
        spin_unlock(&vma->vm_mm->page_table_lock);
        if (maps) folio_put(folio);
      });
}

bool sim_unmap_poisoned_folio(struct folio* folio) {
  if (!sim::TryHold(folio)) return false;
  sim::RmapWalk(folio, folio->mapping, /*locked=*/true,
                [&](struct vm_area_struct* vma, unsigned long addr) {
                  // For huge_pmd_unshare(), as with migration.
                  if (!sim::HugetlbVmaTrylockWrite(vma)) return;
                  sim::HugetlbVmaUnlockWrite(vma);
                  spin_lock(&vma->vm_mm->page_table_lock);
                  const unsigned long pte = PteGet(vma, addr);
                  const bool maps =
                      (pte & kPtePresent) && PteFolio(pte) == folio;
                  if (maps) {
                    PteSet(vma, addr, 0);
                    sim::RemoveRmap(folio);
                  }
                  spin_unlock(&vma->vm_mm->page_table_lock);
                  if (maps) folio_put(folio);
                });
  sim::HeldLock* held = sim::FindHeld(folio);
  up_write(&held->space->i_mmap_rwsem);
  *held = {nullptr, nullptr};
  return !folio_mapped(folio);
}

void sim_remap_folio(struct folio* old_folio, struct folio* new_folio) {
  sim::HeldLock* held = sim::FindHeld(old_folio);
  sim::RmapWalk(
      new_folio, new_folio->mapping, held != nullptr,
      [&](struct vm_area_struct* vma, unsigned long addr) {
        const unsigned long pte = PteGet(vma, addr);
        const bool present = pte & kPtePresent;
        if ((!present && !(pte & kPteMigration)) || PteFolio(pte) != old_folio)
          return;
        if (present && old_folio == new_folio) return;
        folio_get(new_folio);
        spin_lock(&vma->vm_mm->page_table_lock);
        PteSet(vma, addr, MakePte(new_folio, kPtePresent | (pte & kPteKept)));
        atomic_inc(&new_folio->_mapcount);
        if (present) sim::RemoveRmap(old_folio);
        spin_unlock(&vma->vm_mm->page_table_lock);
        if (present) folio_put(old_folio);
      });
  if (held) {
    up_write(&held->space->i_mmap_rwsem);
    *held = {nullptr, nullptr};
  }
}

long sim_user_store(struct vm_area_struct* vma, unsigned long page,
                    unsigned long offset, u64 value) {
  char* at;
  const long ret = sim::Access(vma, page, offset, true, &at);
  if (ret) return ret;
  sim::M().memory().MarkDirty(__pa(at) >> PAGE_SHIFT);
  memcpy(at, &value, sizeof(value));
  return 0;
}

long sim_user_load(struct vm_area_struct* vma, unsigned long page,
                   unsigned long offset, u64* value) {
  char* at;
  const long ret = sim::Access(vma, page, offset, false, &at);
  if (!ret) memcpy(value, at, sizeof(*value));
  return ret;
}

}  // extern "C"
