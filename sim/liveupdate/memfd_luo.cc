// SPDX-License-Identifier: BSD-3-Clause
//
// LUO's handler of shmem memfds, so that sessions hold more than huge pages.
// Follows mm/memfd_luo.c, ABI memfd-v2. Left out: charging to a memory cgroup,
// accounting of blocks, the LRU.
#include <sim/kernel_api.h>

#include <climits>
#include <cstring>

#include "sim/liveupdate/kho_internal.h"
#include "sim/liveupdate/luo.h"
#include "sim/liveupdate/luo_internal.h"
#include "sim/machine/machine.h"
#include "sim/mm/shmem.h"

namespace sim {
namespace {

// struct memfd_luo_folio_ser: the frame number in the low 52 bits, flags above.
struct FolioSer {
  u64 pfn_flags;
  u64 index;

  u64 pfn() const { return pfn_flags & ((u64{1} << 52) - 1); }
  unsigned flags() const { return pfn_flags >> 52; }
};
constexpr unsigned kDirty = 1;
constexpr unsigned kUptodate = 2;

// struct memfd_luo_ser
struct MemfdSer {
  u64 pos;
  u64 size;
  u32 seals;
  u32 flags;
  u64 nr_folios;
  struct kho_vmalloc folios;
};
static_assert(sizeof(FolioSer) == 16 && sizeof(MemfdSer) == 48);

constexpr unsigned kAllSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW |
                               F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_EXEC;

bool g_lost_memory;

MemfdSer* SerAt(u64 phys) { return static_cast<MemfdSer*>(phys_to_virt(phys)); }

// Makes a folio such that it may be kept as it is: it counts as written, since
// it may be at any time from now on, and holds no junk.
void SettleFolio(struct folio* folio) {
  folio_lock(folio);
  folio_mark_dirty(folio);
  if (!folio_test_uptodate(folio)) {
    M().memory().MarkDirty(folio_pfn(folio), folio_nr_pages(folio));
    std::memset(folio_address(folio), 0, folio_size(folio));
    folio_mark_uptodate(folio);
  }
  folio_unlock(folio);
}

// KHO-preserves pinned folios and lists them, or undoes that.
int PreservePinned(struct folio** folios, u64 nr, FolioSer* list,
                   struct kho_vmalloc* preservation) {
  int err = 0;
  u64 i = 0;
  for (; i < nr; ++i) {
    err = kho_preserve_folio(folios[i]);
    if (err != 0) break;
    SettleFolio(folios[i]);
    list[i].pfn_flags = folio_pfn(folios[i]) | (u64{kDirty | kUptodate} << 52);
    list[i].index = folios[i]->index;
  }
  if (err == 0) err = kho_preserve_vmalloc(list, preservation);
  if (err != 0) {
    while (i-- > 0) kho_unpreserve_folio(folios[i]);
  }
  return err;
}

// Follows memfd_luo_preserve_folios(): pins every page of the file, which
// fills its holes and moves pages out of scratch.
int PreserveFolios(struct file* file, MemfdSer* ser, FolioSer** list) {
  const loff_t size = i_size_read(file_inode(file));
  *list = nullptr;
  ser->nr_folios = 0;
  if (size == 0) return 0;
  const u64 max_folios = PAGE_ALIGN(static_cast<u64>(size)) / PAGE_SIZE;
  struct folio** folios = kvmalloc_objs(struct folio*, max_folios, GFP_KERNEL);
  if (folios == nullptr) return -ENOMEM;

  pgoff_t offset;
  const long nr =
      memfd_pin_folios(file, 0, size - 1, folios, max_folios, &offset);
  int err = nr;
  if (nr < 0) {
    pr_err("failed to pin folios: %d\n", err);
  } else {
    err = -ENOMEM;
    auto* mem = static_cast<FolioSer*>(vcalloc(nr, sizeof(FolioSer)));
    if (mem != nullptr) {
      err = PreservePinned(folios, nr, mem, &ser->folios);
      if (err != 0) vfree(mem);
    }
    if (err != 0) {
      unpin_folios(folios, nr);
    } else {
      *list = mem;
      ser->nr_folios = nr;
    }
  }
  kvfree(folios);
  return err;
}

// The middle of memfd_luo_preserve(), with the inode locked.
int FillSer(struct file* file, MemfdSer* ser, FolioSer** list) {
  const int seals = memfd_get_seals(file);
  if (seals < 0) return seals;
  if ((seals & ~kAllSeals) != 0) return -EOPNOTSUPP;
  const u64 size = i_size_read(file_inode(file));
  if (DIV_ROUND_UP_ULL(size, PAGE_SIZE) > UINT_MAX) return -EFBIG;
  ser->pos = file->f_pos;
  ser->size = size;
  ser->seals = seals;
  return PreserveFolios(file, ser, list);
}

// Follows memfd_luo_preserve().
int Preserve(struct liveupdate_file_op_args* args) {
  struct inode* inode = file_inode(args->file);
  inode_lock(inode);
  shmem_freeze(inode, true);
  void* mem = kho_alloc_preserve(sizeof(MemfdSer));
  int err = PTR_ERR_OR_ZERO(mem);
  if (err == 0) {
    FolioSer* list;
    err = FillSer(args->file, static_cast<MemfdSer*>(mem), &list);
    if (err == 0) {
      args->private_data = list;
      args->serialized_data = virt_to_phys(mem);
    } else {
      kho_unpreserve_free(mem);
    }
  }
  if (err != 0) shmem_freeze(inode, false);
  inode_unlock(inode);
  return err;
}

// Follows memfd_luo_unpreserve().
void Unpreserve(struct liveupdate_file_op_args* args) {
  if (WARN_ON(args->serialized_data == 0)) return;
  struct inode* inode = file_inode(args->file);
  inode_lock(inode);
  shmem_freeze(inode, false);
  MemfdSer* ser = SerAt(args->serialized_data);
  if (ser->nr_folios != 0) {
    auto* list = static_cast<FolioSer*>(args->private_data);
    kho_unpreserve_vmalloc(&ser->folios);
    for (u64 i = 0; i < ser->nr_folios; ++i) {
      struct folio* folio = pfn_folio(list[i].pfn());
      kho_unpreserve_folio(folio);
      unpin_folio(folio);
    }
    vfree(list);
  }
  kho_unpreserve_free(ser);
  inode_unlock(inode);
}

// Follows memfd_luo_freeze().
int Freeze(struct liveupdate_file_op_args* args) {
  if (WARN_ON(args->serialized_data == 0)) return -EINVAL;
  SerAt(args->serialized_data)->pos = args->file->f_pos;
  return 0;
}

// Gives up the listed folios from the ith on. Follows
// memfd_luo_discard_folios().
void DiscardFolios(const FolioSer* list, u64 i, u64 nr) {
  for (; i < nr; ++i) {
    if (list[i].pfn() == 0) continue;
    struct folio* folio = KhoRestoreFolio(PFN_PHYS(list[i].pfn()));
    if (folio != nullptr) folio_put(folio);
  }
}

FolioSer* RestoreList(const MemfdSer* ser) {
  void* list = kho_restore_vmalloc(&ser->folios);
  if (list == nullptr) g_lost_memory = true;
  return static_cast<FolioSer*>(list);
}

// Follows memfd_luo_finish().
void FinishFile(struct liveupdate_file_op_args* args) {
  if (args->retrieve_status != 0) return;
  MemfdSer* ser = SerAt(args->serialized_data);
  if (ser->nr_folios != 0) {
    if (FolioSer* list = RestoreList(ser)) {
      DiscardFolios(list, 0, ser->nr_folios);
      vfree(list);
    }
  }
  kho_restore_free(ser);
}

// One folio of memfd_luo_retrieve_folios(). The folio's reference is used up.
int AddFolio(struct address_space* mapping, struct folio* folio,
             const FolioSer& entry) {
  __folio_set_locked(folio);
  folio_set_swapbacked(folio);
  const int err = shmem_add_to_page_cache(folio, mapping, entry.index, nullptr,
                                          GFP_HIGHUSER_MOVABLE);
  if (err == 0) {
    if ((entry.flags() & kUptodate) != 0) folio_mark_uptodate(folio);
    if ((entry.flags() & kDirty) != 0) folio_mark_dirty(folio);
  }
  folio_unlock(folio);
  folio_put(folio);
  return err;
}

// Follows memfd_luo_retrieve_folios(). What was added before a failure goes
// with the file.
int RetrieveFolios(struct file* file, const FolioSer* list, u64 nr) {
  struct address_space* mapping = file_inode(file)->i_mapping;
  for (u64 i = 0; i < nr; ++i) {
    if (list[i].pfn() == 0) continue;
    struct folio* folio = KhoRestoreFolio(PFN_PHYS(list[i].pfn()));
    const int err = folio != nullptr ? AddFolio(mapping, folio, list[i]) : -EIO;
    if (err != 0) {
      pr_err("shmem: failed to restore folio index %llu: %d\n", i, err);
      DiscardFolios(list, i + 1, nr);
      return err;
    }
  }
  return 0;
}

// The part of memfd_luo_retrieve() that fills a new file.
int FillFile(struct file* file, const MemfdSer* ser) {
  if (int err = memfd_add_seals(file, ser->seals)) return err;
  vfs_setpos(file, ser->pos, MAX_LFS_FILESIZE);
  i_size_write(file_inode(file), ser->size);
  if (ser->nr_folios == 0) return 0;
  FolioSer* list = RestoreList(ser);
  if (list == nullptr) return -EINVAL;
  const int err = RetrieveFolios(file, list, ser->nr_folios);
  vfree(list);
  return err;
}

// Follows memfd_luo_retrieve(): the record is given up in any case, also where
// the folios that it leads to are not.
int Retrieve(struct liveupdate_file_op_args* args) {
  MemfdSer* ser = SerAt(args->serialized_data);
  int err = -EOPNOTSUPP;
  bool tried = false;
  if ((ser->seals & ~kAllSeals) == 0) {
    struct file* file = memfd_alloc_file("", MFD_ALLOW_SEALING);
    err = PTR_ERR_OR_ZERO(file);
    if (err == 0) {
      tried = true;
      err = FillFile(file, ser);
      if (err == 0) {
        args->file = file;
      } else {
        fput(file);
      }
    }
  }
  if (!tried && ser->nr_folios != 0) g_lost_memory = true;
  kho_restore_free(ser);
  return err;
}

bool CanPreserve(struct liveupdate_file_handler*, struct file* file) {
  return shmem_file(file) && file_inode(file)->i_nlink == 0;
}

unsigned long Id(struct file* file) {
  return reinterpret_cast<unsigned long>(file_inode(file));
}

const struct liveupdate_file_ops kOps = {
    .can_preserve = CanPreserve,
    .preserve = Preserve,
    .unpreserve = Unpreserve,
    .freeze = Freeze,
    .unfreeze = nullptr,
    .retrieve = Retrieve,
    .can_finish = nullptr,
    .finish = FinishFile,
    .get_id = Id,
    .owner = nullptr,
};

// Its lists are made anew at registration.
struct liveupdate_file_handler g_handler = {
    .ops = &kOps, .compatible = "memfd-v2", .list = {}, .flb_list = {}};

}  // namespace

void MemfdLuoReset() { g_lost_memory = false; }

// Follows memfd_luo_init().
void MemfdLuoInit() {
  const int err = liveupdate_register_file_handler(&g_handler);
  if (err != 0 && err != -EOPNOTSUPP) {
    pr_err("Could not register luo filesystem handler: %d\n", err);
  }
}

bool ShmemLuoLostMemory() { return g_lost_memory; }

}  // namespace sim
