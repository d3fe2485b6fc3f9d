// SPDX-License-Identifier: BSD-3-Clause
#include "model/explorer_report.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "model/explorer_protocol.h"
#include "model/refinement.h"

namespace handover::model {
namespace {

using Lane = ExploredStep::Lane;

constexpr std::array<const char*, 5> kLanes = {
    "a program", "another program", "administrator", "agent", "kernel"};

absl::string_view View(std::string_view text) {
  return {text.data(), text.size()};
}

std::string Escaped(absl::string_view text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

bool Acts(const Counterexample& found, Lane lane) {
  for (const ExploredStep& step : found.steps)
    if (step.lane == lane) return true;
  return false;
}

}  // namespace

std::string ExploredTable(const std::vector<ExploredDesign>& designs) {
  std::string text = "| design |";
  for (size_t p = 0; p < kNrExplored; ++p)
    absl::StrAppend(&text, " ", View(ExploredName(p)), " |");
  absl::StrAppend(&text, " states |\n| --- |");
  for (size_t p = 0; p < kNrExplored + 1; ++p) absl::StrAppend(&text, " --- |");
  absl::StrAppend(&text, "\n");
  for (const ExploredDesign& each : designs) {
    absl::StrAppend(&text, "| ", View(each.design->name), " |");
    for (const Counterexample& found : each.result.broken)
      absl::StrAppend(&text, " ",
                      found.found ? absl::StrCat(found.steps.size()) : "-",
                      " |");
    absl::StrAppend(&text, " ", each.result.states,
                    each.result.complete ? " |\n" : " and more |\n");
  }
  return text;
}

std::string CounterexampleText(const Design& design, size_t property,
                               const Counterexample& found) {
  std::string text =
      absl::StrCat(View(design.name), " breaks ", View(ExploredName(property)),
                   " in ", found.steps.size(), " steps: ", found.why, "\n");
  int generation = 0, number = 0;
  for (const ExploredStep& step : found.steps) {
    if (step.generation != generation) {
      generation = step.generation;
      absl::StrAppend(&text, "  kernel ", generation, "\n");
    }
    absl::StrAppend(&text, "    ", ++number, ". ",
                    kLanes[static_cast<size_t>(step.lane)], ": ", step.what,
                    "\n");
    if (!step.pages.empty())
      absl::StrAppend(&text, "         pages: ", step.pages, "\n");
  }
  return text;
}

std::string CounterexampleDot(const Design& design, size_t property,
                              const Counterexample& found) {
  std::string text = absl::StrCat(
      "digraph counterexample {\n  node [shape=plain fontname=\"sans-serif\" "
      "fontsize=11];\n  steps [label=<<table border=\"0\" cellborder=\"1\" "
      "cellspacing=\"0\" cellpadding=\"4\">\n<tr><td colspan=\"7\" "
      "border=\"0\"><b>",
      Escaped(View(design.name)), "</b> breaks <b>",
      Escaped(View(ExploredName(property))), "</b>: ", Escaped(found.why),
      "</td></tr>\n<tr><td>kernel</td>");
  for (size_t lane = 0; lane < kLanes.size(); ++lane)
    if (Acts(found, static_cast<Lane>(lane)))
      absl::StrAppend(&text, "<td><b>", kLanes[lane], "</b></td>");
  absl::StrAppend(&text, "<td><b>pages</b></td></tr>\n");
  for (size_t i = 0; i < found.steps.size(); ++i) {
    const ExploredStep& step = found.steps[i];
    const bool last = i + 1 == found.steps.size();
    const std::string shade = step.generation % 2 ? "#f4f4f4" : "#e3eefa";
    absl::StrAppend(&text, "<tr><td bgcolor=\"", shade, "\">", step.generation,
                    "</td>");
    for (size_t lane = 0; lane < kLanes.size(); ++lane) {
      if (!Acts(found, static_cast<Lane>(lane))) continue;
      const bool here = step.lane == static_cast<Lane>(lane);
      absl::StrAppend(&text, "<td bgcolor=\"",
                      here ? (last ? "#f4b6b0" : "#cfe8cf") : shade, "\">",
                      here ? Escaped(step.what) : "", "</td>");
    }
    absl::StrAppend(&text, "<td align=\"left\" bgcolor=\"", shade, "\">",
                    Escaped(step.pages), "</td></tr>\n");
  }
  absl::StrAppend(&text, "</table>>];\n}\n");
  return text;
}

namespace {

bool IsBroken(const Exploration& result) {
  for (const Counterexample& found : result.broken)
    if (found.found) return true;
  return false;
}

// From its kind, in so many points that each property it breaks is of interest.
bool DiffersInMuch(const Design& design) {
  constexpr int kMostPoints = 4;
  const Design* base = FindDesign(design.variation);
  if (base == nullptr) return false;
  const std::vector<std::string_view> usual = PointsOf(*base),
                                      other = PointsOf(design);
  int points = 0;
  for (size_t i = 0; i < usual.size(); ++i) points += usual[i] != other[i];
  return points > kMostPoints;
}

// Bounds in which more of something happens, for designs that have no flaw
// without it, and for some others.
struct More {
  const char* bounds;
  const char* when;
  std::vector<std::string_view> also;  // where it is of interest
  std::vector<ExploredDesign> broken;
  std::vector<ExploredDesign> others;
};

// Where each of the others departs from its kind, and what comes of it.
std::string Argument(const std::vector<ExploredDesign>& all,
                     const std::vector<More>& more) {
  std::string text =
      "| instead of | it does | design | and breaks |\n| --- | --- | --- | --- "
      "|\n";
  for (const ExploredDesign& each : all) {
    const Design* base = FindDesign(each.design->variation);
    if (base == nullptr) continue;
    const std::vector<std::string_view> usual = PointsOf(*base),
                                        other = PointsOf(*each.design);
    if (DiffersInMuch(*each.design)) continue;  // no argument for any of it
    std::string instead, does, breaks;
    for (size_t i = 0; i < usual.size(); ++i) {
      if (usual[i] == other[i]) continue;
      absl::StrAppend(&instead, instead.empty() ? "" : "; ", View(usual[i]));
      absl::StrAppend(&does, does.empty() ? "" : "; ", View(other[i]));
    }

    for (size_t p = 0; p < kNrExplored; ++p)
      if (each.result.broken[p].found)
        absl::StrAppend(&breaks, breaks.empty() ? "" : ", ",
                        View(ExploredName(p)));
    for (const More& m : more)
      for (const ExploredDesign& other_one : m.broken)
        if (other_one.design == each.design)
          absl::StrAppend(&breaks, ", but only if ", m.when);
    absl::StrAppend(&text, "| ", instead, " | ", does, " | ",
                    View(each.design->name), " | ",
                    breaks.empty() ? "nothing" : breaks, " |\n");
  }
  return text;
}

// An image of Markdown.
std::string Image(absl::string_view what, const std::string& name) {
  return absl::StrCat("![", what, "](atomicity/", name, ".svg)\n");
}

void AddProtocol(Atomicity* report) {
  const Design& design = Designs()[0];
  const Bounds bounds = *ReadBounds("nodes=1 cuts=0");
  const Protocols protocols = ExploreProtocol(design, bounds);
  const std::string name(design.name);
  report->pictures.push_back(
      {"protocol-file",
       ProtocolDot(protocols.file, name + ": what becomes of a file")});
  report->pictures.push_back(
      {"protocol-page",
       ProtocolDot(protocols.page, name + ": what becomes of a page")});
  absl::StrAppend(
      &report->text, "\n## The state machine of ", name,
      "\n\nRead off the steps of the machine within `", WriteBounds(bounds),
      "`: what a\nfile, or a page, can come to be, and by which steps. Dashed: "
      "a failure, an abort, and what follows from them. Blue: what is\nonly "
      "there in a kernel to which something came. Not drawn: a failure that "
      "leads where the step itself would have led, what\nbecomes of a kernel "
      "that is cut short, and surplus pages, which leave the pool.\n\n",
      Image("what becomes of a file", "protocol-file"), "\n",
      Image("what becomes of a page", "protocol-page"));
}

}  // namespace

Atomicity AtomicityReport() {
  Atomicity report;
  AddProtocol(&report);
  std::string& text = report.text;
  absl::StrAppend(
      &text,
      "\n## Designs\n\n| design | what it does | who might propose it |\n| --- "
      "| --- | --- |\n");
  for (const Design& d : Designs())
    absl::StrAppend(&text, "| ", View(d.name), " | ",
                    d.variation.empty() || d.variation == "late-pages"
                        ? ""
                        : absl::StrCat("(as ", View(d.variation), ") "),
                    View(d.what), " | ", View(d.who), " |\n");

  ExploreOptions options;
  options.bounds = *ReadBounds("small");
  auto explore = [&report, &options](const Design& design) {
    Exploration result = Explore(design, options);
    report.runs.push_back({&design, WriteBounds(options.bounds), result});
    return result;
  };
  std::vector<ExploredDesign> all;
  // A file is as long as it can be at first: what is about files that grow
  // shows where one can become shorter before.
  std::vector<More> more = {{"cuts=1", "a kernel is cut short", {}, {}, {}},
                            {"truncations=2",
                             "a file is truncated twice",
                             {"late-pages", "grows", "rfc-2025"},
                             {},
                             {}}};
  std::vector<ExploredDesign>& sound = report.sound;
  for (const Design& d : Designs()) all.push_back({&d, explore(d)});
  absl::StrAppend(&text, "\n## Designs against properties\n\nWithin `",
                  WriteBounds(options.bounds),
                  "`: the number of steps in which a property can be broken, "
                  "or a dash.\n\n",
                  ExploredTable(all));

  for (More& m : more) {
    options.bounds = *ReadBounds(absl::StrCat("small ", m.bounds));
    for (ExploredDesign& each : all) {
      const bool was_broken = IsBroken(each.result);
      const bool also = std::find(m.also.begin(), m.also.end(),
                                  each.design->name) != m.also.end();
      if (was_broken && !also) continue;
      Exploration result = explore(*each.design);
      if (also) m.others.push_back({each.design, result});
      if (was_broken) {
        // What breaks only here is shown, too.
        for (size_t p = 0; p < kNrExplored; ++p)
          if (!each.result.broken[p].found)
            each.result.broken[p] = std::move(result.broken[p]);
        continue;
      }
      if (!IsBroken(result)) continue;
      if (!also) m.broken.push_back({each.design, result});
      each.result = std::move(result);
    }
    absl::StrAppend(&text, "\nThose of them that have no flaw until ", m.when,
                    ", with `", m.bounds, "`:\n\n", ExploredTable(m.broken));
    if (!m.others.empty())
      absl::StrAppend(&text,
                      "\nThere, too, since a file has to become "
                      "shorter before it can grow:\n\n",
                      ExploredTable(m.others));
  }

  options.bounds = Bounds();
  sound.push_back({&Designs()[0], explore(Designs()[0])});
  absl::StrAppend(&text, "\nOurs, within `", WriteBounds(options.bounds),
                  "`:\n\n", ExploredTable(sound));
  options.bounds = *ReadBounds("pair");
  std::vector<ExploredDesign> others;
  for (const ExploredDesign& each : all)
    if (!IsBroken(each.result) && each.design != sound[0].design)
      others.push_back({each.design, explore(*each.design)});
  absl::StrAppend(&text, "\nThe others without a flaw, within `",
                  WriteBounds(options.bounds), "`:\n\n", ExploredTable(others));
  sound.insert(sound.end(), others.begin(), others.end());

  absl::StrAppend(
      &text, "\n## The argument, point by point\n\nWhat ",
      View(Designs()[0].name),
      " does, what another design does instead, and what that "
      "breaks. (What is about lists of\nfree pages is compared with "
      "free-pools, or with free-at-once where it is about other steps;\n"
      "rfc-2025 does too much otherwise to argue for any of it.)"
      "\n\n",
      Argument(all, more));

  absl::StrAppend(&text,
                  "\n## How each of the others breaks\n\nThe shortest way "
                  "to break the property in which the flaw shows first; of a "
                  "design with many\nflaws, each property that breaks, in the "
                  "smallest of these bounds in which it does.\n");
  for (const ExploredDesign& each : all) {
    std::vector<size_t> shown;
    for (size_t p = 0; p < kNrExplored; ++p)
      if (each.result.broken[p].found) shown.push_back(p);
    if (shown.empty()) continue;
    const bool much = DiffersInMuch(*each.design);
    if (!much)
      shown = {*std::min_element(shown.begin(), shown.end(),
                                 [&each](size_t a, size_t b) {
                                   return each.result.broken[a].steps.size() <
                                          each.result.broken[b].steps.size();
                                 })};
    absl::StrAppend(&text, "\n### ", View(each.design->name), "\n");
    for (const size_t p : shown) {
      const Counterexample& found = each.result.broken[p];
      const std::string property(ExploredName(p));
      std::string name(each.design->name);
      if (much) absl::StrAppend(&name, "-", property);
      report.pictures.push_back(
          {name, CounterexampleDot(*each.design, p, found)});
      absl::StrAppend(
          &text, "\n",
          Image(absl::StrCat("how ", View(each.design->name), " breaks ",
                             property),
                name),
          "\n<details><summary>", property, ", in words</summary>\n\n```\n",
          CounterexampleText(*each.design, p, found), "```\n\n</details>\n");
    }
  }
  absl::StrAppend(&text, RefinementText(), "\n");
  return report;
}

std::string WithSource(const std::string& svg, const std::string& dot) {
  // Behind the tag that opens the picture.
  const size_t tag = svg.find("<svg");
  const size_t end = tag == std::string::npos ? tag : svg.find('>', tag);
  if (end == std::string::npos) return svg;
  return absl::StrCat(svg.substr(0, end + 1), "\n<metadata><![CDATA[\n", dot,
                      "]]></metadata>", svg.substr(end + 1));
}

bool IsDrawnFrom(const std::string& svg, const std::string& dot) {
  return svg.find(absl::StrCat("<![CDATA[\n", dot, "]]>")) != std::string::npos;
}

absl::StatusOr<std::string> UpdateAtomicity(const std::string& document,
                                            const std::string& report) {
  constexpr absl::string_view kBegin = "<!-- handover explore: begin -->\n";
  constexpr absl::string_view kEnd = "<!-- handover explore: end -->\n";
  const size_t begin = document.find(std::string(kBegin));
  const size_t end = document.find(std::string(kEnd));
  if (begin == std::string::npos || end == std::string::npos || end < begin)
    return absl::InvalidArgumentError(
        absl::StrCat("the lines ", kBegin.substr(0, kBegin.size() - 1), " and ",
                     kEnd.substr(0, kEnd.size() - 1),
                     " are missing, between which the report goes"));
  return absl::StrCat(document.substr(0, begin + kBegin.size()), report,
                      document.substr(end));
}

}  // namespace handover::model
