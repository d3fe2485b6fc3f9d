// SPDX-License-Identifier: BSD-3-Clause
//
// Reading and writing the user's files.
#ifndef SIM_CLI_FILES_H_
#define SIM_CLI_FILES_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/history.h"

namespace sim::cli {

absl::StatusOr<std::string> ReadFile(const std::string& path);

// "-": standard input. Errors begin with the file's name.
absl::StatusOr<::handover::model::History> ReadHistory(const std::string& path);

// Fails if the file is there already, unless `force`.
absl::Status WriteFile(const std::string& path, std::string_view content,
                       bool force);

// The same check, before work is done whose result could not be written.
absl::Status MayWrite(const std::string& path, bool force);

}  // namespace sim::cli

#endif  // SIM_CLI_FILES_H_
