// SPDX-License-Identifier: BSD-3-Clause
#include "sim/cli/arguments.h"

#include <algorithm>
#include <charconv>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace sim::cli {
namespace {

std::string Dashed(std::string_view name) {
  return absl::StrCat(name.size() == 1 ? "-" : "--", std::string(name));
}

// How the flag and its value are written.
std::string Example(const FlagSpec& flag) {
  return absl::StrCat(Dashed(flag.name), flag.name.size() == 1 ? " " : "=",
                      std::string(flag.value));
}

const FlagSpec* Find(const Subcommand& command, std::string_view name) {
  for (const FlagSpec& flag : command.flags)
    if (flag.name == name) return &flag;
  return nullptr;
}

std::string& Program() {
  static auto* const name = new std::string("handover");
  return *name;
}

// How many operands are wanted: one for each word of "FILE OTHER".
size_t Wanted(std::string_view operands) {
  if (operands.empty()) return 0;
  return static_cast<size_t>(
             std::count(operands.begin(), operands.end(), ' ')) +
         1;
}

}  // namespace

absl::StatusOr<Arguments> Arguments::Parse(
    const Subcommand& command, const std::vector<std::string>& words) {
  Arguments arguments;
  bool only_operands = false;
  for (size_t i = 0; i < words.size(); ++i) {
    std::string_view word = words[i];
    if (only_operands || word.size() < 2 || word[0] != '-') {
      arguments.operands_.emplace_back(word);
      continue;
    }
    if (word == "--") {
      only_operands = true;
      continue;
    }
    word.remove_prefix(word[1] == '-' ? 2 : 1);
    const size_t equals = word.find('=');
    const std::string_view name = word.substr(0, equals);
    const FlagSpec* flag = Find(command, name);
    if (flag == nullptr) {
      std::string all;
      for (const FlagSpec& known : command.flags)
        absl::StrAppend(&all, all.empty() ? "" : ", ", Dashed(known.name));
      return absl::InvalidArgumentError(absl::StrCat(
          "there is no ", words[i], "; there is ",
          all.empty() ? "only --help" : absl::StrCat(all, " and --help")));
    }
    std::string value;
    if (equals != std::string_view::npos) {
      if (flag->value.empty())
        return absl::InvalidArgumentError(
            absl::StrCat(Dashed(name), " takes no value"));
      value = std::string(word.substr(equals + 1));
    } else if (!flag->value.empty() && i + 1 < words.size()) {
      value = words[++i];
      // More likely a value was forgotten.
      if (value.size() > 1 && value[0] == '-')
        return absl::InvalidArgumentError(
            absl::StrCat(Dashed(name), " needs a value, and ", value,
                         " looks like a flag: write ", Dashed(name), "=", value,
                         " if it is meant"));
    }
    if (!flag->value.empty() && value.empty())
      return absl::InvalidArgumentError(
          absl::StrCat(Dashed(name), " needs a value: ", Example(*flag)));
    if (!arguments.flags_.emplace(std::string(name), value).second)
      return absl::InvalidArgumentError(
          absl::StrCat(Dashed(name), " is given twice"));
  }
  const size_t wanted = Wanted(command.operands);
  if (arguments.operands_.size() < wanted)
    return absl::InvalidArgumentError(absl::StrCat(
        "what to ", std::string(command.name), " is missing: handover ",
        std::string(command.name), " ", std::string(command.operands)));
  for (const std::string& operand : arguments.operands_)
    if (operand.empty())
      return absl::InvalidArgumentError(absl::StrCat(
          "an empty word is no ", wanted > 0 ? "file's name" : "argument",
          ": handover ", std::string(command.name), " ",
          std::string(command.operands)));
  if (arguments.operands_.size() > wanted)
    return absl::InvalidArgumentError(
        absl::StrCat("'", arguments.operands_[wanted], "' is too much"));
  return arguments;
}

bool Arguments::Has(std::string_view flag) const {
  return flags_.find(flag) != flags_.end();
}

std::string Arguments::Text(std::string_view flag,
                            std::string_view otherwise) const {
  auto it = flags_.find(flag);
  return it == flags_.end() ? std::string(otherwise) : it->second;
}

absl::StatusOr<uint64_t> Arguments::Number(std::string_view flag,
                                           uint64_t otherwise, uint64_t min,
                                           uint64_t max) const {
  auto it = flags_.find(flag);
  if (it == flags_.end()) return otherwise;
  const std::string& text = it->second;
  uint64_t value = 0;
  auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < min ||
      value > max)
    return absl::InvalidArgumentError(
        absl::StrCat(Dashed(flag), " is a number from ", min, " to ", max,
                     ", not '", text, "'"));
  return value;
}

void SetProgramName(const std::string& name) { Program() = name; }

const std::string& ProgramName() { return Program(); }

std::string Help(const Subcommand& command) {
  std::string out =
      absl::StrCat("usage: handover ", std::string(command.name),
                   command.flags.empty() ? "" : " [FLAG]...",
                   command.operands.empty()
                       ? ""
                       : absl::StrCat(" ", std::string(command.operands)),
                   "\n\n", std::string(command.help), "\n");
  if (!command.flags.empty()) out += '\n';
  constexpr size_t kColumn = 24;
  for (const FlagSpec& flag : command.flags) {
    std::string left = absl::StrCat(
        "  ", flag.value.empty() ? Dashed(flag.name) : Example(flag));
    left.resize(std::max(left.size() + 2, kColumn), ' ');
    std::string_view help = flag.help;
    while (true) {
      const size_t line = help.find('\n');
      absl::StrAppend(&out, left, std::string(help.substr(0, line)), "\n");
      if (line == std::string_view::npos) break;
      help.remove_prefix(line + 1);
      left.assign(kColumn, ' ');
    }
  }
  return out;
}

}  // namespace sim::cli
