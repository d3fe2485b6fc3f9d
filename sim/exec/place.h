// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_EXEC_PLACE_H_
#define SIM_EXEC_PLACE_H_

#include <string>

#include "absl/status/statusor.h"

namespace sim {

// The text of a history in which the numbers of `sim during`, `sim cut` and
// `sim fail` are thousandths of the steps or fallible calls of the command that
// they are for; with the numbers that these have in the kernel code as it is
// now. Comments stay.
absl::StatusOr<std::string> PlaceSteps(const std::string& text);

}  // namespace sim

#endif  // SIM_EXEC_PLACE_H_
