// SPDX-License-Identifier: BSD-3-Clause
//
// handover judge: what real kernels did with a history.
#include "model/judge.h"

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/guest_log.h"
#include "model/history.h"
#include "sim/cli/commands.h"
#include "sim/cli/files.h"
#include "sim/exec/describe.h"
#include "sim/exec/replay.h"

namespace sim::cli {
namespace {

namespace model = ::handover::model;

// What the simulator does with the history, step by step from the boot on.
std::vector<model::Observation> Simulate(const model::History& history) {
  std::vector<model::Observation> seen;
  RunOptions options;
  options.keep_going = true;
  options.judge = options.invariants = options.teardown = false;
  options.observer = [&seen](int64_t, const model::Command*,
                             const model::Observation& o,
                             const Executor&) { seen.push_back(o); };
  RunHistory(history, options);
  return seen;
}

// Of all nodes together, since either may pick another one.
std::string Totals(const model::Snapshot& snapshot) {
  std::string text;
  for (int i = 0; i < snapshot.nr_pools; ++i) {
    const model::PoolView& pool = snapshot.pool[static_cast<size_t>(i)];
    int64_t nr = 0, free = 0, surplus = 0;
    for (const model::NodeCounts& node : pool.node) {
      nr += node.nr;
      free += node.free;
      surplus += node.surplus;
    }
    absl::StrAppend(&text, " ", model::PrintSize(pool.page_size), " nr ", nr,
                    " free ", free, " surplus ", surplus, " resv ", pool.resv);
  }
  return text;
}

// Prints as `handover replay` does.
class Report {
 public:
  Report(const model::History& history, bool log)
      : history_(history), log_(log) {}

  void Step(int64_t place, const model::Observation& seen,
            const std::vector<model::Verdict>& verdicts) {
    const model::Command* command =
        place < 0 ? nullptr : &history_.commands[static_cast<size_t>(place)];
    std::string text = command == nullptr
                           ? absl::StrCat("boot ", history_.command_line)
                           : absl::StrCat(place, ": ", model::Print(*command));
    if (log_) {
      if (command != nullptr) text += Describe(seen.outcome);
      std::printf("%s\n%s", text.c_str(),
                  DescribeChange(last_, seen.after).c_str());
      last_ = seen.after;
    }
    for (const model::Verdict& verdict : verdicts)
      Broken(place < 0 ? "boot" : absl::StrCat("step ", text),
             std::string(verdict.property), verdict.what);
  }

  void Broken(const std::string& where, const std::string& property,
              const std::string& what) {
    broken_ = true;
    if (log_) {
      std::printf("    BROKEN %s: %s\n", property.c_str(), what.c_str());
    } else {
      std::printf("%s: %s: %s\n", where.c_str(), property.c_str(),
                  what.c_str());
    }
  }

  // Two outcomes, of which the model may allow either.
  void Compare(int64_t place, const model::Observation& real,
               const model::Observation& simulated) {
    if (place >= 0 && (real.outcome.kind != simulated.outcome.kind ||
                       real.outcome.result != simulated.outcome.result ||
                       real.outcome.value != simulated.outcome.value))
      Differs(place, Describe(real.outcome), Describe(simulated.outcome));
    const std::string a = Totals(real.after), b = Totals(simulated.after);
    // Once is enough for what lasts.
    if (a != b && (a != last_totals_.first || b != last_totals_.second))
      Differs(place, a, b);
    last_totals_ = {a, b};
  }

  bool broken() const { return broken_; }
  int differences() const { return differences_; }

 private:
  void Differs(int64_t place, const std::string& real,
               const std::string& simulated) {
    ++differences_;
    std::printf("%sDIFFERS at %s:%s, the simulator:%s\n", log_ ? "    " : "",
                place < 0 ? "boot" : absl::StrCat(place).c_str(), real.c_str(),
                simulated.c_str());
  }

  const model::History& history_;
  const bool log_;
  model::Snapshot last_;
  std::pair<std::string, std::string> last_totals_;
  bool broken_ = false;
  int differences_ = 0;
};

absl::StatusOr<int> JudgeLog(const Arguments& arguments) {
  const std::vector<std::string>& operands = arguments.operands();
  const absl::StatusOr<model::History> history = ReadHistory(operands[0]);
  if (!history.ok()) return history.status();
  const absl::StatusOr<std::string> text = ReadFile(operands[1]);
  if (!text.ok()) return text.status();
  const absl::StatusOr<model::GuestLog> log = model::ReadGuestLog(*text);
  if (!log.ok())
    return absl::InvalidArgumentError(
        absl::StrCat(operands[1], ": ", std::string(log.status().message())));

  const bool keep_going = arguments.Has("keep-going");
  Report report(*history, !arguments.Has("quiet"));
  model::Judge judge(*history);
  std::vector<model::Observation> simulated;
  if (arguments.Has("compare")) simulated = Simulate(*history);
  int64_t next = -1;
  for (const model::GuestStep& step : log->steps) {
    if (step.place != next ||
        next >= static_cast<int64_t>(history->commands.size()))
      return absl::InvalidArgumentError(absl::StrCat(
          operands[1], ": is of another history than ", operands[0],
          ": command ", step.place, " comes where ", next, " should"));
    report.Step(step.place, step.observation,
                next < 0
                    ? judge.Boot(step.observation)
                    : judge.Step(history->commands[static_cast<size_t>(next)],
                                 step.observation));
    ++next;
    if (static_cast<size_t>(next) < simulated.size())
      report.Compare(next - 1, step.observation,
                     simulated[static_cast<size_t>(next)]);
    if (report.broken() && !keep_going) break;
  }
  const bool whole = next == static_cast<int64_t>(history->commands.size());
  if (!log->broken_off.empty() && (keep_going || !report.broken())) {
    report.Broken("the log", "chain", log->broken_off);
  } else if (!whole && !report.broken()) {
    report.Broken("the log", "chain",
                  absl::StrCat("it ends before command ", next));
  }
  std::printf("%s commands=%lld", report.broken() ? "BROKEN" : "held",
              static_cast<long long>(next < 0 ? 0 : next));
  if (!simulated.empty()) std::printf(" differences=%d", report.differences());
  std::printf("\n");
  return report.broken() ? kBroken : kHeld;
}

}  // namespace

const Subcommand kJudge = {
    "judge",
    "FILE LOG",
    "tell whether real kernels did what a history should do",
    "LOG is the serial log of a machine on which scripts/kernel-history ran "
    "the\n"
    "history FILE on real kernels. Prints each command, what it returned and\n"
    "what changed, and holds it against the properties, as `replay` does with\n"
    "the simulator's. Reservation maps, quarantine and what a handover table\n"
    "says are not to be seen there.\n"
    "Exit status: 0 it held, 1 a property broke or the machine did not get to\n"
    "the end, 2 bad usage, or LOG is no such log.",
    {{"compare", "",
      "say where the simulator does something else with it, of\n"
      "which the model may allow both; no matter for the status"},
     {"keep-going", "",
      "do not stop at what breaks first; what follows may be\n"
      "its consequence"},
     {"quiet", "", "only the result"}},
    &JudgeLog};

}  // namespace sim::cli
