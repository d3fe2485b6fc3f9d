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
#include <memory>
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

struct Closer {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using TemporaryFile = std::unique_ptr<std::FILE, Closer>;

absl::Status NoTemporaryFile() {
  return absl::InvalidArgumentError(
      absl::StrCat("no temporary file: ", std::strerror(errno)));
}

// Runs `dot -TFORMAT` from one file to another. Returns its exit status.
absl::StatusOr<int> RunDot(const std::string& format, std::FILE* input,
                           std::FILE* output) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fileno(input), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, fileno(output), STDOUT_FILENO);
  std::string program = "dot", type = "-T" + format;
  char* arguments[] = {program.data(), type.data(), nullptr};
  pid_t child = -1;
  const int error =
      posix_spawnp(&child, "dot", &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  if (error == 0)
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
  if (error == ENOENT ||
      (error == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 127))
    return absl::InvalidArgumentError(
        "pictures need Graphviz' program dot: apt-get install graphviz (or "
        "ask for a .dot file)");
  if (error != 0)
    return absl::InvalidArgumentError(
        absl::StrCat("dot cannot run: ", std::strerror(error)));
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// What Graphviz makes of a picture.
absl::StatusOr<std::string> Render(const std::string& dot_text,
                                   const std::string& format) {
  const TemporaryFile input(std::tmpfile()), output(std::tmpfile());
  if (!input || !output) return NoTemporaryFile();
  if (std::fwrite(dot_text.data(), 1, dot_text.size(), input.get()) !=
          dot_text.size() ||
      std::fflush(input.get()) != 0)
    return NoTemporaryFile();
  std::rewind(input.get());
  absl::StatusOr<int> status = RunDot(format, input.get(), output.get());
  if (!status.ok()) return status.status();
  if (*status != 0)
    return absl::InvalidArgumentError(
        "dot failed; ask for a .dot file and look at what it says about it");
  std::rewind(output.get());
  std::string picture;
  char buffer[65536];
  while (size_t got = std::fread(buffer, 1, sizeof(buffer), output.get()))
    picture.append(buffer, got);
  return picture;
}

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
