// SPDX-License-Identifier: BSD-3-Clause
//
// What the administrator and the live update agent do, and devices.
#include <sim/kernel_api.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "sim/liveupdate/kho.h"
#include "sim/liveupdate/luo.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/cgroup.h"
#include "sim/mm/hugetlb_sysfs.h"
#include "sim/mm/offline.h"
#include "sim/mm/owners.h"
#include "sim/user/user_space.h"

namespace sim {
namespace {

CallResult Done(int64_t value) {
  CallResult result;
  result.value = value;
  return result;
}

// Sessions bear the names of the history. On the stack of the caller: a kernel
// may stop while the name is in use.
struct SessionName {
  explicit SessionName(int name) {
    std::snprintf(text, sizeof(text), "s%d", name);
  }
  char text[8];
};

// Where the next kernel is and what it needs first; errors come second there.
bool InScratch(uint64_t pfn) {
  for (unsigned i = 0; i < kho_scratch_cnt; ++i)
    if (pfn >= kho_scratch[i].addr >> PAGE_SHIFT &&
        pfn < PFN_UP(kho_scratch[i].addr + kho_scratch[i].size))
      return true;
  return false;
}

}  // namespace

CallResult UserSpace::SetNr(uint64_t page_size, int64_t count, int node) {
  return Done(NrHugepagesStore(page_size, static_cast<uint64_t>(count), node));
}

CallResult UserSpace::SetOvercommit(uint64_t page_size, int64_t count) {
  return Done(NrOvercommitStore(page_size, static_cast<uint64_t>(count)));
}

CallResult UserSpace::Demote(uint64_t page_size, int64_t count, int node) {
  return Done(NrDemoteStore(page_size, static_cast<uint64_t>(count), node));
}

CallResult UserSpace::SetPreserveFree(uint64_t page_size, bool on) {
  return Done(PreserveFreeStore(page_size, on));
}

CallResult UserSpace::MakeCgroup(int name, int parent) {
  return Done(CgroupMake(name, parent));
}

CallResult UserSpace::RemoveCgroup(int name) {
  return Done(CgroupRemove(name));
}

CallResult UserSpace::MoveTask(int actor, int cgroup) {
  return Done(CgroupJoin(actor, cgroup));
}

CallResult UserSpace::SetCgroupLimit(int name, CgroupLimit limit,
                                     uint64_t page_size, int64_t count) {
  struct hstate* h = size_to_hstate(page_size);
  if (h == nullptr) return Done(-ENOENT);
  const unsigned long nr_pages =
      count < 0 ? PAGE_COUNTER_MAX
                : static_cast<unsigned long>(count) * pages_per_huge_page(h);
  return Done(CgroupSetLimit(name, limit, h, nr_pages));
}

CallResult UserSpace::Offline(int name, int64_t page) {
  struct file* file = FileOf(name);
  if (file == nullptr) return Done(-EBADF);
  if (!is_file_hugepages(file)) return Done(-ENOENT);
  struct folio* folio = filemap_get_folio(
      file->f_mapping, static_cast<pgoff_t>(page) << hstate_file(file)->order);
  if (IS_ERR(folio)) return Done(-ENOENT);
  const uint64_t pfn = folio_pfn(folio);
  folio_put(folio);
  return Done(MemoryBlockOffline(pfn));
}

CallResult UserSpace::Poison(int name, int64_t page, uint64_t at) {
  struct file* file = FileOf(name);
  if (file == nullptr) return Done(-EBADF);
  if (!is_file_hugepages(file) || at >= FilePageSize(file))
    return Done(-ENOENT);
  struct folio* folio = filemap_get_folio(
      file->f_mapping, static_cast<pgoff_t>(page) << hstate_file(file)->order);
  if (IS_ERR(folio)) return Done(-ENOENT);
  BadFrame bad;
  bad.first = folio_pfn(folio);
  bad.pfn = bad.first + (at >> PAGE_SHIFT);
  bad.order = folio_order(folio);
  bad.generation = M().generation;
  bad.late = StateOf(ActorByName("agent")) != ActorState::kIdle;
  const bool had = std::any_of(
      errors_.begin(), errors_.end(),
      [&bad](const BadFrame& other) { return other.pfn == bad.pfn; });
  if (!had) errors_.push_back(bad);
  poisoning_ = bad.pfn;
  const int ret = memory_failure(bad.pfn, MF_COUNT_INCREASED | MF_SW_SIMULATED);
  poisoning_ = 0;
  return Done(ret);
}

CallResult UserSpace::PoisonFree(uint64_t page_size, int node, uint64_t at) {
  struct hstate* h = size_to_hstate(page_size);
  if (h == nullptr || at >= page_size || node >= M().geometry().nodes)
    return Done(-ENOENT);
  struct folio* folio = nullptr;
  spin_lock_irq(&hugetlb_lock);
  for (int nid = 0; nid < MAX_NUMNODES && folio == nullptr; ++nid) {
    if ((node < 0 || nid == node) && h->resv_huge_pages < h->free_huge_pages &&
        !list_empty(&h->hugepage_freelists[nid]))
      folio = list_first_entry(&h->hugepage_freelists[nid], struct folio, lru);
  }
  spin_unlock_irq(&hugetlb_lock);
  if (folio == nullptr) return Done(-ENOENT);
  BadFrame bad;
  bad.first = folio_pfn(folio);
  bad.pfn = bad.first + (at >> PAGE_SHIFT);
  bad.order = folio_order(folio);
  bad.generation = M().generation;
  bad.loose = true;
  errors_.push_back(bad);
  poisoning_ = bad.pfn;
  const int ret = memory_failure(bad.pfn, MF_SW_SIMULATED);
  // Or it is leaked as a whole.
  if (ret == 0 || folio_test_hugetlb_raw_hwp_unreliable(folio)) {
    // What is in it is not what anybody wrote.
    M().memory().MarkDirty(bad.pfn);
    memset(__va(bad.pfn << PAGE_SHIFT), 0xee, PAGE_SIZE);
  } else {
    ForgetPoisoning();
  }
  poisoning_ = 0;
  return Done(ret);
}

uint64_t UserSpace::LeakedPages() const {
  uint64_t pages = 0;
  for (const BadFrame& bad : errors_) {
    auto* folio = reinterpret_cast<struct folio*>(pfn_to_page(bad.first));
    if (bad.loose && bad.generation == M().generation &&
        OwnerOf(bad.pfn) != Owner::kPoisoned &&
        folio_test_hugetlb_raw_hwp_unreliable(folio))
      pages += uint64_t{1} << bad.order;
  }
  return pages;
}

bool UserSpace::PoisonTookEffect() const {
  return poisoning_ != 0 &&
         is_raw_hwpoison_page_in_hugepage(pfn_to_page(poisoning_));
}

void UserSpace::ForgetPoisoning() {
  errors_.erase(std::remove_if(errors_.begin(), errors_.end(),
                               [this](const BadFrame& bad) {
                                 return bad.pfn == poisoning_;
                               }),
                errors_.end());
}

void UserSpace::KeepErrors(const std::vector<KhoKey>& handed_over,
                           const std::function<bool(uint64_t pfn)>& told) {
  std::vector<BadFrame> kept;
  for (BadFrame bad : errors_) {
    if (bad.generation == M().generation && !bad.loose &&
        !is_raw_hwpoison_page_in_hugepage(pfn_to_page(bad.pfn)))
      continue;
    const bool was_loose = bad.loose;
    bad.loose = true;
    for (const KhoKey& key : handed_over) {
      const uint64_t first = key.phys >> PAGE_SHIFT;
      if (bad.pfn < first || bad.pfn - first >= uint64_t{1} << key.order)
        continue;
      // It may have been part of a free page of another size.
      auto* folio = reinterpret_cast<struct folio*>(pfn_to_page(bad.first));
      bad.wide |= bad.generation == M().generation && !was_loose &&
                  bad.order != key.order &&
                  folio_test_hugetlb_raw_hwp_unreliable(folio);
      bad.first = first;
      bad.order = key.order;
      bad.loose = false;
      break;
    }
    if (bad.loose && (!bad.passed_on || InScratch(bad.pfn) || !told(bad.pfn)))
      continue;
    // Or whoever clears it later is not seen to.
    if (bad.loose) M().memory().MarkDirty(bad.pfn);
    kept.push_back(bad);
  }
  errors_ = std::move(kept);
}

CallResult UserSpace::OpenDevice() {
  const int ret = LuoOpen();
  if (ret == 0) device_open_ = true;
  return Done(ret);
}

CallResult UserSpace::CloseDevice() {
  if (!device_open_) return Done(-EBADF);
  device_open_ = false;
  LuoClose();
  return Done(0);
}

CallResult UserSpace::InstallSession(int name, struct file* file,
                                     bool incoming) {
  Get(sessions_, name) = {file, incoming};
  sessions_end_ = std::max(sessions_end_, name + 1);
  return Done(0);
}

CallResult UserSpace::NewSession(int name) {
  if (!device_open_) return Done(-EBADF);
  if (SessionFile(name)) return Done(-EEXIST);
  struct file* file = nullptr;
  const int ret = SessionCreate(SessionName(name).text, &file);
  if (ret != 0) return Done(ret);
  return InstallSession(name, file, /*incoming=*/false);
}

CallResult UserSpace::TakeSession(int name) {
  if (!device_open_) return Done(-EBADF);
  if (SessionFile(name)) return Done(-EEXIST);
  struct file* file = nullptr;
  const int ret = SessionRetrieve(SessionName(name).text, &file);
  if (ret != 0) return Done(ret);
  return InstallSession(name, file, /*incoming=*/true);
}

// close() gives no error, whatever the release does.
CallResult UserSpace::DropSession(int name) {
  struct file* file = SessionFile(name);
  if (file == nullptr) return Done(-EBADF);
  Get(sessions_, name) = Session();
  SessionRelease(file);
  return Done(0);
}

CallResult UserSpace::Preserve(int session, uint64_t token, int name) {
  if (!SessionFile(session)) return Done(-EBADF);
  // The ioctl is one of outgoing sessions.
  if (SessionIncoming(session)) return Done(-EINVAL);
  return Done(PreserveFd(SessionFile(session), token, FileOf(name)));
}

CallResult UserSpace::Retrieve(int session, uint64_t token, int name) {
  if (!SessionFile(session)) return Done(-EBADF);
  if (FileOf(name)) return Done(-EEXIST);
  struct file* file = nullptr;
  const int ret = RetrieveFd(SessionFile(session), token, &file);
  if (ret != 0) return Done(ret);
  return Install(name, file);
}

CallResult UserSpace::FinishSession(int name) {
  if (!SessionFile(name)) return Done(-EBADF);
  return Done(Finish(SessionFile(name)));
}

CallResult UserSpace::Reboot(bool image_loaded) {
  return Done(sim::Reboot(image_loaded));
}

CallResult UserSpace::DeviceWrite(int name, int64_t page, uint64_t at,
                                  uint64_t value) {
  auto device = std::find_if(devices_.rbegin(), devices_.rend(),
                             [name, page](const Device& d) {
                               return d.file == name && d.page == page;
                             });
  if (device == devices_.rend()) return Done(-ENODEV);
  if (at + sizeof(value) > PAGE_SIZE << device->order) return Done(-EINVAL);
  PhysicalMemory& memory = M().memory();
  const uint64_t phys = (device->pfn << PAGE_SHIFT) + at;
  memory.MarkDirty(phys >> PAGE_SHIFT);
  std::memcpy(memory.base() + phys, &value, sizeof(value));
  CallResult result = Done(0);
  result.frame = static_cast<int64_t>(device->pfn);
  result.node = memory.NodeOf(device->pfn);
  return result;
}

// A page that this kernel pinned stays until the kernel goes. One that came
// over a kexec stays with the file that it came with. Pages of shmem files are
// told apart by their place in the file, pinned or not.
bool UserSpace::StillThere(Device* device) {
  const bool pinned_here = device->generation == M().generation;
  if (pinned_here && !device->shmem) return true;
  // Where nobody can ask for shmem files, no driver finds its memory again.
  if (!pinned_here && device->shmem && !liveupdate_enabled()) return false;
  if (!pinned_here && device->inode == 0) {
    const KhoKey key = {device->pfn << PAGE_SHIFT, device->order};
    const std::vector<KhoKey> unclaimed = KhoUnclaimed();
    if (std::binary_search(unclaimed.begin(), unclaimed.end(), key)) {
      return true;
    }
  }
  // The frame may be part of anything by now.
  const struct page* page = pfn_to_page(device->pfn);
  const Owner owner = OwnerOf(device->pfn);
  if (owner == Owner::kFree || owner == Owner::kSlab ||
      (page->compound_head & 1)) {
    return false;
  }
  const auto* folio = reinterpret_cast<const struct folio*>(page);
  const struct address_space* mapping = folio->mapping;
  if (mapping == nullptr || (reinterpret_cast<uintptr_t>(mapping) & 1)) {
    // A failed retrieval holds on to pages that are in no file.
    return !pinned_here && device->inode == 0 && !device->shmem &&
           folio_test_hugetlb(folio) && folio->_refcount.counter > 0;
  }
  const auto place = static_cast<int64_t>(folio->index >> device->order);
  if (device->inode == 0) {
    device->inode = mapping->host->i_ino;
    if (!device->shmem) device->place = place;
  }
  return mapping->host->i_ino == device->inode && place == device->place;
}

void UserSpace::StopDevices() {
  if (devices_.empty()) return;
  devices_.erase(std::remove_if(devices_.begin(), devices_.end(),
                                [this](Device& d) { return !StillThere(&d); }),
                 devices_.end());
}

}  // namespace sim
