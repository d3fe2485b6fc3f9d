// SPDX-License-Identifier: BSD-3-Clause
//
// The judge: holds what was observed of a history against the abstract state
// and says which property broke. It never runs anything itself. Where Linux
// has a choice (a node, a frame, whether an allocation under pressure fails)
// it takes what was observed, checks that the choice was Linux's to make, and
// goes on from there.
#ifndef HANDOVER_MODEL_JUDGE_H_
#define HANDOVER_MODEL_JUDGE_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/history.h"
#include "model/observation.h"

namespace handover::model {

// A property of properties.md that did not hold, and what was seen instead.
struct Verdict {
  std::string_view property;
  std::string what;
};

class Judge {
 public:
  explicit Judge(const History& history);
  Judge(const Judge&) = delete;
  Judge& operator=(const Judge&) = delete;
  ~Judge();

  // Call once, with the first kernel's snapshot (outcome is not looked at),
  // before the first Step.
  const std::vector<Verdict>& Boot(const Observation& observation);

  // Judges one command of the history. Call for every command in order, the
  // `sim` ones that prepare the next command included. Empty: all holds. After
  // a verdict the state is taken from the observation as well as it can be,
  // so one defect does not show again at each later step. The result is valid
  // until the next call.
  const std::vector<Verdict>& Step(const Command& command,
                                   const Observation& observation);

  // The words of memory whose values the judge knows (of preserved pages at
  // least one each), for Observation::cells. Cell::value is what it expects
  // now. Frames in pages of private mappings are left out.
  void Watch(std::vector<Cell>* cells) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace handover::model

#endif  // HANDOVER_MODEL_JUDGE_H_
