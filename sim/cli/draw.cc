// SPDX-License-Identifier: BSD-3-Clause
//
// handover draw: a history as a picture, through Graphviz.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/history.h"
#include "sim/cli/commands.h"
#include "sim/cli/files.h"
#include "sim/cli/picture.h"
#include "sim/exec/replay.h"

namespace sim::cli {
namespace {

namespace model = ::handover::model;

// Runs `dot -TFORMAT`, which reads `dot_text` and writes the file.
absl::Status RunGraphviz(const std::string& dot_text, const std::string& format,
                         const std::string& path) {
  std::FILE* input = std::tmpfile();
  if (input == nullptr)
    return absl::InvalidArgumentError(
        absl::StrCat("no temporary file: ", std::strerror(errno)));
  const bool written = std::fwrite(dot_text.data(), 1, dot_text.size(),
                                   input) == dot_text.size() &&
                       std::fflush(input) == 0;
  std::rewind(input);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fileno(input), STDIN_FILENO);
  std::string program = "dot", type = "-T" + format, output = path;
  std::string flag = "-o";
  char* arguments[] = {program.data(), type.data(), flag.data(), output.data(),
                       nullptr};
  pid_t child = -1;
  const int error = written ? posix_spawnp(&child, "dot", &actions, nullptr,
                                           arguments, environ)
                            : ENOSPC;
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  if (error == 0)
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
  std::fclose(input);
  if (error == ENOENT ||
      (error == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 127))
    return absl::InvalidArgumentError(
        "pictures need Graphviz' program dot: apt-get install graphviz (or "
        "ask for a .dot file)");
  if (error != 0)
    return absl::InvalidArgumentError(
        absl::StrCat("dot cannot run: ", std::strerror(error)));
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return absl::InvalidArgumentError(
        absl::StrCat("dot could not write ", path));
  return absl::OkStatus();
}

absl::StatusOr<int> Draw(const Arguments& arguments) {
  const std::string& input = arguments.operands()[0];
  const std::string output = arguments.Text("o", "");
  const std::string type = std::filesystem::path(output).extension().string();
  if (type != ".svg" && type != ".png" && type != ".dot")
    return absl::InvalidArgumentError(
        "where the picture goes is missing: -o OUT.svg (or .png, .dot)");
  const bool force = arguments.Has("force");
  absl::Status status = MayWrite(output, force);
  if (!status.ok()) return status;
  absl::StatusOr<model::History> history = ReadHistory(input);
  if (!history.ok()) return history.status();

  Picture picture(*history);
  RunOptions options;
  options.observer = [&picture](int64_t step, const model::Command* command,
                                const model::Observation& seen,
                                const Executor& executor) {
    picture.Add(step, command, seen, executor);
  };
  const HistoryResult result = RunHistory(*history, options);
  picture.AddFindings(result.findings);
  const std::string dot =
      picture.Dot(std::filesystem::path(input).filename().string());
  status = type == ".dot" ? WriteFile(output, dot, force)
                          : RunGraphviz(dot, type.substr(1), output);
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
    {{"o", "OUT", "OUT.svg, OUT.png or OUT.dot"},
     {"force", "", "write over OUT"}},
    &Draw};

}  // namespace sim::cli
