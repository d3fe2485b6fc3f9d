// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/reach.h"

#include <sim/kernel_api.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <string>

#include "sim/liveupdate/luo.h"
#include "sim/mm/boot.h"
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
  for (const model::FileView& view : seen.after.files)
    if (view.name == c.file)
      Mark(Reach::kOwnerCharged, !GroupsOf(view, seen.after).empty());
}

void ReachCounter::Booted(const model::Observation& seen,
                          const Executor& executor) {
  // Free pages are claimed by now.
  const bool handed =
      !executor.handed_over().empty() || !executor.claimed().empty();
  for (const BadFrame& bad : executor.user().errors()) {
    Mark(Reach::kErrorHandedOver);
    Mark(Reach::kErrorLate, bad.late && bad.generation == M().generation - 1);
  }
  updates_ = handed ? updates_ + 1 : 0;
  limited_.clear();
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
  Mark(Reach::kOptimizedAfter,
       line.find("hugetlb_free_vmemmap=on") != std::string::npos);
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
  LookAtAreas(c, seen);
  const size_t unclaimed = executor.handed_over().size();
  const bool ok = seen.outcome.ok();
  // Also between preserve and the update.
  const bool beside = unclaimed > 0 || CountLuo().outgoing_files > 0;
  if (seen.rebooted) {
    Booted(seen, executor);
  } else if (c.verb == Verb::kPreserve && ok) {
    Preserved(c.file, seen, executor);
  } else if (c.verb == Verb::kPreserve) {
    Mark(Reach::kAgainRefused, seen.outcome.result == -EBUSY);
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
  unclaimed_ = unclaimed;
  outgoing_ = CountLuo().outgoing_sessions;
}

}  // namespace sim
