// SPDX-License-Identifier: BSD-3-Clause
#include "model/refinement.h"

#include <algorithm>
#include <cstdlib>
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
// The same of a page.
enum PageBit : uint32_t {
  kPageFree = 0,
  kPageUsed,
  kPageKey,
  kPageListed,
  kPageMeta,
  kPageList,
  // kGeneration
  kPageHeld = kHeld,
  kPageRefused = kHeldRefused,
  kPageRecorded = 22,
  kPageStray,
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

uint32_t BitsOf(const PageSight& sight) {
  return Bit(kPageFree, sight.kind == PageSight::kFree) |
         Bit(kPageUsed, sight.kind == PageSight::kUsed) |
         Bit(kPageKey, sight.key) | Bit(kPageListed, sight.listed) |
         Bit(kPageMeta, sight.meta) | Bit(kPageList, sight.list) |
         Bit(kGeneration, sight.generation & 1) | Bit(kPageHeld, sight.held) |
         Bit(kPageRefused, sight.refused == Sight::kRefused) |
         Bit(kPageRecorded, sight.recorded) | Bit(kPageStray, sight.stray);
}

// The page that is looked at is the only one of its node.
size_t PlaceOfWatched(const XState& s) {
  for (size_t p = 0; p < s.page.size(); ++p)
    if (s.page[p].node == 1) return p;
  std::abort();
}

const XPage& Watched(const XState& s) { return s.page[PlaceOfWatched(s)]; }
XPage& Watched(XState* s) { return s->page[PlaceOfWatched(*s)]; }

bool Used(const XPage& page) {
  return page.kind == XPage::kFile || page.kind == XPage::kHeld ||
         page.kind == XPage::kPinned;
}

// It waits to be claimed, or never will be.
bool Held(const XPage& page) {
  return page.kind == XPage::kClaimed || page.kind == XPage::kQuarantined ||
         page.kind == XPage::kLost;
}

uint32_t PageBitsOf(const XState& s, const Bounds& b) {
  const XPage& page = Watched(s);
  // Of a page that came it says that it was listed by the kernel before.
  auto listed = [&s](const XPage& p) {
    return s.pc == XState::kCpus && p.listed && p.kind != XPage::kClaimed;
  };
  bool list = false, recorded = false;
  for (int p = 0; p < b.pages; ++p) list |= listed(s.page[p]);
  for (int f = 0; f < b.files; ++f)
    recorded |= s.file[f].done && (page.rec >> (2 * f) & 3) != 0;
  const bool free = page.kind == XPage::kPool;
  return Bit(kPageFree, free) | Bit(kPageUsed, Used(page)) |
         Bit(kPageKey, page.key && (free || Used(page) || listed(page))) |
         Bit(kPageListed, listed(page)) |
         Bit(kPageMeta, listed(page) && page.kind == XPage::kMeta) |
         Bit(kPageList, list) | Bit(kGeneration, s.generation & 1) |
         Bit(kPageHeld, Held(page)) |
         Bit(kPageRefused, page.kind == XPage::kQuarantined) |
         Bit(kPageRecorded, recorded) |
         Bit(kPageStray,
             page.key && page.kind == XPage::kFree && !listed(page));
}

// Nobody is in the kernel.
bool Quiet(const XState& s) {
  return s.pc == XState::kRun && s.process[0].pc == XProcess::kIdle &&
         s.process[1].pc == XProcess::kIdle;
}

Bounds WindowBounds(Shadow::Window window) {
  Bounds b;
  b.files = window == Shadow::Window::kOneFile ? 1 : 2;
  b.indices = window == Shadow::Window::kOneFile ? 2 : 1;
  b.processes = 2;
  b.pages = kMaxExploredPages;
  b.nodes = 1;
  b.updates = 1 << 20;
  b.aborts = b.failures = b.damages = 3;
  b.resizes = b.cuts = b.creates = b.truncations =
      0;  // a window ends with these
  if (window != Shadow::Window::kPage) return b;
  // Of all programs one has to do with the page. Of all files two may: one
  // that is handed over, and one that is not. Of all other pages one stands
  // for those that are listed when this one is not.
  b.processes = 1;
  b.pages = b.nodes = 2;
  b.resizes = b.creates = 3;
  return b;
}

// So many pages are counted that one more is missing, or one is too many.
constexpr uint8_t kOneMissing = 1, kOneTooMany = 3;

void Count(XState* s, uint8_t pages) {
  s->counted = {};
  s->counted[0].total = pages & 15;
}

}  // namespace

// Without what a window does not show: how many pages there are, on which
// nodes, what was written to them, and how much may yet go wrong.
XState Shadow::Reduced(const XState& from) const {
  const Bounds& b = bounds_;
  const bool one_page = window_ == Window::kPage;
  XState s = from;
  s.counted = {};
  s.unplaced = 0;
  s.came = {};
  s.short_of_memory = 0;
  s.aborts = s.failures = 3;
  s.damages = static_cast<uint8_t>(b.damages) & 3;
  s.resizes = static_cast<uint8_t>(b.resizes) & 3;
  s.creates = static_cast<uint8_t>(b.creates) & 3;
  if (one_page) Count(&s, kOneMissing);
  s.generation = s.generation & 1 ? 1 : 2;
  for (int p = 0; p < b.pages; ++p) {
    XPage& page = s.page[p];
    page.dev = page.truth = 0;
    page.written = page.filled = 0;
    page.passed &= page.pending;
    if (one_page) continue;
    page.node = 0;
    if (page.kind == XPage::kFree && page.rec == 0) page.kind = XPage::kPool;
  }
  for (XFile& file : s.file) file.wrote = 0;
  return s;
}

namespace {

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

std::string Print(const PageSight& sight) {
  std::string text = absl::StrCat("kernel ", sight.generation);
  Say(&text, sight.kind == PageSight::kFree   ? "free in the pool"
             : sight.kind == PageSight::kUsed ? "in use"
                                              : "elsewhere");
  if (sight.key) Say(&text, "KHO has it");
  if (sight.listed) Say(&text, "listed as free");
  if (sight.meta) Say(&text, "with what else KHO has in it");
  if (sight.list) Say(&text, "free pages are listed");
  if (sight.more_keys) Say(&text, "KHO got more keys");
  if (sight.unfit) Say(&text, "cannot go where it lies");
  if (sight.held)
    Say(&text,
        absl::StrCat("waits",
                     sight.refused == Sight::kRefused ? ", refused" : ""));
  return text;
}

std::string RefinementText() {
  return R"(
## The kernel code against its design

`props/refinement_test.cc` runs random histories, and the saved ones, through the kernel code in the simulator and looks at it before each of its
steps (locks, allocations, stores, sleeps), also while others run in between. What is seen has to be what would be seen of the
machine of `late-pages`, after some of its steps or none: all states that the machine may be in are kept, and when none
is left the code has done what the design does not allow. It is looked at through windows: two places of one file, one place
in each of two, or one huge page wherever it goes, whatever else there is. A window on a page is compared with the machine of
`free-pools`.

Of two places:

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

Of a huge page, which is an aligned range of frames and one page size:

| seen, of the code | compared with, of the machine | when |
| --- | --- | --- |
| a huge page of that size is there: on the free list of its pool and without a memory error, or with a reference, or there is none | the page is free in the pool; it is in a file or taken by a fault; it is anybody's, or KHO's own | at each step |
| KHO will hand over these frames as one block, if there is such a page or a list that has it | the same | at each step |
| a list of free pages of this size begins at the root; it has the page | the list is complete; the page is on it | at each step of a reboot call |
| in a page on the list lies a table, or anything else, that KHO hands over | KHO has taken it for its own data | at each step of a reboot call |
| KHO has got another key | the free pages were not looked at again yet | at each step of a reboot call |
| the page is in the table as a file's; KHO has it though no such page is there | the record of its file is final; the same | between two commands, when the kernel has stopped |
| the kernel has stopped | the reboot call is through | then |
| the page came and is KHO's yet, or set aside by a retrieval that failed; refused, as above | it waits to be claimed; it is in quarantine | between two commands |
| a call has failed by plan, or for want of memory, nobody has asked for a list of this size, or the page cannot be handed over where it lies | there is no memory for the list; in the next kernel there was none to look at it, or KHO does not let go of the page | else none of these may happen |

Of both:

| seen, of the code | compared with, of the machine | when |
| --- | --- | --- |
| nobody is in the kernel | no program is in a fault, the agent is in no call | between two commands |
| the command is a reboot call, or it is not | only in one does the agent freeze, thaw, and list; it does nothing else in it | at each step |
| another kernel is up | one kernel has followed the other | between two commands |

Hidden in the machine, so that any of its steps may explain what is seen: how far the walk has come, which pages are late, who has
taken a page and not added it, who waits, why a call failed; of a page, which file it is in, when it was noted to be free, and when it
was looked at again. A page that is free in its pool from the reboot call to the stop has to be on the list, and it is no more than one
that is free at the second look; in the next kernel it is free at once.

To the machine of a window on a page there are a file that is handed over, one that is not, and one other page, which stands for all that
are listed when this one is not. What the code does in more steps than the machine is added to its steps (`AddPageSteps()` in
`model/refinement.cc`): KHO gets the keys one by one, and takes back that of a page that has left its pool a moment after the look; the
list of one size may be given up before that of another; a surplus page comes from the buddy allocator and goes back there, and not by
the pool; a boot may have enough pages without this one; and what is listed may be more than is asked for when it is looked at late.

Abstracted away, and left to the judge and the invariants: contents, sizes, seals, reservations, counters, nodes and the filling of
pools (to the machine of a window on files a free page is always there), the records of sessions, what happens within a boot, within
an unwinding (but for pages: keys of a file that is preserved no more are looked at when the command has ended), and within a
retrieval. Of free pages: how many are listed, and what damage to their list leads to, after which each may come or be refused. A history
has up to six windows on places, of the first memfds that it makes, and three on pages that are free when it starts. A window
ends when its file is closed, by a power cut, by a kernel that is cut short, with a next kernel that takes no part or might not (one that
lacks a page size or the option, or has `kho=`, `liveupdate=` or `default_hugepagesz=` on its command line), and where damage has a
right checksum or is to a handle of LUO's; one in two files with any damage, one on a page also when that comes with a memory error.
That the code does everything which the design allows is not shown, nor asked.
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

Shadow::Shadow(const Design& design, Window window)
    : window_(window),
      looks_(design.looks),
      bounds_(WindowBounds(window)),
      machine_(design, bounds_) {
  initial_ = Number(machine_.Initial());
}

Shadow::By Shadow::MadeBy(XAction::Kind kind) {
  switch (kind) {
    case XAction::kFault:
    case XAction::kCreate:
    case XAction::kAdd:
    case XAction::kAddFails:
    case XAction::kKilled:
    case XAction::kWake:
    case XAction::kWrite:
    case XAction::kTakeOut:
    case XAction::kTakeOutEntry:
    case XAction::kTruncate:
    case XAction::kTruncateEntry:
    case XAction::kShrink:
    case XAction::kSetNr:
    case XAction::kUseFree:
    case XAction::kJoin:
      return kAnybody;
    case XAction::kReboot:
    case XAction::kFreeze:
    case XAction::kFreezeFails:
    case XAction::kThaw:
    case XAction::kList:
    case XAction::kListFails:
    case XAction::kKeys:
    case XAction::kKey:
    case XAction::kLookAgain:
      return kReboot;
    case XAction::kKeyFails:
    case XAction::kImportFails:
    case XAction::kImportKeeps:
      return kFailure;
    case XAction::kStop:
    case XAction::kCut:
    case XAction::kPowerCut:
      return kJump;
    case XAction::kStopDamaged:
      return kDamage;
    case XAction::kFill:
    case XAction::kImport:
    case XAction::kImported:
      return kBoot;
    case XAction::kPreserve:
    case XAction::kPreserveFails:
    case XAction::kPreserveTwice:
    case XAction::kLook:
    case XAction::kLookFails:
    case XAction::kAbort:
    case XAction::kUnpreserve:
    case XAction::kLetGo:
    case XAction::kRetrieve:
    case XAction::kRestore:
    case XAction::kRestoreFails:
    case XAction::kFinish:
    case XAction::kFinishFile:
    case XAction::kFinishFails:
      return kAgent;
    case XAction::kImportLate:
      break;
  }
  // By whoever asks for a file, and by the reboot call.
  return By(kAgent | kReboot);
}

uint32_t Shadow::SeenOf(const XState& s) const {
  return window_ == Window::kPage ? PageBitsOf(s, bounds_) : BitsOf(s, bounds_);
}

// Each page, or all of them, are looked at again before there is another key.
bool Shadow::NoMoreKeys(const XState& s) const {
  if (window_ != Window::kPage) return false;
  const XPage& page = Watched(s);
  const bool after_each = looks_ == Design::Looks::kAfterEach &&
                          s.pc == XState::kKeying && page.pending && page.key;
  return s.pc == XState::kLooking || s.pc == XState::kCpus || after_each;
}

uint32_t Shadow::Number(const XState& state) {
  // Programs have no names here; files do, but not to a page.
  const XState reduced = Reduced(state);
  XState s = machine_.Renamed(reduced, false, false);
  const bool page = window_ == Window::kPage;
  const XState other = machine_.Renamed(reduced, page, !page);
  if (std::memcmp(&other, &s, sizeof(s)) < 0) s = other;
  const auto [at, fresh] =
      numbers_.try_emplace(s, static_cast<uint32_t>(states_.size()));
  if (fresh) {
    Node node;
    node.state = s;
    node.seen = SeenOf(s);
    node.quiet = Quiet(s);
    node.stops = s.pc == XState::kCpus;
    node.no_more_keys = NoMoreKeys(s);
    states_.push_back(std::move(node));
  }
  return at->second;
}

// Making the lists, as far as it shows in more steps than the machine has: keys
// are given one after the other, and lists are made of pages of all sizes
// before the first page is looked at again, so that one may fail before another
// one. The key of a page that is found to have left its pool goes a moment
// later, and the page may be back by then.
void Shadow::AddListSteps(const XState& from, std::vector<XNext>* all) const {
  const bool keying = from.pc == XState::kKeying;
  if (!keying && from.pc != XState::kLooking) return;
  const XPage& page = Watched(from);
  auto looks = [&page](const XNext& n) {
    return (n.action.kind == XAction::kKey ||
            n.action.kind == XAction::kLookAgain) &&
           page.pending && !Watched(n.state).pending;
  };
  const auto look = std::find_if(all->begin(), all->end(), looks);
  std::vector<XNext> more;
  if (look != all->end()) {
    XNext next = *look;
    next.state = from;
    XPage& after = Watched(&next.state);
    if (page.passed) {
      after.passed = after.pending = 0;
      after.key = page.kind == XPage::kMeta || page.rec != 0;
      bool pending = false;
      for (const XPage& each : next.state.page) pending |= each.pending;
      if (!pending) next.state.pc = XState::kCpus;
      std::erase_if(*all, looks);
      more.push_back(next);
    } else if (page.kind != XPage::kPool) {
      after.passed = 1;
      more.push_back(next);
    }
  }
  for (const XNext& n : *all) {
    if (!keying) break;
    XNext next = n;
    if (n.action.kind == XAction::kKeyFails) {
      next.state.pc = XState::kKeying;
    } else if (page.pending && (n.action.kind == XAction::kKeys || looks(n))) {
      next.state = from;
      Watched(&next.state).key = 1;
    } else {
      continue;
    }
    more.push_back(next);
  }
  all->insert(all->end(), more.begin(), more.end());
}

// What the machine, which has one pool of few pages, would do in two steps, or
// in a pool that is filled otherwise.
void Shadow::AddPageSteps(const XState& from, std::vector<XNext>* all) const {
  // Boot has enough pages without this one; there are more than were asked for.
  if (from.pc == XState::kFilling || from.pc == XState::kFinishing) {
    XState full = from;
    Count(&full, kOneTooMany);
    full.came = {1, 1};
    machine_.Successors(full, all);
  }
  AddListSteps(from, all);
  // A surplus page is made for who needs it, and is no more when it is given
  // back, or when it came and the pool was filled without it: it does not come
  // by the pool.
  const XPage& before = Watched(from);
  const size_t end = all->size();
  std::vector<XNext> second;
  for (size_t i = 0; i < end; ++i) {
    const XNext first = (*all)[i];
    if (Watched(first.state).kind != XPage::kPool) continue;
    const bool late = before.kind == XPage::kClaimed &&
                      first.action.kind == XAction::kImportLate;
    const bool goes = Used(before) || late;
    const bool comes = before.kind == XPage::kFree;
    if (!goes && !comes) continue;
    second.clear();
    machine_.Successors(first.state, &second);
    for (XNext& n : second) {
      const XPage& after = Watched(n.state);
      if (!(goes && n.action.kind == XAction::kShrink &&
            after.kind == XPage::kFree) &&
          !(comes && n.action.kind == XAction::kFault &&
            after.kind == XPage::kHeld))
        continue;
      n.action = first.action;
      all->push_back(n);
    }
  }
  // Nobody needs the other page.
  std::erase_if(*all, [](const XNext& n) {
    for (const XPage& page : n.state.page)
      if (page.node == 0 && Used(page)) return true;
    return false;
  });
}

const std::vector<Shadow::Next>& Shadow::After(uint32_t number) {
  if (!states_[number].expanded) {
    std::vector<XNext> all;
    machine_.Successors(states_[number].state, &all);
    if (window_ == Window::kPage) AddPageSteps(states_[number].state, &all);
    std::vector<Next> next;
    for (const XNext& n : all) {
      if (n.action.kind == XAction::kWrite) continue;
      const uint32_t to = Number(n.state);
      if (to != number) next.push_back({to, MadeBy(n.action.kind)});
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
// was the same all the time; in a boot nobody has looked.
bool Tracker::Advance(const Look& look) {
  const uint32_t changed = seen_ ^ look.seen;
  const uint32_t fixed = look.boots ? 0 : kDuring & look.compared & ~changed;
  if ((changed & kDuring & look.compared) != 0) ++changes_;
  // One kernel comes after the other, and no third one after that.
  const uint32_t generation = look.seen & Bit(kGeneration, true);
  auto here = [generation](const Shadow::Node& node) {
    return (node.seen & Bit(kGeneration, true)) == generation;
  };
  std::vector<uint32_t> way = now_;
  std::vector<uint32_t> found;
  std::vector<bool> been(shadow_->states_.size());
  for (const uint32_t s : now_) been[s] = true;
  for (size_t i = 0; i < way.size(); ++i) {
    const Shadow::Node& at = shadow_->states_[way[i]];
    if (((at.seen ^ look.seen) & look.compared) == 0 &&
        (!look.quiet || at.quiet) && (!look.stops || at.stops))
      found.push_back(way[i]);
    const bool arrived = here(at);
    for (const Shadow::Next& next : shadow_->After(way[i])) {
      if ((next.by & look.by) == 0) continue;
      const Shadow::Node& to = shadow_->states_[next.state];
      if ((to.seen ^ look.seen) & fixed) continue;
      if (arrived && !here(to)) continue;
      if (been.size() < shadow_->states_.size())
        been.resize(shadow_->states_.size());
      if (been[next.state]) continue;
      been[next.state] = true;
      way.push_back(next.state);
    }
  }
  now_ = std::move(found);
  seen_ = look.seen & kDuring;
  return !now_.empty();
}

bool Tracker::Step(const Sight& sight, bool reboots) {
  Look look;
  look.seen = BitsOf(sight) & kDuring;
  // They have been all states that are reached without a change since.
  if (look.seen == seen_) return !now_.empty();
  look.compared = kDuring;
  look.by = Shadow::kAnybody |
            (reboots ? Shadow::kReboot | Shadow::kFailure : Shadow::kAgent);
  return Advance(look);
}

bool Tracker::Rest(const Sight& sight, bool reboots, bool jumped, bool damage) {
  Look look;
  look.seen = BitsOf(sight);
  look.compared = ~uint32_t{0};
  for (int i = 0; i < 2; ++i)
    if (sight.place[static_cast<size_t>(i)].refused == Sight::kUnknown)
      look.compared &= ~Bit(kHeldRefused, true, i);
  look.by = Shadow::kAnybody |
            (reboots ? Shadow::kReboot | Shadow::kFailure : Shadow::kAgent);
  if (jumped) look.by |= Shadow::kJump | Shadow::kBoot | Shadow::kFailure;
  if (damage) look.by |= Shadow::kDamage;
  look.quiet = true;
  return Advance(look);
}

namespace {

uint32_t May(const PageSight& sight, uint32_t steps, uint32_t failure) {
  return sight.may_fail ? steps | failure : steps;
}

uint32_t Compared(const PageSight& sight, uint32_t of) {
  if (sight.unfit) of &= ~Bit(kPageList, true);
  if (sight.refused == Sight::kUnknown) of &= ~Bit(kPageRefused, true);
  return of;
}

}  // namespace

bool Tracker::Step(const PageSight& sight, bool reboots) {
  Look look;
  look.seen = BitsOf(sight) & kDuring;
  look.compared = Compared(sight, kDuring);
  if (sight.more_keys)
    std::erase_if(
        now_, [this](uint32_t s) { return shadow_->states_[s].no_more_keys; });
  if (((look.seen ^ seen_) & look.compared) == 0) return !now_.empty();
  look.by = May(sight,
                Shadow::kAnybody | (reboots ? Shadow::kReboot : Shadow::kAgent),
                Shadow::kFailure);
  return Advance(look);
}

bool Tracker::Rest(const PageSight& sight, bool reboots) {
  Look look;
  look.seen = BitsOf(sight);
  look.compared = Compared(sight, ~uint32_t{0});
  look.by = May(sight,
                Shadow::kAnybody | (reboots ? Shadow::kReboot : Shadow::kAgent),
                Shadow::kFailure);
  look.quiet = true;
  return Advance(look);
}

bool Tracker::Stop(const PageSight& sight) {
  constexpr uint32_t kStopped =
      kDuring | Bit(kPageRecorded, true) | Bit(kPageStray, true);
  Look look;
  look.seen = BitsOf(sight) & kStopped;
  look.compared = Compared(sight, kStopped);
  look.by = May(sight, Shadow::kAnybody | Shadow::kReboot, Shadow::kFailure);
  look.stops = true;
  return Advance(look);
}

bool Tracker::Boot(const PageSight& sight, bool damage) {
  Look look;
  look.seen = BitsOf(sight);
  look.compared = Compared(sight, ~uint32_t{0});
  look.by = May(sight, Shadow::kJump | Shadow::kBoot, Shadow::kFailure);
  if (damage)
    look.by |=
        Shadow::kAnybody | Shadow::kReboot | Shadow::kDamage | Shadow::kFailure;
  look.quiet = true;
  look.boots = true;
  return Advance(look);
}

}  // namespace handover::model
