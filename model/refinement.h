// SPDX-License-Identifier: BSD-3-Clause
//
// Whether a kernel only does what a design allows. What can be seen of a kernel
// is compared, step by step, with what would be seen of the explorer's machine:
// all states are kept that the machine may be in, and when there is none left
// the kernel has done something that the design does not.
//
// It is about a window: two places for a page, of one file or of two, or one
// huge page wherever it goes, whatever else there is. docs/atomicity.md says
// what is mapped and what is not.
#ifndef HANDOVER_MODEL_REFINEMENT_H_
#define HANDOVER_MODEL_REFINEMENT_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/design.h"
#include "model/explorer.h"
#include "model/explorer_state.h"

namespace handover::model {

// What can be seen of a window. A window on one file has two places in it, one
// on two files has one place in each.
struct Sight {
  // Of a file's record in the table that the next kernel would find.
  enum Entry : uint8_t { kNoEntry, kEntry, kWrongEntry };
  // Whether a page that is held was refused.
  enum Refused : uint8_t { kNotRefused, kRefused, kUnknown };
  struct Place {
    bool page = false;  // there is one, of a file that programs can use
    // In the published table; wrong: another page, or one that KHO does not
    // hold.
    Entry entry = kNoEntry;
    // --- Only between two commands.
    bool key = false;   // the page in it is KHO's
    bool held = false;  // a page that came for it is nobody else's yet
    Refused refused = kNotRefused;  // that page
  };
  struct File {
    bool out = false;        // it is being preserved
    bool published = false;  // its record is in the table
  };
  std::array<Place, 2> place;
  std::array<File, 2> file;
  int generation = 1;
};

// What can be seen of one huge page: the frames that it lies in, as a page of
// its size.
struct PageSight {
  // Used: in a file, or on the way to one or from one; elsewhere: anything
  // but a huge page of this size that a program could come by.
  enum Kind : uint8_t { kElsewhere, kFree, kUsed };
  Kind kind = kElsewhere;
  bool key = false;     // KHO's, of a page that is not elsewhere
  bool listed = false;  // as free, in the published table
  bool meta = false;    // and what else is KHO's lies in it
  // Free pages of this size are listed. Says nothing of a page that cannot be
  // handed over where it lies (`unfit`).
  bool list = false;
  bool unfit = false;
  // Nobody wants such a list, or something has failed in this command.
  bool may_fail = false;
  // KHO has got a key, of anything, since somebody looked.
  bool more_keys = false;
  // --- Only between two commands, and when the kernel has stopped.
  bool recorded = false;  // in the published table, as a file's page
  bool stray = false;     // elsewhere, and KHO has it all the same
  // --- Only between two commands.
  bool held = false;  // it came and is nobody's yet
  Sight::Refused refused = Sight::kNotRefused;
  int generation = 1;
};

// "f0 preserved, published; f0[0] page, ..."
std::string Print(const Sight& sight, bool one_file);
std::string Print(const PageSight& sight);

// What is compared and what is not, for docs/atomicity.md.
std::string RefinementText();

// The machine's states as far as trackers have come by them, with what can be
// seen of each and what comes after it. Many trackers share it.
class Shadow {
 public:
  enum class Window : uint8_t { kOneFile, kTwoFiles, kPage };
  Shadow(const Design& design, Window window);
  Shadow(const Shadow&) = delete;
  Shadow& operator=(const Shadow&) = delete;

  size_t states() const { return states_.size(); }

 private:
  friend class Tracker;
  // Who makes a step.
  enum By : uint8_t {
    kAnybody = 1,  // programs, the administrator, KHO for its own data
    kAgent = 2,
    kReboot = 4,  // the agent, in a reboot call
    kJump = 8,
    kDamage = 16,  // the same, and a record gets damaged
    kBoot = 32,
    // There is no list of free pages after all, or nobody looks at what came,
    // or KHO does not let go of a free page.
    kFailure = 64,
  };
  struct Next {
    uint32_t state;
    By by;
  };
  struct Node {
    XState state;
    uint32_t seen = 0;  // as bits, see refinement.cc
    bool quiet = false;
    bool stops = false;  // all is done, but for the jump
    bool no_more_keys = false;
    bool expanded = false;
    std::vector<Next> next;
  };

  static By MadeBy(XAction::Kind kind);
  XState Reduced(const XState& from) const;
  uint32_t SeenOf(const XState& s) const;
  bool NoMoreKeys(const XState& s) const;
  uint32_t Number(const XState& state);
  const std::vector<Next>& After(uint32_t number);
  void AddListSteps(const XState& from, std::vector<XNext>* all) const;
  void AddPageSteps(const XState& from, std::vector<XNext>* all) const;

  const Window window_;
  const Design::Looks looks_;
  const Bounds bounds_;
  const XMachine machine_;
  std::vector<Node> states_;
  struct HashState {
    size_t operator()(const XState& s) const;
  };
  std::unordered_map<XState, uint32_t, HashState> numbers_;
  uint32_t initial_;
};

// Follows one window through one run. `reboots`: the agent is in a reboot call;
// else it is in any other call, or in none.
class Tracker {
 public:
  // The window's files are open, and all holes; its page is free in the pool.
  explicit Tracker(Shadow* shadow);

  // In the middle of a command. False: no state of the machine looks like
  // this, after those that it may have been in.
  bool Step(const Sight& sight, bool reboots);
  bool Step(const PageSight& sight, bool reboots);
  // Between two commands, when nobody is in the kernel. `jumped`: it is another
  // one now; `damage`: a record may have been damaged on the way to it.
  bool Rest(const Sight& sight, bool reboots, bool jumped, bool damage);
  bool Rest(const PageSight& sight, bool reboots);
  // The kernel has done its last step.
  bool Stop(const PageSight& sight);
  // The next one is up. `damage`: nobody looked when the one before had
  // stopped, and a record may have been damaged since.
  bool Boot(const PageSight& sight, bool damage);

  // How many it may be in.
  size_t states() const { return now_.size(); }
  // Since the beginning: how often something else was to be seen.
  int64_t changes() const { return changes_; }

 private:
  struct Look {
    uint32_t seen = 0;
    uint32_t compared = 0;
    uint32_t by = 0;  // whose steps may have led to it
    bool quiet = false;
    bool stops = false;
    bool boots = false;
  };
  bool Advance(const Look& look);

  Shadow* shadow_;
  std::vector<uint32_t> now_;
  uint32_t seen_ = 0;
  int64_t changes_ = 0;
};

}  // namespace handover::model

#endif  // HANDOVER_MODEL_REFINEMENT_H_
