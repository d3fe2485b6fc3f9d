// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/reach.h"

#include <sim/kernel_api.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <string>
#include <utility>

#include "sim/liveupdate/luo.h"
#include "sim/mm/boot.h"
#include "sim/mm/hugetlb_hooks.h"
#include "sim/mm/mapping.h"

namespace sim {
namespace {

using model::Verb;

constexpr std::string_view kNames[kReaches] = {
    "preserved beside surplus pages",
    "next kernel asks for more pages than come",
    "for fewer",
    "for pages on some nodes",
    "for pages on a node that there is not",
    "next kernel has numa=off",
    "preserved with page structures optimized away",
    "next kernel optimizes them",
    "next kernel lacks the page size",
    "demoted beside pages handed over",
    "resized beside pages handed over",
    "memory went offline beside pages handed over",
    "memory could not, for pages in use",
    "preserved with private mappings",
    "preserved while several processes map it",
    "preserved with pages pinned by a device",
    "preserved with seals",
    "preserved with F_SEAL_EXEC",
    "finished, never asked for",
    "page with a memory error handed over",
    "memory with an error kept out of use by the next kernel",
    "memory error between preserve and the update",
    "memory error while the update was under way",
    "free pages handed over",
    "without any session",
    "on a node that needed no others",
    "while others still ran",
    "three updates in a row",
    "five updates in a row",
    "preserved while a control group is charged",
    "preserved while several are",
    "retrieved, its control group charged again",
    "not retrieved for a limit",
    "not retrieved for a limit, then retrieved",
    "not retrieved for a limit, then finished",
    "gigantic page out of an area of hugetlb_cma=",
    "taken out of it at boot",
    "preserved, moved out of an area",
    "not preserved, as it could not be moved",
    "next kernel has areas beside pages handed over",
    "an area that was not to be had",
    "preserved with more reserved than there are pages",
    "promised at boot",
    "not retrieved, as the pool was too small for it",
    "gigantic page handed over in a file",
    "update refused, as something was not claimed",
    "not preserved again, as its session was not finished",
    "preserved again, after it was retrieved and finished",
    "page structures optimized away in both kernels",
    "next kernel has the node again",
    "next kernel does without live update of huge pages",
    "no surplus page beside pages handed over, for the limit",
    "resized while the update was under way",
    "demoted while the update was under way",
    "memory offline asked for while the update was under way",
    "sealed, or tried to, while the update was under way",
    "not sealed, as it is preserved",
    "retrieved with reserved holes",
    "page with a memory error met in the next kernel",
    "not preserved for a memory error",
    "gigantic page, late, handed over",
    "free gigantic page handed over",
    "gigantic page with a memory error handed over",
    "free pages handed over, and refused",
    "free page with a memory error handed over",
    "pages came or went while free ones were collected",
    "free pages in an area, left out",
    "file of a mount not preserved",
    "one without a name",
    "preserved beside a file of a mount with size=",
    "no page for it, for its size=",
    "preserved beside a file of a mount with min_size=",
    "table of another version",
    "record of another version",
    "file refused, as it lies in a hole of memory",
};

int64_t Surplus(const model::Snapshot& snapshot, uint64_t page_size) {
  int64_t surplus = 0;
  for (int i = 0; i < snapshot.nr_pools; ++i) {
    const model::PoolView& pool = snapshot.pool[static_cast<size_t>(i)];
    if (pool.page_size != page_size) continue;
    for (const model::NodeCounts& node : pool.node) surplus += node.surplus;
  }
  return surplus;
}

// Of the pages of a file, in 4 KiB pages.
uint64_t OrderOf(const struct file* file) {
  return hstate_file(const_cast<struct file*>(file))->order;
}

bool IsGigantic(uint64_t order) { return order > MAX_PAGE_ORDER; }

const struct hugepage_subpool* SubpoolOf(const struct file* file) {
  return file != nullptr && is_file_hugepages(file)
             ? subpool_inode(file_inode(file))
             : nullptr;
}

bool HasPool(const model::Snapshot& snapshot, uint64_t page_size) {
  return std::any_of(snapshot.pool.begin(),
                     snapshot.pool.begin() + snapshot.nr_pools,
                     [page_size](const model::PoolView& pool) {
                       return pool.page_size == page_size;
                     });
}

// The control groups that are charged for a file, without the root.
std::set<model::CgroupPath> GroupsOf(const model::FileView& view,
                                     const model::Snapshot& snapshot) {
  std::set<model::CgroupPath> groups;
  for (uint32_t i = view.pages_begin; i < view.pages_end; ++i)
    for (model::CgroupPath owner : snapshot.pages[i].owners)
      groups.insert(owner);
  for (uint32_t i = view.charges_begin; i < view.charges_end; ++i)
    groups.insert(snapshot.charges[i].owner);
  groups.erase(model::kNobody);
  groups.erase(model::kRootPath);
  return groups;
}

// The first page that the kernel does not take for one of the file is where
// there is no memory, between nodes.
bool LiesInHole(const model::TableView::File& file) {
  for (const model::TableView::Chain* chain : {&file.runs, &file.late}) {
    for (const model::TableView::Block& block : chain->blocks) {
      for (const model::TableView::Run& run : block.runs) {
        if (!run.held)  // frame 0: beyond the end of memory
          return run.frame != 0 && !M().memory().Exists(run.frame);
      }
    }
  }
  return false;
}

}  // namespace

std::string_view ReachName(Reach reach) {
  return kNames[static_cast<size_t>(reach)];
}

void ReachCounter::Preserved(int name, const model::Observation& seen,
                             const Executor& executor) {
  const UserSpace& user = executor.user();
  const struct file* file = user.FileOf(name);
  if (file == nullptr || !is_file_hugepages(file)) return;
  for (const model::FileView& view : seen.after.files) {
    if (view.name != name) continue;
    Mark(Reach::kSurplusPreserved, Surplus(seen.after, view.page_size) > 0);
    Mark(Reach::kSeals, (view.seals & ~model::kSealSeal) != 0);
    Mark(Reach::kNoexec, (view.seals & model::kSealExec) != 0);
    int64_t reserved = 0;
    for (uint32_t i = view.regions_begin; i < view.regions_end; ++i)
      reserved += seen.after.regions[i].to - seen.after.regions[i].from;
    Mark(Reach::kReserved, reserved > view.pages_end - view.pages_begin);
    for (uint32_t i = view.pages_begin; i < view.pages_end; ++i)
      Mark(Reach::kOptimizedBefore,
           folio_test_hugetlb_vmemmap_optimized(
               pfn_folio(static_cast<uint64_t>(seen.after.pages[i].frame))));
    Mark(Reach::kOwners, !GroupsOf(view, seen.after).empty());
    Mark(Reach::kManyOwners, GroupsOf(view, seen.after).size() > 1);
  }
  int processes = 0;
  for (int p = 0; p < UserSpace::kProcesses; ++p) {
    bool maps = false;
    for (int i = 0; i < user.mappings_end(p); ++i) {
      const Mapping* mapping = user.MappingNamed(p, i);
      if (mapping == nullptr ||
          mapping->vma.vm_file->f_mapping != file->f_mapping)
        continue;
      maps = true;
      Mark(Reach::kPrivate, !(mapping->vma.vm_flags & VM_MAYSHARE));
    }
    processes += maps;
  }
  Mark(Reach::kManyProcesses, processes > 1);
  const unsigned long inode = file->f_mapping->host->i_ino;
  for (const Device& device : user.devices())
    Mark(Reach::kPinned, !device.shmem && device.inode == inode);
}

void ReachCounter::Retrieved(const model::Command& c,
                             const model::Observation& seen) {
  const bool before =
      std::find(limited_.begin(), limited_.end(), c.token) != limited_.end();
  if (!seen.outcome.ok()) {
    bool limited = false;
    for (const std::string& said : M().log()) {
      limited |= said.find("limit of control group") != std::string::npos;
      Mark(Reach::kPoolShort, said.find("have reserved") != std::string::npos);
    }
    if (!limited || seen.outcome.result != -EAGAIN) return;
    limited_.push_back(c.token);
    Mark(Reach::kLimited);
    return;
  }
  Mark(Reach::kLimitedThenRetrieved, before);
  limited_.erase(std::remove(limited_.begin(), limited_.end(), c.token),
                 limited_.end());
  retrieved_.push_back(c.file);
  for (const model::FileView& view : seen.after.files) {
    if (view.name != c.file) continue;
    Mark(Reach::kOwnerCharged, !GroupsOf(view, seen.after).empty());
    int64_t reserved = 0;
    for (uint32_t i = view.regions_begin; i < view.regions_end; ++i)
      reserved += seen.after.regions[i].to - seen.after.regions[i].from;
    Mark(Reach::kRegionsBack, reserved > view.pages_end - view.pages_begin);
  }
}

// What the kernel before left, and what became of it.
void ReachCounter::Handed(const model::Observation& seen,
                          const Executor& executor) {
  const model::TableView& table = seen.handed;
  if (!seen.handed_known || !table.held || !table.magic) return;
  Mark(Reach::kOptionMissing, !LuoHugetlb() || !liveupdate_enabled());
  Mark(Reach::kRootVersion, !table.version);
  bool free_left = false;
  for (const model::TableView::Free& free : table.free) {
    Mark(Reach::kGiganticFree, IsGigantic(free.order) && !free.pages.empty());
    for (const model::TableView::FreePage& page : free.pages) {
      Mark(Reach::kFreeError, page.poisoned);
      free_left |= std::binary_search(seen.after.unclaimed.begin(),
                                      seen.after.unclaimed.end(),
                                      static_cast<model::Frame>(page.frame));
    }
    if (free.pages.empty()) continue;
    for (const model::Verb verb : during_)
      Mark(Reach::kFreeMeanwhile, verb == Verb::kNr || verb == Verb::kDemote ||
                                      verb == Verb::kFallocate ||
                                      verb == Verb::kWrite);
  }
  Mark(Reach::kFreeRefused, free_left);
  bool refused = false;
  for (const std::string& said : M().log())
    refused |= said.find("-ENXIO, frame of a run") != std::string::npos;
  for (const model::TableView::File& file : table.files) {
    if (!file.held || !file.magic) continue;
    Mark(Reach::kInHole, refused && LiesInHole(file));
    Mark(Reach::kFileVersion, !file.version && table.version);
    for (const model::TableView::Block& block : file.late.blocks)
      Mark(Reach::kGiganticLate,
           IsGigantic(file.order) && block.held && block.nr_runs > 0);
  }
  for (const BadFrame& bad : executor.user().errors())
    Mark(Reach::kGiganticError, IsGigantic(bad.order) && !bad.loose);
}

// While an update that went well was under way; that its kernel came back, or
// not, is the same to what ran beside it.
void ReachCounter::Meanwhile(const model::Observation& seen) {
  for (size_t i = 0; i < during_.size() && i < seen.during.size(); ++i) {
    if (!seen.during[i].started) continue;
    const Verb verb = during_[i];
    const bool ok = seen.during[i].outcome.ok();
    Mark(Reach::kResizedMeanwhile, verb == Verb::kNr && ok);
    Mark(Reach::kDemotedMeanwhile, verb == Verb::kDemote && ok);
    Mark(Reach::kOfflinedMeanwhile, verb == Verb::kOffline);
    Mark(Reach::kSealedMeanwhile, verb == Verb::kSeal);
  }
}

// Files of mounts beside those that are preserved.
void ReachCounter::LookAtMounts(const model::Command& c,
                                const model::Observation& seen,
                                const Executor& executor) {
  const UserSpace& user = executor.user();
  const struct file* file = user.FileOf(c.file);
  if (file == nullptr || !is_file_hugepages(file)) return;
  const struct inode* inode = file_inode(file);
  if (!(inode->i_sb->s_flags & SB_KERNMOUNT)) {
    const bool refused = seen.outcome.result == -ENOENT && LuoHugetlb() &&
                         CountLuo().outgoing_sessions > 0;
    Mark(Reach::kMountRefused, refused);
    Mark(Reach::kUnlinkedRefused, refused && inode->i_nlink == 0);
  }
  if (!seen.outcome.ok()) return;
  for (int i = 0; i < user.files_end(); ++i) {
    const struct hugepage_subpool* spool = SubpoolOf(user.FileOf(i));
    if (spool == nullptr) continue;
    Mark(Reach::kMountLimit, spool->max_hpages >= 0 && spool->used_hpages > 0);
    Mark(Reach::kMountReserves, spool->rsv_hpages > 0);
  }
}

// A page was not to be had; `beside`: others are handed over.
void ReachCounter::LookAtLimits(const model::Command& c,
                                const model::Observation& seen,
                                const Executor& executor, bool beside) {
  const model::Outcome& o = seen.outcome;
  if (seen.fault_injected || (o.kind != model::Outcome::Kind::kSigbus &&
                              o.result != -ENOSPC && o.result != -ENOMEM))
    return;
  const UserSpace& user = executor.user();
  const struct file* file = c.file >= 0 ? user.FileOf(c.file) : nullptr;
  if (c.mapping >= 0 && c.file < 0) {
    const Mapping* mapping = user.MappingNamed(c.process, c.mapping);
    if (mapping != nullptr) file = mapping->vma.vm_file;
  }
  if (file == nullptr || !is_file_hugepages(file)) return;
  if (o.kind == model::Outcome::Kind::kSigbus) {
    const Mapping* mapping = user.MappingNamed(c.process, c.mapping);
    const auto index =
        static_cast<int64_t>(mapping->vma.vm_pgoff >> OrderOf(file)) + c.page;
    for (const model::FileView& view : seen.after.files) {
      if (view.inode != file_inode(file)->i_ino) continue;
      for (uint32_t i = view.pages_begin; i < view.pages_end; ++i)
        for (const BadFrame& bad : user.errors())
          Mark(Reach::kErrorMet,
               seen.after.pages[i].index == index &&
                   bad.generation < M().generation &&
                   bad.first ==
                       static_cast<uint64_t>(seen.after.pages[i].frame));
    }
  }
  const struct hugepage_subpool* spool = SubpoolOf(file);
  if (spool != nullptr && spool->max_hpages >= 0 &&
      spool->used_hpages >= spool->max_hpages) {
    Mark(Reach::kMountLimitHit);
    return;
  }
  if (!beside) return;
  const uint64_t page_size = PAGE_SIZE << OrderOf(file);
  for (int i = 0; i < seen.after.nr_pools; ++i) {
    const model::PoolView& pool = seen.after.pool[static_cast<size_t>(i)];
    if (pool.page_size != page_size || pool.overcommit == 0) continue;
    Mark(Reach::kOvercommitHit,
         Surplus(seen.after, page_size) >= pool.overcommit);
  }
}

void ReachCounter::Booted(const model::Observation& seen,
                          const Executor& executor) {
  // Free pages are claimed by now.
  const bool handed =
      !executor.handed_over().empty() || !executor.claimed().empty();
  for (const BadFrame& bad : executor.user().errors()) {
    Mark(Reach::kErrorHandedOver, !bad.loose);
    Mark(Reach::kErrorLoose, bad.loose);
    Mark(Reach::kErrorLate, bad.late && bad.generation == M().generation - 1);
  }
  updates_ = handed ? updates_ + 1 : 0;
  limited_.clear();
  retrieved_.clear();
  const std::string before = std::exchange(line_, Config().cmdline);
  Mark(Reach::kThreeUpdates, updates_ >= 3);
  Mark(Reach::kFiveUpdates, updates_ >= 5);
  if (!handed) return;
  for (int i = 0; i < seen.after.nr_pools; ++i)
    Mark(Reach::kPromised, seen.after.pool[static_cast<size_t>(i)].resv > 0);
  for (const model::SizedPool& pool : seen.after.sized) {
    Mark(Reach::kMoreAsked, pool.preserved > 0 && pool.allocated > 0);
    Mark(Reach::kFewerAsked, pool.surplus > 0);
    Mark(Reach::kGigantic, pool.preserved > 0 && pool.page_size >> PAGE_SHIFT >
                                                     MAX_ORDER_NR_PAGES);
  }
  std::array<int64_t, model::kMaxPageSizes> free{};
  for (const model::SizedPool& pool : seen.after.sized)
    for (int i = 0; i < seen.after.nr_pools; ++i)
      if (seen.after.pool[static_cast<size_t>(i)].page_size == pool.page_size)
        free[static_cast<size_t>(i)] += pool.free;
  for (const int64_t pages : free) {
    Mark(Reach::kFreeHanded, pages > 0);
    Mark(Reach::kFreeAlone, pages > 0 && outgoing_ == 0);
    Mark(Reach::kFreeLeft, pages > 0 && !seen.during.empty());
  }
  for (const model::SizedPool& pool : seen.after.sized)
    Mark(Reach::kFreeBeyond, pool.free > 0 && pool.preserved == 0 &&
                                 pool.allocated == 0 && pool.free > 2);
  Mark(Reach::kAreaAfter, !seen.after.cma.empty());
  const std::string& line = Config().cmdline;
  for (size_t at = line.find("hugepages="); at != std::string::npos;
       at = line.find("hugepages=", at + 1))
    Mark(Reach::kAskedByNode,
         line.substr(at, line.find(' ', at) - at).find(':') !=
             std::string::npos);
  Mark(Reach::kNodeMissing, line.find("numa=off") != std::string::npos);
  auto has = [](const std::string& words, const char* word) {
    return words.find(word) != std::string::npos;
  };
  const bool optimizes = has(line, "hugetlb_free_vmemmap=on");
  Mark(Reach::kOptimizedAfter, optimizes);
  Mark(Reach::kOptimizedBoth,
       optimizes && has(before, "hugetlb_free_vmemmap=on"));
  Mark(Reach::kNodeBack, has(before, "numa=off") && !has(line, "numa=off"));
  for (const std::string& said : M().log())
    Mark(Reach::kAskedOfNoNode,
         said.find("Invalid hugepages parameter") != std::string::npos);
  for (const model::Reserved& r : seen.after.quarantined)
    Mark(Reach::kSizeMissing, !HasPool(seen.after, r.page_size));
}

void ReachCounter::LookAtAreas(const model::Command& c,
                               const model::Observation& seen) {
  const auto begin = in_area_.begin(), end = in_area_.end();
  if (c.verb == Verb::kPreserve && std::find(begin, end, c.file) != end) {
    Mark(Reach::kAreaLeft, seen.outcome.ok());
    Mark(Reach::kAreaRefused, seen.outcome.result == -ENOMEM);
  }
  in_area_.clear();
  if (seen.rebooted && free_in_area_ > 0)
    for (const model::TableView::Free& free : seen.handed.free)
      Mark(Reach::kFreeLeftInArea, IsGigantic(free.order));
  free_in_area_ = 0;
  if (seen.rebooted) {
    for (const std::string& said : M().log())
      Mark(Reach::kAreaShort,
           said.find("hugetlb_cma: reservation failed") != std::string::npos);
  }
  if (seen.after.cma.empty()) return;
  const struct hstate* h;
  for_each_hstate(h) {
    if (!hstate_is_gigantic(const_cast<struct hstate*>(h))) continue;
    for (const struct list_head& list : h->hugepage_freelists) {
      if (list_empty(&list)) continue;
      const bool is = folio_test_hugetlb_cma(list_first_entry(
          const_cast<struct list_head*>(&list), struct folio, lru));
      Mark(Reach::kAreaUsed, is);
      free_in_area_ += is;
      Mark(Reach::kAreaAtBoot, is && seen.rebooted);
    }
  }
  for (const model::FileView& view : seen.after.files) {
    if (view.name < 0 || view.page_size >> PAGE_SHIFT <= MAX_ORDER_NR_PAGES)
      continue;
    for (uint32_t i = view.pages_begin; i < view.pages_end; ++i) {
      if (!folio_test_hugetlb_cma(
              pfn_folio(static_cast<uint64_t>(seen.after.pages[i].frame))))
        continue;
      Mark(Reach::kAreaUsed);
      in_area_.push_back(view.name);
      break;
    }
  }
}

void ReachCounter::After(const model::Command& c,
                         const model::Observation& seen,
                         const Executor& executor) {
  if (executor.dead()) return;
  if (c.verb == Verb::kDuring) {
    if (!c.inner.empty()) during_.push_back(c.inner[0].verb);
    return;
  }
  if (c.verb == Verb::kInterleave || c.verb == Verb::kFail ||
      c.verb == Verb::kCorrupt)
    return;
  LookAtAreas(c, seen);
  const size_t unclaimed = executor.handed_over().size();
  const bool ok = seen.outcome.ok();
  // Also between preserve and the update.
  const bool beside = unclaimed > 0 || CountLuo().outgoing_files > 0;
  if (seen.rebooted) {
    if (seen.handed_known && !seen.handed.original.empty()) Meanwhile(seen);
    Handed(seen, executor);
    Booted(seen, executor);
  } else if (c.verb == Verb::kPreserve && ok) {
    Preserved(c.file, seen, executor);
    LookAtMounts(c, seen, executor);
    Mark(Reach::kPreservedAgain, std::find(retrieved_.begin(), retrieved_.end(),
                                           c.file) != retrieved_.end());
  } else if (c.verb == Verb::kPreserve) {
    Mark(Reach::kAgainRefused, seen.outcome.result == -EBUSY);
    Mark(Reach::kErrorRefused, seen.outcome.result == -EHWPOISON);
    LookAtMounts(c, seen, executor);
  } else if (c.verb == Verb::kSeal) {
    Mark(Reach::kSealRefused,
         seen.outcome.result == -EBUSY && CountLuo().outgoing_files > 0);
  } else if (!ok && (c.verb == Verb::kWrite || c.verb == Verb::kRead ||
                     c.verb == Verb::kMap || c.verb == Verb::kFallocate)) {
    LookAtLimits(c, seen, executor, beside);
  } else if (c.verb == Verb::kReboot) {
    Mark(Reach::kRebootRefused, seen.outcome.result == -EBUSY);
  } else if (c.verb == Verb::kDemote) {
    Mark(Reach::kDemoted, ok && beside);
  } else if (c.verb == Verb::kNr) {
    Mark(Reach::kResized, ok && beside);
  } else if (c.verb == Verb::kOffline) {
    Mark(Reach::kOfflineMoved, ok && beside);
    Mark(Reach::kOfflineWaited, seen.outcome.result == -EINTR);
  } else if (c.verb == Verb::kPoison) {
    Mark(Reach::kErrorAfterPreserve, ok && CountLuo().outgoing_files > 0);
  } else if (c.verb == Verb::kFinish || c.verb == Verb::kDrop) {
    Mark(Reach::kNeverAsked, ok && unclaimed < unclaimed_);
    // Pages that an attempt had got from KHO are claimed already.
    Mark(Reach::kLimitedThenFinished, ok && !limited_.empty());
  } else if (c.verb == Verb::kRetrieve) {
    Retrieved(c, seen);
  }
  if (c.verb == Verb::kClose) {
    retrieved_.erase(std::remove(retrieved_.begin(), retrieved_.end(), c.file),
                     retrieved_.end());
  }
  during_.clear();
  unclaimed_ = unclaimed;
  outgoing_ = CountLuo().outgoing_sessions;
}

}  // namespace sim
