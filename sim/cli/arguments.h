// SPDX-License-Identifier: BSD-3-Clause
//
// The command line of `handover` and its subcommands.
#ifndef SIM_CLI_ARGUMENTS_H_
#define SIM_CLI_ARGUMENTS_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace sim::cli {

struct FlagSpec {
  std::string_view name;   // "seed"; one letter: given as -o VALUE
  std::string_view value;  // what the help calls its value; "": a switch
  std::string_view help;   // may have several lines
};

class Arguments;

struct Subcommand {
  std::string_view name;
  std::string_view operands;  // "FILE", "": none
  std::string_view summary;   // one line
  std::string_view help;      // what it does, some lines
  std::vector<FlagSpec> flags;
  // Returns the exit status. An error status is bad usage.
  absl::StatusOr<int> (*run)(const Arguments&);
};

// What was given to a subcommand.
class Arguments {
 public:
  // Takes --name=value, --name value, -o value, switches and operands, in any
  // order; errors name what is wrong and what would be right. A value is never
  // empty, and begins with - only after a =.
  static absl::StatusOr<Arguments> Parse(const Subcommand& command,
                                         const std::vector<std::string>& words);

  bool Has(std::string_view flag) const;
  std::string Text(std::string_view flag, std::string_view otherwise) const;
  absl::StatusOr<uint64_t> Number(std::string_view flag, uint64_t otherwise,
                                  uint64_t min, uint64_t max) const;
  const std::vector<std::string>& operands() const { return operands_; }

 private:
  std::map<std::string, std::string, std::less<>> flags_;
  std::vector<std::string> operands_;
};

// This program as it was called, for hints that can be pasted; "handover"
// until set.
void SetProgramName(const std::string& name);
const std::string& ProgramName();

// The subcommand's help.
std::string Help(const Subcommand& command);

}  // namespace sim::cli

#endif  // SIM_CLI_ARGUMENTS_H_
