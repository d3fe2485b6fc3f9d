// SPDX-License-Identifier: BSD-3-Clause
//
// What `handover run` does with histories that broke a property.
#ifndef SIM_CLI_FAILURES_H_
#define SIM_CLI_FAILURES_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/history.h"
#include "sim/exec/replay.h"

namespace sim::cli {

// The folder that they are saved in.
class Failures {
 public:
  Failures(std::string folder, bool force);

  // Makes the folder, and sees whether files can be made in it.
  absl::Status Open();
  // Saves both as seed-N.history and seed-N.min.history, and returns the
  // second one's name. Unless `force`, files that are there already with
  // another content stay, and the new pair gets a number: seed-N-2.history.
  absl::StatusOr<std::string> Save(uint64_t seed, const std::string& whole,
                                   const std::string& shrunk) const;
  // A folder that was made for nothing goes again.
  void Close() const;

 private:
  absl::Status Write(const std::string& path, const std::string& content) const;

  const std::string folder_;
  const bool force_;
  bool made_ = false;
};

// Shrinks, saves and tells of failures.
class Reporter {
 public:
  explicit Reporter(const Failures& failures) : failures_(failures) {}

  // Returns what to print. A failure like one before gets a single line: the
  // same property, and the same commands but for their numbers.
  std::string Report(uint64_t seed, const ::handover::model::History& history,
                     const Finding& finding);

 private:
  const Failures& failures_;
  // The first seed of each property and shape.
  std::map<std::pair<std::string, std::string>, uint64_t> first_;
};

}  // namespace sim::cli

#endif  // SIM_CLI_FAILURES_H_
