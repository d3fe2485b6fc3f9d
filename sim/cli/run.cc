// SPDX-License-Identifier: BSD-3-Clause
//
// handover run: random histories.
#include <unistd.h>

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/history.h"
#include "props/faults.h"
#include "props/generator.h"
#include "sim/cli/commands.h"
#include "sim/cli/failures.h"
#include "sim/exec/replay.h"

namespace sim::cli {
namespace {

namespace model = ::handover::model;
namespace props = ::handover::props;

absl::StatusOr<props::GeneratorOptions> ReadOptions(
    const Arguments& arguments) {
  using Machine = props::GeneratorOptions::Machine;
  props::GeneratorOptions options;
  const std::string name = arguments.Text("geometry", "mixed");
  if (name == "small") {
    options.machine = Machine::kSmall;
  } else if (name == "x86") {
    options.machine = Machine::kX86;
  } else if (name == "arm64") {
    options.machine = Machine::kArm64;
  } else if (name != "mixed") {
    return absl::InvalidArgumentError(absl::StrCat(
        "--geometry is small, x86, arm64 or mixed, not '", name, "'"));
  }
  absl::StatusOr<uint64_t> nodes =
      arguments.Number("nodes", 0, 1, model::kMaxNodes);
  if (!nodes.ok()) return nodes.status();
  options.nodes = static_cast<int>(*nodes);
  return options;
}

// Every word counts, and so does their order.
uint64_t Mix(uint64_t digest, uint64_t word) {
  digest = (digest ^ word) * 0x9e3779b97f4a7c15u;
  return digest ^ (digest >> 29);
}

void PrintStats(const RunStats& stats,
                const std::map<std::string, int64_t>& broken) {
  std::printf("command         run      failed\n");
  for (int v = 0; v < model::kVerbs; ++v) {
    const auto i = static_cast<size_t>(v);
    const bool device =
        static_cast<model::Verb>(v) == model::Verb::kCloseDevice;
    std::printf(
        "%-12s %7" PRId64 " %11" PRId64 "\n",
        device
            ? "agent close"
            : std::string(model::VerbName(static_cast<model::Verb>(v))).c_str(),
        stats.verbs[i], stats.failed[i]);
  }
  std::printf("\nended with      times\n");
  for (size_t e = 1; e < stats.errnos.size(); ++e) {
    if (stats.errnos[e] == 0) continue;
    const char* name = strerrorname_np(static_cast<int>(e));
    std::printf("%-15s %5" PRId64 "\n", name ? name : "?", stats.errnos[e]);
  }
  std::printf("SIGBUS          %5" PRId64 "\nSIGSEGV         %5" PRId64
              "\nkilled          %5" PRId64 "\n",
              stats.sigbus, stats.sigsegv, stats.killed);
  std::printf("\nnext kernels    %5" PRId64 "\ncalls failed    %5" PRId64
              "\nmoments missed  %5" PRId64 "\nsteps checked   %5" PRId64 "\n",
              stats.boots, stats.faults_hit, stats.missed, stats.checks);
  // As Linux does, for want of memory or without end; not judged any further.
  std::printf("panicked        %5" PRId64 "\nwarned          %5" PRId64
              "\nhung            %5" PRId64 "\n",
              stats.gave_up, stats.linux_warned, stats.linux_hung);
  std::printf("\nhistories       with\n");
  for (int i = 0; i < kReaches; ++i) {
    std::printf("%9" PRId64 "       %s\n",
                stats.reached[static_cast<size_t>(i)],
                std::string(ReachName(static_cast<Reach>(i))).c_str());
  }
  for (const auto& [property, times] : broken)
    std::printf("broken: %s %" PRId64 "\n", property.c_str(), times);
  std::printf("\n");
}

class Progress {
 public:
  explicit Progress(uint64_t histories)
      : histories_(histories), shown_(isatty(STDERR_FILENO) == 1) {}
  ~Progress() { Clear(); }

  void Show(uint64_t done, uint64_t failed) {
    if (!shown_ || done % 64 != 0) return;
    std::fprintf(stderr,
                 "\r%" PRIu64 " of %" PRIu64 " histories, %" PRIu64 " failed ",
                 done, histories_, failed);
    dirty_ = true;
  }
  void Say(const char* what) {
    if (!shown_) return;
    Clear();
    std::fprintf(stderr, "\r%s ", what);
    dirty_ = true;
  }
  void Clear() {
    if (dirty_) std::fputs("\r\033[K", stderr);
    dirty_ = false;
  }

 private:
  uint64_t histories_;
  bool shown_;
  bool dirty_ = false;
};

// Beside the program, whichever folder that is called from.
std::string DefaultFolder() {
  std::error_code error;
  const std::filesystem::path program =
      std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path folder =
      (error ? std::filesystem::current_path(error) : program.parent_path()) /
      "failures";
  const std::string near = std::filesystem::proximate(folder, error).string();
  return error || near.empty() || near.rfind("..", 0) == 0 ? folder.string()
                                                           : near;
}

absl::StatusOr<int> Run(const Arguments& arguments) {
  const absl::StatusOr<uint64_t> seed =
      arguments.Number("seed", 1, 0, UINT64_MAX / 2);
  if (!seed.ok()) return seed.status();
  const absl::StatusOr<uint64_t> histories =
      arguments.Number("histories", 1000, 1, 1000000000);
  if (!histories.ok()) return histories.status();
  const absl::StatusOr<uint64_t> most_failures =
      arguments.Number("max-failures", 10, 1, 1000000);
  if (!most_failures.ok()) return most_failures.status();
  const absl::StatusOr<props::GeneratorOptions> options =
      ReadOptions(arguments);
  if (!options.ok()) return options.status();
  props::Shard shard;
  if (!props::ShardFromEnvironment(&shard))
    return absl::InvalidArgumentError(
        "GTEST_SHARD_INDEX has to be a number below GTEST_TOTAL_SHARDS");
  Failures failures(arguments.Text("out", DefaultFolder()),
                    arguments.Has("force"));
  absl::Status opened = failures.Open();
  if (!opened.ok()) return opened;

  const auto start = std::chrono::steady_clock::now();
  Progress progress(*histories);
  Reporter reporter(failures);
  RunStats stats;
  std::map<std::string, int64_t> broken;
  uint64_t digest = 0, failed = 0, done = 0, run = 0;
  int64_t commands = 0;
  for (; done < *histories && failed < *most_failures; ++done) {
    progress.Show(done, failed);
    if (done % shard.shards != shard.shard) continue;
    ++run;
    const model::History history = props::Generate(*seed + done, *options);
    const HistoryResult result = RunHistory(history);
    digest = Mix(digest, result.digest);
    commands += result.commands;
    stats.Add(result.stats);
    if (!result.hang.empty()) {
      progress.Clear();
      std::printf("seed %" PRIu64 " hung, as Linux would: %s\n", *seed + done,
                  result.hang.c_str());
    }
    if (result.ok()) continue;
    ++failed;
    ++broken[result.findings[0].property];
    progress.Say("shrinking...");
    const std::string report =
        reporter.Report(*seed + done, history, result.findings[0]);
    progress.Clear();
    std::fputs(report.c_str(), stdout);
    std::fflush(stdout);
  }
  progress.Clear();
  failures.Close();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  if (done < *histories)
    std::printf("stopped after %" PRIu64 " failures (--max-failures)\n",
                failed);
  if (arguments.Has("stats")) PrintStats(stats, broken);
  std::printf("histories=%" PRIu64 " failed=%" PRIu64 " commands=%" PRId64
              " digest=%016" PRIx64 " rate=%.0f/s\n",
              run, failed, commands, digest,
              static_cast<double>(run) / seconds);
  return failed == 0 ? kHeld : kBroken;
}

}  // namespace

const Subcommand kRun = {
    "run",
    "",
    "run random histories and check every property after every step",
    "Makes up histories, one from each seed, runs them, and holds every step\n"
    "against the properties of docs/properties.md. A history that breaks one\n"
    "is shrunk to the least that still breaks it; both are saved. What breaks\n"
    "the same property with the same commands, but for their numbers, is told\n"
    "in one line. That Linux's own code goes on without end is told, too: it\n"
    "is no failure, and nothing is judged from there on.\n\n"
    "The last line is: histories=N failed=F commands=C digest=HEX rate=R/s.\n"
    "The same seed gives the same digest on every machine and in every build.\n"
    "With GTEST_TOTAL_SHARDS=N and GTEST_SHARD_INDEX=I it does every Nth of\n"
    "them, and N counts those.\n"
    "Exit status: 0 all held, 1 a property broke, 2 bad usage.",
    {{"seed", "S",
      "the first history's seed, the next one's is one more\n"
      "(default 1)"},
     {"histories", "N", "how many (default 1000)"},
     {"geometry", "NAME",
      "small, x86, arm64, or mixed: small, and one in a\n"
      "hundred x86 or arm64 (default mixed)"},
     {"nodes", "N", "NUMA nodes, 1 to 4 (default: mostly 2)"},
     {"out", "DIR",
      "where seed-S.history and seed-S.min.history of each\n"
      "failure go; made, with the folders above it, if it is\n"
      "not there (default: failures, beside this program).\n"
      "Files that are there with another content stay, and\n"
      "the new ones are called seed-S-2..."},
     {"force", "", "write over them"},
     {"max-failures", "N", "stop after this many (default 10)"},
     {"stats", "", "say how often each command and error was reached"}},
    &Run};

}  // namespace sim::cli
