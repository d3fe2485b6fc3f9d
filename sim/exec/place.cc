// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/place.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "model/history.h"
#include "sim/exec/executor.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"

namespace sim {
namespace {

using model::Command;
using model::Verb;

struct Length {
  int64_t steps = 0;
  int64_t calls = 0;  // that may fail
};

// Of the last command, up to where its kernel ends.
Length LengthOf(const model::History& history) {
  Length length;
  Executor executor(history);
  executor.Boot();
  for (size_t i = 0; i < history.commands.size() && !executor.dead(); ++i) {
    const bool last = i + 1 == history.commands.size();
    const uint64_t before = executor.machine().fallible_calls();
    if (last)
      WatchSteps([&](const char*) {
        ++length.steps;
        length.calls =
            static_cast<int64_t>(executor.machine().fallible_calls() - before);
      });
    executor.Run(history.commands[i]);
  }
  WatchSteps(nullptr);
  return length;
}

int64_t Share(int64_t of, int64_t thousandths) {
  return std::clamp<int64_t>(of * thousandths / 1000, 1,
                             std::max<int64_t>(of, 1));
}

}  // namespace

absl::StatusOr<std::string> PlaceSteps(const std::string& text) {
  absl::StatusOr<model::History> read = model::ParseHistory(text);
  if (!read.ok()) return read.status();
  std::vector<Command>& commands = read->commands;
  model::History done = *read;
  done.commands.clear();
  for (size_t i = 0; i < commands.size(); ++i) {
    size_t next = i;
    auto prepares = [&commands](size_t at) {
      const Verb verb = commands[at].verb;
      return verb == Verb::kDuring || verb == Verb::kFail || verb == Verb::kCut;
    };
    while (next + 1 < commands.size() && prepares(next)) ++next;
    if (next != i) {
      done.commands.push_back(commands[next]);
      const Length length = LengthOf(done);
      done.commands.pop_back();
      for (; i < next; ++i) {
        Command& c = commands[i];
        c.step =
            Share(c.verb == Verb::kFail ? length.calls : length.steps, c.step);
        done.commands.push_back(c);
      }
    }
    done.commands.push_back(commands[i]);
  }
  // The same lines, with other numbers.
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  size_t at = 0;
  for (std::string& line : lines) {
    if (line.empty() || line[0] == '#' || absl::StartsWith(line, "history ") ||
        absl::StartsWith(line, "geometry ") || absl::StartsWith(line, "boot "))
      continue;
    line = model::Print(commands[at++]);
  }
  return absl::StrJoin(lines, "\n");
}

}  // namespace sim
