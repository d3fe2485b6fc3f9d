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

// Says on standard error which words of the kernels' command lines the
// simulated kernel will ignore.
void WarnOfIgnoredWords(const ::handover::model::History& history);

// Fails if the file is there already, unless `force`, and if its folder is not
// there. A file is written as a whole or stays as it was.
absl::Status WriteFile(const std::string& path, std::string_view content,
                       bool force);

// The same check, before work is done whose result could not be written.
absl::Status MayWrite(const std::string& path, bool force);

// Makes a folder, and those above it, and checks that files can be made there.
// True: it was not there before.
absl::StatusOr<bool> MakeFolder(const std::string& path);

// As a shell reads it; a file's name such that it is not taken for a flag.
std::string ShellWord(const std::string& word);
std::string FileWord(const std::string& path);

}  // namespace sim::cli

#endif  // SIM_CLI_FILES_H_
