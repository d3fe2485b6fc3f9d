// SPDX-License-Identifier: BSD-3-Clause
//
// System calls of processes. Follows mm/memfd.c, fs/open.c, mm/mmap.c and
// fs/fcntl.c as far as they stand before what sim/mm has: looking up what a
// number or an address means, and holding on to it for the time of the call.
#include <sim/kernel_api.h>

#include <algorithm>

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/cgroup.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlbfs.h"
#include "sim/mm/mapping.h"
#include "sim/mm/memfd.h"
#include "sim/mm/vfs.h"
#include "sim/user/user_space.h"

namespace sim {
namespace {

CallResult Done(int64_t value) {
  CallResult result;
  result.value = value;
  return result;
}

// fdget() and fdput() of a table that others share.
class HeldFile {
 public:
  explicit HeldFile(struct file* file) : file_(file ? get_file(file) : file) {}
  ~HeldFile() {
    if (file_) fput(file_);
  }
  HeldFile(const HeldFile&) = delete;
  HeldFile& operator=(const HeldFile&) = delete;

  struct file* get() const {
    return file_;
  }
  explicit operator bool() const { return file_; }
  // A count of the file's pages, in bytes.
  loff_t Bytes(int64_t pages) const {
    return pages * static_cast<loff_t>(FilePageSize(file_));
  }

 private:
  struct file* file_;
};

// A page with a memory error that may not stay where it is: Linux would try to
// pin it for good, so nobody asks.
bool CannotMove(struct file* file, int64_t page) {
  if (!is_file_hugepages(file)) return false;
  const auto end =
      (page + 1) * static_cast<int64_t>(huge_page_size(hstate_file(file)));
  if (end > i_size_read(file_inode(file))) return false;  // refused in any case
  struct folio* folio = filemap_get_folio(
      file->f_mapping, static_cast<pgoff_t>(page) << hstate_file(file)->order);
  if (IS_ERR(folio)) return false;
  const bool cannot =
      folio_test_hwpoison(folio) && !folio_is_longterm_pinnable(folio);
  folio_put(folio);
  return cannot;
}

}  // namespace

uint64_t FilePageSize(struct file* file) {
  return is_file_hugepages(file) ? huge_page_size(hstate_file(file))
                                 : PAGE_SIZE;
}

void UserSpace::KernelDied() {
  files_.fill(nullptr);
  sessions_.fill(Session());
  for (Process& process : processes_) {
    if (process.mm == nullptr && process.mappings_end == 0) continue;
    process = Process();
  }
  files_end_ = 0;
  sessions_end_ = 0;
  device_open_ = false;
  poisoning_ = 0;
  pinned_shmem_.clear();
  for (Device& device : devices_) device.inode = 0;
}

// fd_install(). Somebody else may have taken the name in the meantime.
CallResult UserSpace::Install(int name, struct file* file) {
  if (IS_ERR(file)) return Done(PTR_ERR(file));
  if (Get(files_, name) != nullptr) {
    fput(file);
    return Done(-EEXIST);
  }
  Get(files_, name) = file;
  files_end_ = std::max(files_end_, name + 1);
  return Done(0);
}

CallResult UserSpace::Memfd(int name, uint64_t page_size, bool sealable,
                            bool noexec) {
  if (FileOf(name)) return Done(-EEXIST);
  const unsigned shift = static_cast<unsigned>(__builtin_ctzll(page_size));
  unsigned flags = MFD_HUGETLB | shift << MFD_HUGE_SHIFT;
  flags |= noexec ? MFD_NOEXEC_SEAL : MFD_EXEC;
  if (sealable) flags |= MFD_ALLOW_SEALING;
  return Install(name, MemfdCreate(flags));
}

CallResult UserSpace::Shmem(int name) {
  if (FileOf(name)) return Done(-EEXIST);
  return Install(name, MemfdCreate(MFD_EXEC));
}

// Follows fs/namespace.c and fs/namei.c in outline.
CallResult UserSpace::Mount(int name, uint64_t page_size, int64_t most,
                            int64_t least, bool unlinked) {
  if (FileOf(name)) return Done(-EEXIST);
  return Install(name, HugetlbfsMountFile(page_size, most, least, unlinked));
}

CallResult UserSpace::Truncate(int name, int64_t pages) {
  HeldFile file(FileOf(name));
  if (!file) return Done(-EBADF);
  return Done(VfsTruncate(file.get(), file.Bytes(pages)));
}

CallResult UserSpace::Fallocate(int name, int64_t from, int64_t pages,
                                bool keep_size) {
  HeldFile file(FileOf(name));
  if (!file) return Done(-EBADF);
  return Done(VfsFallocate(file.get(), keep_size ? FALLOC_FL_KEEP_SIZE : 0,
                           file.Bytes(from), file.Bytes(pages)));
}

CallResult UserSpace::Punch(int name, int64_t from, int64_t pages) {
  HeldFile file(FileOf(name));
  if (!file) return Done(-EBADF);
  return Done(VfsFallocate(file.get(),
                           FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                           file.Bytes(from), file.Bytes(pages)));
}

// Follows memfd_fcntl().
CallResult UserSpace::Seal(int name, unsigned seals) {
  HeldFile file(FileOf(name));
  if (!file) return Done(-EBADF);
  return Done(memfd_add_seals(file.get(), seals));
}

CallResult UserSpace::Seek(int name, int64_t position) {
  HeldFile file(FileOf(name));
  if (!file) return Done(-EBADF);
  const loff_t at = VfsSeek(file.get(), position);
  return Done(at < 0 ? at : 0);
}

CallResult UserSpace::Close(int name) {
  struct file* file = FileOf(name);
  if (file == nullptr) return Done(-EBADF);
  Get(files_, name) = nullptr;
  fput(file);
  return Done(0);
}

// Follows a driver that takes a memfd from a process to give its pages to a
// device for good, as VFIO and udmabuf do.
CallResult UserSpace::Pin(int name, int64_t page) {
  HeldFile file(FileOf(name));
  if (!file) return Done(-EBADF);
  struct folio* folio = nullptr;
  pgoff_t offset = 0;
  if (CannotMove(file.get(), page)) return Done(-EBUSY);
  const long ret =
      memfd_pin_folios(file.get(), file.Bytes(page), file.Bytes(page + 1) - 1,
                       &folio, 1, &offset);
  if (ret < 0) return Done(ret);
  if (ret != 1) return Done(-EFAULT);
  Device device;
  device.file = name;
  device.page = device.place = page;
  device.pfn = folio_pfn(folio);
  device.order = folio_order(folio);
  device.shmem = !is_file_hugepages(file.get());
  device.generation = M().generation;
  device.inode = file_inode(file.get())->i_ino;
  devices_.push_back(device);
  if (device.shmem && std::find(pinned_shmem_.begin(), pinned_shmem_.end(),
                                device.pfn) == pinned_shmem_.end()) {
    pinned_shmem_.push_back(device.pfn);
  }
  CallResult result = Done(0);
  result.frame = static_cast<int64_t>(device.pfn);
  result.node = folio_nid(folio);
  return result;
}

CallResult UserSpace::Map(int process, int mapping, int name, int64_t from,
                          int64_t pages, bool read_only, bool is_private,
                          bool no_reserve) {
  Process& p = Get(processes_, process);
  if (Get(p.mappings, mapping) != nullptr) return Done(-EEXIST);
  HeldFile file(FileOf(name));
  if (!file) return Done(-EBADF);
  if (p.mm == nullptr) p.mm = MmAlloc();
  if (p.mm == nullptr) return Done(-ENOMEM);
  unsigned flags = 0;
  if (!read_only) flags |= kMapWrite;
  if (is_private) flags |= kMapPrivate;
  if (no_reserve) flags |= kMapNoReserve;
  Mapping* made = Mmap(p.mm, file.get(), static_cast<unsigned long>(from),
                       static_cast<unsigned long>(pages), flags);
  if (IS_ERR(made)) return Done(PTR_ERR(made));
  Get(p.mappings, mapping) = made;
  p.mappings_end = std::max(p.mappings_end, mapping + 1);
  return Done(0);
}

CallResult UserSpace::Unmap(int process, int mapping) {
  Process& p = Get(processes_, process);
  Mapping* m = Get(p.mappings, mapping);
  if (m == nullptr) return Done(-EBADF);
  const int ret = Munmap(m);
  if (ret == 0) Get(p.mappings, mapping) = nullptr;
  return Done(ret);
}

CallResult UserSpace::Access(int process, int mapping, int64_t page,
                             uint64_t at, bool write, uint64_t value) {
  Mapping* m = MappingNamed(process, mapping);
  if (m == nullptr) return Done(-EBADF);
  CallResult result;
  const uint64_t size = PAGE_SIZE << m->order;
  const unsigned long index =
      static_cast<unsigned long>(page) + static_cast<unsigned long>(at / size);
  if (index >= m->nr_pages) {
    result.end = CallResult::End::kSigsegv;
    return result;
  }
  u64 word = 0;
  const long ret = write ? Store(m, index, at % size, value)
                         : Load(m, index, at % size, &word);
  result.word = word;
  if (ret == kAccessKilled) {
    // OOM killer, or a signal: no way back to the program.
    Exit(process);
    result.end = CallResult::End::kKilled;
  } else if (ret == kAccessSigbus) {
    result.end = CallResult::End::kSigbus;
  } else if (ret == kAccessSigsegv) {
    result.end = CallResult::End::kSigsegv;
  } else {
    result.value = ret;
    if (const struct folio* folio = MappedFolio(m, index)) {
      result.frame = static_cast<int64_t>(folio_pfn(folio));
      result.node = folio_nid(folio);
    }
  }
  return result;
}

CallResult UserSpace::Write(int process, int mapping, int64_t page, uint64_t at,
                            uint64_t value) {
  return Access(process, mapping, page, at, /*write=*/true, value);
}

CallResult UserSpace::Read(int process, int mapping, int64_t page,
                           uint64_t at) {
  return Access(process, mapping, page, at, /*write=*/false, 0);
}

// set_mempolicy(MPOL_BIND or MPOL_DEFAULT).
CallResult UserSpace::Bind(int node) {
  if (node >= M().geometry().nodes) return Done(-EINVAL);
  SetTaskBind(CurrentActor(), node);
  return Done(0);
}

CallResult UserSpace::Exit(int process) {
  Process& p = Get(processes_, process);
  struct mm_struct* mm = p.mm;
  p.mm = nullptr;
  p.mappings.fill(nullptr);
  p.mappings_end = 0;
  if (mm != nullptr) MmExit(mm);
  SetTaskBind(CurrentActor(), -1);
  CgroupJoin(CurrentActor(), kRootCgroup);
  return Done(0);
}

}  // namespace sim
