// SPDX-License-Identifier: BSD-3-Clause
//
// What a boot makes of the state: which files come over, and how large the
// pools are afterwards.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/judge_internal.h"

namespace handover::model {
namespace {

using NodeSums = std::array<int64_t, kMaxNodes>;

void SumPages(const File& file, NodeSums* sums) {
  for (const Page& page : file.pages)
    if (page.node >= 0) ++(*sums)[static_cast<size_t>(page.node)];
}

// The even share of `total` that upstream's round robin gives to a node.
int64_t Share(int64_t total, int nodes, int node) {
  return total / nodes + (node < total % nodes ? 1 : 0);
}

bool Has64Bits(Target target) {
  switch (target) {
    case Target::kRootFiles:
    case Target::kRootCount:
    case Target::kFileSize:
    case Target::kFileNrPages:
    case Target::kFileCount:
    case Target::kFileRuns:
    case Target::kFileNext:
    case Target::kBlockNext:
      return true;
    default:
      return false;
  }
}

bool ChangesNothing(const Corruption& c) {
  return Has64Bits(c.target) ? c.delta == 0
                             : static_cast<uint32_t>(c.delta) == 0;
}

bool OfRoot(Target target) {
  return target == Target::kRootVersion || target == Target::kRootCsum ||
         target == Target::kRootFiles || target == Target::kRootCount;
}

bool OfBlockOrRun(Target target) {
  return target == Target::kBlockNext || target == Target::kBlockNr ||
         target == Target::kBlockCsum || target == Target::kRunIndex ||
         target == Target::kRunNr || target == Target::kRunFrame;
}

// Which record a field belongs to: checksums are by record.
int RecordOf(Target target) {
  return OfRoot(target) ? 0 : OfBlockOrRun(target) ? 2 : 1;
}

// Whether a corruption shows for certain if it hits something. A checksum that
// a later one puts right hides it.
bool AlwaysShows(const std::vector<Corruption>& all, size_t which) {
  const Corruption& c = all[which];
  if (ChangesNothing(c)) return false;
  // Without pages in the file, this is the number of counts: 32 bits.
  if (c.target == Target::kFileCount && static_cast<uint32_t>(c.delta) == 0)
    return false;
  if (c.target == Target::kRootVersion || c.target == Target::kFileVersion)
    return true;
  for (size_t i = which; i < all.size(); ++i)
    if (all[i].resum && RecordOf(all[i].target) == RecordOf(c.target))
      return false;
  return true;
}

}  // namespace

void Stepper::LoseEverything() {
  for (File& f : state_->files) {
    f.life = File::Life::kGone;
    f.pages.clear();
  }
  state_->sessions.clear();
}

void Stepper::ColdBoot(bool shortage_reported) {
  LoseEverything();
  Boot(/*cold=*/true, shortage_reported);
}

void Stepper::Kexec(const std::vector<Corruption>& corruptions,
                    bool shortage_reported) {
  // What KHO holds comes over whatever the next command line says: kho=off
  // keeps that kernel from handing anything on, not from taking it in.
  bool comes = state_->luo();

  // Only outgoing sessions are written down. In the order of their creation
  // their files are frozen, and so published.
  std::vector<Session> sessions;
  std::vector<int> coming;
  if (comes) {
    for (Session& session : state_->sessions) {
      if (session.incoming) continue;
      session.incoming = true;
      session.open = false;
      for (const SessionFile& f : session.files) coming.push_back(f.file);
      sessions.push_back(std::move(session));
    }
  }
  state_->sessions = std::move(sessions);
  for (File& f : state_->files) {
    int id = static_cast<int>(&f - state_->files.data());
    if (std::find(coming.begin(), coming.end(), id) == coming.end()) {
      f.life = File::Life::kGone;
      f.pages.clear();
      continue;
    }
    f.life = File::Life::kAnnounced;
    f.inode = 0;
    f.names = 0;
    f.mappings = 0;
    f.preserved = false;
    f.late.clear();
    for (Page& page : f.pages) page.pinned = false;
  }

  Boot(/*cold=*/false, shortage_reported);  // pools are judged further down
  bool young_luo = state_->luo();
  std::vector<int> published;
  bool broken = false;
  for (int id : coming) {
    File& f = file(id);
    if (f.shmem) {
      if (!young_luo) f.life = File::Life::kGone;
      continue;
    }
    if (!state_->handler()) {
      // KHO holds the pages, and nobody there can ask for them.
      f.life = File::Life::kRefused;
      broken = true;
    } else if (!state_->FindPool(f.page_size)) {
      f.life = File::Life::kRefused;
      f.must_report = !fault_;  // otherwise it may come later
      f.exact_report = corruptions.empty() && !fault_;
    } else {
      published.push_back(id);
    }
  }
  if (!young_luo) state_->sessions.clear();
  // One file without a handler fails all sessions (luo_session_deserialize).
  state_->luo_broken = young_luo && broken;
  Refuse(published, corruptions);
  for (size_t i = 0; i < state_->pools.size(); ++i)
    BootPool(i, /*cold=*/false, shortage_reported);
}

void Stepper::Boot(bool cold, bool shortage_reported) {
  ++state_->generation;
  if (state_->image_loaded) state_->kernel = state_->image;
  state_->image_loaded = false;
  state_->request =
      ReadCommandLine(state_->kernel.command_line, state_->geometry,
                      state_->nodes, state_->kernel.missing_sizes);
  state_->names.fill(-1);
  state_->bind.fill(-1);
  state_->mappings.clear();
  state_->orphans.clear();
  state_->device_open = false;
  state_->luo_broken = false;
  state_->distrust = false;
  state_->unsettled = false;
  // A boot that is out of memory is no better than one with an injected fault.
  bool starved = shortage_reported && snapshot_.nr_pools > 0;
  for (int n = 0; starved && n < state_->nodes; ++n)
    starved = snapshot_.pool[0].node[static_cast<size_t>(n)].allocatable <= 0;
  state_->boot_fault = fault_ || starved;
  state_->devices.erase(
      std::remove_if(state_->devices.begin(), state_->devices.end(),
                     [this](const Device& d) {
                       const File& f = file(d.file);
                       return f.life == File::Life::kGone ||
                              !FindPage(f.pages, d.page);
                     }),
      state_->devices.end());
  state_->pools.clear();
  state_->resv_off.fill(0);
  for (const PageRequest& request : state_->request.pages) {
    Pool pool;
    pool.page_size = request.page_size;
    pool.nodes = state_->nodes;
    state_->pools.push_back(pool);
  }
  events_.assign(state_->pools.size(), {});
  frames_changed_ = true;
  if (!cold) return;
  for (size_t i = 0; i < state_->pools.size(); ++i)
    BootPool(i, cold, shortage_reported);
}

// Which of the files of the table the new kernel refused. What a corruption
// does to which file may not be known here; then the memory that is seen to be
// quarantined tells.
void Stepper::Refuse(const std::vector<int>& published,
                     const std::vector<Corruption>& corruptions) {
  bool all = false, some = false, corrupt = false, resum = false;
  bool root = false;
  for (size_t i = 0; i < corruptions.size(); ++i) {
    const Corruption& c = corruptions[i];
    corrupt |= !ChangesNothing(c);
    root |= OfRoot(c.target);
    resum |= c.resum;
    false_counts_ |= c.resum && c.target == Target::kRootCount;
    if (!AlwaysShows(corruptions, i)) continue;
    // There is a root.count for each size and node, so one number 0.
    all |= OfRoot(c.target) && (c.target != Target::kRootCount || c.nth == 0);
    some |= !OfRoot(c.target) && c.nth == 0 && !OfBlockOrRun(c.target);
    if (OfBlockOrRun(c.target) && c.nth == 0)
      for (int id : published) some |= !file(id).pages.empty();
  }
  state_->distrust = corrupt;
  if ((!corrupt && !fault_) || published.empty()) return;
  bool others =
      std::any_of(state_->files.begin(), state_->files.end(),
                  [](const File& f) { return f.life == File::Life::kRefused; });
  for (int id : published) {
    file(id).doubtful = true;
    file(id).unknown = resum;
    // What a damaged root says about numbers is nothing to repeat.
    file(id).exact_report = corrupt && !root && !resum;
  }
  if (all && !fault_) {
    for (int id : published) {
      file(id).life = File::Life::kRefused;
      file(id).must_report = true;
    }
    return;
  }
  // It may also have hit one that is refused for its page size.
  bool must = some && !fault_ && !others;
  if (!Settle(published, must) && must)
    Fail("refusal", "a corrupted table was accepted as if nothing were wrong");
  // Without memory the files are looked at when the first of them is asked for.
  state_->unsettled = fault_ && corrupt;
}

// Of doubtful files, those are refused whose memory is seen to be quarantined;
// perhaps one without memory, if at least one must be. True if that explains
// what is seen.
bool Stepper::Settle(const std::vector<int>& doubtful, bool at_least_one) {
  constexpr size_t kMaxFiles = 12;  // of one history; more are not told apart
  size_t count = std::min(doubtful.size(), kMaxFiles);
  std::vector<Reserved> held = Quarantined();  // of missing page sizes
  auto fits = [&](unsigned mask) {
    for (const Pool& pool : state_->pools) {
      NodeSums sums{};
      for (size_t i = 0; i < count; ++i)
        if ((mask >> i & 1) && file(doubtful[i]).page_size == pool.page_size)
          SumPages(file(doubtful[i]), &sums);
      for (const Reserved& r : held)
        if (r.page_size == pool.page_size)
          sums[static_cast<size_t>(r.node)] += r.count;
      for (const Reserved& r : snapshot_.quarantined)
        if (r.page_size == pool.page_size && r.node >= 0)
          sums[static_cast<size_t>(r.node)] -= r.count;
      if (sums != NodeSums{}) return false;
    }
    return true;
  };
  // Fewest refused files first.
  unsigned best = 0;
  int best_bits = -1;
  for (unsigned mask = 0; mask < 1u << count; ++mask) {
    int bits = __builtin_popcount(mask);
    if (at_least_one && bits == 0) continue;
    if ((best_bits >= 0 && bits >= best_bits) || !fits(mask)) continue;
    best = mask;
    best_bits = bits;
  }
  for (size_t i = 0; i < count; ++i) {
    if ((best >> i & 1) == 0) continue;
    file(doubtful[i]).life = File::Life::kRefused;
    file(doubtful[i]).must_report = true;
  }
  return best_bits >= 0;
}

// The check of the table that a boot had no memory for is made up for: what is
// refused now leaves the counters that it was already in.
void Stepper::SettleLate() {
  if (!state_->unsettled) return;
  state_->unsettled = false;
  late_import_ = true;
  std::vector<int> doubtful;
  for (size_t id = 0; id < state_->files.size(); ++id)
    if (state_->files[id].doubtful &&
        state_->files[id].life == File::Life::kAnnounced)
      doubtful.push_back(static_cast<int>(id));
  Settle(doubtful, /*at_least_one=*/false);
}

std::vector<Reserved> Stepper::Quarantined() const {
  std::vector<Reserved> list;
  for (const File& f : state_->files) {
    if (f.life != File::Life::kRefused) continue;
    NodeSums sums{};
    SumPages(f, &sums);
    for (int n = 0; n < state_->nodes; ++n)
      if (sums[static_cast<size_t>(n)] > 0)
        list.push_back({f.page_size, n, sums[static_cast<size_t>(n)]});
  }
  return list;
}

// hugepages=N spreads evenly and counts what comes; hugepages=0:A,1:B holds for
// each node by itself. What comes beyond it is surplus.
void Stepper::BootPool(size_t index, bool cold, bool shortage_reported) {
  Pool& pool = state_->pools[index];
  const PageRequest& request = state_->request.pages[index];
  const PoolView* view = nullptr;
  for (int i = 0; i < snapshot_.nr_pools; ++i)
    if (snapshot_.pool[static_cast<size_t>(i)].page_size == pool.page_size)
      view = &snapshot_.pool[static_cast<size_t>(i)];
  if (!view) return;  // CheckPools() says so
  Pool seen = PoolOf(*view, state_->nodes);
  NodeSums in{};
  for (const File& f : state_->files)
    if (f.life == File::Life::kAnnounced && f.page_size == pool.page_size)
      SumPages(f, &in);
  int64_t incoming = 0;
  for (int64_t count : in) incoming += count;

  // Also what announced pages the kernel left out or counted twice shows here.
  auto wrong = [&](std::string what) {
    Fail("boot-budget",
         absl::StrCat("after ", cold ? "a cold" : "a handover", " boot with ",
                      request.total, " pages asked for and ", incoming,
                      " coming: ", what, ": ", Print(seen)));
  };
  // Gigantic pages are allocated before the files are checked: those of a file
  // that is refused then are missed.
  int64_t missed = 0;
  if (IsGigantic(state_->geometry, pool.page_size))
    for (const Reserved& r : Quarantined())
      if (r.page_size == pool.page_size) missed += r.count;
  NodeSums short_by{};
  int64_t missing = 0;
  bool plausible = true;
  for (int n = 0; n < state_->nodes; ++n) {
    size_t i = static_cast<size_t>(n);
    if (seen.nr[i] - seen.free[i] != in[i]) {
      wrong(absl::StrCat("node ", n, " has ", seen.nr[i] - seen.free[i],
                         " pages in use, ", in[i], " came"));
      plausible = false;
    }
    int64_t fresh = seen.nr[i] - in[i];
    int64_t target = request.per_node ? request.node[i]
                                      : Share(request.total, state_->nodes, n);
    int64_t deficit = std::max<int64_t>(0, target - in[i]);
    short_by[i] = deficit - fresh;
    if (request.per_node) {
      missing += std::max<int64_t>(0, short_by[i]);
      if (fresh > deficit)
        wrong(absl::StrCat("node ", n, " got ", fresh - deficit, " too many"));
      if (seen.surplus[i] != std::max<int64_t>(0, in[i] - target))
        wrong(absl::StrCat("the surplus of node ", n, " is not what exceeds ",
                           target));
    } else if (seen.surplus[i] >
               std::max<int64_t>(0, in[i] - request.total / state_->nodes)) {
      wrong(absl::StrCat("node ", n, " has surplus within its share"));
    }
  }
  if (!request.per_node) {
    int64_t fresh = seen.Nr() - incoming;
    int64_t target = std::max<int64_t>(0, request.total - incoming);
    missing = std::max<int64_t>(0, target - fresh);
    if (fresh > target) wrong(absl::StrCat(fresh - target, " pages too many"));
    if (seen.Surplus() != std::max<int64_t>(0, incoming - request.total))
      wrong("the surplus is not what exceeds the request");
  }
  // A node may get more than its part only where another had no memory left,
  // and fewer only if it has none itself.
  bool excess = false, excused = false, memory_left = false;
  for (int n = 0; n < state_->nodes; ++n) {
    size_t i = static_cast<size_t>(n);
    // Early in a handover boot there is only memory far from what was handed
    // over, so what is free afterwards says nothing of gigantic pages.
    bool dry = view->node[i].allocatable <= 0 || fault_ ||
               (!cold && IsGigantic(state_->geometry, pool.page_size));
    excess |= !request.per_node && short_by[i] < 0;
    excused |= short_by[i] > 0 && dry;
    memory_left |= !dry && (!request.per_node || short_by[i] > 0);
  }
  bool announced_wrongly =
      false_counts_ && IsGigantic(state_->geometry, pool.page_size);
  if (missing <= missed || announced_wrongly) missing = 0;
  if (plausible && excess && !excused && missed == 0)
    wrong("a node has more than its part and no other is out of memory");
  if (missing > 0 && memory_left)
    wrong(absl::StrCat(missing, " pages are missing though there is memory"));
  if (missing > 0 && !shortage_reported && !fault_)
    wrong(absl::StrCat(missing, " pages are missing and nothing was said"));
  if (seen.resv != 0 || seen.overcommit != 0)
    wrong("reservations or overcommit outlive their kernel");
  pool = seen;
}

}  // namespace handover::model
