// SPDX-License-Identifier: BSD-3-Clause
//
// The saved histories once more: with each call that may fail failing in turn,
// and with what happens at the same time happening at each step in turn. A
// saved number of a step or of a call is only good for one version of the
// code; this is good for all.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "model/history.h"
#include "sim/exec/replay.h"

namespace handover::props {
namespace {

using model::Command;
using model::History;
using model::Verb;

// Longer ones are about something else, and take their time.
constexpr size_t kMaxCommands = 60;
// Beyond this a reboot boots the rest of the next kernel.
constexpr int64_t kMaxCalls = 150;
constexpr int64_t kMaxSteps = 120;

struct SavedHistory {
  std::string name;
  History history;
};

std::vector<SavedHistory> SavedHistories() {
  std::vector<SavedHistory> list;
  for (const auto& entry : std::filesystem::directory_iterator(
           HANDOVER_SOURCE_DIR "/props/histories")) {
    if (entry.path().extension() != ".history") continue;
    std::ifstream file(entry.path());
    std::ostringstream text;
    text << file.rdbuf();
    absl::StatusOr<History> history = model::ParseHistory(text.str());
    if (history.ok() && history->commands.size() <= kMaxCommands)
      list.push_back({entry.path().stem().string(), *std::move(history)});
  }
  std::sort(list.begin(), list.end(),
            [](const SavedHistory& a, const SavedHistory& b) {
              return a.name < b.name;
            });
  return list;
}

bool Has(const History& history, Verb verb) {
  return std::any_of(history.commands.begin(), history.commands.end(),
                     [verb](const Command& c) { return c.verb == verb; });
}

// False, and says how to see it again, if a property broke.
bool Holds(const std::string& name, const History& history,
           const sim::HistoryResult& result) {
  if (result.ok()) return true;
  ADD_FAILURE() << name << ": " << sim::Print(result.findings[0], history)
                << "\n"
                << model::Print(history);
  return false;
}

bool MayFail(const Command& command) {
  switch (command.verb) {
    case Verb::kPreserve:
    case Verb::kReboot:
    case Verb::kRetrieve:
    case Verb::kFinish:
    case Verb::kDrop:
    case Verb::kWrite:
    case Verb::kFallocate:
    case Verb::kPin:
      return true;
    default:
      return false;
  }
}

// Command `at` with its nth call failing.
History WithFault(const History& history, size_t at, int64_t nth) {
  Command fail;
  fail.actor = model::Actor::kSim;
  fail.verb = Verb::kFail;
  fail.step = nth;
  History out = history;
  out.commands.insert(out.commands.begin() + static_cast<std::ptrdiff_t>(at),
                      fail);
  return out;
}

TEST(Sweep, EveryCallFails) {
  int64_t points = 0;
  for (const SavedHistory& saved : SavedHistories()) {
    if (Has(saved.history, Verb::kFail) || Has(saved.history, Verb::kCorrupt))
      continue;
    for (size_t at = 0; at < saved.history.commands.size(); ++at) {
      if (!MayFail(saved.history.commands[at])) continue;
      for (int64_t nth = 1; nth <= kMaxCalls; ++nth) {
        const History history = WithFault(saved.history, at, nth);
        const sim::HistoryResult result = sim::RunHistory(history);
        if (!Holds(saved.name, history, result)) return;
        if (result.stats.faults_hit == 0) break;
        ++points;
      }
    }
  }
  std::cout << points << " calls failed\n";
  EXPECT_GT(points, 1000);
}

// Those that look at a damaged table lack memory while they do.
TEST(Sweep, EveryCallFailsOverDamage) {
  int64_t points = 0;
  for (const SavedHistory& saved : SavedHistories()) {
    if (Has(saved.history, Verb::kFail) || !Has(saved.history, Verb::kCorrupt))
      continue;
    for (size_t at = 0; at < saved.history.commands.size(); ++at) {
      const Verb verb = saved.history.commands[at].verb;
      if (verb != Verb::kReboot && verb != Verb::kRetrieve) continue;
      for (int64_t nth = 1; nth <= kMaxCalls; ++nth) {
        const History history = WithFault(saved.history, at, nth);
        const sim::HistoryResult result = sim::RunHistory(history);
        if (!Holds(saved.name, history, result)) return;
        if (result.stats.faults_hit == 0) break;
        ++points;
      }
    }
  }
  std::cout << points << " calls failed\n";
  EXPECT_GT(points, 1000);
}

TEST(Sweep, EveryStepIsInterrupted) {
  int64_t runs = 0;
  for (const SavedHistory& saved : SavedHistories()) {
    if (!Has(saved.history, Verb::kDuring)) continue;
    int64_t first = INT64_MAX;
    for (const Command& c : saved.history.commands)
      if (c.verb == Verb::kDuring) first = std::min(first, c.step);
    for (int64_t step = 1; step <= kMaxSteps; ++step) {
      for (int64_t turns : {0, 3}) {
        History history = saved.history;
        for (size_t i = 0; i < history.commands.size(); ++i) {
          Command& c = history.commands[i];
          if (c.verb != Verb::kDuring) continue;
          c.step += step - first;
          if (turns == 0) continue;
          Command interleave;
          interleave.actor = model::Actor::kSim;
          interleave.verb = Verb::kInterleave;
          interleave.step = turns * 1000 + step;
          history.commands.insert(
              history.commands.begin() + static_cast<std::ptrdiff_t>(i),
              interleave);
          ++i;
        }
        if (!Holds(saved.name, history, sim::RunHistory(history))) return;
        ++runs;
      }
    }
  }
  EXPECT_GT(runs, 500);
}

}  // namespace
}  // namespace handover::props
