// SPDX-License-Identifier: BSD-3-Clause
//
// All that can happen to a small machine under a design: an explicit-state
// search, breadth first, so that what it finds is the shortest way to break a
// property. docs/atomicity.md has what it found.
#ifndef HANDOVER_MODEL_EXPLORER_H_
#define HANDOVER_MODEL_EXPLORER_H_

#include <array>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/design.h"

namespace handover::model {

// How small. (With reads=0 a design that breaks a property still breaks one:
// what is written to a page counts until that page, or its file, is lost.) What
// may happen only so often is counted over the whole run.
struct Bounds {
  int files = 2;        // 1 or 2, each with `indices` places for a page
  int indices = 2;      // 1 or 2
  int processes = 2;    // 1 or 2, each at any file
  int pages = 3;        // 2 to 4 huge pages, of one size
  int nodes = 2;        // 1 or 2; pages from the third on, or the last of
                        // two, are on node 1
  int updates = 2;      // 1 or 2
  int aborts = 1;       // 0 to 3
  int failures = 1;     // of a call that may fail
  int damages = 1;      // of a file's record, between two kernels
  int resizes = 1;      // of the pool
  int cuts = 1;         // kernels that end in the middle of anything
  int creates = 1;      // files that are made in the place of one that is gone
  int truncations = 1;  // of files, to any size of up to `indices` pages
  int reads = 0;        // 1: to touch a page and to write to it are two steps
};

// Reads "files=2 processes=2 ..." or the same with commas; what is not named
// is as by default. A word alone is a name of bounds, of which what follows
// changes something: "small cuts=1".
absl::StatusOr<Bounds> ReadBounds(std::string_view text);
// Those that have names, and what they are for.
struct NamedBounds {
  std::string_view name;
  std::string_view bounds;
  std::string_view what;
};
const std::vector<NamedBounds>& AllNamedBounds();
std::string WriteBounds(const Bounds& bounds);

// Properties of docs/properties.md, as far as this machine can break them.
inline constexpr std::array<std::string_view, 14> kExplored = {
    "one-owner", "contents",      "identity",    "no-lost-write",
    "counters",  "no-duplicate",  "boot-budget", "placement",
    "metadata",  "atomic-import", "quarantine",  "exact-rollback",
    "no-leak",   "refusal"};
inline constexpr size_t kNrExplored = kExplored.size() + 1;
// The last one.
inline constexpr std::string_view kStall = "discipline";

std::string_view ExploredName(size_t property);

// Something that can happen.
struct XAction {
  enum Kind : uint8_t {
    kFault,
    kCreate,
    kAdd,
    kAddFails,
    kKilled,
    kWake,
    kWrite,
    kTakeOut,
    kTakeOutEntry,
    kTruncate,
    kTruncateEntry,
    kShrink,
    kSetNr,
    kUseFree,
    kJoin,
    kPreserve,
    kPreserveFails,
    kPreserveTwice,
    kLook,
    kLookFails,
    kAbort,
    kUnpreserve,
    kLetGo,
    kReboot,
    kFreeze,
    kFreezeFails,
    kThaw,
    kList,
    kListFails,
    kKeys,
    kKey,
    kLookAgain,
    kKeyFails,
    kStop,
    kStopDamaged,
    kCut,
    kPowerCut,
    kFill,
    kImport,
    kImported,
    kImportFails,
    kImportLate,
    kImportKeeps,
    kRetrieve,
    kRestore,
    kRestoreFails,
    kFinish,
    kFinishFile,
    kFinishFails,
  };
  Kind kind = kFault;
  uint8_t who = 0;   // process; abort, finish: set of files
  uint8_t slot = 0;  // or file
  uint8_t page = 0;  // which one, before sorting
  uint8_t size = 0;  // of a file that is truncated
};

// What somebody did, on the way to a finding.
struct ExploredStep {
  enum class Lane : uint8_t { kProcess0, kProcess1, kAdmin, kAgent, kKernel };
  Lane lane = Lane::kAgent;
  int generation = 1;
  std::string what;
  std::string pages;  // whose each is afterwards, if that is different
  XAction action;
  int node = 0;          // of the page that a program got, or the pool lost
  int pool = 0;          // pages that this node's pool has afterwards
  bool differs = false;  // the kernel code does not do this, or not so
};

struct Counterexample {
  bool found = false;
  std::string why;
  std::vector<ExploredStep> steps;
};

struct Exploration {
  int64_t states = 0;
  int64_t transitions = 0;
  int depth = 0;
  bool complete = true;  // else it stopped before it had seen all states
  // What was wrong, in any state: texts that live forever.
  std::set<std::string_view> reasons;
  std::array<Counterexample, kNrExplored> broken;
};

struct ExploreOptions {
  Bounds bounds;
  int64_t max_states = int64_t{200} << 20;
  // Likewise once something is broken.
  int64_t max_states_broken = int64_t{200} << 20;
  // Stop when this property is broken; kNrExplored: when there is no more.
  size_t property = kNrExplored;
  // Told now and then how many states there are.
  std::function<void(int64_t states, int depth)> progress;
};

Exploration Explore(const Design& design, const ExploreOptions& options);

}  // namespace handover::model

#endif  // HANDOVER_MODEL_EXPLORER_H_
