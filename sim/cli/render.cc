// SPDX-License-Identifier: BSD-3-Clause
#include "sim/cli/render.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace sim::cli {
namespace {

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

}  // namespace

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

}  // namespace sim::cli
