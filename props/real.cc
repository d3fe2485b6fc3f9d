// SPDX-License-Identifier: BSD-3-Clause
#include "props/real.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "props/generator.h"

namespace handover::props {
namespace {

using model::Command;
using model::Geometry;
using model::History;
using model::Verb;

constexpr uint64_t kLarge = uint64_t{1} << 21;
constexpr uint64_t kGigantic = uint64_t{1} << 30;

class Mover {
 public:
  Mover(Geometry from, bool gigantic) : from_(from), gigantic_(gigantic) {}

  uint64_t Size(uint64_t size) const {
    if (size == 0) return 0;
    return model::IsGigantic(from_, size) && gigantic_ ? kGigantic : kLarge;
  }

  std::string Line(const std::string& line) const {
    std::string out;
    std::set<uint64_t> given;
    uint64_t size = kLarge;  // that hugepages= is of
    for (absl::string_view word :
         absl::StrSplit(line, ' ', absl::SkipEmpty())) {
      absl::string_view value = word;
      std::string text(word);
      if (absl::ConsumePrefix(&value, "hugepagesz=")) {
        size = Parsed(value);
        if (given.count(size) != 0) continue;
        text = absl::StrCat("hugepagesz=", model::PrintSize(size));
      } else if (absl::ConsumePrefix(&value, "default_hugepagesz=")) {
        size = Parsed(value);
        text = absl::StrCat("default_hugepagesz=", model::PrintSize(size));
      } else if (word == "numa=off" || absl::StartsWith(word, "hugetlb_cma")) {
        continue;  // nobody could say where pages lie that come from there
      } else if (absl::StartsWith(word, "hugepages=") &&
                 !given.insert(size).second) {
        continue;
      }
      absl::StrAppend(&out, out.empty() ? "" : " ", text);
    }
    return out;
  }

 private:
  uint64_t Parsed(absl::string_view value) const {
    const auto size =
        model::ParseSize(std::string_view(value.data(), value.size()));
    return size.ok() ? Size(*size) : kLarge;
  }

  const Geometry from_;
  const bool gigantic_;
};

}  // namespace

History ForRealMachine(const History& history, bool gigantic) {
  const Mover mover(history.geometry, gigantic);
  History out;
  out.geometry = Geometry::kX86;
  out.nodes = 2;
  out.command_line = mover.Line(history.command_line);
  for (Command c : history.commands) {
    if (model::IsSimulatorOnly(c) || c.verb == Verb::kPin ||
        c.verb == Verb::kPoisonFree)
      continue;
    if (c.verb >= Verb::kCgroup && c.verb <= Verb::kLimit) continue;
    c.page_size = mover.Size(c.page_size);
    c.node = std::min(c.node, 1);
    // No x86_64 kernel runs without its default size.
    for (uint64_t& size : c.missing_sizes) size = mover.Size(size);
    c.missing_sizes.erase(
        std::remove(c.missing_sizes.begin(), c.missing_sizes.end(), kLarge),
        c.missing_sizes.end());
    if (c.verb == Verb::kLoad) c.command_line = mover.Line(c.command_line);
    out.commands.push_back(std::move(c));
  }
  return out;
}

History GenerateReal(uint64_t seed, bool gigantic) {
  GeneratorOptions options;
  options.machine = gigantic ? GeneratorOptions::Machine::kX86
                             : GeneratorOptions::Machine::kSmall;
  options.nodes = 2;
  options.real = true;
  return ForRealMachine(Generate(seed, options), gigantic);
}

bool IsGigantic(const History& history) {
  return absl::StrContains(model::Print(history), "1G");
}

}  // namespace handover::props
