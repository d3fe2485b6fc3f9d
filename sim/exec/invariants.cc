// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/invariants.h"

#include <sim/kernel_api.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "sim/liveupdate/kho_internal.h"
#include "sim/liveupdate/luo.h"
#include "sim/liveupdate/luo_internal.h"
#include "sim/machine/actors.h"
#include "sim/mm/hugetlb_vmemmap.h"
#include "sim/mm/owners.h"
#include "sim/mm/slab.h"
#include "sim/mm/vmalloc.h"

namespace sim {
namespace {

using model::Outcome;
using model::Verb;

uint64_t FramesOwnedByAll(Owner owner) {
  uint64_t frames = 0;
  for (int n = 0; n < M().geometry().nodes; ++n)
    frames += FramesOwned(n, owner);
  return frames;
}

// Commands that either take effect or leave no trace.
bool LeavesNoTrace(Verb verb) {
  return verb == Verb::kPreserve || verb == Verb::kReboot ||
         verb == Verb::kSession || verb == Verb::kRetrieve ||
         verb == Verb::kTake;
}

}  // namespace

Invariants::Invariants(const Executor& executor) : executor_(executor) {}

void Invariants::Fail(const char* property, std::string what) {
  found_.push_back({property, std::move(what)});
}

KernelState Invariants::Capture() const {
  KernelState state;
  state.kho = KhoOutgoing();
  state.slab_objects = SlabInUse().objects;
  state.vmalloc_areas = VmallocAreas();
  state.tree_pages = KhoOutgoingTreePages().size();
  for (int n = 0; n < M().geometry().nodes; ++n) {
    state.free_frames += FreePagesOfNode(n);
  }
  const struct hstate* h;
  for_each_hstate(h) {
    const struct list_head* head = &h->hugepage_activelist;
    for (const struct list_head* at = head->next; at != head; at = at->next) {
      state.pins += list_entry(at, struct folio, lru)->_pincount.counter;
    }
    state.free_frames += h->nr_huge_pages << h->order;
  }
  return state;
}

// Allocated frames but those of huge pages that are in the pools. Neither the
// kernel's own pages nor small pages of files can be told by their owner alone:
// what comes back from KHO may be either.
uint64_t Invariants::KernelFrames() const {
  uint64_t frames =
      FramesOwnedByAll(Owner::kKernel) + FramesOwnedByAll(Owner::kFolio);
  const struct hstate* h;
  for_each_hstate(h) {
    frames -= h->free_huge_pages << h->order;
    const struct list_head* head = &h->hugepage_activelist;
    for (const struct list_head* at = head->next; at != head; at = at->next) {
      frames -= uint64_t{1} << h->order;
    }
  }
  return frames;
}

void Invariants::Booted(bool cold, bool fault) {
  comparing_ = false;
  cold_ = cold || KhoUnclaimedPages() == 0;
  // What a fault made a kernel leave behind, it hands on.
  boot_fault_ = fault || (!cold && boot_fault_);
  boot_ = Capture();
  boot_kernel_frames_ = KernelFrames();
  boot_reserved_frames_ = FramesOwnedByAll(Owner::kReserved);
  boot_unclaimed_ = KhoUnclaimedPages();
  boot_objects_.clear();
  if (!cold_) boot_objects_ = SlabLiveObjects();
  std::sort(boot_objects_.begin(), boot_objects_.end());
}

void Invariants::Before(const model::Command& command) {
  // What a fault plan or another actor is going to do comes with the command,
  // and is set up by commands that change nothing.
  comparing_ = LeavesNoTrace(command.verb);
  if (comparing_) before_ = Capture();
}

const std::vector<Violation>& Invariants::After(
    const model::Command& command, const model::Observation& seen) {
  found_.clear();
  switch (command.verb) {
    case Verb::kFail:
    case Verb::kDuring:
    case Verb::kInterleave:
    case Verb::kCorrupt:
    case Verb::kCut:
      return found_;
    default:
      break;
  }
  VerifyOneOwner();  // reports by itself
  VmemmapVerify();   // as well
  CheckPools();
  CheckCharges();
  CheckQuarantine();
  CheckErrors();
  CheckCma(/*end=*/false);
  CheckKeys();
  CheckRest();
  if (!seen.rebooted) CheckRollback(command, seen);
  if (command.verb == model::Verb::kRetrieve && seen.outcome.ok() &&
      seen.during.empty()) {
    struct file* file = executor_.user().FileOf(command.file);
    // Asked for again, it may have got pages that were free ones when they
    // came.
    bool again = false;
    for (int name = 0; name < executor_.user().files_end(); ++name) {
      const struct file* other = executor_.user().FileOf(name);
      again |= name != command.file && other != nullptr && file != nullptr &&
               other->f_mapping == file->f_mapping;
    }
    if (file != nullptr && is_file_hugepages(file) && !again)
      CheckRetrieved(file);
  }
  return found_;
}

void Invariants::CheckRollback(const model::Command& command,
                               const model::Observation& seen) {
  const bool comparing = std::exchange(comparing_, false);
  if (!comparing || seen.outcome.ok() || !seen.during.empty() ||
      !seen.finished.empty() || seen.outcome.kind != Outcome::Kind::kDone) {
    return;
  }
  const KernelState now = Capture();
  const char* property =
      command.verb == Verb::kRetrieve ? "atomic-import" : "exact-rollback";
  auto same = [&](const char* what, auto is, auto was) {
    if (is == was) return;
    Fail(property, absl::StrCat("the failed attempt left ", what, " at ", is,
                                ", was ", was));
  };
  same("the number of KHO's keys", now.kho.count, before_.kho.count);
  if (now.kho.count == before_.kho.count && !(now.kho == before_.kho)) {
    Fail(property, "the failed attempt left KHO with other keys");
  }
  same("pins of huge pages", now.pins, before_.pins);
  same("vmalloc areas", now.vmalloc_areas, before_.vmalloc_areas);
  // The first attempt to read what the kernel before left behind is the only
  // one, and keeps what it got.
  if (command.verb == Verb::kRetrieve || command.verb == Verb::kTake) return;
  // Looking at what it had no memory for at boot, a kernel gets on for good.
  if (command.verb == Verb::kReboot && boot_fault_) return;
  // shmem's own handler fills holes before it does anything else.
  if (command.verb == Verb::kPreserve) {
    struct file* file = executor_.user().FileOf(command.file);
    if (file != nullptr && !is_file_hugepages(file)) return;
  }
  same("slab objects", now.slab_objects, before_.slab_objects);
  same("free and pooled frames", now.free_frames + now.tree_pages,
       before_.free_frames + before_.tree_pages);
}

// With no session there is nothing to hand over but what every kernel does.
void Invariants::CheckKeys() {
  const LuoCounts luo = CountLuo();
  if (luo.outgoing_sessions != 0) return;
  const KhoKeySet now = KhoOutgoing();
  if (now == boot_.kho) return;
  Fail("no-leak", absl::StrCat("without any session KHO has ", now.count,
                               " keys; after boot it had ", boot_.kho.count));
}

void Invariants::CheckRest() {
  if (SpinlocksHeld() != 0) {
    Fail("discipline", "a spinlock is held between two commands");
  }
}

}  // namespace sim
