// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/replay.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/judge.h"
#include "sim/exec/describe.h"
#include "sim/exec/invariants.h"
#include "sim/exec/next_kernel.h"

namespace sim {
namespace {

using model::Command;
using model::Observation;
using model::Outcome;

void Count(const Outcome& outcome, model::Verb verb, RunStats* stats) {
  const size_t v = static_cast<size_t>(verb);
  ++stats->verbs[v];
  switch (outcome.kind) {
    case Outcome::Kind::kSigbus:
      ++stats->sigbus;
      break;
    case Outcome::Kind::kSigsegv:
      ++stats->sigsegv;
      break;
    case Outcome::Kind::kKilled:
      ++stats->killed;
      break;
    case Outcome::Kind::kDone:
    case Outcome::Kind::kBlocked:
      break;
  }
  if (outcome.kind != Outcome::Kind::kDone || outcome.result < 0) {
    ++stats->failed[v];
  }
  if (outcome.kind == Outcome::Kind::kDone && outcome.result < 0 &&
      -outcome.result < RunStats::kErrnos) {
    ++stats->errnos[static_cast<size_t>(-outcome.result)];
  }
}

// "step 12 (p0 write m0 3 7f)"
std::string Place(int64_t step, const model::History& history) {
  if (step == kBootStep) return "boot";
  if (step == kTeardownStep) return "teardown";
  return absl::StrCat("step ", step, " (",
                      model::Print(history.commands[static_cast<size_t>(step)]),
                      ")");
}

// One run, from power on to teardown.
class Runner {
 public:
  Runner(const model::History& history, const RunOptions& options)
      : history_(history), options_(options), executor_(history, options.seed) {
    executor_.machine().set_tracing(options.trace);
    executor_.set_at_handover(options.at_handover);
    if (options.judge) {
      judge_ = std::make_unique<model::Judge>(history);
      executor_.set_watched(&watched_);
    }
    if (options.invariants) {
      invariants_ = std::make_unique<Invariants>(executor_);
    }
  }

  HistoryResult Run() {
    Observation const& boot = executor_.Boot();
    if (judge_) Take(kBootStep, judge_->Boot(boot));
    if (invariants_) invariants_->Booted(/*cold=*/true);
    Finish(kBootStep, nullptr, boot);
    for (size_t i = 0; i < history_.commands.size(); ++i) {
      // What Linux warned of is not judged any further: the end is.
      if (Over() || executor_.linux_warned()) break;
      Step(static_cast<int64_t>(i), history_.commands[i]);
    }
    if (!Over() && options_.teardown && invariants_) Teardown();
    if (options_.log) LogTeardown();
    ++result_.stats.histories;
    result_.stats.gave_up += executor_.panicked_by_plan();
    result_.stats.linux_warned += executor_.linux_warned();
    result_.stats.linux_hung += !executor_.linux_hang().empty();
    for (int i = 0; i < kReaches; ++i) {
      result_.stats.reached[static_cast<size_t>(i)] +=
          reach_.reached(static_cast<Reach>(i));
    }
    result_.digest = executor_.machine().digest();
    return std::move(result_);
  }

 private:
  bool Over() const {
    return executor_.dead() ||
           (!options_.keep_going && !result_.findings.empty());
  }

  void Step(int64_t step, const Command& command) {
    if (judge_) judge_->Watch(&watched_);
    if (invariants_) invariants_->Before(command);
    const Observation& seen = executor_.Run(command);
    reach_.After(command, seen, executor_);
    ++result_.commands;
    Count(seen.outcome, command.verb, &result_.stats);
    result_.stats.faults_hit += seen.fault_injected;
    result_.stats.missed += seen.missed;
    result_.stats.boots += seen.rebooted;
    // A kernel that hit a BUG() has said so.
    if (executor_.dead()) {
      if (!executor_.linux_hang().empty())
        result_.hang =
            absl::StrCat(Place(step, history_), ": ", executor_.linux_hang());
      Finish(step, &command, seen);
      return;
    }
    // What the model knows is about updates that came to their end.
    if (seen.cut) judge_.reset();
    cut_ |= seen.cut;
    if (judge_) Take(step, judge_->Step(command, seen));
    if (invariants_ && seen.cut) Take(step, CheckAfterCut(seen));
    if (invariants_) {
      if (seen.rebooted) {
        invariants_->Booted(command.verb == model::Verb::kPower,
                            seen.fault_injected);
      }
      Take(step, invariants_->After(command, seen));
      ++result_.stats.checks;
    }
    AddOutcome(seen);
    Finish(step, &command, seen);
  }

  void Teardown() {
    TakeViolations(kTeardownStep);
    Take(kTeardownStep, invariants_->Teardown(&executor_, !cut_));
    TakeViolations(kTeardownStep);
  }

  // The digest also has what a user saw, and where things lie.
  void AddOutcome(const Observation& seen) {
    Machine& machine = executor_.machine();
    machine.DigestAdd(static_cast<uint64_t>(seen.outcome.kind));
    machine.DigestAdd(static_cast<uint64_t>(seen.outcome.result));
    machine.DigestAdd(seen.outcome.value);
    machine.DigestAdd(static_cast<uint64_t>(seen.outcome.frame));
    for (const model::PageView& page : seen.after.pages) {
      machine.DigestAdd(static_cast<uint64_t>(page.frame));
    }
  }

  void Finish(int64_t step, const Command* command, const Observation& seen) {
    TakeViolations(step);
    if (options_.log) {
      if (command == nullptr) {
        absl::StrAppend(&result_.log, "boot ", history_.command_line, "\n");
      } else {
        absl::StrAppend(&result_.log, step, ": ", model::Print(*command),
                        Describe(seen.outcome), "\n");
      }
      if (seen.fault_injected) {
        absl::StrAppend(&result_.log, "    a call failed by plan\n");
      }
      if (seen.missed != 0)
        absl::StrAppend(
            &result_.log,
            "    planned for moments that did not come: ", seen.missed, "\n");
      LogDuring(step, command, seen);
      for (const Observation::Finished& finished : seen.finished) {
        absl::StrAppend(&result_.log, "    what waited since ",
                        finished.command, Describe(finished.outcome), "\n");
      }
      result_.log += DescribeChange(last_, seen.after);
      last_ = seen.after;
      LogTraceAndFindings();
      if (!result_.hang.empty())
        absl::StrAppend(&result_.log, "    Linux goes on without end: ",
                        executor_.linux_hang(), "\n");
    }
    if (options_.observer) {
      options_.observer(step, command, seen, executor_);
    }
  }

  void LogDuring(int64_t step, const Command* command,
                 const Observation& seen) {
    if (command != nullptr && command->verb == model::Verb::kDuring) {
      planned_.push_back(step);
    }
    for (size_t i = 0; i < seen.during.size(); ++i) {
      const Observation::During& during = seen.during[i];
      absl::StrAppend(
          &result_.log, "    meanwhile ",
          i < planned_.size() ? planned_[i] : int64_t{-1},
          during.started ? Describe(during.outcome)
                         : std::string(" -> never started"),
          during.waited && during.outcome.kind != Outcome::Kind::kBlocked
              ? ", after a wait"
              : "",
          "\n");
    }
    if (!seen.during.empty()) planned_.clear();
  }

  void LogTraceAndFindings() {
    for (const std::string& line : executor_.machine().trace()) {
      absl::StrAppend(&result_.log, "    | ", line, "\n");
    }
    executor_.machine().trace().clear();
    for (size_t i = logged_; i < result_.findings.size(); ++i) {
      absl::StrAppend(&result_.log, "    BROKEN ", result_.findings[i].property,
                      ": ", result_.findings[i].what, "\n");
    }
    logged_ = result_.findings.size();
  }

  void LogTeardown() {
    if (logged_ < result_.findings.size() ||
        !executor_.machine().trace().empty()) {
      result_.log += "teardown\n";
    }
    LogTraceAndFindings();
  }

  template <typename Verdicts>
  void Take(int64_t step, const Verdicts& verdicts) {
    for (const auto& verdict : verdicts) {
      result_.findings.push_back(
          {step, std::string(verdict.property), verdict.what});
    }
  }

  // What the machine reported of its own accord.
  void TakeViolations(int64_t step) {
    if (executor_.panicked_by_plan()) return;
    const std::vector<Violation>& all = executor_.machine().violations();
    for (; violations_ < all.size(); ++violations_) {
      const Violation& v = all[violations_];
      bool known = false;
      for (const Finding& finding : result_.findings) {
        known |= finding.step == step && finding.what == v.what;
      }
      if (!known) result_.findings.push_back({step, v.property, v.what});
    }
  }

  const model::History& history_;
  const RunOptions& options_;
  Executor executor_;
  ReachCounter reach_;
  std::unique_ptr<model::Judge> judge_;
  std::unique_ptr<Invariants> invariants_;
  std::vector<model::Cell> watched_;
  HistoryResult result_;
  model::Snapshot last_;
  bool cut_ = false;  // ever
  size_t violations_ = 0;
  size_t logged_ = 0;
  std::vector<int64_t> planned_;  // `during` commands for the next command
};

}  // namespace

void RunStats::Add(const RunStats& other) {
  histories += other.histories;
  boots += other.boots;
  faults_hit += other.faults_hit;
  missed += other.missed;
  gave_up += other.gave_up;
  linux_warned += other.linux_warned;
  linux_hung += other.linux_hung;
  for (size_t i = 0; i < verbs.size(); ++i) {
    verbs[i] += other.verbs[i];
    failed[i] += other.failed[i];
  }
  for (size_t i = 0; i < errnos.size(); ++i) errnos[i] += other.errnos[i];
  sigbus += other.sigbus;
  sigsegv += other.sigsegv;
  killed += other.killed;
  checks += other.checks;
  for (size_t i = 0; i < reached.size(); ++i) reached[i] += other.reached[i];
}

HistoryResult RunHistory(const model::History& history,
                         const RunOptions& options) {
  return Runner(history, options).Run();
}

std::string Print(const Finding& finding, const model::History& history) {
  return absl::StrCat(Place(finding.step, history), ": ", finding.property,
                      ": ", finding.what);
}

}  // namespace sim
