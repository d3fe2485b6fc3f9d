// SPDX-License-Identifier: BSD-3-Clause
//
// What `handover explore --document` does with what was found.
#ifndef SIM_CLI_EXPLORE_H_
#define SIM_CLI_EXPLORE_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "model/explorer_report.h"

namespace sim::cli {

// Writes the generated part of the document, and the pictures beside it, into
// the folder atomicity. Those that show what they should are left as they are.
// Asks for the report once it is known that it can be written.
absl::Status WriteDocument(
    const std::string& document,
    const std::function<::handover::model::Atomicity()>& explore);

}  // namespace sim::cli

#endif  // SIM_CLI_EXPLORE_H_
