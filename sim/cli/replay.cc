// SPDX-License-Identifier: BSD-3-Clause
//
// handover replay: one history, step by step.
#include "sim/exec/replay.h"

#include <cinttypes>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/history.h"
#include "sim/cli/commands.h"
#include "sim/cli/files.h"
#include "sim/cli/table.h"

namespace sim::cli {
namespace {

namespace model = ::handover::model;

absl::StatusOr<int> Replay(const Arguments& arguments) {
  absl::StatusOr<model::History> history = ReadHistory(arguments.operands()[0]);
  if (!history.ok()) return history.status();
  const std::string save = arguments.Text("save-table", "");
  const bool force = arguments.Has("force");
  if (!save.empty()) {
    absl::Status status = MayWrite(save, force);
    if (!status.ok()) return status;
  }

  WarnOfIgnoredWords(*history);
  RunOptions options;
  options.log = !arguments.Has("quiet");
  options.trace = arguments.Has("trace");
  options.keep_going = arguments.Has("keep-going");
  SavedTable table;
  int64_t updates = 0;
  if (!save.empty())
    options.at_handover = [&table, &updates] {
      table = CollectTable();
      ++updates;
    };
  const HistoryResult result = RunHistory(*history, options);
  std::fputs(result.log.c_str(), stdout);

  if (!save.empty()) {
    if (updates == 0)
      return absl::InvalidArgumentError(
          "there is no table to save: no live update of this history went "
          "well");
    absl::Status status = WriteFile(save, Encode(table), force);
    if (!status.ok()) return status;
    std::printf("the last table is in %s\n", save.c_str());
  }
  if (!options.log)
    for (const Finding& finding : result.findings)
      std::printf("%s\n", Print(finding, *history).c_str());
  if (options.log && !options.keep_going && !result.ok() &&
      result.findings[0].step != kTeardownStep)
    std::printf("(stopped there; --keep-going shows the consequences, too)\n");
  std::printf("%s commands=%" PRId64 " digest=%016" PRIx64 "\n",
              !result.ok()          ? "BROKEN"
              : result.hang.empty() ? "held"
                                    : "hung",
              result.commands, result.digest);
  return result.ok() ? kHeld : kBroken;
}

}  // namespace

const Subcommand kReplay = {
    "replay",
    "FILE",
    "run one history and tell what happens at each step",
    "Prints each command with its number, what it returned, and what changed:\n"
    "pools, files, pages, sessions, quarantine. Stops where a property "
    "breaks, or where Linux's own code goes on without end (\"hung\").\n"
    "Exit status: 0 it held or hung, 1 a property broke, 2 bad usage.\n"
    "FILE may be -.",
    {{"keep-going", "",
      "do not stop at what breaks first; what follows may be\n"
      "its consequence"},
     {"trace", "",
      "with what the kernel logs, and with the numbers of the\n"
      "steps and calls that `sim during N` and `sim fail N`\n"
      "mean"},
     {"quiet", "", "only the result"},
     {"save-table", "TABLE",
      "save the last handover table for `inspect`, in a folder\nthat is there"},
     {"force", "", "write over TABLE"}},
    &Replay};

}  // namespace sim::cli
