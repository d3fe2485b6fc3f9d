// SPDX-License-Identifier: BSD-3-Clause
//
// handover explore: all that can happen to a small machine, design by design.
#include "sim/cli/explore.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/design.h"
#include "model/explorer.h"
#include "model/explorer_history.h"
#include "model/explorer_report.h"
#include "sim/cli/commands.h"
#include "sim/cli/files.h"
#include "sim/cli/render.h"
#include "sim/exec/place.h"

namespace sim::cli {
namespace model = ::handover::model;

absl::Status WriteDocument(const std::string& document,
                           const std::function<model::Atomicity()>& explore) {
  const absl::StatusOr<std::string> old = ReadFile(document);
  if (!old.ok()) return old.status();
  absl::StatusOr<std::string> updated = model::UpdateAtomicity(*old, "");
  if (!updated.ok())
    return absl::InvalidArgumentError(
        absl::StrCat(document, ": ", std::string(updated.status().message())));
  const model::Atomicity report = explore();
  updated = model::UpdateAtomicity(*old, report.text);
  if (!updated.ok()) return updated.status();
  const size_t slash = document.rfind('/');
  const std::string folder =
      (slash == std::string::npos ? "" : document.substr(0, slash + 1)) +
      "atomicity";
  const absl::StatusOr<bool> made = MakeFolder(folder);
  if (!made.ok()) return made.status();
  for (const model::AtomicityPicture& picture : report.pictures) {
    const std::string file = absl::StrCat(folder, "/", picture.name, ".svg");
    const absl::StatusOr<std::string> before = ReadFile(file);
    if (before.ok() && model::IsDrawnFrom(*before, picture.dot)) continue;
    const absl::StatusOr<std::string> svg = Render(picture.dot, "svg");
    if (!svg.ok()) return svg.status();
    const absl::Status status =
        WriteFile(file, model::WithSource(*svg, picture.dot), /*force=*/true);
    if (!status.ok()) return status;
  }
  return WriteFile(document, *updated, /*force=*/true);
}

namespace {

// Enough to find what a flaw breaks first, in seconds.
constexpr int64_t kStatesOnceBroken = 4000000;

std::string Str(std::string_view text) { return std::string(text); }

// The design's number, or of all.
absl::StatusOr<std::vector<const model::Design*>> ChosenDesigns(
    const std::string& name) {
  std::vector<const model::Design*> chosen;
  if (name.empty()) {
    for (const model::Design& d : model::Designs()) chosen.push_back(&d);
    return chosen;
  }
  const model::Design* design = model::FindDesign(name);
  if (design == nullptr) {
    std::string names;
    for (const model::Design& d : model::Designs())
      absl::StrAppend(&names, names.empty() ? "" : ", ", Str(d.name));
    return absl::InvalidArgumentError(
        absl::StrCat("there is no design '", name, "': there are ", names));
  }
  return std::vector<const model::Design*>{design};
}

absl::StatusOr<size_t> ChosenProperty(const std::string& name) {
  std::string names;
  for (size_t p = 0; p < model::kNrExplored; ++p) {
    if (model::ExploredName(p) == name) return p;
    absl::StrAppend(&names, names.empty() ? "" : ", ",
                    Str(model::ExploredName(p)));
  }
  if (name.empty()) return model::kNrExplored;
  return absl::InvalidArgumentError(absl::StrCat("there is no property '", name,
                                                 "' here: there are ", names));
}

absl::Status WriteCounterexamples(const model::Design& design,
                                  const model::Bounds& bounds,
                                  const model::Exploration& result,
                                  const std::string& folder, bool force) {
  for (size_t p = 0; p < model::kNrExplored; ++p) {
    const model::Counterexample& found = result.broken[p];
    if (!found.found) continue;
    const std::string stem = absl::StrCat(folder, "/", Str(design.name), "-",
                                          Str(model::ExploredName(p)));
    absl::Status status =
        WriteFile(stem + ".txt", CounterexampleText(design, p, found), force);
    if (!status.ok()) return status;
    const absl::StatusOr<std::string> history =
        PlaceSteps(CounterexampleHistory(design, p, bounds, found));
    if (!history.ok()) return history.status();
    status = WriteFile(stem + ".history", *history, force);
    if (!status.ok()) return status;
    const absl::StatusOr<std::string> picture =
        Render(CounterexampleDot(design, p, found), "svg");
    if (!picture.ok()) return picture.status();
    status = WriteFile(stem + ".svg", *picture, force);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<int> Explore(const Arguments& arguments) {
  const std::string document = arguments.Text("document", "");
  if (!document.empty()) {
    for (const char* other : {"design", "property", "bounds", "out"})
      if (!arguments.Text(other, "").empty())
        return absl::InvalidArgumentError(absl::StrCat(
            "--document is always the same; leave --", other, " out"));
    const absl::Status status =
        WriteDocument(document, &model::AtomicityReport);
    if (!status.ok()) return status;
    return kHeld;
  }
  const auto designs = ChosenDesigns(arguments.Text("design", ""));
  if (!designs.ok()) return designs.status();
  const auto property = ChosenProperty(arguments.Text("property", ""));
  if (!property.ok()) return property.status();
  const auto bounds = model::ReadBounds(arguments.Text("bounds", ""));
  if (!bounds.ok()) return bounds.status();
  const auto millions = arguments.Number("max-states", 100, 1, 2000);
  if (!millions.ok()) return millions.status();
  const std::string folder = arguments.Text("out", "");
  if (!folder.empty()) {
    const absl::StatusOr<bool> made = MakeFolder(folder);
    if (!made.ok()) return made.status();
  }

  std::printf("%s\n", model::WriteBounds(*bounds).c_str());
  bool broken = false;
  std::vector<model::ExploredDesign> all;
  for (const model::Design* design : *designs) {
    model::ExploreOptions options;
    options.bounds = *bounds;
    options.property = *property;
    options.max_states = static_cast<int64_t>(*millions) * 1000000;
    options.max_states_broken =
        arguments.Has("whole")
            ? options.max_states
            : std::min(options.max_states, kStatesOnceBroken);
    const bool terminal = isatty(STDERR_FILENO);
    if (terminal)
      options.progress = [design](int64_t states, int depth) {
        std::fprintf(stderr, "\r\033[K  ... %s: %lld states, depth %d",
                     Str(design->name).c_str(), static_cast<long long>(states),
                     depth);
      };
    const auto start = std::chrono::steady_clock::now();
    model::Exploration result = model::Explore(*design, options);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count();
    if (terminal) std::fputs("\r\033[K", stderr);
    std::string names;
    for (size_t p = 0; p < model::kNrExplored; ++p) {
      if (!result.broken[p].found) continue;
      absl::StrAppend(&names, " ", Str(model::ExploredName(p)), "(",
                      result.broken[p].steps.size(), ")");
    }
    broken |= !names.empty();
    std::printf(
        "%-16s states=%lld transitions=%lld depth=%d%s in %.1f s: %s%s\n",
        Str(design->name).c_str(), static_cast<long long>(result.states),
        static_cast<long long>(result.transitions), result.depth,
        result.complete ? "" : " (not all)", seconds,
        names.empty() ? "all hold" : "breaks", names.c_str());
    if (*property < model::kNrExplored && result.broken[*property].found)
      std::fputs(
          CounterexampleText(*design, *property, result.broken[*property])
              .c_str(),
          stdout);
    if (!folder.empty()) {
      const absl::Status status = WriteCounterexamples(
          *design, *bounds, result, folder, arguments.Has("force"));
      if (!status.ok()) return status;
    }
    all.push_back({design, std::move(result)});
  }
  if (!folder.empty()) {
    const absl::Status status =
        WriteFile(folder + "/table.md", model::ExploredTable(all),
                  arguments.Has("force"));
    if (!status.ok()) return status;
  }
  return broken ? kBroken : kHeld;
}

}  // namespace

const Subcommand kExplore = {
    "explore",
    "",
    "all that can happen to a small machine, under a design",
    "Searches, breadth first, through everything that programs, an\n"
    "administrator, an agent and failures can do to a machine of a few huge\n"
    "pages, under each way to hand them over that somebody might propose. "
    "Says\n"
    "for each which properties break, and in how many steps at least.\n"
    "Exit status 1 if some property broke.\n",
    {
        {"design", "NAME", "only this one (late-pages is kernel/new)"},
        {"property", "NAME",
         "stop at the first way to break it, and show that"},
        {"bounds", "WORDS",
         "how small, as 'files=2 indices=2 processes=2 pages=3 nodes=2\n"
         "updates=2 aborts=1 failures=1 damages=1 resizes=1 cuts=1 creates=1\n"
         "truncations=1 reads=0' (the default); 'small': 'files=1 "
         "processes=1\n"
         "pages=4 cuts=0 reads=1'; 'pair': 'creates=0 truncations=0'; what\n"
         "follows a name changes something: 'small cuts=1'"},
        {"max-states", "MILLIONS",
         "give up then (default 100; up to 120 bytes each)"},
        {"whole", "",
         "go on after 4 million states though something is broken"},
        {"out", "DIR",
         "write each counterexample there, as text, as a picture, and as a\n"
         "history for the kernel code, and a table of all"},
        {"document", "FILE",
         "only write what was found into docs/atomicity.md, between the\n"
         "comments that are there for it, and its pictures into the folder\n"
         "atomicity beside it"},
        {"force", "", "write over files that are there"},
    },
    Explore};

}  // namespace sim::cli
