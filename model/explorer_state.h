// SPDX-License-Identifier: BSD-3-Clause
//
// A state of the explorer's machine, packed, and what can happen next.
#ifndef HANDOVER_MODEL_EXPLORER_STATE_H_
#define HANDOVER_MODEL_EXPLORER_STATE_H_

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/design.h"
#include "model/explorer.h"

namespace handover::model {

inline constexpr int kMaxExploredPages = 4;

// A huge page. Everything about it is here, also which file it is in, so that
// pages can be sorted: two states that differ in the order of their pages are
// the same. A slot is a place of a file, `2 * file + index`; sets of them have
// four bits.
struct XPage {
  enum Kind : uint32_t {
    kFree,         // the buddy allocator's, and so anybody's
    kPool,         // free in the pool
    kFile,         // in the page cache
    kHeld,         // a fault has taken it, and has not added it yet
    kPinned,       // out of its file, and still preserved
    kMeta,         // KHO's or LUO's own data
    kClaimed,      // came from the previous kernel; nobody has taken it yet
    kQuarantined,  // of a file that was refused
    kLost,         // reserved, and nobody knows
    kStranded,     // the same, for its kernel was cut short
  };
  uint32_t kind : 4 = kFree;
  uint32_t in : 4 = 0;       // slots whose page it is
  uint32_t rec : 4 = 0;      // slots that the records give it to
  uint32_t dev : 4 = 0;      // slots whose device writes to it
  uint32_t truth : 4 = 0;    // slots whose page it was when the CPUs stopped
  uint32_t listed : 1 = 0;   // in the list of free pages
  uint32_t key : 1 = 0;      // KHO preserves it
  uint32_t written : 1 = 0;  // holds what was written to it last
  uint32_t filled : 1 = 0;   // preserving has put it into a hole
  uint32_t node : 1 = 0;
  uint32_t holder : 1 = 0;   // process
  uint32_t pending : 1 = 0;  // was free, and may come on the list
  uint32_t passed : 1 = 0;   // but will not: for refinement.cc alone
  uint32_t unused : 4 = 0;
};
static_assert(sizeof(XPage) == 4);

struct XFile {
  enum Out : uint16_t { kNotOut, kPreserving, kPreserved };
  enum In : uint16_t {
    kNotIn,
    kAnnounced,
    kAccepted,
    kRefused,
    kRetrieved,
    kFailed,
  };
  uint16_t open : 1 = 0;
  uint16_t out : 2 = kNotOut;
  uint16_t in : 3 = kNotIn;
  uint16_t frozen : 1 = 0;
  uint16_t done : 1 = 0;     // freezing it is
  uint16_t twice : 1 = 0;    // preserved in two sessions
  uint16_t damaged : 1 = 0;  // its record
  uint16_t late : 2 = 0;     // indices that were added after the walk; they
                             // stay it when freezing has recorded them
  uint16_t wrote : 2 = 0;    // indices to which a write has completed
  uint16_t size : 2 = 0;     // in pages; of one that comes, as it was
};
static_assert(sizeof(XFile) == 2);

struct XProcess {
  // In `slot` of who is about to resize a file is the page to be taken out or
  // added.
  enum Pc : uint8_t { kIdle, kTook, kWaits, kTakingOut, kShrinking, kGrowing };
  uint8_t pc : 4 = kIdle;
  uint8_t slot : 4 = 0;
};

// Of huge pages, as the kernel counts them.
struct XCounters {
  uint8_t total : 4 = 0;
  uint8_t free : 4 = 0;
};
inline constexpr int kMaxCounted = 15;

struct XState {
  enum Pc : uint8_t {
    kRun,
    kWalk,      // preserving: `slot` is next
    kAborting,  // `slot` is the set of files whose pages are KHO's yet; at most
                // one of them is preserved no more
    kFreezing,  // some files are frozen
    kThawing,   // the reboot call comes back; some files are frozen yet
    kKeying,    // all are; free pages are `pending`, some are KHO's
    kLooking,   // all of these are KHO's, some are `listed`
    kCpus,      // the reboot call is through, other CPUs still run
    kFilling,   // the next kernel fills its pool
    kImporting,   // ... and looks at what came
    kRetrieving,  // `slot` is next
    kFinishing,   // `slot` is the set of files whose turn comes yet
  };
  std::array<XPage, kMaxExploredPages> page = {};
  std::array<XFile, 2> file = {};
  std::array<XProcess, 2> process = {};
  uint8_t pc : 4 = kRun;
  uint8_t slot : 4 = 0;
  uint8_t generation : 5 = 1;
  uint8_t unplaced : 3 = 0;               // pages that are counted on no node
  std::array<XCounters, 2> counted = {};  // by node
  std::array<uint8_t, 2> came = {};       // pages that came, by node
  uint8_t aborts : 2 = 0;
  uint8_t failures : 2 = 0;
  uint8_t damages : 2 = 0;
  uint8_t resizes : 2 = 0;
  uint8_t cuts : 2 = 0;
  uint8_t short_of_memory : 1 = 0;  // the last boot could not fill its pool
  uint8_t creates : 2 = 0;
  uint8_t truncations : 2 = 0;
  uint8_t unused : 1 = 0;
  std::array<uint8_t, 2> noted = {};  // each file's size, in its record
};
static_assert(sizeof(XState) == 32);
static_assert(sizeof(XFile) == 2 && sizeof(XProcess) == 1 &&
              sizeof(XCounters) == 1);
// They are compared and hashed as bytes.
static_assert(std::has_unique_object_representations_v<XState>);

using XWords = std::array<uint64_t, sizeof(XState) / sizeof(uint64_t)>;

inline bool operator==(const XState& a, const XState& b) {
  const auto x = std::bit_cast<XWords>(a), y = std::bit_cast<XWords>(b);
  uint64_t differs = 0;
  for (size_t i = 0; i < x.size(); ++i) differs |= x[i] ^ y[i];
  return differs == 0;
}

using Broken = uint32_t;   // a bit for each property
using Reasons = uint64_t;  // a bit for each way to break one

struct XNext {
  XAction action;
  XState state;
  Broken broken = 0;
  Reasons why = 0;
};

// Why a property is broken.
std::string_view ReasonFor(Reasons why, size_t property);
void AddReasons(Reasons why, std::set<std::string_view>* reasons);

class XMachine {
 public:
  XMachine(const Design& design, const Bounds& bounds)
      : d_(design), b_(bounds) {}

  XState Initial() const;
  // Appends what can happen in `s`. The states are not canonical.
  void Successors(const XState& s, std::vector<XNext>* next) const;
  // The same for all states that differ in names only.
  XState Canonical(const XState& s) const;
  // With the files, the programs, or both exchanged, and pages in order.
  XState Renamed(const XState& s, bool files, bool processes) const;

  int slots() const { return 2 * b_.files; }

 private:
  bool Slot(int slot) const { return (slot & 1) < b_.indices; }

  const Design& d_;
  const Bounds b_;
};

// The steps of one run that comes to the states of `way`, but for names, one
// after the other, and then does `last`, which breaks `property`. Its names are
// those of the first state. `code`: the machine that the kernel code is
// compared with. Fails where a state does not follow.
absl::StatusOr<Counterexample> TellSteps(const XMachine& machine,
                                         const XMachine& code,
                                         const Bounds& bounds,
                                         const std::vector<XState>& way,
                                         const XNext& last, size_t property);

// Shows each transition once, from a canonical state to one that is not, in the
// order in which they are found.
void VisitTransitions(
    const Design& design, const Bounds& bounds,
    const std::function<void(const XState& before, const XNext& next)>& visit);

// What somebody did in `before`, with its names.
ExploredStep Describe(const XAction& action, const XState& before);
// Whose each page is, for people.
std::string PagesOf(const XState& state, const Bounds& bounds);

}  // namespace handover::model

#endif  // HANDOVER_MODEL_EXPLORER_STATE_H_
