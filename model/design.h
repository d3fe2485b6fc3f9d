// SPDX-License-Identifier: BSD-3-Clause
//
// Ways to hand huge pages over, as values: what somebody might propose, in
// the points on which proposals differ. The explorer runs each of them.
#ifndef HANDOVER_MODEL_DESIGN_H_
#define HANDOVER_MODEL_DESIGN_H_

#include <cstdint>
#include <string_view>
#include <vector>

namespace handover::model {

struct Design {
  std::string_view name;
  std::string_view what;       // in a sentence
  std::string_view who;        // might propose it, and why
  std::string_view variation;  // of the design that it differs from in a point

  // When pages can no longer be added to the file.
  enum class Freeze : uint8_t { kNever, kAtPreserve, kAtReboot };
  Freeze freeze = Freeze::kAtReboot;

  // What becomes of a fault into a hole of a file that is frozen.
  enum class Fault : uint8_t { kGoesOn, kFails, kWaits };
  Fault fault = Fault::kWaits;

  // Where that is looked at: when the fault begins (a flag on the inode), or
  // when the page is added to the mapping, in one step with that.
  enum class Check : uint8_t { kAtEntry, kAtAdding };
  Check check = Check::kAtAdding;

  // When pages can no longer be taken out of the file (truncation, punching).
  enum class Guard : uint8_t { kNever, kFromFreezing, kFromPreserving };
  Guard guard = Guard::kFromPreserving;

  // A page that is preserved has a reference until it is not: where it is taken
  // out of its file it is nobody else's.
  bool pins = true;

  // Whether the file may grow while it is preserved: no more than pages can be
  // taken out, until it is frozen, or in any case (as by a writable mapping
  // beyond the end that nobody refuses).
  enum class Growth : uint8_t { kUntilFreezing, kAsGuarded, kAlways };
  Growth growth = Growth::kAsGuarded;
  // When its size is written down.
  enum class Size : uint8_t { kAtPreserve, kAtFreeze };
  Size size = Size::kAtFreeze;

  // When pages are written down: while the workload runs, or once it is frozen.
  enum class Walk : uint8_t { kAtPreserve, kAtFreeze };
  Walk walk = Walk::kAtPreserve;

  // Preserving puts pages into holes (as memfd_pin_folios() does).
  bool fills_holes = false;
  // A page that is added after the walk came by is remembered, and written
  // down when the file freezes.
  bool notices = true;
  // A failure takes back all that was done. (An abort always does.)
  bool unwinds = true;
  // A file that was frozen for a reboot call that failed is frozen no more.
  bool thaws = true;
  // From when on the next kernel would find the file's record: from the end of
  // preserve() on, when pages may still be added, or once it is final.
  enum class Publish : uint8_t { kAtPreserve, kAtFreeze };
  Publish publish = Publish::kAtFreeze;

  // What the next kernel knows of what comes when it fills its pools.
  enum class Counts : uint8_t { kNone, kTotal, kByNode };
  Counts counts = Counts::kByNode;
  // What pages that come are in the pool's counters, until they are retrieved:
  // nothing, in use, or free; or in use, and they are counted once more then.
  enum class Counted : uint8_t { kWhenRetrieved, kInUse, kAsFree, kTwice };
  Counted counted = Counted::kInUse;

  // Free pages: when the list of those that are handed over is made.
  enum class Snapshot : uint8_t { kNone, kAtPreserve, kAtFreeze };
  Snapshot snapshot = Snapshot::kNone;
  // How it is made, which takes memory, and the lock of the pools allows no
  // allocation: in one step all the same (as it is at preserve()); or where the
  // pages are is noted in one step, and in later ones memory is allocated and
  // KHO gets their keys, without another look at them, with one at each before
  // the next, or with one at each after all that.
  enum class Looks : uint8_t { kAtOnce, kOnce, kAfterEach, kAfterAll };
  Looks looks = Looks::kAfterAll;
  // What becomes of the entry of a free page that leaves the pool afterwards;
  // or none may leave: who needs one is refused.
  enum class Leaving : uint8_t { kStale, kDropped, kRefused };
  Leaving leaving = Leaving::kStale;
  // The list is dropped when the reboot call fails after it was made.
  bool drops_list = true;
  // What becomes of a page that joins the pool afterwards: it stays behind, or
  // it comes on the list, in one step with that or in another.
  enum class Joining : uint8_t { kStaysBehind, kListed, kListedLater };
  Joining joining = Joining::kStaysBehind;

  // Takes each page as soon as it looks right, or looks at all of them first.
  enum class Import : uint8_t { kOnePass, kValidateFirst };
  Import import = Import::kValidateFirst;
  // What becomes of the pages of a file that is refused.
  enum class Refused : uint8_t { kFreed, kLeaked, kQuarantined };
  Refused refused = Refused::kQuarantined;

  // Where a file that is preserved twice is noticed.
  enum class Twice : uint8_t { kNowhere, kAtPreserve, kAtImport };
  Twice twice = Twice::kAtPreserve;

  // A retrieval that failed for lack of memory can be tried again.
  bool retries = true;
  // The next reboot is refused while somebody else's pages are unclaimed.
  bool waits_for_claims = true;
};

// The design of kernel/new first.
const std::vector<Design>& Designs();

// What it does, a sentence for each point on which proposals differ; the n-th
// sentences of two designs are about the same.
std::vector<std::string_view> PointsOf(const Design& design);

// nullptr: there is none of that name.
const Design* FindDesign(std::string_view name);

}  // namespace handover::model

#endif  // HANDOVER_MODEL_DESIGN_H_
