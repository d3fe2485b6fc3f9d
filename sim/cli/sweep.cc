// SPDX-License-Identifier: BSD-3-Clause
//
// handover sweep: everything that can fail in some histories, failing.
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/history.h"
#include "props/damage.h"
#include "props/faults.h"
#include "sim/cli/commands.h"
#include "sim/cli/failures.h"

namespace sim::cli {
namespace {

namespace props = ::handover::props;

constexpr std::string_view kWhat[] = {"calls", "pairs", "cuts", "damage",
                                      "bits"};

props::SweepResult SweepOne(const std::string& what,
                            const props::NamedHistory& named, int64_t window,
                            const props::Shard& shard) {
  if (what == "calls") return props::FailEach(named.history, shard);
  if (what == "pairs") return props::FailPairs(named.history, window, shard);
  if (what == "cuts") return props::CutEach(named.history, shard);
  const int64_t at = props::FirstUpdate(named.history);
  if (at < 0) return {};
  const props::Between between =
      props::LookBetween(named.history, static_cast<size_t>(at));
  return props::DamageEach(named.history,
                           what == "bits" ? props::BitDamage(between)
                                          : props::StructuredDamage(between),
                           shard);
}

absl::StatusOr<int> Sweep(const Arguments& arguments) {
  const std::string what = arguments.operands()[0];
  const std::string list = arguments.operands()[1];
  bool known = false;
  for (std::string_view word : kWhat) known |= what == word;
  if (!known)
    return absl::InvalidArgumentError(
        absl::StrCat("'", what, "' is not calls, pairs, cuts, damage or bits"));
  const absl::StatusOr<uint64_t> window =
      arguments.Number("window", 1000000000, 1, 1000000000);
  if (!window.ok()) return window.status();
  props::Shard shard;
  if (!props::ShardFromEnvironment(&shard))
    return absl::InvalidArgumentError(
        "GTEST_SHARD_INDEX has to be a number below GTEST_TOTAL_SHARDS");
  const std::vector<props::NamedHistory> histories =
      props::ReadReferenceHistories(
          list,
          (std::filesystem::path(list).parent_path() / "histories").string());
  if (histories.empty())
    return absl::InvalidArgumentError(
        absl::StrCat(list, ": names no histories"));
  for (const props::NamedHistory& named : histories)
    if (named.history.commands.empty())
      return absl::InvalidArgumentError(
          absl::StrCat(list, ": there is no history ", named.name));
  Failures failures(arguments.Text("out", "build/failures"), false);
  if (absl::Status opened = failures.Open(); !opened.ok()) return opened;
  Reporter reporter(failures);

  props::SweepResult all;
  uint64_t number = 0;
  for (const props::NamedHistory& named : histories) {
    const props::SweepResult one =
        SweepOne(what, named, static_cast<int64_t>(*window), shard);
    if (arguments.Has("each"))
      std::printf("%-32s %7" PRId64 "\n", named.name.c_str(), one.points);
    for (const auto& [history, finding] : one.failures) {
      std::printf("%s, with ", named.name.c_str());
      std::fputs(reporter.Report(++number, history, finding).c_str(), stdout);
      std::fflush(stdout);
    }
    all.Add(one);
  }
  failures.Close();
  std::printf("%s: histories=%zu points=%" PRId64 " in-boot=%" PRId64
              " gave-up=%" PRId64 " warned=%" PRId64,
              what.c_str(), histories.size(), all.points, all.in_boot,
              all.gave_up, all.warned);
  if (what == "pairs") std::printf(" beyond-window=%" PRId64, all.unwindowed);
  std::printf(" failed=%zu\n", all.failures.size());
  return all.failures.empty() ? kHeld : kBroken;
}

}  // namespace

const Subcommand kSweep = {
    "sweep",
    "WHAT LIST",
    "make each thing fail in turn that can, in histories of a list",
    "LIST is a file that names histories of the folder `histories` beside it, "
    "a\n"
    "line each: props/reference.txt is one. WHAT is\n\n"
    "  calls   each call that may fail, one at a time, in both kernels\n"
    "  pairs   each two of them, no more than --window calls apart\n"
    "  cuts    the kernel stops at each step, and the next one is entered\n"
    "  damage  what the first update hands over is damaged, knowing how it is\n"
    "          built\n"
    "  bits    the same, bit by bit\n\n"
    "The last line is: WHAT: histories=N points=P in-boot=B gave-up=G "
    "warned=W\n"
    "failed=F. B of the P points are calls of the next kernel's boot; in G of "
    "them\n"
    "KHO or LUO panic, in W LUO warns, as they do in Linux 7.3. With "
    "GTEST_TOTAL_SHARDS=N and\n"
    "GTEST_SHARD_INDEX=I it does every Nth of them (docs/faults.md).\n"
    "Exit status: 0 all held, 1 a property broke, 2 bad usage.",
    {{"window", "N", "see pairs (default: any distance)"},
     {"each", "", "a line for each history, with its points"},
     {"out", "DIR",
      "where histories that failed go, as with `run`\n"
      "(default: build/failures)"}},
    &Sweep};

}  // namespace sim::cli
