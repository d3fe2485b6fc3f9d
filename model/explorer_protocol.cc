// SPDX-License-Identifier: BSD-3-Clause
#include "model/explorer_protocol.h"

#include <array>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/explorer_state.h"

namespace handover::model {
namespace {

using K = XAction::Kind;

struct State {
  const char* name;
  bool next_kernel;
};

// A file, in the order of its life.
enum FileState : uint8_t {
  kInUse,
  kBeingPreserved,
  kPreserved,
  kPreservedLate,
  kLettingGo,
  kFrozen,
  kComingBack,
  kWaitsForStop,
  kAnnounced,
  kCounted,
  kUnchecked,
  kChecked,
  kBeingRetrieved,
  kRetrieved,
  kRefused,
  kFailed,
  kNoFile,
  kNrFileStates,
};
constexpr std::array<State, kNrFileStates> kFileStates = {{
    {"in use", false},
    {"being preserved", false},
    {"preserved", false},
    {"preserved,\nwith late pages", false},
    {"in use again,\nits pages are let go of", false},
    {"frozen, announced\nto the next kernel", false},
    {"frozen,\nthe reboot call comes back", false},
    {"frozen,\nother CPUs still run", false},
    {"announced", true},
    {"counted, to be checked", true},
    {"counted, not checked yet:\nno memory for that", true},
    {"checked,\nwaits to be asked for", true},
    {"being retrieved", true},
    {"retrieved,\nsession not finished", true},
    {"refused or stuck:\nno further kernel starts", true},
    {"retrieval has failed for good", true},
    {"not there any more", false},
}};

FileState StateOf(const XState& s, int f) {
  const XFile& file = s.file[f];
  switch (file.in) {
    case XFile::kAnnounced:
      return s.pc == XState::kFilling     ? kAnnounced
             : s.pc == XState::kImporting ? kCounted
                                          : kUnchecked;
    case XFile::kAccepted:
      return s.pc == XState::kRetrieving && s.slot / 2 == f ? kBeingRetrieved
                                                            : kChecked;
    case XFile::kRefused:
      return kRefused;
    case XFile::kRetrieved:
      return kRetrieved;
    case XFile::kFailed:
      return kFailed;
    default:
      break;
  }
  if (!file.open) return kNoFile;
  if (file.done)
    return s.pc == XState::kThawing ? kComingBack
           : s.pc == XState::kCpus  ? kWaitsForStop
                                    : kFrozen;
  if (s.pc == XState::kAborting && (s.slot >> f & 1) != 0 &&
      file.out == XFile::kNotOut)
    return kLettingGo;
  if (file.out == XFile::kPreserved)
    return file.late ? kPreservedLate : kPreserved;
  return file.out == XFile::kPreserving ? kBeingPreserved : kInUse;
}

// A page.
enum PageState : uint8_t {
  kAnybodys,
  kInPool,
  kTaken,
  kTakenWaits,
  kInFile,
  kToBeWritten,
  kWritten,
  kLate,
  kAnnouncedPage,
  kWaiting,
  kRestored,
  kQuarantine,
  kOut,
  kMeta,
  kNobodys,
  kNrPageStates,
};
constexpr std::array<State, kNrPageStates> kPageStates = {{
    {"anybody's", false},
    {"free in the pool", false},
    {"taken by a fault", false},
    {"taken by a fault\nthat waits for the thaw", false},
    {"in a file", false},
    {"in a file that is preserved,\nthe walk comes to it yet", false},
    {"in a file,\nwritten down, KHO's", false},
    {"in a file, late", false},
    {"in a frozen file,\nwritten down, KHO's", false},
    {"waits for its file", true},
    {"back in a file\nthat is being retrieved", true},
    {"in quarantine", true},
    {"out of its file, and KHO's", false},
    {"KHO's own", false},
    {"nobody's", false},
}};

PageState StateOf(const XState& s, const XPage& page) {
  switch (page.kind) {
    case XPage::kPool:
      return kInPool;
    case XPage::kHeld:
      return s.process[page.holder].pc == XProcess::kWaits ? kTakenWaits
                                                           : kTaken;
    case XPage::kPinned:
      return kOut;
    case XPage::kMeta:
      return kMeta;
    case XPage::kClaimed:
      return kWaiting;
    case XPage::kQuarantined:
      return kQuarantine;
    case XPage::kLost:
    case XPage::kStranded:
      return kNobodys;
    case XPage::kFile:
      break;
    default:
      return kAnybodys;
  }
  for (int slot = 0; slot < 4; ++slot) {
    if ((page.in >> slot & 1) == 0) continue;
    const XFile& file = s.file[slot / 2];
    if (!file.open) return kRestored;
    if (file.out == XFile::kNotOut) return page.rec != 0 ? kWritten : kInFile;
    if (file.done && page.rec != 0) return kAnnouncedPage;
    if (file.late >> (slot & 1) & 1) return kLate;
    return page.rec != 0 ? kWritten : kToBeWritten;
  }
  return kAnybodys;
}

// What it is called by what comes of it.
enum Outcome : uint8_t { kUsual, kIsRefused, kIsNotNeeded, kHasToWait };

const char* NameOf(K kind, Outcome outcome) {
  if (outcome == kHasToWait) return "its file is frozen";
  if (outcome == kIsNotNeeded && kind == K::kAdd)
    return "another fault was faster";
  switch (kind) {
    case K::kFault:
      return "a fault takes a page";
    case K::kCreate:
      return "a new file";
    case K::kAdd:
      return "a fault adds its page";
    case K::kAddFails:
      return "the fault fails";
    case K::kKilled:
      return "its program is killed";
    case K::kWake:
      return "a fault goes on";
    case K::kWrite:
      return "a write";
    case K::kTakeOut:
    case K::kTakeOutEntry:
    case K::kTruncate:
    case K::kTruncateEntry:
      return "punch, truncate";
    case K::kShrink:
      return "the pool shrinks";
    case K::kSetNr:
      return "the pool grows";
    case K::kUseFree:
      return "KHO takes it";
    case K::kJoin:
      return "it is listed as free";
    case K::kPreserve:
      return "preserve";
    case K::kPreserveFails:
      return "preserve fails";
    case K::kPreserveTwice:
      return "preserve, once more";
    case K::kLook:
      return "the walk";
    case K::kLookFails:
      return "preserve fails";
    case K::kAbort:
    case K::kUnpreserve:
      return "abort";
    case K::kLetGo:
      return "pages are let go of";
    case K::kReboot:
      return "reboot";
    case K::kFreeze:
      return "freeze";
    case K::kFreezeFails:
      return "freezing another file fails";
    case K::kThaw:
      return "thaw";
    case K::kList:
      return "all are frozen";
    case K::kListFails:
      return "reboot fails";
    case K::kKeys:
    case K::kKey:
      return "KHO gets its key";
    case K::kLookAgain:
      return "it is looked at again";
    case K::kKeyFails:
      return "no list of free pages";
    case K::kStop:
      return "the next kernel starts";
    case K::kStopDamaged:
      return "the next kernel starts, a record is damaged";
    case K::kCut:
      return "cut short";
    case K::kPowerCut:
      return "power cut";
    case K::kFill:
      return "boot fills the pools";
    case K::kImport:
      return outcome == kIsRefused ? "boot finds damage"
                                   : "boot checks records";
    case K::kImported:
      return "boot ends";
    case K::kImportFails:
      return "boot has no memory to check";
    case K::kImportLate:
      return outcome == kIsRefused ? "damage found when asked for"
                                   : "checked when asked for";
    case K::kImportKeeps:
      return "KHO keeps a free page";
    case K::kRetrieve:
      return "retrieve";
    case K::kRestore:
      return "retrieved";
    case K::kRestoreFails:
      return "retrieve fails";
    case K::kFinish:
    case K::kFinishFile:
      return "finish";
    case K::kFinishFails:
      return "finish, KHO keeps a page";
  }
  return "";
}

bool Fails(K kind, Outcome outcome) {
  if (outcome == kIsRefused) return true;
  switch (kind) {
    case K::kAddFails:
    case K::kKilled:
    case K::kPreserveFails:
    case K::kLookFails:
    case K::kAbort:
    case K::kUnpreserve:
    case K::kLetGo:
    case K::kCut:
    case K::kPowerCut:
    case K::kFreezeFails:
    case K::kThaw:
    case K::kListFails:
    case K::kKeyFails:
    case K::kStopDamaged:
    case K::kImportFails:
    case K::kImportLate:
    case K::kImportKeeps:
    case K::kRestoreFails:
    case K::kFinishFails:
      return true;
    default:
      return false;
  }
}

// From, to, and what kind of step.
using Edges = std::set<std::tuple<int, int, int, int>>;

Outcome OutcomeOf(FileState, FileState to) {
  return to == kRefused ? kIsRefused : kUsual;
}

Outcome OutcomeOf(PageState from, PageState to) {
  if (to == kQuarantine) return kIsRefused;
  if (to == kTakenWaits) return kHasToWait;
  return from == kTaken && to == kInPool ? kIsNotNeeded : kUsual;
}

template <size_t kNr>
Protocol Named(const std::array<State, kNr>& names, const Edges& edges) {
  Protocol result;
  std::set<int> reached;
  std::set<std::pair<int, int>> without_failure;
  for (const auto& [from, to, kind, outcome] : edges)
    if (!Fails(static_cast<K>(kind), static_cast<Outcome>(outcome)))
      without_failure.emplace(from, to);
  for (const auto& [from, to, kind, outcome] : edges) {
    reached.insert({from, to});
    const K k = static_cast<K>(kind);
    const Outcome o = static_cast<Outcome>(outcome);
    // A failure that makes no difference here.
    if (Fails(k, o) && without_failure.count({from, to}) != 0) continue;
    result.edges.push_back({names[static_cast<size_t>(from)].name,
                            names[static_cast<size_t>(to)].name, NameOf(k, o),
                            Fails(k, o)});
  }
  for (const int state : reached) {
    const State& named = names[static_cast<size_t>(state)];
    result.states.push_back({named.name, named.next_kernel});
  }
  return result;
}

// Names have line breaks, and nothing else that would have to be escaped.
std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text)
    absl::StrAppend(&quoted, c == '\n' ? "\\n" : std::string(1, c));
  return quoted + "\"";
}

}  // namespace

Protocols ExploreProtocol(const Design& design, const Bounds& bounds) {
  Edges files, pages;
  VisitTransitions(design, bounds, [&](const XState& s, const XNext& n) {
    // Names are the same before and after a step.
    for (int f = 0; f < bounds.files; ++f) {
      const FileState from = StateOf(s, f), to = StateOf(n.state, f);
      if (from != to)
        files.emplace(from, to, n.action.kind, OutcomeOf(from, to));
    }
    for (int p = 0; p < bounds.pages; ++p) {
      const PageState from = StateOf(s, s.page[p]),
                      to = StateOf(n.state, n.state.page[p]);
      if (from != to)
        pages.emplace(from, to, n.action.kind, OutcomeOf(from, to));
    }
  });
  return {Named(kFileStates, files), Named(kPageStates, pages)};
}

std::string ProtocolDot(const Protocol& protocol, const std::string& title) {
  std::string text = absl::StrCat(
      "digraph protocol {\n  label=", Quoted(title),
      ";\n  labelloc=t;\n  fontname=\"sans-serif\";\n  fontsize=12;\n  node "
      "[shape=box style=\"rounded,filled\" fontname=\"sans-serif\" "
      "fontsize=11];\n  edge [fontname=\"sans-serif\" fontsize=9];\n");
  for (const ProtocolState& state : protocol.states)
    absl::StrAppend(&text, "  ", Quoted(state.name), " [fillcolor=\"",
                    state.next_kernel ? "#e3eefa" : "#f4f4f4", "\"];\n");
  // One arrow for all steps that lead from one to another.
  for (size_t i = 0; i < protocol.edges.size();) {
    const ProtocolEdge& first = protocol.edges[i];
    // Steps of different kinds may have one name.
    std::string label;
    std::set<std::string> named;
    for (; i < protocol.edges.size() && protocol.edges[i].from == first.from &&
           protocol.edges[i].to == first.to;
         ++i) {
      const std::string& step = protocol.edges[i].step;
      if (named.insert(step).second)
        absl::StrAppend(&label, label.empty() ? "" : "\n", step);
    }
    absl::StrAppend(&text, "  ", Quoted(first.from), " -> ", Quoted(first.to),
                    " [label=", Quoted(label),
                    first.fails ? " color=\"#c0392b\" fontcolor=\"#c0392b\" "
                                  "style=dashed];\n"
                                : "];\n");
  }
  return text + "}\n";
}

}  // namespace handover::model
