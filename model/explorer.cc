// SPDX-License-Identifier: BSD-3-Clause
#include "model/explorer.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "model/explorer_state.h"

namespace handover::model {
namespace {

struct Limit {
  absl::string_view name;
  int Bounds::*value;
  int least;
  int most;
};

constexpr Limit kLimits[] = {
    {"files", &Bounds::files, 1, 2},
    {"indices", &Bounds::indices, 1, 2},
    {"processes", &Bounds::processes, 1, 2},
    {"pages", &Bounds::pages, 2, 4},
    {"nodes", &Bounds::nodes, 1, 2},
    {"updates", &Bounds::updates, 1, 2},
    {"aborts", &Bounds::aborts, 0, 3},
    {"failures", &Bounds::failures, 0, 3},
    {"damages", &Bounds::damages, 0, 3},
    {"resizes", &Bounds::resizes, 0, 3},
    {"cuts", &Bounds::cuts, 0, 3},
    {"creates", &Bounds::creates, 0, 3},
    {"truncations", &Bounds::truncations, 0, 3},
    {"reads", &Bounds::reads, 0, 1},
};

uint64_t Hash(const XState& s) {
  uint64_t hash = 0x9e3779b97f4a7c15u;
  for (const uint64_t word : std::bit_cast<XWords>(s)) {
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  }
  return hash;
}

// The states that were seen, in the order in which they were found. A table
// finds them: of each its number, from 1 on, and a part of its hash, so that
// other states are rarely looked at. Half of it is empty at least.
class Seen {
 public:
  Seen() : table_(1 << 16, Entry{}) {}

  // Will be asked for soon. What is looked for is rarely in a cache.
  void Prefetch(uint64_t hash) const {
    __builtin_prefetch(&table_[hash & (table_.size() - 1)]);
  }
  // The number of `s`, whose hash this is, and whether it is new.
  std::pair<uint32_t, bool> Insert(const XState& s, uint64_t hash) {
    if (2 * states_.size() >= table_.size()) Grow();
    const uint32_t part = static_cast<uint32_t>(hash >> 32);
    size_t at = hash & (table_.size() - 1);
    for (; table_[at].number != 0; at = (at + 1) & (table_.size() - 1))
      if (table_[at].part == part && states_[table_[at].number - 1] == s)
        return {table_[at].number - 1, false};
    states_.push_back(s);
    table_[at] = {static_cast<uint32_t>(states_.size()), part};
    return {table_[at].number - 1, true};
  }
  std::pair<uint32_t, bool> Insert(const XState& s) {
    return Insert(s, Hash(s));
  }
  const XState& operator[](size_t i) const { return states_[i]; }
  size_t size() const { return states_.size(); }

 private:
  struct Entry {
    uint32_t number = 0;
    uint32_t part = 0;
  };

  void Grow() {
    table_.assign(2 * table_.size(), Entry{});
    for (size_t i = 0; i < states_.size(); ++i) {
      const uint64_t hash = Hash(states_[i]);
      size_t at = hash & (table_.size() - 1);
      while (table_[at].number != 0) at = (at + 1) & (table_.size() - 1);
      table_[at] = {static_cast<uint32_t>(i + 1),
                    static_cast<uint32_t>(hash >> 32)};
    }
  }

  std::vector<XState> states_;
  std::vector<Entry> table_;
};

void AddStep(const XNext& n, const XState& before, const XMachine& code,
             const Bounds& bounds, Counterexample* result) {
  ExploredStep step = Describe(n.action, before);
  const std::string pages = PagesOf(n.state, bounds);
  if (pages != PagesOf(before, bounds)) step.pages = pages;
  step.action = n.action;
  step.node = before.page[n.action.page].node;
  step.pool = n.state.counted[static_cast<size_t>(step.node)].total;
  std::vector<XNext> next;
  code.Successors(before, &next);
  step.differs = true;
  for (const XNext& other : next)
    if (other.action.kind == n.action.kind && other.state == n.state &&
        other.broken == n.broken)
      step.differs = false;
  result->steps.push_back(std::move(step));
}

class Search {
 public:
  Search(const Design& design, const ExploreOptions& options)
      : machine_(design, options.bounds),
        code_(DesignOfCode(design), options.bounds),
        options_(options) {}

  Exploration Run() {
    Exploration result;
    seen_.Insert(machine_.Initial());
    parents_.push_back(0);
    size_t level_end = 1;
    Reasons why = 0;
    std::vector<XNext> next;
    std::vector<std::pair<XState, uint64_t>> canonical;
    for (size_t i = 0; i < seen_.size(); ++i) {
      if (i == level_end) {
        level_end = seen_.size();
        ++result.depth;
      }
      if ((i & 0xffff) == 0 && options_.progress)
        options_.progress(static_cast<int64_t>(seen_.size()), result.depth);
      next.clear();
      machine_.Successors(seen_[i], &next);
      result.transitions += static_cast<int64_t>(next.size());
      canonical.clear();
      for (const XNext& n : next) {
        const XState state = machine_.Canonical(n.state);
        canonical.emplace_back(state, Hash(state));
        seen_.Prefetch(canonical.back().second);
      }
      for (size_t at = 0; at < next.size(); ++at) {
        const XNext& n = next[at];
        const auto [number, fresh] =
            seen_.Insert(canonical[at].first, canonical[at].second);
        if (fresh) parents_.push_back(static_cast<uint32_t>(i));
        if (n.broken == 0) continue;
        if ((n.why & ~why) != 0) AddReasons(n.why, &result.reasons);
        why |= n.why;
        for (size_t p = 0; p < kNrExplored; ++p) {
          Counterexample& found = result.broken[p];
          if ((n.broken & 1u << p) == 0 || found.found) continue;
          found = Trace(i, n, p);
          if (options_.property == p) return Done(std::move(result));
        }
      }
      if (static_cast<int64_t>(seen_.size()) >=
          (why == 0 ? options_.max_states : options_.max_states_broken)) {
        result.complete = false;
        break;
      }
    }
    return Done(std::move(result));
  }

 private:
  Exploration Done(Exploration result) const {
    result.states = static_cast<int64_t>(seen_.size());
    return result;
  }

  // From the beginning to state `i`, and the transition that broke something.
  Counterexample Trace(size_t i, const XNext& last, size_t property) const {
    std::vector<XState> way;
    for (size_t at = i; at != 0; at = parents_[at]) way.push_back(seen_[at]);
    way.push_back(seen_[0]);
    std::reverse(way.begin(), way.end());
    absl::StatusOr<Counterexample> told =
        TellSteps(machine_, code_, options_.bounds, way, last, property);
    if (!told.ok()) {
      std::fprintf(stderr, "explorer: %s\n", told.status().ToString().c_str());
      std::abort();
    }
    return *std::move(told);
  }

  // What the kernel code does that is nearest to it.
  static const Design& DesignOfCode(const Design& design) {
    const Design* base = FindDesign(design.variation);
    return base == nullptr ? design : *base;
  }

  const XMachine machine_;
  const XMachine code_;
  const ExploreOptions& options_;
  Seen seen_;
  std::vector<uint32_t> parents_;
};

}  // namespace

const std::vector<NamedBounds>& AllNamedBounds() {
  static const auto* all = new std::vector<NamedBounds>{
      {"small", "files=1 processes=1 pages=4 cuts=0 reads=1",
       "each flaw shows, but for those that ask for more of something"},
      {"pair", "creates=0 truncations=0",
       "as by default, but files stay as they are"},
  };
  return *all;
}

absl::StatusOr<Bounds> ReadBounds(std::string_view text) {
  Bounds bounds;
  for (absl::string_view word :
       absl::StrSplit(absl::string_view(text.data(), text.size()),
                      absl::ByAnyChar(" ,"), absl::SkipEmpty())) {
    bool is_name = false;
    for (const NamedBounds& named : AllNamedBounds()) {
      if (word != absl::string_view(named.name.data(), named.name.size()))
        continue;
      bounds = ReadBounds(named.bounds).value();
      is_name = true;
    }
    if (is_name) continue;
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(word, absl::MaxSplits('=', 1));
    const Limit* limit = nullptr;
    std::string names;
    for (const Limit& l : kLimits) {
      if (l.name == parts.first) limit = &l;
      absl::StrAppend(&names, names.empty() ? "" : ", ", l.name);
    }
    if (limit == nullptr)
      return absl::InvalidArgumentError(
          absl::StrCat("'", parts.first, "' is no bound: there are ", names,
                       "; and small, pair"));
    int value;
    if (!absl::SimpleAtoi(parts.second, &value) || value < limit->least ||
        value > limit->most)
      return absl::InvalidArgumentError(
          absl::StrCat(limit->name, " is ", limit->least, " to ", limit->most,
                       ", not '", parts.second, "'"));
    bounds.*limit->value = value;
  }
  return bounds;
}

std::string WriteBounds(const Bounds& bounds) {
  std::string text;
  for (const Limit& l : kLimits)
    absl::StrAppend(&text, text.empty() ? "" : " ", l.name, "=",
                    bounds.*l.value);
  return text;
}

absl::StatusOr<Counterexample> TellSteps(const XMachine& machine,
                                         const XMachine& code,
                                         const Bounds& bounds,
                                         const std::vector<XState>& way,
                                         const XNext& last, size_t property) {
  Counterexample result;
  result.found = true;
  XState state = way.at(0);
  std::vector<XNext> next;
  for (size_t to = 1; to <= way.size(); ++to) {
    const bool is_last = to == way.size();
    const XState wanted = is_last ? machine.Canonical(last.state) : way[to];
    next.clear();
    machine.Successors(state, &next);
    const auto found =
        std::find_if(next.begin(), next.end(), [&](const XNext& n) {
          return (!is_last || (n.broken == last.broken &&
                               n.action.kind == last.action.kind)) &&
                 machine.Canonical(n.state) == wanted;
        });
    if (found == next.end())
      return absl::InternalError(absl::StrCat(
          "no step leads to state ", to, " of ", way.size(),
          " on the way to a finding: states that differ in names only do not "
          "behave alike"));
    AddStep(*found, state, code, bounds, &result);
    if (is_last) result.why = std::string(ReasonFor(found->why, property));
    state = found->state;
  }
  return result;
}

Exploration Explore(const Design& design, const ExploreOptions& options) {
  return Search(design, options).Run();
}

void VisitTransitions(
    const Design& design, const Bounds& bounds,
    const std::function<void(const XState& before, const XNext& next)>& visit) {
  const XMachine machine(design, bounds);
  Seen seen;
  seen.Insert(machine.Initial());
  std::vector<XNext> next;
  for (size_t i = 0; i < seen.size(); ++i) {
    const XState before = seen[i];
    next.clear();
    machine.Successors(before, &next);
    for (const XNext& n : next) {
      visit(before, n);
      seen.Insert(machine.Canonical(n.state));
    }
  }
}

}  // namespace handover::model
