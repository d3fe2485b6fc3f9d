// SPDX-License-Identifier: BSD-3-Clause
#include "model/refinement.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace handover::model {
namespace {

// What is seen, as bits. Those of the second half only count between two
// commands.
enum SeenBit : uint32_t {
  kPage = 0,        // + place
  kEntryIs = 2,     // + place
  kEntryWrong = 4,  // + place
  kOut = 6,         // + file
  kPublished = 8,   // + file
  kGeneration = 10,
  kKey = 16,          // + place
  kHeld = 18,         // + place
  kHeldRefused = 20,  // + place
};
constexpr uint32_t kDuring = 0xffff;

constexpr uint32_t Bit(uint32_t bit, bool is, int of = 0) {
  return is ? 1u << (bit + static_cast<uint32_t>(of)) : 0;
}

uint32_t BitsOf(const Sight& sight) {
  uint32_t bits = Bit(kGeneration, sight.generation & 1);
  for (int i = 0; i < 2; ++i) {
    const Sight::Place& place = sight.place[static_cast<size_t>(i)];
    const Sight::File& file = sight.file[static_cast<size_t>(i)];
    bits |= Bit(kPage, place.page, i) |
            Bit(kEntryIs, place.entry != Sight::kNoEntry, i) |
            Bit(kEntryWrong, place.entry == Sight::kWrongEntry, i) |
            Bit(kOut, file.out, i) | Bit(kPublished, file.published, i) |
            Bit(kKey, place.key, i) | Bit(kHeld, place.held, i) |
            Bit(kHeldRefused, place.refused == Sight::kRefused, i);
  }
  return bits;
}

// The same of a state of the machine. Place i is the first one of file i, or
// the i-th of the only file.
uint32_t BitsOf(const XState& s, const Bounds& b) {
  uint32_t bits = Bit(kGeneration, s.generation & 1);
  for (int f = 0; f < b.files; ++f)
    bits |= Bit(kOut, s.file[f].out != XFile::kNotOut, f) |
            Bit(kPublished, s.file[f].done, f);
  for (int i = 0; i < 2; ++i) {
    const int slot = b.files == 1 ? i : 2 * i;
    const XFile& file = s.file[slot / 2];
    for (int p = 0; p < b.pages; ++p) {
      const XPage& page = s.page[p];
      const bool in = page.in >> slot & 1, rec = page.rec >> slot & 1;
      if (in && file.open) bits |= Bit(kPage, true, i) | Bit(kKey, page.key, i);
      if (!rec) continue;
      if (file.done)
        bits |= Bit(kEntryIs, true, i) | Bit(kEntryWrong, !in || !page.key, i);
      bits |=
          Bit(kHeld,
              page.kind == XPage::kClaimed ||
                  page.kind == XPage::kQuarantined || page.kind == XPage::kLost,
              i) |
          Bit(kHeldRefused, page.kind == XPage::kQuarantined, i);
    }
  }
  return bits;
}

// Nobody is in the kernel.
bool Quiet(const XState& s) {
  return s.pc == XState::kRun && s.process[0].pc == XProcess::kIdle &&
         s.process[1].pc == XProcess::kIdle;
}

Bounds WindowBounds(bool one_file) {
  Bounds b;
  b.files = one_file ? 1 : 2;
  b.indices = one_file ? 2 : 1;
  b.processes = 2;
  b.pages = kMaxExploredPages;
  b.nodes = 1;
  b.updates = 1 << 20;
  b.aborts = b.failures = b.damages = 3;
  b.resizes = b.cuts = b.creates = b.truncations =
      0;  // a window ends with these
  return b;
}

// Without what a window does not show: how many pages there are, on which
// nodes, what was written to them, and how much may yet go wrong.
XState Reduced(const XState& from, const Bounds& b) {
  XState s = from;
  s.counted = {};
  s.unplaced = 0;
  s.came = {};
  s.short_of_memory = 0;
  s.aborts = s.failures = s.damages = 3;
  s.generation = s.generation & 1 ? 1 : 2;
  for (int p = 0; p < b.pages; ++p) {
    XPage& page = s.page[p];
    page.dev = page.truth = 0;
    page.written = page.filled = 0;
    page.node = 0;
    if (page.kind == XPage::kFree && page.rec == 0) page.kind = XPage::kPool;
  }
  for (XFile& file : s.file) file.wrote = 0;
  return s;
}

void Say(std::string* text, const std::string& what) {
  absl::StrAppend(text, text->empty() ? "" : ", ", what);
}

}  // namespace

std::string Print(const Sight& sight, bool one_file) {
  std::string text = absl::StrCat("kernel ", sight.generation);
  for (int f = 0; f < (one_file ? 1 : 2); ++f) {
    const Sight::File& file = sight.file[static_cast<size_t>(f)];
    if (file.out) Say(&text, absl::StrCat("f", f, " is being preserved"));
    if (file.published) Say(&text, absl::StrCat("f", f, " is in the table"));
  }
  for (int i = 0; i < 2; ++i) {
    const Sight::Place& place = sight.place[static_cast<size_t>(i)];
    const std::string name =
        one_file ? absl::StrCat("f0[", i, "]") : absl::StrCat("f", i, "[0]");
    if (place.page) Say(&text, absl::StrCat(name, " has a page"));
    if (place.entry == Sight::kEntry)
      Say(&text, absl::StrCat(name, " is in the table"));
    if (place.entry == Sight::kWrongEntry)
      Say(&text, absl::StrCat(name, " is wrong in the table"));
    if (place.key) Say(&text, absl::StrCat("KHO has the page of ", name));
    if (place.held)
      Say(&text,
          absl::StrCat(name, " waits for its page",
                       place.refused == Sight::kRefused ? ", refused" : ""));
  }
  return text;
}

std::string RefinementText() {
  return R"(
## The kernel code against its design

`props/refinement_test.cc` runs random histories, and the saved ones, through the kernel code in the simulator and looks at it before each of its
steps (locks, allocations, stores, sleeps), also while others run in between. What is seen has to be what would be seen of the
machine of `late-pages`, after some of its steps or none: all states that the machine may be in are kept, and when none
is left the code has done what the design does not allow. It is looked at through windows: two places of one file, or one place
in each of two, whatever else there is.

| seen, of the code | compared with, of the machine | when |
| --- | --- | --- |
| a page in the page cache at the place, of a file that has a descriptor | a page in the file | at each step |
| `luo_file` of the inode is set | the file is being preserved | at each step |
| its record is in the list that begins at the root | the file is frozen, its entry final | at each step |
| what the tables of that record say of the place: nothing, the page that is there and that KHO holds, or something else | the page that is recorded | at each step |
| KHO will hand over the page at the place | the same | between two commands |
| the page of a file that came is still KHO's, or set aside by a retrieval that failed | it waits to be claimed, or is in quarantine | between two commands |
| all that KHO still has for this kernel is in quarantine, or nothing of it is; what is set aside is not | the file was refused, or KHO did not let go of the page when the session was finished | between two commands |
| the frame at the place when the file is retrieved | the frame that the table had | at retrieval |
| nobody is in the kernel | no program is in a fault, the agent is in no call | between two commands |

Hidden in the machine, so that any of its steps may explain what is seen: how far the walk has come, which pages are late, who has
taken a page and not added it, who waits, why a call failed.

Abstracted away, and left to the judge and the invariants: contents, sizes, seals, reservations, counters, nodes and the filling of
pools (to the machine of a window a free page is always there), free pages that are handed over, the records of sessions, what
happens within a boot, within an unwinding (keys of a file that is preserved no more are looked at when the command has ended), and
within a retrieval. A window ends when its file is closed, by a power cut, with a next kernel that takes no part, and where damage
has a right checksum. That the code does everything which the design allows is not shown, nor asked.
)";
}

size_t Shadow::HashState::operator()(const XState& s) const {
  uint64_t hash = 0x9e3779b97f4a7c15u;
  for (size_t i = 0; i < sizeof(s); i += sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, reinterpret_cast<const char*>(&s) + i, sizeof(word));
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  }
  return hash;
}

Shadow::Shadow(const Design& design, bool one_file)
    : bounds_(WindowBounds(one_file)), machine_(design, bounds_) {
  initial_ = Number(machine_.Initial());
}

uint32_t Shadow::Number(const XState& state) {
  // Programs have no names here; files do.
  const XState reduced = Reduced(state, bounds_);
  XState s = machine_.Renamed(reduced, false, false);
  const XState other = machine_.Renamed(reduced, false, true);
  if (std::memcmp(&other, &s, sizeof(s)) < 0) s = other;
  const auto [at, fresh] =
      numbers_.try_emplace(s, static_cast<uint32_t>(states_.size()));
  if (fresh) {
    Node node;
    node.state = s;
    node.seen = BitsOf(s, bounds_);
    node.quiet = Quiet(s);
    states_.push_back(std::move(node));
  }
  return at->second;
}

const std::vector<Shadow::Next>& Shadow::After(uint32_t number) {
  if (!states_[number].expanded) {
    std::vector<XNext> all;
    machine_.Successors(states_[number].state, &all);
    std::vector<Next> next;
    for (const XNext& n : all) {
      if (n.action.kind == XAction::kWrite) continue;
      const uint32_t to = Number(n.state);
      if (to != number)
        next.push_back({to, n.action.kind == XAction::kStopDamaged});
    }
    states_[number].next = std::move(next);
    states_[number].expanded = true;
  }
  return states_[number].next;
}

Tracker::Tracker(Shadow* shadow)
    : shadow_(shadow),
      now_{shadow->initial_},
      seen_(shadow->states_[shadow->initial_].seen & kDuring) {}

// On the way from what was seen to what is seen now, what is the same in both
// was the same all the time.
bool Tracker::Advance(uint32_t seen, uint32_t compared, bool quiet,
                      bool damage) {
  const uint32_t fixed = kDuring & ~(seen ^ seen_);
  if ((seen & kDuring) != seen_) ++changes_;
  std::vector<uint32_t> way = now_;
  std::vector<uint32_t> found;
  std::vector<bool> been(shadow_->states_.size());
  for (const uint32_t s : now_) been[s] = true;
  for (size_t i = 0; i < way.size(); ++i) {
    const uint32_t bits = shadow_->states_[way[i]].seen;
    if (((bits ^ seen) & compared) == 0 &&
        (!quiet || shadow_->states_[way[i]].quiet))
      found.push_back(way[i]);
    for (const Shadow::Next& next : shadow_->After(way[i])) {
      if (next.damages && !damage) continue;
      if ((shadow_->states_[next.state].seen ^ seen) & fixed) continue;
      if (been.size() < shadow_->states_.size())
        been.resize(shadow_->states_.size());
      if (been[next.state]) continue;
      been[next.state] = true;
      way.push_back(next.state);
    }
  }
  now_ = std::move(found);
  seen_ = seen & kDuring;
  return !now_.empty();
}

bool Tracker::Step(const Sight& sight) {
  const uint32_t seen = BitsOf(sight) & kDuring;
  // They have been all states that are reached without a change since.
  if (seen == seen_) return !now_.empty();
  return Advance(seen, kDuring, /*quiet=*/false, /*damage=*/false);
}

bool Tracker::Rest(const Sight& sight, bool damage) {
  uint32_t compared = ~uint32_t{0};
  for (int i = 0; i < 2; ++i)
    if (sight.place[static_cast<size_t>(i)].refused == Sight::kUnknown)
      compared &= ~Bit(kHeldRefused, true, i);
  return Advance(BitsOf(sight), compared, /*quiet=*/true, damage);
}

}  // namespace handover::model
