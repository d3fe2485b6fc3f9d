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

// The generated part of docs/atomicity.md: explores all designs in small bounds
// in which each flaw shows, and those without one in larger bounds.
std::string AtomicityReport();

// `document` with the generated part replaced, which stands between two
// comments. Fails if they are not there.
absl::StatusOr<std::string> UpdateAtomicity(const std::string& document,
                                            const std::string& report);

}  // namespace handover::model

#endif  // HANDOVER_MODEL_EXPLORER_REPORT_H_
