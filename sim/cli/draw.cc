// SPDX-License-Identifier: BSD-3-Clause
//
// handover draw: a history as a picture, through Graphviz.
#include <cstdio>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/history.h"
#include "sim/cli/commands.h"
#include "sim/cli/files.h"
#include "sim/cli/picture.h"
#include "sim/cli/render.h"
#include "sim/exec/replay.h"

namespace sim::cli {
namespace {

namespace model = ::handover::model;

// "svg", "png" or "dot".
absl::StatusOr<std::string> FormatOf(const std::string& output) {
  if (output.empty())
    return absl::InvalidArgumentError(
        "where the picture goes is missing: -o OUT.svg (or .png, .dot)");
  const std::string type = std::filesystem::path(output).extension().string();
  if (type == ".svg" || type == ".png" || type == ".dot") return type.substr(1);
  return absl::InvalidArgumentError(
      absl::StrCat(output, ": the name must end in .svg, .png or .dot"));
}

absl::StatusOr<int> Draw(const Arguments& arguments) {
  const std::string& input = arguments.operands()[0];
  const std::string output = arguments.Text("o", "");
  const absl::StatusOr<std::string> format = FormatOf(output);
  if (!format.ok()) return format.status();
  const bool force = arguments.Has("force");
  absl::Status status = MayWrite(output, force);
  if (!status.ok()) return status;
  absl::StatusOr<model::History> history = ReadHistory(input);
  if (!history.ok()) return history.status();

  Picture picture(*history);
  WarnOfIgnoredWords(*history);
  RunOptions options;
  options.observer = [&picture](int64_t step, const model::Command* command,
                                const model::Observation& seen,
                                const Executor& executor) {
    picture.Add(step, command, seen, executor);
  };
  options.at_handover = [&picture] { picture.NoteHandover(); };
  const HistoryResult result = RunHistory(*history, options);
  picture.AddFindings(result.findings);
  absl::StatusOr<std::string> drawn =
      picture.Dot(std::filesystem::path(input).filename().string());
  if (*format != "dot") drawn = Render(*drawn, *format);
  if (!drawn.ok()) return drawn.status();
  status = WriteFile(output, *drawn, force);
  if (!status.ok()) return status;
  if (!result.ok())
    std::printf("%s\n", Print(result.findings[0], *history).c_str());
  return result.ok() ? kHeld : kBroken;
}

}  // namespace

const Subcommand kDraw = {
    "draw",
    "FILE",
    "draw a history as a picture of who owns which memory when",
    "Runs the history and draws it: time goes down, page frames go across, a\n"
    "box for each kernel. Needs Graphviz for .svg and .png.\n"
    "Exit status: 0 drawn, 1 drawn and a property broke (it stands in the\n"
    "picture), 2 bad usage.",
    {{"o", "OUT", "OUT.svg, OUT.png or OUT.dot, in a folder that is there"},
     {"force", "", "write over OUT"}},
    &Draw};

}  // namespace sim::cli
