// SPDX-License-Identifier: BSD-3-Clause
#include "sim/cli/failures.h"

#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "props/shrink.h"
#include "sim/cli/arguments.h"
#include "sim/cli/files.h"

namespace sim::cli {
namespace {

namespace model = ::handover::model;
namespace props = ::handover::props;

// Files of one seed in one folder: more than anybody wants.
constexpr int kMostOfOneSeed = 1000;

bool Holds(const std::string& path, const std::string& content) {
  absl::StatusOr<std::string> is = ReadFile(path);
  return is.ok() && *is == content;
}

bool MayHold(const std::string& path, const std::string& content) {
  std::error_code error;
  return !std::filesystem::exists(path, error) || Holds(path, content);
}

// The shrunk history breaks the same property.
model::History Shrunk(const model::History& history,
                      const std::string& property) {
  return props::Shrink(history,
                       [&property](const model::History& simpler) {
                         const HistoryResult result = RunHistory(simpler);
                         return !result.ok() &&
                                result.findings[0].property == property;
                       })
      .history;
}

// What happens, whatever the numbers.
std::string Shape(const model::Command& command) {
  std::string shape = absl::StrCat(static_cast<int>(command.actor), " ",
                                   std::string(model::VerbName(command.verb)));
  if (command.verb == model::Verb::kCorrupt)
    absl::StrAppend(&shape, " ",
                    std::string(model::TargetName(command.target)));
  for (const model::Command& inner : command.inner)
    absl::StrAppend(&shape, " ", Shape(inner));
  return shape;
}

std::string Shape(const model::History& history) {
  std::string shape;
  for (const model::Command& command : history.commands)
    absl::StrAppend(&shape, Shape(command), "\n");
  return shape;
}

std::string Indented(const std::string& lines) {
  return absl::StrCat("    ",
                      absl::StrReplaceAll(lines.substr(0, lines.size() - 1),
                                          {{"\n", "\n    "}}),
                      "\n");
}

std::string Story(uint64_t seed, const model::History& history,
                  const Finding& finding, const model::History& shrunk) {
  const HistoryResult again = RunHistory(shrunk);
  return absl::StrCat(
      "seed ", seed, ": ", Print(finding, history), "\nshrunk to ",
      shrunk.commands.size(), " commands",
      again.ok() ? "" : absl::StrCat(": ", Print(again.findings[0], shrunk)),
      "\n", Indented(model::Print(shrunk)));
}

std::string Hint(const absl::StatusOr<std::string>& file) {
  const std::string replay = absl::StrCat(ShellWord(ProgramName()), " replay ");
  constexpr char kMore[] =
      "(with --keep-going that shows the consequences, too)\n\n";
  if (file.ok())
    return absl::StrCat("replay it: ", replay, FileWord(*file), "\n", kMore);
  return absl::StrCat("it could not be saved: ", file.status().message(),
                      "\nreplay it: save the lines above as FILE, then ",
                      replay, "FILE\n", kMore);
}

}  // namespace

Failures::Failures(std::string folder, bool force)
    : folder_(std::move(folder)), force_(force) {}

absl::Status Failures::Open() {
  absl::StatusOr<bool> made = MakeFolder(folder_);
  if (!made.ok())
    return absl::InvalidArgumentError(
        absl::StrCat(made.status().message(), " (--out=DIR)"));
  made_ = *made;
  return absl::OkStatus();
}

absl::Status Failures::Write(const std::string& path,
                             const std::string& content) const {
  if (Holds(path, content)) return absl::OkStatus();
  return WriteFile(path, content, force_);
}

absl::StatusOr<std::string> Failures::Save(uint64_t seed,
                                           const std::string& whole,
                                           const std::string& shrunk) const {
  for (int n = 1; n < kMostOfOneSeed; ++n) {
    const std::string base =
        absl::StrCat(folder_, folder_.back() == '/' ? "" : "/", "seed-", seed,
                     n == 1 ? "" : absl::StrCat("-", n));
    const std::string first = base + ".history", second = base + ".min.history";
    if (!force_ && !(MayHold(first, whole) && MayHold(second, shrunk)))
      continue;
    absl::Status status = Write(first, whole);
    if (status.ok()) status = Write(second, shrunk);
    if (!status.ok()) return status;
    return second;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(folder_, " has too many files of seed ", seed));
}

void Failures::Close() const {
  if (made_) rmdir(folder_.c_str());
}

std::string Reporter::Report(uint64_t seed, const model::History& history,
                             const Finding& finding) {
  const model::History shrunk = Shrunk(history, finding.property);
  const std::string header =
      absl::StrCat("# seed ", seed, " broke ", finding.property, "\n");
  const absl::StatusOr<std::string> file = failures_.Save(
      seed, header + model::Print(history), header + model::Print(shrunk));
  const auto [like, is_new] =
      first_.try_emplace({finding.property, Shape(shrunk)}, seed);
  if (is_new || !file.ok())
    return Story(seed, history, finding, shrunk) + Hint(file);
  return absl::StrCat("seed ", seed, " broke ", finding.property,
                      " the way seed ", like->second,
                      " did, with other numbers: ", *file, "\n\n");
}

}  // namespace sim::cli
