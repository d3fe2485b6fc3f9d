// SPDX-License-Identifier: BSD-3-Clause
#include "props/shrink.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace handover::props {
namespace {

using model::Command;
using model::History;
using model::Verb;

// Smaller numbers, the smallest first.
template <typename T>
std::vector<T> Smaller(T value, T least) {
  std::vector<T> list;
  if (value <= least) return list;
  list.push_back(least);
  T half = least + (value - least) / 2;
  if (half != least) list.push_back(half);
  if (value - 1 != half && value - 1 != least) list.push_back(value - 1);
  return list;
}

std::vector<std::string> Words(std::string_view line) {
  std::vector<std::string> words;
  while (!line.empty()) {
    size_t space = std::min(line.find(' '), line.size());
    words.emplace_back(line.substr(0, space));
    line.remove_prefix(std::min(space + 1, line.size()));
  }
  return words;
}

std::string Join(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words)
    absl::StrAppend(&line, line.empty() ? "" : " ", word);
  return line;
}

// Numbers of hugepages=: in `word`, at which place each stands.
std::vector<std::pair<size_t, size_t>> Counts(const std::string& word) {
  std::vector<std::pair<size_t, size_t>> counts;
  if (word.rfind("hugepages=", 0) != 0) return counts;
  for (size_t i = 10; i < word.size();) {
    size_t end = i;
    while (end < word.size() && word[end] >= '0' && word[end] <= '9') ++end;
    // What stands before a colon is a node.
    if (end > i && end - i < 10 && (end == word.size() || word[end] != ':'))
      counts.emplace_back(i, end - i);
    i = end + 1;
  }
  return counts;
}

// A command line with a word less, with a smaller number, without nodes.
std::vector<std::string> SimplerLines(const std::string& line) {
  std::vector<std::string> lines;
  const std::vector<std::string> words = Words(line);
  if (words.empty()) return lines;
  lines.emplace_back();
  for (size_t i = 0; i < words.size(); ++i) {
    std::vector<std::string> fewer = words;
    // hugepagesz= and the hugepages= that belongs to it.
    bool pair = words[i].rfind("hugepagesz=", 0) == 0 && i + 1 < words.size() &&
                words[i + 1].rfind("hugepages=", 0) == 0;
    auto at = fewer.begin() + static_cast<std::ptrdiff_t>(i);
    fewer.erase(at, at + (pair ? 2 : 1));
    if (!fewer.empty()) lines.push_back(Join(fewer));
  }
  for (size_t i = 0; i < words.size(); ++i) {
    std::vector<std::pair<size_t, size_t>> counts = Counts(words[i]);
    std::vector<std::string> other = words;
    if (words[i].find(':') != std::string::npos && !counts.empty()) {
      int64_t sum = 0;
      for (auto [at, length] : counts)
        sum += std::stoll(words[i].substr(at, length));
      other[i] = absl::StrCat("hugepages=", sum);
      lines.push_back(Join(other));
    }
    for (auto [at, length] : counts) {
      int64_t count = std::stoll(words[i].substr(at, length));
      for (int64_t fewer : Smaller<int64_t>(count, 0)) {
        other[i] = words[i];
        other[i].replace(at, length, std::to_string(fewer));
        lines.push_back(Join(other));
      }
    }
  }
  return lines;
}

// Each simplification changes one thing.
std::vector<Command> SimplerCommands(const Command& command) {
  std::vector<Command> list;
  auto with = [&](auto change) {
    Command c = command;
    change(&c);
    if (!(c == command)) list.push_back(std::move(c));
  };
  auto smaller = [&](auto Command::*field, auto least) {
    using T = std::remove_reference_t<decltype(command.*field)>;
    for (auto value : Smaller<std::remove_cv_t<T>>(
             command.*field, static_cast<std::remove_cv_t<T>>(least)))
      with([&](Command* c) { c->*field = value; });
  };
  auto unset = [&](bool Command::*flag) {
    with([&](Command* c) { c->*flag = false; });
  };
  for (bool Command::*flag :
       {&Command::sealable, &Command::noexec, &Command::read_only,
        &Command::is_private, &Command::no_reserve, &Command::keep_size,
        &Command::no_option, &Command::resum, &Command::unlinked})
    unset(flag);
  if (!command.missing_sizes.empty())
    with([](Command* c) { c->missing_sizes.pop_back(); });
  if (command.verb == Verb::kLoad)
    for (std::string& line : SimplerLines(command.command_line))
      with([&](Command* c) { c->command_line = line; });
  smaller(&Command::page, 0);
  if (command.length > 0)
    smaller(&Command::length, command.actor == model::Actor::kAdmin ? 0 : 1);
  if (command.step > 0) smaller(&Command::step, 1);
  smaller(&Command::nth, 0);
  for (int64_t Command::*limit : {&Command::most, &Command::least}) {
    if (command.*limit < 0) continue;
    with([&](Command* c) { c->*limit = -1; });
    smaller(limit, 0);
  }
  smaller(&Command::position, 0);
  smaller(&Command::process, 0);
  with([](Command* c) { c->parent = model::kRootCgroup; });
  if (command.verb == Verb::kBind) smaller(&Command::node, 0);
  if (command.actor == model::Actor::kAdmin && command.node >= 0)
    with([](Command* c) { c->node = -1; });
  if (command.at != 0) {
    with([](Command* c) { c->at = 0; });
    if (command.at > 8) with([](Command* c) { c->at = 8; });
  }
  if (command.value > 1) with([](Command* c) { c->value = 1; });
  for (uint32_t bit = 1; bit <= command.seals; bit <<= 1)
    if ((command.seals & bit) && (command.seals & ~bit))
      with([bit](Command* c) { c->seals = bit; });
  if (command.fail_kind != model::FailKind::kAny)
    with([](Command* c) { c->fail_kind = model::FailKind::kAny; });
  if (command.delta != 0 && command.delta != 1)
    with([](Command* c) { c->delta = 1; });
  if (command.verb == Verb::kDuring && !command.inner.empty())
    for (Command& inner : SimplerCommands(command.inner[0]))
      with([&](Command* c) { c->inner[0] = std::move(inner); });
  return list;
}

}  // namespace

std::vector<Edit> Edits(const History& history) {
  std::vector<Edit> edits;
  const int size = static_cast<int>(history.commands.size());
  for (int chunk = (size + 1) / 2; chunk >= 1; chunk /= 2)
    for (int at = size - chunk; at > -chunk; at -= chunk)
      edits.push_back(
          {Edit::Kind::kRemove, std::max(at, 0), at < 0 ? chunk + at : chunk});
  for (int nodes = 1; nodes < history.nodes; ++nodes)
    edits.push_back({Edit::Kind::kNodes, 0, nodes});
  const int lines = static_cast<int>(SimplerLines(history.command_line).size());
  for (int i = 0; i < lines; ++i)
    edits.push_back({Edit::Kind::kCommandLine, 0, i});
  for (int at = 0; at < size; ++at) {
    const int ways = static_cast<int>(
        SimplerCommands(history.commands[static_cast<size_t>(at)]).size());
    for (int i = 0; i < ways; ++i)
      edits.push_back({Edit::Kind::kCommand, at, i});
  }
  return edits;
}

History Apply(const History& history, const Edit& edit) {
  History h = history;
  auto at = h.commands.begin() + edit.at;
  const auto way = static_cast<size_t>(edit.count);
  switch (edit.kind) {
    case Edit::Kind::kRemove:
      h.commands.erase(at, at + edit.count);
      break;
    case Edit::Kind::kCommand:
      *at = std::move(SimplerCommands(*at)[way]);
      break;
    case Edit::Kind::kCommandLine:
      h.command_line = std::move(SimplerLines(h.command_line)[way]);
      break;
    case Edit::Kind::kNodes:
      h.nodes = edit.count;
      break;
  }
  return h;
}

ShrinkResult Shrink(const History& history,
                    const std::function<bool(const History&)>& fails,
                    int max_runs) {
  ShrinkResult result;
  result.history = history;
  // After a success the search goes on from the same place: what failed to
  // help before rarely helps now. Another round makes sure.
  for (bool changed = true; changed;) {
    changed = false;
    std::vector<Edit> edits = Edits(result.history);
    for (size_t i = 0; i < edits.size();) {
      if (result.runs == max_runs) return result;
      History simpler = Apply(result.history, edits[i]);
      ++result.runs;
      if (!fails(simpler)) {
        ++i;
        continue;
      }
      result.history = std::move(simpler);
      changed = true;
      edits = Edits(result.history);
    }
  }
  result.finished = true;
  return result;
}

}  // namespace handover::props
