// SPDX-License-Identifier: BSD-3-Clause
//
// Whether a kernel only does what a design allows. What can be seen of a kernel
// is compared, step by step, with what would be seen of the explorer's machine:
// all states are kept that the machine may be in, and when there is none left
// the kernel has done something that the design does not.
//
// It is about a window: two places for a page, of one file or of two, whatever
// else there is. docs/atomicity.md says what is mapped and what is not.
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

// "f0 preserved, published; f0[0] page, ..."
std::string Print(const Sight& sight, bool one_file);

// What is compared and what is not, for docs/atomicity.md.
std::string RefinementText();

// The machine's states as far as trackers have come by them, with what can be
// seen of each and what comes after it. Many trackers share it.
class Shadow {
 public:
  // `one_file`: the window's places are in one file.
  Shadow(const Design& design, bool one_file);
  Shadow(const Shadow&) = delete;
  Shadow& operator=(const Shadow&) = delete;

  bool one_file() const { return bounds_.files == 1; }
  size_t states() const { return states_.size(); }

 private:
  friend class Tracker;
  struct Next {
    uint32_t state;
    bool damages;
  };
  struct Node {
    XState state;
    uint32_t seen = 0;  // as bits, see refinement.cc
    bool quiet = false;
    bool expanded = false;
    std::vector<Next> next;
  };

  uint32_t Number(const XState& state);
  const std::vector<Next>& After(uint32_t number);

  const Bounds bounds_;
  const XMachine machine_;
  std::vector<Node> states_;
  struct HashState {
    size_t operator()(const XState& s) const;
  };
  std::unordered_map<XState, uint32_t, HashState> numbers_;
  uint32_t initial_;
};

// Follows one window through one run.
class Tracker {
 public:
  // The window's files are open, and all holes.
  explicit Tracker(Shadow* shadow);

  // In the middle of a command. False: no state of the machine looks like
  // this, after those that it may have been in.
  bool Step(const Sight& sight);
  // Between two commands, when nobody is in the kernel. `damage`: a record may
  // have been damaged on the way to this kernel.
  bool Rest(const Sight& sight, bool damage);

  // How many it may be in.
  size_t states() const { return now_.size(); }
  // Since the beginning: how often something else was to be seen.
  int64_t changes() const { return changes_; }

 private:
  bool Advance(uint32_t seen, uint32_t compared, bool quiet, bool damage);

  Shadow* shadow_;
  std::vector<uint32_t> now_;
  uint32_t seen_ = 0;
  int64_t changes_ = 0;
};

}  // namespace handover::model

#endif  // HANDOVER_MODEL_REFINEMENT_H_
