// SPDX-License-Identifier: BSD-3-Clause
//
// What exploring designs found, for people.
#ifndef HANDOVER_MODEL_EXPLORER_REPORT_H_
#define HANDOVER_MODEL_EXPLORER_REPORT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/design.h"
#include "model/explorer.h"

namespace handover::model {

struct ExploredDesign {
  const Design* design;
  Exploration result;
};

// A line for each design, a column for each property: how many steps it takes
// to break it; a dash where it holds. Markdown.
std::string ExploredTable(const std::vector<ExploredDesign>& designs);

// The steps, numbered, and whose each page is after those that change it.
std::string CounterexampleText(const Design& design, size_t property,
                               const Counterexample& found);

// The same as a picture: a column for each that acts. For Graphviz.
std::string CounterexampleDot(const Design& design, size_t property,
                              const Counterexample& found);

// A picture beside the document: docs/atomicity/NAME.svg.
struct AtomicityPicture {
  std::string name;
  std::string dot;
};

// The generated part of docs/atomicity.md, and the pictures that it shows:
// explores all designs in small bounds in which each flaw shows, and those
// without one in larger bounds.
struct Atomicity {
  // All that was explored, in these bounds, for whoever wants to know more.
  struct Run {
    const Design* design;
    std::string bounds;
    Exploration result;
  };
  std::vector<Run> runs;
  std::string text;
  std::vector<AtomicityPicture> pictures;
  // Those without a flaw, in larger bounds, ours first.
  std::vector<ExploredDesign> sound;
};
Atomicity AtomicityReport();

// `document` with the generated part replaced, which stands between two
// comments. Fails if they are not there.
absl::StatusOr<std::string> UpdateAtomicity(const std::string& document,
                                            const std::string& report);

// What Graphviz has drawn, with the text that it was drawn from: another
// Graphviz draws it otherwise, and only the text can be compared.
std::string WithSource(const std::string& svg, const std::string& dot);
bool IsDrawnFrom(const std::string& svg, const std::string& dot);

}  // namespace handover::model

#endif  // HANDOVER_MODEL_EXPLORER_REPORT_H_
