// SPDX-License-Identifier: BSD-3-Clause
//
// The end of a history: everybody lets go of everything, and nothing may be
// left over.
#include <sim/kernel_api.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "sim/exec/invariants.h"
#include "sim/liveupdate/kho_internal.h"
#include "sim/liveupdate/luo.h"
#include "sim/liveupdate/luo_internal.h"
#include "sim/machine/actors.h"
#include "sim/mm/cgroup.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_hooks.h"
#include "sim/mm/owners.h"
#include "sim/mm/slab.h"
#include "sim/mm/vfs.h"
#include "sim/mm/vmalloc.h"

namespace sim {
namespace {

constexpr const char* kProcesses[] = {"p0", "p1", "p2", "p3",
                                      "p4", "p5", "p6", "p7"};

// Takes and releases every session of the kernel before: with LUO's own
// calls, since a session that nobody took has no descriptor.
void FinishIncoming() {
  for (;;) {
    LuoSession* session;
    LuoSession* found = nullptr;
    list_for_each_entry(session, &g_luo.incoming.list, list) {
      if (!session->retrieved) found = session;
      if (found) break;
    }
    if (!found) return;
    struct file* file = nullptr;
    if (SessionRetrieve(found->name, &file) != 0) return;
    SessionRelease(file);
  }
}

uint64_t Frames(Owner owner) {
  uint64_t frames = 0;
  for (int n = 0; n < M().geometry().nodes; ++n)
    frames += FramesOwned(n, owner);
  return frames;
}

}  // namespace

void Invariants::CloseEverything(UserSpace* user) {
  auto run = [](const char* actor, auto fn) {
    const int a = ActorByName(actor);
    if (StateOf(a) == ActorState::kIdle) RunOnActor(a, fn);
  };
  for (int p = 0; p < UserSpace::kProcesses; ++p) {
    if (user->Runs(p)) run(kProcesses[p], [user, p] { user->Exit(p); });
  }
  run("admin", [] {
    for (int p = 0; p < UserSpace::kProcesses; ++p)
      CgroupJoin(ActorByName(kProcesses[p]), kRootCgroup);
    CgroupJoin(ActorByName("agent"), kRootCgroup);
  });
  run("agent", [user] {
    for (int i = 0; i < user->files_end(); ++i) {
      if (user->FileOf(i)) user->Close(i);
    }
    for (int i = 0; i < user->sessions_end(); ++i) {
      if (user->SessionFile(i)) user->DropSession(i);
    }
    // The first open reads what the kernel before left.
    if (!user->device_open()) user->OpenDevice();
    if (user->device_open()) {
      FinishIncoming();
      user->CloseDevice();
    }
  });
}

const std::vector<Violation>& Invariants::Teardown(Executor* executor,
                                                   bool whole) {
  found_.clear();
  const size_t reported = M().violations().size();
  CloseEverything(executor->mutable_user());
  SubpoolForgetStuck();
  executor->Look();
  VerifyOneOwner();
  CheckPools();
  CheckCharges();
  CheckQuarantine();
  CheckErrors();
  CheckCma(/*end=*/true);
  CheckKeys();
  if (found_.empty() && M().violations().size() == reported) {
    VerifySlabs();
    CheckNothingLeft(whole);
  }
  return found_;
}

void Invariants::CheckNothingLeft(bool whole) {
  auto none = [this](const char* what, int64_t count) {
    if (count != 0) {
      Fail("no-leak", absl::StrCat(count, " ", what, " left in the end"));
    }
  };
  const LuoCounts luo = CountLuo();
  CheckNoCharges();
  none("files", LiveFiles());
  none("inodes", LiveInodes());
  none("outgoing sessions", luo.outgoing_sessions);
  none("vmalloc areas", static_cast<int64_t>(VmallocAreas()) -
                            static_cast<int64_t>(boot_.vmalloc_areas));
  none("objects that count as preserved", luo.busy_objects);
  const bool broken = luo.incoming_sessions != 0 || g_luo.deserialize_error;
  // Files that came and that nobody can ask for keep what they are promised:
  // LUO finishes those whose records its own name, and no others.
  const bool stuck =
      (broken || boot_fault_ || !whole || executor_.handles_corrupted()) &&
      hugetlb_luo_reboot() != 0;
  const struct hstate* h;
  for_each_hstate(h) {
    if (!HugetlbReserveIsOff() && !stuck) {
      none("reservations", static_cast<int64_t>(h->resv_huge_pages));
    }
  }
  // A fault during boot may have cost live update, or part of what came. A
  // kernel that was cut short may have left files that LUO does not name.
  if (boot_fault_ || !whole) {
    if (!stuck) CheckOwnSlabs();
    return;
  }
  const bool quarantine = executor_.Quarantined();
  // Only a kernel that knows of HugeTLB's table takes it.
  const bool takes =
      kho_is_enabled() && liveupdate_enabled() && Config().has_luo_hugetlb;
  if (takes && !broken && !quarantine && !ShmemLuoLostMemory()) {
    const std::vector<uint64_t> never = KhoNeverRestored();
    for (const KhoKey& key : KhoUnclaimed()) {
      if (std::binary_search(never.begin(), never.end(), key.phys)) continue;
      // A table can be damaged such that it is right, and leaves out a page of
      // itself. The kernel frees the pages that its table names: it has no list
      // of what KHO holds.
      const std::vector<uint64_t>& left_out = executor_.left_out();
      if (key.order == 0 &&
          std::binary_search(left_out.begin(), left_out.end(), key.phys))
        continue;
      Fail("no-leak",
           absl::StrCat("frame ", key.phys >> PAGE_SHIFT, " of order ",
                        key.order, " was handed over and nobody claimed it"));
      return;
    }
  }
  if (broken || quarantine || ShmemLuoLostMemory()) return;
  if (takes) CheckOwnSlabs();
  CheckSlabs();
  CheckFrames();
}

// When everything is claimed and nothing preserved, live update of huge pages
// has nothing to remember, whatever it had at boot.
void Invariants::CheckOwnSlabs() {
  for (const std::string& object : SlabLiveObjects()) {
    if (absl::StrContains(object, "hugetlb_luo_")) {
      Fail("no-leak", absl::StrCat("slab object of ", object, " in the end"));
    }
  }
}

// A kind of object that was there after boot is there as often now, or, being
// about what came from the kernel before, not at all.
void Invariants::CheckSlabs() {
  const uint64_t now = SlabInUse().objects;
  if (cold_ && now == boot_.slab_objects) return;
  if (cold_) {
    Fail("no-leak",
         absl::StrCat(now, " slab objects in the end, ", boot_.slab_objects,
                      " after boot: ", absl::StrJoin(SlabLiveObjects(), ", ")));
    return;
  }
  std::vector<std::string> objects = SlabLiveObjects();
  std::sort(objects.begin(), objects.end());
  for (size_t i = 0; i < objects.size();) {
    auto is = std::equal_range(objects.begin(), objects.end(), objects[i]);
    auto was = std::equal_range(boot_objects_.begin(), boot_objects_.end(),
                                objects[i]);
    const auto count = is.second - is.first;
    const auto before = was.second - was.first;
    if (count != before) {
      Fail("no-leak", absl::StrCat("slab objects of ", objects[i], ": ", count,
                                   " in the end, ", before, " after boot"));
    }
    i += static_cast<size_t>(count);
  }
}

// Frames by what they are for.
void Invariants::CheckFrames() {
  auto same = [this](const char* what, uint64_t is, uint64_t should) {
    if (is == should) return;
    Fail("no-leak", absl::StrCat(is, " frames are ", what, " in the end, ",
                                 should, " should be"));
  };
  const uint64_t tree = KhoOutgoingTreePages().size();
  same("the kernel's own", KernelFrames() + boot_.tree_pages,
       boot_kernel_frames_ + tree + executor_.user().PinnedShmemPages() +
           executor_.user().LeakedPages());
  same("reserved", Frames(Owner::kReserved) + boot_unclaimed_,
       boot_reserved_frames_ + KhoUnclaimedPages());
}

}  // namespace sim
