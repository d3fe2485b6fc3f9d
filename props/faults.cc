// SPDX-License-Identifier: BSD-3-Clause
#include "props/faults.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "sim/machine/machine.h"

namespace handover::props {
namespace {

using model::Command;
using model::History;
using model::Verb;

// More are of no use to anybody.
constexpr size_t kMostFailures = 3;

// What only sets the scene makes no calls and takes no steps.
bool Prepares(const Command& command) {
  return command.verb == Verb::kFail || command.verb == Verb::kDuring ||
         command.verb == Verb::kInterleave || command.verb == Verb::kCorrupt ||
         command.verb == Verb::kCut;
}

Command SimCommand(Verb verb, int64_t step) {
  Command c;
  c.actor = model::Actor::kSim;
  c.verb = verb;
  c.step = step;
  return c;
}

// What a run showed beside its result.
struct Counted {
  sim::HistoryResult result;
  std::vector<int64_t> calls;   // that may fail, by command
  std::vector<int64_t> before;  // of these, before its kernel stopped
  int64_t failed = 0;
  bool cut = false;
};

Counted Count(const History& history) {
  Counted out;
  out.calls.assign(history.commands.size(), 0);
  out.before.assign(history.commands.size(), 0);
  uint64_t so_far = 0, at_jump = 0;
  bool jumped = false;
  sim::RunOptions options;
  options.at_handover = [&] {
    at_jump = sim::M().fallible_calls();
    jumped = true;
  };
  options.observer = [&](int64_t step, const Command* command,
                         const model::Observation& seen,
                         const sim::Executor& /*executor*/) {
    const uint64_t now = sim::M().fallible_calls();
    if (command != nullptr) {
      const auto at = static_cast<size_t>(step);
      out.calls[at] = static_cast<int64_t>(now - so_far);
      out.before[at] = static_cast<int64_t>((jumped ? at_jump : now) - so_far);
      jumped = false;
    }
    so_far = now;
    out.failed = static_cast<int64_t>(sim::M().failed_calls());
    out.cut |= seen.cut && seen.outcome.kind == model::Outcome::Kind::kKilled;
  };
  out.result = sim::RunHistory(history, options);
  return out;
}

class Sweeper {
 public:
  explicit Sweeper(const Shard& shard) : shard_(shard) {}

  bool Mine() { return turn_++ % shard_.shards == shard_.shard; }

  // The history has been changed such that something fails.
  void Take(const History& history, const Counted& run, bool in_boot) {
    ++result.points;
    result.in_boot += in_boot;
    result.gave_up += run.result.stats.gave_up > 0;
    result.warned +=
        run.result.stats.linux_warned > 0 || run.result.stats.linux_hung > 0;
    if (!run.result.ok() && result.failures.size() < kMostFailures)
      result.failures.emplace_back(history, run.result.findings[0]);
  }

  SweepResult result;

 private:
  const Shard shard_;
  uint64_t turn_ = 0;
};

}  // namespace

std::vector<NamedHistory> ReadReferenceHistories(const std::string& list,
                                                 const std::string& folder) {
  std::vector<NamedHistory> histories;
  std::ifstream names(list);
  std::string name;
  while (std::getline(names, name)) {
    if (name.empty() || name[0] == '#') continue;
    std::ifstream file(folder + "/" + name + ".history");
    std::ostringstream text;
    text << file.rdbuf();
    absl::StatusOr<History> history = model::ParseHistory(text.str());
    // A name without a history is seen by its missing commands.
    histories.push_back({name, history.ok() ? *std::move(history) : History()});
  }
  return histories;
}

bool ShardFromEnvironment(Shard* shard) {
  auto read = [](const char* name, uint64_t otherwise, uint64_t* value) {
    const char* text = std::getenv(name);
    *value = otherwise;
    if (text == nullptr || *text == '\0') return true;
    char* end = nullptr;
    *value = std::strtoull(text, &end, 10);
    return *end == '\0' && *text >= '0' && *text <= '9';
  };
  return read("GTEST_TOTAL_SHARDS", 1, &shard->shards) &&
         read("GTEST_SHARD_INDEX", 0, &shard->shard) &&
         shard->shard < shard->shards;
}

void SweepResult::Add(const SweepResult& other) {
  points += other.points;
  in_boot += other.in_boot;
  gave_up += other.gave_up;
  warned += other.warned;
  unwindowed += other.unwindowed;
  failures.insert(failures.end(), other.failures.begin(), other.failures.end());
}

History WithBefore(const History& history, size_t at, Command command) {
  History out = history;
  out.commands.insert(out.commands.begin() + static_cast<std::ptrdiff_t>(at),
                      std::move(command));
  return out;
}

SweepResult FailEach(const History& history, const Shard& shard) {
  Sweeper sweeper(shard);
  const Counted whole = Count(history);
  if (!whole.result.ok())
    sweeper.result.failures.emplace_back(history, whole.result.findings[0]);
  for (size_t at = 0; at < history.commands.size(); ++at) {
    for (int64_t nth = 1; nth <= whole.calls[at]; ++nth) {
      if (!sweeper.Mine()) continue;
      const History one = WithBefore(history, at, SimCommand(Verb::kFail, nth));
      sweeper.Take(one, Count(one), nth > whole.before[at]);
    }
  }
  return sweeper.result;
}

SweepResult FailPairs(const History& history, int64_t window,
                      const Shard& shard) {
  Sweeper sweeper(shard);
  const Counted whole = Count(history);
  for (size_t at = 0; at < history.commands.size(); ++at) {
    for (int64_t nth = 1; nth <= whole.calls[at]; ++nth) {
      if (!sweeper.Mine()) continue;
      const History one = WithBefore(history, at, SimCommand(Verb::kFail, nth));
      const Counted first = Count(one);
      // That one alone is FailEach()'s.
      const sim::RunStats& stats = first.result.stats;
      if (!first.result.ok() || stats.gave_up > 0 || stats.linux_warned > 0 ||
          stats.linux_hung > 0)
        continue;
      int64_t after = 0;
      for (size_t then = at + 1; then < one.commands.size(); ++then) {
        if (Prepares(one.commands[then])) continue;
        int64_t next = then == at + 1 ? nth + 1 : 1;
        for (; next <= first.calls[then]; ++next) {
          if (++after > window) {
            ++sweeper.result.unwindowed;
            continue;
          }
          const History two =
              WithBefore(one, then, SimCommand(Verb::kFail, next));
          sweeper.Take(two, Count(two), next > first.before[then]);
        }
      }
    }
  }
  return sweeper.result;
}

SweepResult CutEach(const History& history, const Shard& shard) {
  Sweeper sweeper(shard);
  // What is damaged is not complete.
  for (const Command& c : history.commands)
    if (c.verb == Verb::kCorrupt) return sweeper.result;
  for (size_t at = 0; at < history.commands.size(); ++at) {
    if (Prepares(history.commands[at]) ||
        history.commands[at].actor == model::Actor::kSim)
      continue;
    if (!sweeper.Mine()) continue;
    for (int64_t step = 1;; ++step) {
      const History one = WithBefore(history, at, SimCommand(Verb::kCut, step));
      const Counted run = Count(one);
      if (!run.cut) break;
      sweeper.Take(one, run, false);
      if (!run.result.ok()) break;
    }
  }
  return sweeper.result;
}

}  // namespace handover::props
