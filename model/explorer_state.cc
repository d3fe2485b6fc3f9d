// SPDX-License-Identifier: BSD-3-Clause
#include "model/explorer_state.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace handover::model {
namespace {

enum Property : uint32_t {
  kOneOwner,
  kContents,
  kIdentity,
  kNoLostWrite,
  kCounters,
  kNoDuplicate,
  kBootBudget,
  kPlacement,
  kMetadata,
  kAtomicImport,
  kQuarantine,
  kExactRollback,
  kNoLeak,
  kRefusal,
  kDiscipline,
};
static_assert(kDiscipline == kNrExplored - 1);

constexpr uint32_t Bit(int slot) { return 1u << slot; }
constexpr uint32_t Both(int file) { return 3u << (2 * file); }
constexpr int kAsked = 2;  // pages, by the command line; one on each node

// All reasons that were ever given, each with its property. Their order is that
// of this run, and shows nowhere.
std::vector<std::pair<size_t, std::string_view>>& AllReasons() {
  static auto* all = new std::vector<std::pair<size_t, std::string_view>>;
  return *all;
}

Reasons ReasonBit(Property property, std::string_view why) {
  auto& all = AllReasons();
  const std::pair<size_t, std::string_view> reason(property, why);
  const auto found = std::find(all.begin(), all.end(), reason);
  const auto at = static_cast<size_t>(found - all.begin());
  if (found == all.end()) all.push_back(reason);
  if (at >= 64) std::abort();  // they have no bits for more
  return Reasons{1} << at;
}

// One state on its way to the next: what is common to many transitions.
class Step {
 public:
  Step(const Design& d, const Bounds& b, const XState& s)
      : d_(d), b_(b), s_(s) {}

  XState& s() { return s_; }
  const XState& s() const { return s_; }
  Broken broken() const { return broken_; }
  Reasons why() const { return why_; }

  void Break(Property property, const char* why) {
    broken_ |= Bit(property);
    why_ |= ReasonBit(property, why);
  }

  // The page at a slot, or null.
  XPage* At(int slot) {
    for (int p = 0; p < b_.pages; ++p)
      if (s_.page[p].in & Bit(slot)) return &s_.page[p];
    return nullptr;
  }
  XPage* Recorded(int slot) {
    for (int p = 0; p < b_.pages; ++p)
      if (s_.page[p].rec & Bit(slot)) return &s_.page[p];
    return nullptr;
  }
  XPage* HeldBy(int who) {
    for (int p = 0; p < b_.pages; ++p)
      if (s_.page[p].kind == XPage::kHeld && s_.page[p].holder == unsigned(who))
        return &s_.page[p];
    return nullptr;
  }
  XFile& FileOf(int slot) { return s_.file[slot / 2]; }

  // --- The pool
  void Leaves(XPage* page) {
    --s_.counted[page->node].free;
    if (d_.leaving != Design::Leaving::kDropped || !page->listed) return;
    page->listed = 0;
    page->key = 0;
  }
  // There is a list of free pages.
  bool HasList() const {
    if (d_.snapshot == Design::Snapshot::kAtFreeze)
      return s_.pc == XState::kCpus;
    for (int f = 0; f < b_.files; ++f)
      if (s_.file[f].out != XFile::kNotOut)
        return d_.snapshot == Design::Snapshot::kAtPreserve;
    return false;
  }
  void Joins(XPage* page) {
    if (d_.joining == Design::Joining::kStaysBehind || !HasList()) return;
    if (d_.joining == Design::Joining::kListedLater)
      page->pending = 1;
    else
      Enlist(page);
  }
  void Enlist(XPage* page) {
    page->pending = 0;
    page->listed = 1;
    page->key = 1;
  }
  void ToPool(XPage* page) {
    if (page->dev != 0)
      Break(kOneOwner, "a page that a device writes to is free");
    page->kind = XPage::kPool;
    page->in = page->dev = 0;
    page->written = page->filled = page->holder = 0;
    ++s_.counted[page->node].free;
    Joins(page);
  }
  // One of those that boot or the administrator asks for.
  void New(XPage* page) {
    page->kind = XPage::kPool;
    ++s_.counted[page->node].total;
    ++s_.counted[page->node].free;
  }
  // What a page is counted as, of those that came: it waits to be claimed, is
  // in use, is free, or has left the pool for good.
  enum Use { kWaits, kUsed, kUnused, kGone };
  void Recount(const XPage& page, Use from, Use to) {
    XCounters* counters = &s_.counted[page.node];
    // Who counts again has not looked whether it is counted.
    const bool again =
        d_.counted == Design::Counted::kTwice && (from == kUsed || to == kUsed);
    auto in_total = [this, again](Use use) {
      if (use == kWaits)
        return !again && d_.counted != Design::Counted::kWhenRetrieved;
      return use != kGone;
    };
    auto in_free = [this](Use use) {
      return use == kUnused ||
             (use == kWaits && d_.counted == Design::Counted::kAsFree);
    };
    counters->total =
        (counters->total + in_total(to) - in_total(from)) & kMaxCounted;
    counters->free =
        (counters->free + in_free(to) - in_free(from)) & kMaxCounted;
  }
  // A page that waits was counted, but on no node as long as only the number
  // of all was known.
  bool CountsNoNodes() const {
    return d_.counts == Design::Counts::kTotal &&
           d_.counted != Design::Counted::kWhenRetrieved;
  }
  void Place(const XPage& page) {
    if (!CountsNoNodes()) return;
    --s_.unplaced;
    Recount(page, kGone, kWaits);
  }
  int Counted() const {
    return s_.counted[0].total + s_.counted[1].total + s_.unplaced;
  }
  void ToBuddy(XPage* page) {
    if (page->dev != 0)
      Break(kOneOwner, "a page that a device writes to is anybody's");
    page->kind = XPage::kFree;
    page->in = page->dev = 0;
    page->written = page->filled = page->holder = 0;
  }
  // The page of a slot, if there is one, is the file's no more.
  void TakeOut(int slot) {
    XFile& file = FileOf(slot);
    file.late &= ~(1u << (slot & 1));
    file.wrote &= ~(1u << (slot & 1));
    XPage* page = At(slot);
    if (page == nullptr) return;
    page->in &= ~Bit(slot);
    page->dev &= ~Bit(slot);
    page->written = page->filled = 0;
    if (page->key && page->rec != 0 && d_.pins)
      page->kind = XPage::kPinned;
    else
      ToPool(page);
  }
  // In one step: whoever looks at the file meanwhile, or takes its pages, finds
  // what was before or what is after, as long as the inode is locked.
  void Resize(int f, int size) {
    for (int index = size; index < 2; ++index) TakeOut(2 * f + index);
    s_.file[f].size = static_cast<uint16_t>(size) & 3;
  }
  void Record(XPage* page, int slot) {
    page->rec |= Bit(slot);
    page->key = 1;
  }

  // What can be found has a size.
  bool NotesSizeEarly() const {
    return d_.size == Design::Size::kAtPreserve ||
           d_.publish == Design::Publish::kAtPreserve;
  }
  void NoteSize(int f) { s_.noted[f] = s_.file[f].size; }

  // What there is to write down when file f freezes.
  void RecordDue(int f) {
    for (int slot = 2 * f; slot < 2 * f + 2; ++slot) {
      XPage* page = At(slot);
      const bool due = d_.walk == Design::Walk::kAtFreeze ||
                       (s_.file[f].late & (1u << (slot & 1)));
      if (page != nullptr && due) Record(page, slot);
    }
  }

  // --- Outgoing files
  // A file is preserved no more: programs may do with it what they like. Its
  // pages are KHO's until LetGo().
  void Unpreserve(int f) {
    XFile& file = s_.file[f];
    file.out = XFile::kNotOut;
    file.frozen = file.done = file.twice = 0;
    file.late = 0;
    s_.noted[f] = 0;
  }
  void LetGo(int f) {
    for (int p = 0; p < b_.pages; ++p) {
      XPage& page = s_.page[p];
      if ((page.rec & Both(f)) == 0) continue;
      page.rec &= ~Both(f);
      if (page.rec != 0) continue;
      page.key = page.listed;
      if (page.kind == XPage::kPinned) ToPool(&page);
    }
    s_.slot = static_cast<uint8_t>(s_.slot & ~Bit(f)) & 15;
    if (s_.slot == 0) s_.pc = XState::kRun;
    DropList();
    CheckRolledBack(f);
  }
  void DropList() {
    for (int f = 0; f < b_.files; ++f)
      if (s_.file[f].out != XFile::kNotOut) return;
    DropWholeList();
  }
  void DropWholeList() {
    for (int p = 0; p < b_.pages; ++p) {
      XPage& page = s_.page[p];
      page.pending = 0;
      // Of a page that came it says that it was listed by the last kernel.
      if (!page.listed || page.kind == XPage::kClaimed) continue;
      page.listed = 0;
      page.key = page.rec != 0;
    }
  }
  void CheckRolledBack(int f) {
    for (int p = 0; p < b_.pages; ++p)
      if (s_.page[p].filled && (s_.page[p].in & Both(f)))
        Break(kExactRollback, "a hole that preserving has filled stays filled");
  }
  // A call failed in the middle of preserving file f.
  void PreserveFailed(int f) {
    Unpreserve(f);
    if (d_.unwinds) {
      s_.pc = XState::kAborting;
      s_.slot = static_cast<uint8_t>(Bit(f)) & 15;
      return;
    }
    s_.pc = XState::kRun;
    s_.slot = 0;
    for (int p = 0; p < b_.pages; ++p)
      if (s_.page[p].rec & Both(f))
        Break(kExactRollback, "pages stay preserved after a failure");
  }
  // File f is frozen no more: what freezing it has recorded is dropped.
  void Thaw(int f) {
    XFile& file = s_.file[f];
    for (int p = 0; p < b_.pages; ++p) {
      XPage& page = s_.page[p];
      const uint32_t drop = d_.walk == Design::Walk::kAtFreeze
                                ? page.rec & Both(f)
                                : page.rec & (file.late << (2 * f));
      if (drop == 0) continue;
      page.rec &= ~drop;
      if (page.rec != 0) continue;
      page.key = page.listed;
      if (page.kind == XPage::kPinned) ToPool(&page);
    }
    file.done = 0;
    if (!NotesSizeEarly()) s_.noted[f] = 0;
    if (d_.freeze == Design::Freeze::kAtReboot && d_.thaws) file.frozen = 0;
    NextToThaw();
  }
  // The reboot call comes back once all are.
  void NextToThaw() {
    s_.pc = XState::kRun;
    for (int f = 0; f < b_.files; ++f)
      if (s_.file[f].done) s_.pc = XState::kThawing;
    if (s_.pc == XState::kRun) CheckThawed();
  }
  // All is as preserving has left it.
  void CheckThawed() {
    const bool early = d_.freeze == Design::Freeze::kAtPreserve;
    for (int f = 0; f < b_.files; ++f) {
      const XFile& file = s_.file[f];
      if (file.out != XFile::kPreserved) continue;
      if (file.frozen && !early)
        Break(kExactRollback,
              "a file stays frozen after a reboot call that failed");
      // Where a page is late the walk may have seen another one before.
      const bool all = d_.walk == Design::Walk::kAtFreeze;
      const uint32_t late = uint32_t{file.late} << (2 * f);
      for (int p = 0; p < b_.pages; ++p)
        if (s_.page[p].rec & (all ? Both(f) : late & s_.page[p].in))
          Break(kExactRollback,
                "a page stays written down after a reboot call that failed");
    }
    for (int p = 0; p < b_.pages; ++p) {
      const XPage& page = s_.page[p];
      const bool of_this_kernel =
          page.kind == XPage::kPool || page.kind == XPage::kFile ||
          page.kind == XPage::kHeld || page.kind == XPage::kPinned;
      if (!of_this_kernel) continue;
      if (page.listed && d_.snapshot == Design::Snapshot::kAtFreeze)
        Break(kExactRollback,
              "a page stays preserved after a reboot call that failed");
    }
  }
  void TakeList() {
    for (int p = 0; p < b_.pages; ++p) {
      if (s_.page[p].kind == XPage::kPool) Enlist(&s_.page[p]);
    }
  }
  // The same in steps: where free pages are is noted, at one moment; memory is
  // allocated and KHO gets their keys; and they may be looked at once more.
  void NoteFree() {
    for (int p = 0; p < b_.pages; ++p)
      if (s_.page[p].kind == XPage::kPool) s_.page[p].pending = 1;
    s_.pc = XState::kKeying;
    NextOfList();
  }
  // It gets them one after the other. But a key makes no difference to anybody,
  // and until the last one is there memory is allocated.
  void KeyAll() {
    s_.pc = XState::kLooking;
    for (int p = 0; p < b_.pages; ++p) {
      XPage& page = s_.page[p];
      if (!page.pending) continue;
      page.key = 1;
      if (d_.looks == Design::Looks::kOnce) Enlist(&page);
    }
    NextOfList();
  }
  void LookAgain(XPage* page) {
    if (page->kind == XPage::kPool)
      Enlist(page);
    else
      LeaveOut(page);
    NextOfList();
  }
  void LeaveOut(XPage* page) {
    page->pending = page->listed = 0;
    page->key = page->kind == XPage::kMeta || page->rec != 0;
  }
  void NextOfList() {
    bool pending = false;
    for (int p = 0; p < b_.pages; ++p) pending |= s_.page[p].pending;
    if (!pending) s_.pc = XState::kCpus;
  }
  // There is no memory for it. The update goes on without.
  void GiveUpList() {
    for (int p = 0; p < b_.pages; ++p)
      if (s_.page[p].pending || s_.page[p].listed) LeaveOut(&s_.page[p]);
    s_.pc = XState::kCpus;
  }

  // --- The next kernel
  void Refuse(XPage* page) {
    switch (d_.refused) {
      case Design::Refused::kFreed:
        page->rec = 0;
        if (page->dev != 0)
          Break(kQuarantine, "a refused page that a device writes to is freed");
        page->dev = 0;
        ToBuddy(page);
        break;
      case Design::Refused::kLeaked:
        page->kind = XPage::kLost;
        page->in = 0;
        break;
      case Design::Refused::kQuarantined:
        page->kind = XPage::kQuarantined;
        page->in = 0;
        break;
    }
    page->truth = 0;
  }
  // The kernel dies, the next one has what was preserved. `cut`: in the middle
  // of something. Then programs that lose their files stop, and so do devices,
  // and KHO may hold pages that no record tells of: they are reserved until
  // the next kernel but one.
  void Jump(bool damaged, int which, bool cut = false) {
    // A list that is not complete cannot be found.
    if (s_.pc == XState::kKeying || s_.pc == XState::kLooking)
      for (int p = 0; p < b_.pages; ++p) s_.page[p].listed = 0;
    for (int f = 0; f < b_.files; ++f) {
      XFile& file = s_.file[f];
      const bool comes =
          file.out == XFile::kPreserved &&
          (file.done || d_.publish == Design::Publish::kAtPreserve);
      const bool twice = file.twice;
      const uint16_t wrote = file.wrote, size = file.size;
      // What came to this kernel, and nobody claimed, is lost now.
      const uint32_t gone = comes ? 0 : Both(f);
      for (int p = 0; p < b_.pages; ++p) {
        XPage& page = s_.page[p];
        page.truth = (page.truth & ~Both(f)) | (page.in & Both(f) & ~gone);
        if (gone == 0) continue;
        page.rec &= ~gone;
        const bool here = page.kind == XPage::kFile ||
                          page.kind == XPage::kHeld ||
                          page.kind == XPage::kPinned;
        // Stopped along with its program.
        if (here || cut) page.dev &= ~gone;
      }
      file = XFile();
      if (!comes) {
        s_.noted[f] = 0;
        continue;
      }
      file.size = size & 3;
      file.in = XFile::kAnnounced;
      file.twice = twice;
      file.wrote = wrote;
      file.damaged = damaged && which == f;
    }
    s_.came = {};
    for (int p = 0; p < b_.pages; ++p) {
      XPage& page = s_.page[p];
      const bool unclaimed = page.kind == XPage::kClaimed ||
                             page.kind == XPage::kQuarantined ||
                             page.kind == XPage::kLost;
      const bool key = page.key;
      if (page.listed && page.rec != 0)
        Break(kNoDuplicate, "a page of a file is listed as free, too");
      if (page.listed && page.kind == XPage::kMeta)
        Break(kOneOwner, "a page with KHO's own data is listed as free");
      if ((page.rec & (page.rec - 1)) != 0)
        Break(kNoDuplicate, "two records claim one page");
      page.in = 0;
      page.key = page.filled = page.holder = page.pending = 0;
      if (key && (page.rec != 0 || page.listed)) {
        page.kind = XPage::kClaimed;
        ++s_.came[page.node];
        continue;
      }
      if (key && page.kind == XPage::kMeta) {
        page.kind = XPage::kFree;
        page.written = 0;
        continue;
      }
      page.written = 0;
      page.listed = 0;
      if (page.dev != 0) {
        if (unclaimed)
          Break(kQuarantine,
                "memory that came from an earlier kernel, and that a device "
                "writes to, is anybody's");
        else
          Break(kOneOwner,
                "a page that a device writes to was not handed over");
      }
      page.dev = 0;
      page.rec = 0;
      page.kind = !key ? XPage::kFree : cut ? XPage::kStranded : XPage::kLost;
    }
    Reborn();
  }
  // Power is off: memory forgets, devices stop, and the next kernel is told of
  // nothing.
  void PowerCut() {
    for (int p = 0; p < b_.pages; ++p) {
      const uint32_t node = s_.page[p].node;
      s_.page[p] = XPage();
      s_.page[p].node = node & 1;
    }
    s_.file = {};
    s_.noted = {};
    s_.came = {};
    Reborn();
  }
  void Reborn() {
    s_.process = {};
    s_.counted = {};
    s_.unplaced = 0;
    s_.pc = XState::kFilling;
    s_.slot = 0;
    ++s_.generation;
    s_.short_of_memory = 0;
  }
  // Boot fills the pool with what the design knows.
  void Fill() {
    std::array<int, 2> asked = {kAsked, 0}, need;
    if (b_.nodes == 2) asked = {kAsked / 2, kAsked / 2};
    need = asked;
    const int total = s_.came[0] + s_.came[1];
    switch (d_.counts) {
      case Design::Counts::kNone:
        break;
      case Design::Counts::kTotal: {
        int left = total;
        for (int n = 0; n < 2; ++n) {
          const int less = std::min(left, need[n]);
          need[n] -= less;
          left -= less;
        }
        break;
      }
      case Design::Counts::kByNode:
        for (int n = 0; n < 2; ++n) need[n] = std::max(0, need[n] - s_.came[n]);
        break;
    }
    for (int n = 0; n < 2; ++n) {
      for (int p = 0; p < b_.pages && need[n] > 0; ++p) {
        XPage& page = s_.page[p];
        if (page.kind != XPage::kFree || int(page.node) != n) continue;
        New(&page);
        --need[n];
      }
      if (need[n] > 0) s_.short_of_memory = 1;
    }
    for (int p = 0; p < b_.pages; ++p) {
      const XPage& page = s_.page[p];
      if (page.kind != XPage::kClaimed) continue;
      if (CountsNoNodes())
        ++s_.unplaced;
      else
        Recount(page, kGone, kWaits);
    }
    s_.pc = XState::kImporting;
  }
  void Import(int f) {
    XFile& file = s_.file[f];
    const bool twice = file.twice && d_.twice == Design::Twice::kAtImport;
    bool beyond = false;
    for (int index = s_.noted[f]; index < 2; ++index)
      beyond |= Recorded(2 * f + index) != nullptr;
    for (int p = 0; p < b_.pages; ++p)
      if (s_.page[p].rec & Both(f)) Place(s_.page[p]);
    if (file.damaged || twice || beyond) {
      int seen = 0;
      file.in = XFile::kRefused;
      file.size = 0;
      s_.noted[f] = 0;
      if (beyond && !file.damaged)
        Break(kRefusal, "a record is refused that has pages beyond the end");
      if (twice)
        Break(kRefusal, "what should have been refused before is refused now");
      for (int slot = 2 * f; slot < 2 * f + 2; ++slot) {
        XPage* page = Recorded(slot);
        if (page == nullptr) continue;
        if (d_.import == Design::Import::kOnePass && seen++ == 0)
          Break(kAtomicImport,
                "pages were taken from a record before it was refused");
        Recount(*page, kWaits, kGone);
        --s_.came[page->node];
        Refuse(page);
      }
      return;
    }
    if (file.twice)
      Break(kNoDuplicate, "two sessions hand over the same pages");
    file.in = XFile::kAccepted;
  }
  // Free pages came, and the next kernel has not looked at their list yet.
  bool ListWaits() const {
    for (int p = 0; p < b_.pages; ++p)
      if (s_.page[p].kind == XPage::kClaimed && s_.page[p].listed) return true;
    return false;
  }
  // All files were looked at; `late`: not at boot; `kept`: the free page that
  // KHO does not let go of.
  void Imported(bool late, int kept = -1) {
    bool refused = kept >= 0;
    for (int f = 0; f < b_.files; ++f)
      refused |= s_.file[f].in == XFile::kRefused;
    for (int p = 0; p < b_.pages; ++p) {
      XPage& page = s_.page[p];
      if (page.kind != XPage::kClaimed || !page.listed) continue;
      if (page.rec == 0) Place(page);
      page.listed = 0;
      if (p == kept) {
        Recount(page, kWaits, kGone);
        --s_.came[page.node];
        page.kind = XPage::kQuarantined;
        continue;
      }
      page.kind = XPage::kPool;
      Recount(page, kWaits, kUnused);
    }
    s_.pc = XState::kRun;
    if (!refused && !late)
      CheckBudget(/*by_node=*/true, s_.short_of_memory == 0);
  }
  // As large as asked for, more only where more came.
  // `had`: there was memory for it.
  void CheckBudget(bool by_node, bool had) {
    std::array<int, 2> asked = {kAsked, 0}, is = {0, 0};
    if (b_.nodes == 2) asked = {kAsked / 2, kAsked / 2};
    for (int p = 0; p < b_.pages; ++p) {
      const XPage& page = s_.page[p];
      if (page.kind == XPage::kPool || page.kind == XPage::kFile ||
          page.kind == XPage::kHeld || page.kind == XPage::kPinned ||
          (page.kind == XPage::kClaimed && (page.rec != 0 || page.listed)))
        ++is[page.node];
    }
    int allowed = 0;
    for (int n = 0; n < 2; ++n) allowed += std::max<int>(asked[n], s_.came[n]);
    if (is[0] + is[1] > allowed)
      Break(kBootBudget, "the pool is larger than it should be");
    if (had && is[0] + is[1] < kAsked)
      Break(kBootBudget, "the pool is smaller than it should be");
    if (!by_node) return;
    for (int n = 0; n < b_.nodes; ++n) {
      if (is[n] > std::max<int>(asked[n], s_.came[n]))
        Break(kPlacement, "a node has more pages than it should have");
      if (had && is[n] < asked[n])
        Break(kPlacement, "a node has fewer pages than it should have");
    }
  }
  // File f is back.
  void CheckRetrieved(int f) {
    XFile& file = s_.file[f];
    if (s_.noted[f] != file.size)
      Break(kMetadata, "a file has not the size that it had");
    file.size = s_.noted[f] & 3;
    s_.noted[f] = 0;
    for (int index = 0; index < b_.indices; ++index) {
      const int slot = 2 * f + index;
      const XPage* page = At(slot);
      bool had = false;
      for (int p = 0; p < b_.pages; ++p) had |= s_.page[p].truth & Bit(slot);
      if (page != nullptr && !(page->truth & Bit(slot)))
        Break(kIdentity, had ? "another page is at an index"
                             : "there is a page where a hole was");
      if (page == nullptr && had)
        Break(kIdentity, "a page is missing from its file");
      if (!(file.wrote & (1u << index))) continue;
      if (page == nullptr)
        Break(kNoLostWrite, "what was written is gone along with its page");
      else if (!page->written)
        Break(kContents, "a page does not hold what was written to it");
    }
  }
  void RestoreFailed(int f) {
    for (int p = 0; p < b_.pages; ++p) {
      XPage& page = s_.page[p];
      if ((page.in & Both(f)) == 0) continue;
      page.in &= ~Both(f);
      page.kind = d_.retries ? XPage::kClaimed : XPage::kLost;
      if (d_.retries) Recount(page, kUsed, kWaits);
    }
    s_.file[f].in = d_.retries ? XFile::kAccepted : XFile::kFailed;
    s_.pc = XState::kRun;
  }
  // KHO does not let go of a page that nobody asks for any more. Nobody can
  // free it, so it is kept, whatever becomes of what is refused.
  void Keep(XPage* page) {
    Recount(*page, kWaits, kGone);
    page->kind = XPage::kQuarantined;
  }
  // `stuck`: at a page that KHO does not let go of; or -1.
  void Finish(int f, int stuck = -1) {
    switch (s_.file[f].in) {
      case XFile::kRefused:
        for (int p = 0; p < b_.pages; ++p)
          if (s_.page[p].kind == XPage::kLost && (s_.page[p].rec & Both(f)))
            Break(kNoLeak, "pages of a file that was refused are nobody's");
        if (d_.refused == Design::Refused::kQuarantined) break;
        Forget(f);
        s_.file[f] = XFile();
        break;
      case XFile::kRetrieved:
        Forget(f);
        s_.file[f].in = XFile::kNotIn;
        s_.file[f].twice = s_.file[f].damaged = 0;
        break;
      default:
        GiveUp(f, stuck);
        break;
    }
    s_.slot = static_cast<uint8_t>(s_.slot & ~Bit(f)) & 15;
    if (s_.slot != 0) return;
    s_.pc = XState::kRun;
    for (int p = 0; p < b_.pages; ++p)
      if (s_.page[p].kind == XPage::kLost && s_.page[p].dev == 0)
        Break(kNoLeak, "a page is nobody's");
  }
  // The record of a file is of no more use.
  void Forget(int f) {
    for (int p = 0; p < b_.pages; ++p) {
      s_.page[p].truth &= ~Both(f);
      s_.page[p].rec &= ~Both(f);
    }
  }
  // Nobody has asked for file f, or got it.
  void GiveUp(int f, int stuck) {
    const bool lost = s_.file[f].in == XFile::kFailed;
    s_.file[f] = XFile();
    s_.noted[f] = 0;
    for (int p = 0; p < b_.pages; ++p) {
      XPage& page = s_.page[p];
      page.truth &= ~Both(f);
      const uint32_t recorded = page.rec & Both(f);
      if (recorded == 0) continue;
      page.dev &= ~Both(f);  // whoever finishes knows the devices
      page.rec &= ~Both(f);
      if (lost) {
        page.kind = XPage::kLost;
        Break(kNoLeak, "pages of a retrieval that failed are nobody's");
        continue;
      }
      page.in = 0;
      page.written = 0;
      if (stuck >= 0 && (recorded & Bit(stuck))) {
        page.rec |= recorded;
        Keep(&page);
        s_.file[f].in = XFile::kRefused;
        continue;
      }
      Recount(page, kWaits, kUnused);
      const bool surplus = Counted() > kAsked;
      page.kind = surplus ? XPage::kFree : XPage::kPool;
      if (surplus) Recount(page, kUnused, kGone);
    }
  }

 private:
  const Design& d_;
  const Bounds& b_;
  XState s_;
  Broken broken_ = 0;
  Reasons why_ = 0;
};

// A page of this kernel's pools, as they are specified: one that came is, as
// long as nobody has claimed it (docs/properties.md).
bool InPool(const XPage& page) {
  return page.kind == XPage::kPool || page.kind == XPage::kFile ||
         page.kind == XPage::kHeld || page.kind == XPage::kPinned ||
         page.kind == XPage::kClaimed;
}

bool Idle(const XState& s) { return s.pc == XState::kRun; }

bool UserspaceRuns(const XState& s) {
  return s.pc != XState::kFilling && s.pc != XState::kImporting;
}

uint32_t Word(const XPage& page) { return std::bit_cast<uint32_t>(page); }

// This page may not leave the pool.
bool Kept(const Design& d, const XPage& page) {
  return d.leaving == Design::Leaving::kRefused && page.listed;
}

// All ways to choose so many pages of a kind, or all of them if there are not
// so many, as sets; of pages that are the same the first ones.
std::vector<uint32_t> Choices(const Design& d, const XState& s, const Bounds& b,
                              XPage::Kind kind, int nr) {
  uint32_t all = 0, follows = 0;  // one that is the same
  for (int p = 0; p < b.pages; ++p) {
    if (s.page[p].kind != kind || Kept(d, s.page[p])) continue;
    all |= Bit(p);
    if (p > 0 && Word(s.page[p]) == Word(s.page[p - 1])) follows |= Bit(p);
  }
  nr = std::min(nr, std::popcount(all));
  std::vector<uint32_t> sets;
  for (uint32_t set = 0; set <= all; ++set)
    if ((set & ~all) == 0 && std::popcount(set) == nr &&
        (set & follows & ~(set << 1)) == 0)
      sets.push_back(set);
  return sets;
}

// The four sets of slots of a page with the files exchanged, all at once: they
// are next to each other, which RenamedStatesBehaveAlike would notice. Most of
// the explorer's time goes into renaming.
uint32_t ExchangeFiles(uint32_t word) {
  constexpr uint32_t kFirst = 0x33330, kSecond = 0xcccc0;
  return (word & ~(kFirst | kSecond)) | (word & kFirst) << 2 |
         (word & kSecond) >> 2;
}

// All ways to rename files and processes; pages are sorted afterwards.
XState Rename(const XState& s, const Bounds& b, bool files, bool processes) {
  XState r = s;
  auto slot = [files](int x) { return files ? x ^ 2 : x; };
  auto words = std::bit_cast<std::array<uint32_t, kMaxExploredPages>>(s.page);
  for (int p = 0; p < b.pages; ++p) {
    if (files) words[p] = ExchangeFiles(words[p]);
    if (!processes || s.page[p].kind != XPage::kHeld) continue;
    auto page = std::bit_cast<XPage>(words[p]);
    page.holder = 1 - page.holder;
    words[p] = std::bit_cast<uint32_t>(page);
  }
  if (files) {
    std::swap(r.file[0], r.file[1]);
    std::swap(r.noted[0], r.noted[1]);
    if (r.pc == XState::kWalk || r.pc == XState::kRetrieving)
      r.slot = static_cast<uint8_t>(slot(r.slot)) & 15;
    if (r.pc == XState::kAborting || r.pc == XState::kFinishing)
      r.slot = static_cast<uint8_t>((r.slot & 1) << 1 | r.slot >> 1) & 15;
    for (XProcess& process : r.process)
      if (process.pc != XProcess::kIdle)
        process.slot = static_cast<uint8_t>(slot(process.slot)) & 15;
  }
  if (processes) std::swap(r.process[0], r.process[1]);
  // Four at most: by insertion.
  for (int i = 1; i < b.pages; ++i)
    for (int j = i; j > 0 && words[j] < words[j - 1]; --j)
      std::swap(words[j], words[j - 1]);
  r.page = std::bit_cast<decltype(r.page)>(words);
  return r;
}

}  // namespace

std::string_view ExploredName(size_t property) {
  return property < kExplored.size() ? kExplored[property] : kStall;
}

std::string_view ReasonFor(Reasons why, size_t property) {
  std::string_view first;
  const auto& all = AllReasons();
  for (size_t i = 0; i < all.size(); ++i)
    if ((why >> i & 1) && all[i].first == property &&
        (first.empty() || all[i].second < first))
      first = all[i].second;
  return first;
}

void AddReasons(Reasons why, std::set<std::string_view>* reasons) {
  const auto& all = AllReasons();
  for (size_t i = 0; i < all.size(); ++i)
    if (why >> i & 1) reasons->insert(all[i].second);
}

XState XMachine::Initial() const {
  XState s;
  for (int f = 0; f < b_.files; ++f) {
    s.file[f].open = 1;
    s.file[f].size = static_cast<uint16_t>(b_.indices) & 3;
  }
  for (int p = 0; p < b_.pages; ++p) {
    XPage& page = s.page[p];
    page.node = b_.nodes == 2 && p >= std::min(2, b_.pages - 1);
  }
  // One page on each node, or both on the only one.
  if (b_.nodes == 2) {
    s.page[0].kind = XPage::kPool;
    s.page[b_.pages - 1].kind = XPage::kPool;
    s.counted[0].total = s.counted[1].total = 1;
  } else {
    for (int p = 0; p < std::min(b_.pages, kAsked); ++p) {
      s.page[p].kind = XPage::kPool;
      ++s.counted[0].total;
    }
  }
  for (XCounters& counters : s.counted) counters.free = counters.total;
  s.aborts = static_cast<uint8_t>(b_.aborts) & 3;
  s.failures = static_cast<uint8_t>(b_.failures) & 3;
  s.damages = static_cast<uint8_t>(b_.damages) & 3;
  s.resizes = static_cast<uint8_t>(b_.resizes) & 3;
  s.cuts = static_cast<uint8_t>(b_.cuts) & 3;
  s.creates = static_cast<uint8_t>(b_.creates) & 3;
  s.truncations = static_cast<uint8_t>(b_.truncations) & 3;
  return Canonical(s);
}

XState XMachine::Renamed(const XState& s, bool files, bool processes) const {
  return Rename(s, b_, files, processes);
}

XState XMachine::Canonical(const XState& s) const {
  XState best = Renamed(s, false, false);
  for (int way = 1; way < 4; ++way) {
    const bool files = way & 1, processes = way & 2;
    if ((files && b_.files < 2) || (processes && b_.processes < 2)) continue;
    const XState other = Renamed(s, files, processes);
    if (std::bit_cast<XWords>(other) < std::bit_cast<XWords>(best))
      best = other;
  }
  return best;
}

void XMachine::Successors(const XState& s, std::vector<XNext>* next) const {
  using K = XAction::Kind;
  auto add = [&](XAction action, const Step& step) {
    next->push_back({action, step.s(), step.broken(), step.why()});
  };
  auto act = [](K kind, int who = 0, int slot = 0, int page = 0) {
    XAction a;
    a.kind = kind;
    a.who = static_cast<uint8_t>(who);
    a.slot = static_cast<uint8_t>(slot);
    a.page = static_cast<uint8_t>(page);
    return a;
  };

  // All files were looked at, and now free pages are taken.
  auto add_imported = [&](const Step& looked, bool late) {
    Step step = looked;
    step.Imported(late);
    add(act(late ? K::kImportLate : K::kImported), step);
    uint32_t last = 0;
    for (int p = 0; s.failures > 0 && p < b_.pages; ++p) {
      const XPage& page = s.page[p];
      if (page.kind != XPage::kClaimed || !page.listed || Word(page) == last)
        continue;
      last = Word(page);
      Step keeps = looked;
      --keeps.s().failures;
      keeps.Imported(late, p);
      add(act(K::kImportKeeps, 0, 0, p), keeps);
    }
  };

  auto resize = [&act](K kind, int who, int f, int size) {
    XAction a = act(kind, who, 2 * f);
    a.size = static_cast<uint8_t>(size);
    return a;
  };
  // Pages cannot be taken out of file f. Whoever lets go of them still has the
  // inode's lock.
  auto guarded = [this, &s](int f) {
    const XFile& file = s.file[f];
    const bool letting_go = s.pc == XState::kAborting && (s.slot & Bit(f)) != 0;
    switch (d_.guard) {
      case Design::Guard::kNever:
        return false;
      case Design::Guard::kFromFreezing:
        return file.frozen != 0;
      case Design::Guard::kFromPreserving:
        break;
    }
    return file.out != XFile::kNotOut || letting_go;
  };

  // A fault that ends without its page.
  auto given_up = [this](const XState& from, int q) {
    Step step(d_, b_, from);
    --step.s().failures;
    if (XPage* page = step.HeldBy(q)) step.ToPool(page);
    step.s().process[q] = XProcess();
    return step;
  };

  auto may_grow = [this, &s, &guarded](int f) {
    switch (d_.growth) {
      case Design::Growth::kUntilFreezing:
        return !s.file[f].frozen;
      case Design::Growth::kAlways:
        // Not while preserve() has the inode's lock.
        return s.pc != XState::kWalk || s.slot / 2 != f;
      case Design::Growth::kAsGuarded:
        break;
    }
    return !guarded(f);
  };

  const bool more = s.generation <= b_.updates;

  // --- Programs
  for (int q = 0; UserspaceRuns(s) && q < b_.processes; ++q) {
    const XProcess& process = s.process[q];
    const int slot = process.slot;
    if (process.pc == XProcess::kTook) {
      Step step(d_, b_, s);
      XPage* page = step.HeldBy(q);
      XFile& file = step.FileOf(slot);
      step.s().process[q] = XProcess();
      if (page == nullptr) {
        // Somebody else had it, too, and has given it away.
      } else if (!file.open || (slot & 1) >= file.size ||
                 step.At(slot) != nullptr) {
        step.ToPool(page);
      } else if (file.frozen && d_.check == Design::Check::kAtAdding &&
                 d_.fault != Design::Fault::kGoesOn) {
        if (d_.fault == Design::Fault::kFails) {
          step.ToPool(page);
          step.Break(kRefusal, "a program that touches its memory is killed");
        } else {
          step.s().process[q].pc = XProcess::kWaits;
          step.s().process[q].slot = static_cast<uint8_t>(slot) & 15;
        }
      } else {
        page->kind = XPage::kFile;
        page->in |= Bit(slot);
        page->dev |= Bit(slot);
        page->holder = 0;
        // Whether a page was written to is no condition of any step, only of
        // what must hold afterwards: who has written at once has all to lose.
        page->written = b_.reads == 0;
        if (page->written) file.wrote |= 1u << (slot & 1);
        const bool walked = file.out == XFile::kPreserved ||
                            (file.out == XFile::kPreserving &&
                             s.pc == XState::kWalk && slot < s.slot);
        if (walked && d_.notices && d_.walk == Design::Walk::kAtPreserve)
          file.late |= 1u << (slot & 1);
      }
      add(act(K::kAdd, q, slot), step);
      if (s.failures > 0) add(act(K::kAddFails, q, slot), given_up(s, q));
      continue;
    }
    if (process.pc == XProcess::kWaits) {
      if (s.failures > 0) add(act(K::kKilled, q, slot), given_up(s, q));
      if (s.file[slot / 2].frozen) continue;
      Step step(d_, b_, s);
      step.s().process[q].pc =
          step.HeldBy(q) != nullptr ? XProcess::kTook : XProcess::kIdle;
      if (step.s().process[q].pc == XProcess::kIdle)
        step.s().process[q] = XProcess();
      add(act(K::kWake, q, slot), step);
      continue;
    }
    if (process.pc == XProcess::kTakingOut) {
      Step step(d_, b_, s);
      step.s().process[q] = XProcess();
      step.TakeOut(slot);
      add(act(K::kTakeOut, q, slot), step);
      continue;
    }
    if (process.pc == XProcess::kShrinking ||
        process.pc == XProcess::kGrowing) {
      const int size = (slot & 1) + (process.pc == XProcess::kGrowing);
      Step step(d_, b_, s);
      step.s().process[q] = XProcess();
      step.Resize(slot / 2, size);
      add(resize(K::kTruncate, q, slot / 2, size), step);
      continue;
    }
    for (int f = 0; more && s.truncations > 0 && f < b_.files; ++f) {
      const XFile& file = s.file[f];
      for (int size = 0; file.open && size <= b_.indices; ++size) {
        const bool grows = size > file.size;
        if (size == file.size || (grows ? !may_grow(f) : guarded(f))) continue;
        Step step(d_, b_, s);
        --step.s().truncations;
        if (d_.check == Design::Check::kAtEntry) {
          step.s().process[q].pc =
              grows ? XProcess::kGrowing : XProcess::kShrinking;
          step.s().process[q].slot =
              static_cast<uint8_t>(2 * f + size - grows) & 15;
          add(resize(K::kTruncateEntry, q, f, size), step);
        } else {
          step.Resize(f, size);
          add(resize(K::kTruncate, q, f, size), step);
        }
      }
    }
    for (int x = 0; x < slots(); ++x) {
      if (!Slot(x) || !s.file[x / 2].open) continue;
      const XFile& file = s.file[x / 2];
      const XPage* present = nullptr;
      for (int p = 0; p < b_.pages; ++p)
        if (s.page[p].in & Bit(x)) present = &s.page[p];
      if (present == nullptr) {
        if ((x & 1) >= file.size) continue;
        const bool stops = file.frozen && d_.check == Design::Check::kAtEntry &&
                           d_.fault != Design::Fault::kGoesOn;
        if (stops) {
          Step step(d_, b_, s);
          if (d_.fault == Design::Fault::kFails) {
            step.Break(kRefusal, "a program that touches its memory is killed");
          } else {
            step.s().process[q].pc = XProcess::kWaits;
            step.s().process[q].slot = static_cast<uint8_t>(x) & 15;
          }
          add(act(K::kFault, q, x), step);
          continue;
        }
        uint32_t last = ~0u;
        bool kept = false;
        for (int p = 0; p < b_.pages; ++p) {
          if (s.page[p].kind != XPage::kPool) continue;
          if (Kept(d_, s.page[p])) {
            kept = true;
            continue;
          }
          const uint32_t word = Word(s.page[p]);
          if (word == last) continue;  // the same as the one before
          last = word;
          Step step(d_, b_, s);
          XPage& page = step.s().page[p];
          step.Leaves(&page);
          page.kind = XPage::kHeld;
          page.holder = static_cast<uint32_t>(q) & 1;
          step.s().process[q].pc = XProcess::kTook;
          step.s().process[q].slot = static_cast<uint8_t>(x) & 15;
          add(act(K::kFault, q, x, p), step);
        }
        if (kept && last == ~0u) {
          Step step(d_, b_, s);
          step.Break(kRefusal,
                     "a program is killed for want of a page while some are "
                     "free");
          add(act(K::kFault, q, x), step);
        }
        continue;
      }
      if (!present->written || !(file.wrote & (1u << (x & 1)))) {
        Step step(d_, b_, s);
        step.At(x)->written = 1;
        step.FileOf(x).wrote |= 1u << (x & 1);
        add(act(K::kWrite, q, x), step);
      }
      if (guarded(x / 2)) continue;
      Step step(d_, b_, s);
      if (d_.check == Design::Check::kAtEntry) {
        step.s().process[q].pc = XProcess::kTakingOut;
        step.s().process[q].slot = static_cast<uint8_t>(x) & 15;
        add(act(K::kTakeOutEntry, q, x), step);
        continue;
      }
      step.TakeOut(x);
      add(act(K::kTakeOut, q, x), step);
    }
  }

  // Files are alike while they are not there: one may be made in the place of
  // each, unless something of the one before is kept under its name.
  // (Where no further update comes neither that nor a size matters.)
  for (int f = 0; UserspaceRuns(s) && more && s.creates > 0 && f < b_.files;
       ++f) {
    if (s.file[f].open || s.file[f].in != XFile::kNotIn) continue;
    uint32_t of_old = 0;
    for (int p = 0; p < b_.pages; ++p)
      of_old |= (s.page[p].in | s.page[p].rec | s.page[p].dev) & Both(f);
    if (of_old != 0) continue;
    Step step(d_, b_, s);
    step.s().file[f] = XFile();
    step.s().file[f].open = 1;
    step.s().file[f].size = static_cast<uint16_t>(b_.indices) & 3;
    for (int p = 0; p < b_.pages; ++p) step.s().page[p].truth &= ~Both(f);
    --step.s().creates;
    add(act(K::kCreate, 0, 2 * f), step);
  }

  // --- The administrator: resizes the pool; the kernel uses what is free.
  if (UserspaceRuns(s) && s.resizes > 0) {
    uint32_t last = ~0u;
    for (int p = 0; p < b_.pages; ++p) {
      if (s.page[p].kind != XPage::kPool || Kept(d_, s.page[p])) continue;
      const uint32_t word = Word(s.page[p]);
      if (word == last) continue;
      last = word;
      Step step(d_, b_, s);
      XPage& page = step.s().page[p];
      step.Leaves(&page);
      --step.s().counted[page.node].total;
      step.ToBuddy(&page);
      --step.s().resizes;
      add(act(K::kShrink, 0, 0, p), step);
    }
    // Asks once more for as many pages as at boot.
    const int missing = std::max(0, kAsked - Step(d_, b_, s).Counted());
    for (const uint32_t set : Choices(d_, s, b_, XPage::kFree, missing)) {
      if (s.generation == 1 && missing == 0) continue;
      Step step(d_, b_, s);
      for (int p = 0; p < b_.pages; ++p) {
        XPage& page = step.s().page[p];
        if ((set & Bit(p)) == 0) continue;
        step.New(&page);
        step.Joins(&page);
      }
      --step.s().resizes;
      // Not while some of it is under way.
      bool came_whole = s.generation > 1 && Idle(s);
      for (int f = 0; f < b_.files; ++f)
        came_whole &=
            s.file[f].in == XFile::kAccepted || s.file[f].in == XFile::kNotIn;
      if (came_whole)
        step.CheckBudget(/*by_node=*/false, s.short_of_memory == 0 &&
                                                std::popcount(set) == missing);
      add(act(K::kSetNr), step);
    }
  }
  // What is allocated in the reboot call is for the list itself.
  if (d_.snapshot != Design::Snapshot::kNone &&
      (s.pc == XState::kRun || s.pc == XState::kWalk ||
       s.pc == XState::kKeying)) {
    uint32_t last = ~0u;
    for (int p = 0; p < b_.pages; ++p) {
      const bool noted = s.pc == XState::kKeying && s.page[p].pending;
      if (s.page[p].kind != XPage::kFree || (!s.page[p].listed && !noted))
        continue;
      const uint32_t word = Word(s.page[p]);
      if (word == last) continue;
      last = word;
      Step step(d_, b_, s);
      step.s().page[p].kind = XPage::kMeta;
      step.s().page[p].key = 1;
      add(act(K::kUseFree, 0, 0, p), step);
    }
  }
  for (int p = 0; UserspaceRuns(s) && p < b_.pages; ++p) {
    if (!s.page[p].pending || d_.joining != Design::Joining::kListedLater)
      continue;
    Step step(d_, b_, s);
    step.Enlist(&step.s().page[p]);
    add(act(K::kJoin, 0, 0, p), step);
  }

  // --- The agent
  switch (static_cast<XState::Pc>(s.pc)) {
    case XState::kRun: {
      bool unclaimed = false, announced = false;
      uint32_t out = 0, in = 0;
      for (int f = 0; f < b_.files; ++f) {
        const XFile& file = s.file[f];
        if (file.out != XFile::kNotOut) out |= Bit(f);
        if (file.in == XFile::kAnnounced)
          announced = true;
        else if (file.in != XFile::kNotIn)
          in |= Bit(f);
        unclaimed |= file.in != XFile::kNotIn && file.in != XFile::kRetrieved;
      }
      for (int p = 0; p < b_.pages; ++p)
        unclaimed |= s.page[p].kind == XPage::kQuarantined;
      const bool waits = Step(d_, b_, s).ListWaits();
      unclaimed |= waits;
      // Whoever asks for one, or reboots, makes up for what boot had no memory
      // for.
      if (announced || waits) {
        Step step(d_, b_, s);
        for (int f = 0; f < b_.files; ++f)
          if (s.file[f].in == XFile::kAnnounced) step.Import(f);
        add_imported(step, /*late=*/true);
      }
      for (int f = 0; more && f < b_.files; ++f) {
        const XFile& file = s.file[f];
        if (!file.open || file.in != XFile::kNotIn) continue;
        if (file.out == XFile::kPreserved) {
          if (d_.twice == Design::Twice::kAtPreserve || file.twice) continue;
          Step step(d_, b_, s);
          step.s().file[f].twice = 1;
          add(act(K::kPreserveTwice, 0, 2 * f), step);
          continue;
        }
        Step step(d_, b_, s);
        XFile& changed = step.s().file[f];
        if (d_.freeze == Design::Freeze::kAtPreserve) changed.frozen = 1;
        if (step.NotesSizeEarly()) step.NoteSize(f);
        if (d_.snapshot == Design::Snapshot::kAtPreserve && out == 0)
          step.TakeList();
        if (d_.walk == Design::Walk::kAtPreserve) {
          changed.out = XFile::kPreserving;
          step.s().pc = XState::kWalk;
          step.s().slot = static_cast<uint8_t>(2 * f) & 15;
        } else {
          changed.out = XFile::kPreserved;
        }
        add(act(K::kPreserve, 0, 2 * f), step);
        if (s.failures == 0) continue;
        // Before the first page is looked at.
        --step.s().failures;
        step.PreserveFailed(f);
        add(act(K::kPreserveFails, 0, 2 * f), step);
      }
      // Each file is in a session of its own, or all are in one.
      for (uint32_t set = 1; s.aborts > 0 && set <= out; ++set) {
        if ((set & ~out) != 0) continue;
        Step step(d_, b_, s);
        --step.s().aborts;
        step.s().pc = XState::kAborting;
        step.s().slot = static_cast<uint8_t>(set) & 15;
        add(act(K::kAbort, static_cast<int>(set)), step);
      }
      // With nothing to hand over it is a plain kexec.
      if (more && (!unclaimed || !d_.waits_for_claims)) {
        Step step(d_, b_, s);
        step.s().pc = XState::kFreezing;
        add(act(K::kReboot), step);
      }
      for (int f = 0; f < b_.files; ++f) {
        if (s.file[f].in != XFile::kAccepted) continue;
        Step step(d_, b_, s);
        step.s().pc = XState::kRetrieving;
        step.s().slot = static_cast<uint8_t>(2 * f) & 15;
        add(act(K::kRetrieve, 0, 2 * f), step);
      }
      for (uint32_t set = 1; set <= in; ++set) {
        if ((set & ~in) != 0) continue;
        Step step(d_, b_, s);
        step.s().pc = XState::kFinishing;
        step.s().slot = static_cast<uint8_t>(set) & 15;
        add(act(K::kFinish, static_cast<int>(set)), step);
      }
      break;
    }
    case XState::kWalk: {
      const int slot = s.slot, f = slot / 2;
      const bool fills = d_.fills_holes && Slot(slot) &&
                         (slot & 1) < s.file[f].size &&
                         Step(d_, b_, s).At(slot) == nullptr;
      // With any page of the pool, if there is one.
      for (const uint32_t set :
           Choices(d_, s, b_, XPage::kPool, fills ? 1 : 0)) {
        Step step(d_, b_, s);
        if (set != 0) {
          XPage& page = step.s().page[std::countr_zero(set)];
          step.Leaves(&page);
          page.kind = XPage::kFile;
          page.in |= Bit(slot);
          page.filled = 1;
        }
        XPage* page = step.At(slot);
        if (page != nullptr && Slot(slot)) step.Record(page, slot);
        if (fills && set == 0) {
          step.PreserveFailed(f);
        } else if (slot & 1) {
          step.s().file[f].out = XFile::kPreserved;
          step.s().pc = XState::kRun;
          step.s().slot = 0;
        } else {
          step.s().slot = static_cast<uint8_t>(slot + 1) & 15;
        }
        add(act(K::kLook, 0, slot), step);
      }
      if (s.failures > 0 && Slot(slot)) {
        Step fails(d_, b_, s);
        --fails.s().failures;
        fails.PreserveFailed(f);
        add(act(K::kLookFails, 0, slot), fails);
      }
      break;
    }
    case XState::kAborting: {
      // One by one, while programs run. Nothing of it can fail. Any may be the
      // next: each may be in a session of its own. The same holds for freezing,
      // thawing and finishing; and within a session LUO thaws forwards where
      // another one's file has failed, but sessions backwards.
      int half = -1;
      for (int f = 0; f < b_.files; ++f)
        if ((s.slot & Bit(f)) && s.file[f].out == XFile::kNotOut) half = f;
      for (int f = 0; f < b_.files; ++f) {
        if ((s.slot & Bit(f)) == 0 || (half >= 0 && half != f)) continue;
        Step step(d_, b_, s);
        if (half == f)
          step.LetGo(f);
        else
          step.Unpreserve(f);
        add(act(half == f ? K::kLetGo : K::kUnpreserve, 0, 2 * f), step);
      }
      break;
    }
    case XState::kFreezing: {
      bool all = true;
      for (int f = 0; f < b_.files; ++f) {
        const XFile& file = s.file[f];
        if (file.out != XFile::kPreserved || file.done) continue;
        all = false;
        Step step(d_, b_, s);
        XFile& changed = step.s().file[f];
        changed.done = 1;
        if (d_.freeze != Design::Freeze::kNever) changed.frozen = 1;
        step.RecordDue(f);
        if (d_.size == Design::Size::kAtFreeze) step.NoteSize(f);
        add(act(K::kFreeze, 0, 2 * f), step);
        if (s.failures == 0) continue;
        // What was frozen thaws, file by file; the sessions stay as they were.
        Step fails(d_, b_, s);
        --fails.s().failures;
        if (!d_.unwinds) fails.RecordDue(f);
        fails.NextToThaw();
        add(act(K::kFreezeFails, 0, 2 * f), fails);
      }
      if (!all) break;
      if (s.failures > 0) {
        Step fails(d_, b_, s);
        --fails.s().failures;
        if (d_.snapshot == Design::Snapshot::kAtFreeze) {
          fails.TakeList();
          if (d_.drops_list) fails.DropWholeList();
        }
        fails.NextToThaw();
        add(act(K::kListFails), fails);
      }
      Step step(d_, b_, s);
      step.s().pc = XState::kCpus;
      if (d_.snapshot == Design::Snapshot::kAtFreeze) {
        if (d_.looks == Design::Looks::kAtOnce)
          step.TakeList();
        else
          step.NoteFree();
      }
      add(act(K::kList), step);
      break;
    }
    case XState::kKeying:
    case XState::kLooking: {
      const bool keys = s.pc == XState::kKeying;
      const bool at_once = keys && d_.looks != Design::Looks::kAfterEach;
      uint32_t last = ~0u;
      for (int p = 0; p < b_.pages; ++p) {
        const uint32_t word = Word(s.page[p]);
        if (at_once || !s.page[p].pending || word == last) continue;
        last = word;
        Step step(d_, b_, s);
        step.LookAgain(&step.s().page[p]);
        add(act(keys ? K::kKey : K::kLookAgain, 0, 0, p), step);
      }
      if (at_once) {
        Step step(d_, b_, s);
        step.KeyAll();
        add(act(K::kKeys), step);
      }
      if (s.failures == 0) break;
      Step fails(d_, b_, s);
      --fails.s().failures;
      fails.GiveUpList();
      add(act(K::kKeyFails), fails);
      break;
    }
    case XState::kThawing:
      for (int f = 0; f < b_.files; ++f) {
        if (!s.file[f].done) continue;
        Step step(d_, b_, s);
        step.Thaw(f);
        add(act(K::kThaw, 0, 2 * f), step);
      }
      break;
    case XState::kCpus: {
      Step step(d_, b_, s);
      step.Jump(false, 0);
      add(act(K::kStop), step);
      for (int f = 0; s.damages > 0 && f < b_.files; ++f) {
        if (s.file[f].out != XFile::kPreserved) continue;
        Step damaged(d_, b_, s);
        --damaged.s().damages;
        damaged.Jump(true, f);
        add(act(K::kStopDamaged, 0, 2 * f), damaged);
      }
      break;
    }
    case XState::kFilling: {
      Step step(d_, b_, s);
      step.Fill();
      add(act(K::kFill), step);
      break;
    }
    case XState::kImporting: {
      bool all = true;
      for (int f = 0; f < b_.files; ++f) {
        if (s.file[f].in != XFile::kAnnounced) continue;
        all = false;
        Step step(d_, b_, s);
        step.Import(f);
        add(act(K::kImport, 0, 2 * f), step);
      }
      // All are looked at, or none.
      bool none = !all || Step(d_, b_, s).ListWaits();
      for (int f = 0; f < b_.files; ++f)
        none &=
            s.file[f].in == XFile::kAnnounced || s.file[f].in == XFile::kNotIn;
      if (none && s.failures > 0) {
        Step fails(d_, b_, s);
        --fails.s().failures;
        fails.s().pc = XState::kRun;
        add(act(K::kImportFails), fails);
      }
      if (!all) break;
      add_imported(Step(d_, b_, s), /*late=*/false);
      break;
    }
    case XState::kRetrieving: {
      const int slot = s.slot, f = slot / 2;
      Step step(d_, b_, s);
      XPage* page = step.Recorded(slot);
      if (page != nullptr && page->kind == XPage::kClaimed) {
        page->kind = XPage::kFile;
        page->in |= Bit(slot);
        step.Recount(*page, Step::kWaits, Step::kUsed);
      }
      if (slot & 1) {
        step.s().file[f].in = XFile::kRetrieved;
        step.s().file[f].open = 1;
        step.s().pc = XState::kRun;
        step.s().slot = 0;
        step.CheckRetrieved(f);
        // The record is of no more use.
        for (int p = 0; p < b_.pages; ++p) step.s().page[p].rec &= ~Both(f);
      } else {
        step.s().slot = static_cast<uint8_t>(slot + 1) & 15;
      }
      add(act(K::kRestore, 0, slot), step);
      if (s.failures > 0) {
        Step fails(d_, b_, s);
        --fails.s().failures;
        fails.s().slot = 0;
        fails.RestoreFailed(f);
        add(act(K::kRestoreFails, 0, slot), fails);
      }
      break;
    }
    case XState::kFinishing:
      // Of what came all is known by now: otherwise LUO would have refused.
      for (int f = 0; f < b_.files; ++f) {
        if ((s.slot & Bit(f)) == 0) continue;
        Step step(d_, b_, s);
        step.Finish(f);
        add(act(K::kFinishFile, 0, 2 * f), step);
        if (s.failures == 0 || s.file[f].in != XFile::kAccepted) continue;
        for (int slot = 2 * f; slot < 2 * f + 2; ++slot) {
          Step fails(d_, b_, s);
          const XPage* page = fails.Recorded(slot);
          if (page == nullptr || page->kind != XPage::kClaimed) continue;
          --fails.s().failures;
          fails.Finish(f, slot);
          add(act(K::kFinishFails, 0, slot), fails);
        }
      }
      break;
  }

  // --- The kernel is gone, whatever it was about: power, or it is replaced as
  // if all had been done. (Once it waits for its CPUs all is done.)
  if (s.cuts > 0) {
    Step power(d_, b_, s);
    --power.s().cuts;
    power.PowerCut();
    add(act(K::kPowerCut), power);
    if (UserspaceRuns(s) && s.pc != XState::kCpus &&
        s.generation <= b_.updates) {
      Step cut(d_, b_, s);
      --cut.s().cuts;
      cut.Jump(false, 0, /*cut=*/true);
      add(act(K::kCut), cut);
    }
  }

  // --- What must hold everywhere
  for (XNext& n : *next) {
    Step check(d_, b_, n.state);
    const XState& t = n.state;
    bool busy = !Idle(t);
    for (int f = 0; f < b_.files; ++f)
      busy |= t.file[f].out != XFile::kNotOut || t.file[f].in != XFile::kNotIn;
    busy |= check.ListWaits();
    std::array<XCounters, 2> there = {};
    for (int p = 0; p < b_.pages; ++p) {
      const XPage& page = t.page[p];
      if (page.kind == XPage::kPool) ++there[page.node].free;
      if (InPool(page)) ++there[page.node].total;
      if (!busy && (page.key || page.rec || page.listed) &&
          page.kind != XPage::kMeta)
        check.Break(kNoLeak, "a page stays preserved for nobody");
    }
    // Anybody can read them, but in a boot.
    for (int node = 0; UserspaceRuns(t) && node < b_.nodes; ++node) {
      const XCounters is = t.counted[node], should = there[node];
      if (t.unplaced == 0 && is.total < should.total)
        check.Break(kCounters, "a page is not counted");
      if (is.total > should.total)
        check.Break(kCounters, "a page is counted that is not there");
      if (is.free != should.free)
        check.Break(kCounters, "a page is counted as free that is not");
    }
    if (UserspaceRuns(t) && t.unplaced != 0)
      check.Break(kCounters, "pages are counted on no node");
    if (Idle(t))
      for (int q = 0; q < b_.processes; ++q)
        if (t.process[q].pc == XProcess::kWaits &&
            t.file[t.process[q].slot / 2].frozen)
          check.Break(kDiscipline,
                      "a program waits for as long as the update is being "
                      "prepared, which may be for its own help");
    n.broken |= check.broken();
    n.why |= check.why();
  }
}

// --- In words

namespace {

std::string SlotName(int slot) {
  return absl::StrCat("f", slot / 2, "[", slot % 2, "]");
}

std::string FileName(int slot) { return absl::StrCat("f", slot / 2); }

// Sessions that have only one of the files.
std::string Only(uint32_t files) {
  return files == 3 ? "" : absl::StrCat(" of f", files / 2);
}

std::string Slots(uint32_t bits) {
  std::string text;
  for (int slot = 0; slot < 4; ++slot)
    if (bits & Bit(slot))
      absl::StrAppend(&text, text.empty() ? "" : " ", SlotName(slot));
  return text;
}

}  // namespace

ExploredStep Describe(const XAction& action, const XState& before) {
  using Lane = ExploredStep::Lane;
  ExploredStep step;
  step.generation = before.generation;
  const std::string slot = SlotName(action.slot), file = FileName(action.slot);
  const Lane process = action.who == 0 ? Lane::kProcess0 : Lane::kProcess1;
  auto is = [&step](Lane lane, std::string what) {
    step.lane = lane;
    step.what = std::move(what);
  };
  switch (action.kind) {
    case XAction::kFault:
      is(process, absl::StrCat("touches the hole ", slot));
      break;
    case XAction::kCreate:
      is(process, absl::StrCat("makes a new file ", file));
      break;
    case XAction::kAdd:
      is(process, absl::StrCat("its page comes to ", slot));
      break;
    case XAction::kAddFails:
      is(process, absl::StrCat("its page cannot be added to ", slot));
      break;
    case XAction::kKilled:
      is(process, absl::StrCat("is killed while it waits for ", slot));
      break;
    case XAction::kWake:
      is(process, absl::StrCat("goes on with ", slot));
      break;
    case XAction::kWrite:
      is(process, absl::StrCat("writes to ", slot));
      break;
    case XAction::kTakeOut:
      is(process, absl::StrCat("takes the page out of ", slot));
      break;
    case XAction::kTakeOutEntry:
      is(process, absl::StrCat("begins to punch ", slot));
      break;
    case XAction::kTruncate:
      is(process,
         absl::StrCat("makes ", file, " ", int{action.size}, " pages long"));
      break;
    case XAction::kTruncateEntry:
      is(process, absl::StrCat("begins to make ", file, " ", int{action.size},
                               " pages long"));
      break;
    case XAction::kShrink:
      is(Lane::kAdmin, "makes the pool smaller by one");
      break;
    case XAction::kSetNr:
      is(Lane::kAdmin, "asks for as many pages as at boot");
      break;
    case XAction::kUseFree:
      is(Lane::kKernel, "KHO takes a free page for its own data");
      break;
    case XAction::kJoin:
      is(Lane::kKernel, "puts a page that has joined the pool on the list");
      break;
    case XAction::kPreserve:
      is(Lane::kAgent, absl::StrCat("preserves ", file));
      break;
    case XAction::kPreserveFails:
      is(Lane::kAgent, absl::StrCat("preserving ", file, " fails at once"));
      break;
    case XAction::kPreserveTwice:
      is(Lane::kAgent, absl::StrCat("preserves ", file, " in another session"));
      break;
    case XAction::kLook:
      is(Lane::kAgent, absl::StrCat("has looked at ", slot));
      break;
    case XAction::kLookFails:
      is(Lane::kAgent, absl::StrCat("preserving ", file, " fails at ", slot));
      break;
    case XAction::kAbort:
      is(Lane::kAgent, absl::StrCat("aborts the update", Only(action.who)));
      break;
    case XAction::kUnpreserve:
      is(Lane::kAgent, absl::StrCat(file, " is preserved no more"));
      break;
    case XAction::kLetGo:
      is(Lane::kAgent, absl::StrCat("has let go of the pages of ", file));
      break;
    case XAction::kReboot:
      is(Lane::kAgent, "calls reboot");
      break;
    case XAction::kFreeze:
      is(Lane::kAgent, absl::StrCat(file, " is frozen"));
      break;
    case XAction::kFreezeFails:
      is(Lane::kAgent,
         absl::StrCat("freezing ", file, " fails, the reboot call comes back"));
      break;
    case XAction::kThaw:
      is(Lane::kAgent, absl::StrCat("it is ", file, "'s turn to thaw"));
      break;
    case XAction::kKeys:
      is(Lane::kAgent, "KHO gets the keys of the pages that were free");
      break;
    case XAction::kKey:
      is(Lane::kAgent, "KHO gets the key of one that was free, if it still is");
      break;
    case XAction::kLookAgain:
      is(Lane::kAgent, "looks at a page again that was free");
      break;
    case XAction::kKeyFails:
      is(Lane::kAgent, "there is no memory for a list of free pages");
      break;
    case XAction::kListFails:
      is(Lane::kAgent, "something else fails, the reboot call comes back");
      break;
    case XAction::kList:
      is(Lane::kAgent, "all files are frozen; other CPUs still run");
      break;
    case XAction::kStop:
      is(Lane::kKernel, "the CPUs stop, the next kernel starts");
      break;
    case XAction::kStopDamaged:
      is(Lane::kKernel, absl::StrCat("the CPUs stop, the record of ", file,
                                     " gets damaged, the next kernel starts"));
      break;
    case XAction::kCut:
      is(Lane::kKernel,
         "is cut short, the next kernel starts as if all had been done");
      break;
    case XAction::kPowerCut:
      is(Lane::kKernel, "loses its power, another one starts");
      break;
    case XAction::kFill:
      is(Lane::kKernel, "fills its pool");
      break;
    case XAction::kImport:
      is(Lane::kKernel, absl::StrCat("looks at the record of ", file));
      break;
    case XAction::kImported:
      is(Lane::kKernel, "is up");
      break;
    case XAction::kImportFails:
      is(Lane::kKernel, "is up, and had no memory to look at the records");
      break;
    case XAction::kImportLate:
      is(Lane::kAgent, "has the kernel look at the records");
      break;
    case XAction::kImportKeeps:
      is(Lane::kKernel,
         "has looked at the records, KHO does not let go of a free page");
      break;
    case XAction::kRetrieve:
      is(Lane::kAgent, absl::StrCat("asks for ", file));
      break;
    case XAction::kRestore:
      is(Lane::kAgent, absl::StrCat("has been through ", slot));
      break;
    case XAction::kRestoreFails:
      is(Lane::kAgent, absl::StrCat("retrieving ", file, " fails at ", slot));
      break;
    case XAction::kFinish:
      is(Lane::kAgent, absl::StrCat("finishes the session", Only(action.who)));
      break;
    case XAction::kFinishFile:
      is(Lane::kAgent, absl::StrCat("is done with ", file));
      break;
    case XAction::kFinishFails:
      is(Lane::kAgent,
         absl::StrCat("is done with ", file,
                      ", KHO does not let go of the page for ", slot));
      break;
  }
  return step;
}

std::string PagesOf(const XState& state, const Bounds& bounds) {
  static constexpr std::array<const char*, 10> kNames = {
      "anybody's", "free in the pool", "in",      "taken by a fault",
      "pinned",    "KHO's own",        "waiting", "quarantined",
      "nobody's",  "cut off"};
  std::string text;
  for (int p = 0; p < bounds.pages; ++p) {
    const XPage& page = state.page[p];
    absl::StrAppend(&text, text.empty() ? "" : "; ", kNames[page.kind]);
    if (page.kind == XPage::kFile) absl::StrAppend(&text, " ", Slots(page.in));
    if (page.kind == XPage::kClaimed && page.rec != 0)
      absl::StrAppend(&text, " for ", Slots(page.rec));
    if (page.kind == XPage::kFile && page.rec != 0)
      absl::StrAppend(&text, ", recorded for ", Slots(page.rec));
    if (page.listed) absl::StrAppend(&text, ", listed as free");
  }
  return text;
}

}  // namespace handover::model
