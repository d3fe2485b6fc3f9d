// SPDX-License-Identifier: BSD-3-Clause
#include <cstdio>
#include <string>
#include <vector>

#include "sim/cli/commands.h"
#include "sim/cli/files.h"

namespace sim::cli {
namespace {

const Subcommand* const kSubcommands[] = {&kRun,     &kReplay, &kDraw,
                                          &kInspect, &kJudge,  &kGenerate,
                                          &kExplore, &kSweep};

void PrintOverview(std::FILE* to) {
  std::fputs(
      "usage: handover SUBCOMMAND [FLAG]... [FILE]\n\n"
      "HugeTLB preservation across live update, on a simulated machine: the\n"
      "kernel sources of kernel/new run through histories of what processes,\n"
      "an administrator and a live update agent do to a chain of kernels.\n\n",
      to);
  for (const Subcommand* command : kSubcommands)
    std::fprintf(to, "  %-9s %s\n", std::string(command->name).c_str(),
                 std::string(command->summary).c_str());
  std::fputs(
      "\n`handover SUBCOMMAND --help` says more. docs/history.md describes\n"
      "histories, docs/reading-a-failure.md what to do with one that failed.\n"
      "Exit status: 0 all held, 1 a property broke, 2 bad usage or a file "
      "that\n"
      "cannot be read or written.\n",
      to);
}

int Main(const std::vector<std::string>& words) {
  if (words.empty()) {
    PrintOverview(stderr);
    return kBadUsage;
  }
  if (words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    PrintOverview(stdout);
    return kHeld;
  }
  const Subcommand* command = nullptr;
  for (const Subcommand* known : kSubcommands)
    if (known->name == words[0]) command = known;
  if (command == nullptr) {
    std::fprintf(stderr,
                 "handover: '%s' is no subcommand: there are run, replay, "
                 "draw, inspect, judge, generate, explore and sweep (handover "
                 "--help)\n",
                 words[0].c_str());
    return kBadUsage;
  }
  const std::vector<std::string> rest(words.begin() + 1, words.end());
  for (const std::string& word : rest) {
    if (word != "--help" && word != "-h") continue;
    std::fputs(Help(*command).c_str(), stdout);
    return kHeld;
  }
  absl::StatusOr<Arguments> arguments = Arguments::Parse(*command, rest);
  absl::StatusOr<int> status = arguments.ok()
                                   ? command->run(*arguments)
                                   : absl::StatusOr<int>(arguments.status());
  if (status.ok()) return *status;
  std::fprintf(stderr, "handover %s: %s\n", words[0].c_str(),
               std::string(status.status().message()).c_str());
  if (!arguments.ok())
    std::fprintf(stderr, "`%s %s --help` shows how.\n",
                 ShellWord(ProgramName()).c_str(), words[0].c_str());
  return kBadUsage;
}

}  // namespace
}  // namespace sim::cli

int main(int argc, char** argv) {
  if (argc > 0) sim::cli::SetProgramName(argv[0]);
  return sim::cli::Main(
      std::vector<std::string>(argv + (argc > 0), argv + argc));
}
