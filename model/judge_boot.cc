// SPDX-License-Identifier: BSD-3-Clause
//
// What a boot makes of the state: which files come over, and how large the
// pools are afterwards.
#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/judge_internal.h"

namespace handover::model {
namespace {

constexpr uint64_t kSmallPage = 4096;
// Files that are tried in every order.
constexpr size_t kMostOrdered = 6;
// With more memory errors than that nothing is preserved: the list has to have
// room for those to come.
constexpr uint64_t kFewErrors = 64;

using NodeSums = std::array<int64_t, kMaxNodes>;

void SumPages(const File& file, NodeSums* sums) {
  for (const Page& page : file.pages)
    if (page.node >= 0) ++(*sums)[static_cast<size_t>(page.node)];
}

// The same of pages that come: one with a memory error is in use for good.
void SumComing(const File& file, NodeSums* in, NodeSums* free) {
  for (const Page& page : file.pages) {
    if (page.node < 0) continue;
    NodeSums* sums = file.free && !page.poisoned ? free : in;
    ++(*sums)[static_cast<size_t>(page.node)];
  }
}

// The even share of `total` that upstream's round robin gives to a node.
int64_t Share(int64_t total, int nodes, int node) {
  return total / nodes + (node < total % nodes ? 1 : 0);
}

// A table is made anew for each update, in one pass: what continues a run is in
// it, and only the last block has room. So it takes no more the n-th time than
// the first.
bool IsTight(const TableView::Chain& chain, uint32_t order) {
  constexpr uint64_t kBlockRuns = (kSmallPage - 20) / 16;
  const TableView::Run* last = nullptr;
  for (size_t b = 0; b < chain.blocks.size(); ++b) {
    const TableView::Block& block = chain.blocks[b];
    if (b + 1 < chain.blocks.size() && block.runs.size() != kBlockRuns)
      return false;
    for (const TableView::Run& run : block.runs) {
      if (last && last->owner == run.owner &&
          last->index + last->pages == run.index &&
          last->frame + (last->pages << order) == run.frame)
        return false;
      last = &run;
    }
  }
  return true;
}

Frame FrameEnd(const Page& page, uint64_t page_size) {
  return page.frame + static_cast<Frame>(page_size / kSmallPage);
}

// Spans that touch are one.
std::vector<BadMemory> Joined(std::vector<BadMemory> spans) {
  std::sort(
      spans.begin(), spans.end(),
      [](const BadMemory& a, const BadMemory& b) { return a.from < b.from; });
  std::vector<BadMemory> joined;
  for (const BadMemory& span : spans) {
    if (joined.empty() || span.from > joined.back().to)
      joined.push_back({span.from, span.to});
    else
      joined.back().to = std::max(joined.back().to, span.to);
  }
  return joined;
}

int64_t FramesIn(const std::vector<BadMemory>& spans) {
  int64_t frames = 0;
  for (const BadMemory& span : spans)
    frames += static_cast<int64_t>(span.to - span.from);
  return frames;
}

// The region map that a record tells of.
Regions HandedRegions(const HandedFile& handed) {
  Regions regions;
  for (const HandedPage& page : handed.pages)
    regions.Add(page.index, page.index + 1);
  for (const HandedRange& range : handed.reserved)
    regions.Add(range.from, range.to);
  return regions;
}

}  // namespace

void Stepper::LoseEverything() {
  for (File& f : state_->files) {
    f.life = File::Life::kGone;
    f.pages.clear();
    f.promised = false;
  }
  state_->sessions.clear();
}

void Stepper::ColdBoot(bool shortage_reported) {
  LoseEverything();
  Boot(/*cold=*/true, shortage_reported);
}

void Stepper::Kexec(const Observation& o, bool corrupted) {
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
  std::vector<int> free;
  if (comes) free = HandOverFree(o);
  for (File& f : state_->files) {
    if (f.free && f.life == File::Life::kAnnounced) continue;
    int id = static_cast<int>(&f - state_->files.data());
    f.promised = false;
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
    for (int64_t index : f.late) {
      Page* page = o.before_exact ? nullptr : FindPage(&f.pages, index);
      if (page) page->frame = kNoFrame;
    }
    f.late.clear();
    f.unsure.clear();
    for (Page& page : f.pages) page.pinned = page.still_mapped = false;
  }

  const bool had_nodes = state_->request.numa;
  Boot(/*cold=*/false, o.shortage_reported);  // pools are judged further down
  if (had_nodes != state_->request.numa) Renumber(o.handed_pages);
  bool young_luo = state_->luo();
  std::vector<int> published;
  for (int id : coming) {
    File& f = file(id);
    if (!f.shmem) {
      published.push_back(id);
      // Where the option is missing, KHO holds the pages, and nobody there can
      // ask for them.
      if (state_->kernel.no_option) f.life = File::Life::kRefused;
    } else if (!young_luo) {
      f.life = File::Life::kGone;
    }
  }
  for (int id : free)
    if (state_->kernel.no_option) file(id).life = File::Life::kRefused;
  if (!young_luo) state_->sessions.clear();
  // One file without a handler fails all sessions (luo_session_deserialize).
  state_->luo_broken = young_luo && !state_->handler() && !published.empty();
  published.insert(published.end(), free.begin(), free.end());
  if (!state_->kernel.no_option) Import(o, published, corrupted);
  for (size_t i = 0; i < state_->pools.size(); ++i)
    BootPool(i, /*cold=*/false, o.shortage_reported);
  if (state_->unsettled) return;
  // Free pages are in their pools now, like any others.
  for (File& f : state_->files) {
    if (!f.free || f.life != File::Life::kAnnounced) continue;
    for (const Page& page : f.pages)
      if (page.poisoned) FreePage(f.page_size, page);
    f.life = File::Life::kGone;
    f.pages.clear();
  }
}

// What becomes of the free pages of the old kernel: a file of no name for each
// record, in the order in which these came about.
std::vector<int> Stepper::HandOverFree(const Observation& o) {
  std::vector<File> files;
  if (o.handed_known) {
    for (const TableView::Free& record : o.handed.free) {
      File f;
      f.page_size = kSmallPage << record.order;
      for (const TableView::FreePage& free : record.pages) {
        Page page;
        page.index = static_cast<int64_t>(f.pages.size());
        page.frame = static_cast<Frame>(free.frame);
        page.node = state_->request.numa ? free.node : 0;
        page.poisoned = free.poisoned;
        f.pages.push_back(std::move(page));
      }
      files.push_back(std::move(f));
    }
    std::reverse(files.begin(), files.end());
  } else {
    for (const Reserved& said : o.handing) {
      if (files.empty() || files.back().page_size != said.page_size) {
        files.emplace_back();
        files.back().page_size = said.page_size;
      }
      for (int64_t n = 0; n < said.count; ++n) {
        Page page;
        page.index = static_cast<int64_t>(files.back().pages.size());
        page.node = said.node;
        files.back().pages.push_back(std::move(page));
      }
    }
  }
  std::vector<int> ids;
  for (File& f : files) {
    f.life = File::Life::kAnnounced;
    f.free = true;
    ids.push_back(static_cast<int>(state_->files.size()));
    state_->files.push_back(std::move(f));
  }
  CheckHandedFree(o, ids);
  return ids;
}

// All of them, unless they cannot stay where they are, and no others. Who runs
// at the same time may take some, or add some.
void Stepper::CheckHandedFree(const Observation& o,
                              const std::vector<int>& ids) {
  const bool alone = o.during.empty() && o.finished.empty();
  for (size_t i = 0; i < state_->pools.size(); ++i) {
    const uint64_t page_size = state_->pools[i].page_size;
    const PoolView& left = o.before.pool[i];
    NodeSums handed{}, said{};
    for (int id : ids)
      if (file(id).page_size == page_size) SumPages(file(id), &handed);
    for (const Reserved& r : o.handing)
      if (r.page_size == page_size && r.node >= 0 && r.node < kMaxNodes)
        said[static_cast<size_t>(r.node)] += r.count;
    for (int n = 0; n < state_->nodes; ++n) {
      const auto at = static_cast<size_t>(n);
      auto wrong = [&](std::string what) {
        Fail("boot-budget",
             absl::StrCat(handed[at], " free pages of ", PrintSize(page_size),
                          " on node ", n, " were handed over", what));
      };
      if (handed[at] != said[at])
        wrong(absl::StrCat(", the log says ", said[at]));
      if (!alone) continue;
      if (handed[at] > 0 && !state_->preserve_free[i])
        wrong(", nobody asked for it");
      if (handed[at] > left.node[at].free)
        wrong(absl::StrCat(", there were ", left.node[at].free));
      if (!fault_ && !state_->many_errors && state_->preserve_free[i] &&
          left.node[at].fit >= 0 && handed[at] != left.node[at].fit)
        wrong(absl::StrCat(", it should be ", left.node[at].fit));
    }
  }
}

// A call of KHO that failed by plan while free pages were put into their pools:
// such a page stays where it is.
void Stepper::LoseFree() {
  for (size_t id = 0; id < state_->files.size(); ++id) {
    if (!state_->files[id].free ||
        state_->files[id].life != File::Life::kAnnounced)
      continue;
    const uint64_t page_size = state_->files[id].page_size;
    std::vector<Page> pages = std::move(state_->files[id].pages);
    state_->files[id].pages.clear();
    for (Page& page : pages) {
      if (!std::binary_search(snapshot_.unclaimed.begin(),
                              snapshot_.unclaimed.end(), page.frame)) {
        state_->files[id].pages.push_back(std::move(page));
        continue;
      }
      KeepOut(page_size, page, /*free=*/true);
      state_->quarantine = true;
      TableView::Count lost;
      while (kSmallPage << lost.order < page_size) ++lost.order;
      lost.node = static_cast<uint32_t>(page.node);
      lost.pages = 1;
      state_->table.lost.push_back(lost);
    }
  }
}

// Pages lie where they did, on other nodes. Which ones, where the kernel before
// did not know any, is to be seen if anybody looked.
void Stepper::Renumber(const std::vector<PageView>& handed) {
  std::map<Frame, int> nodes;
  for (const PageView& page : handed) nodes[page.frame] = page.node;
  for (File& f : state_->files)
    for (Page& page : f.pages)
      page.node = state_->request.numa ? nodes[page.frame] : 0;
  // Nobody has seen the free pages of a real machine, which says where it found
  // them.
  for (File& f : state_->files) {
    size_t at = 0;
    for (const SizedPool& said : snapshot_.sized)
      for (int64_t n = 0; f.free && said.page_size == f.page_size &&
                          n < said.free && at < f.pages.size();
           ++n, ++at)
        if (f.pages[at].frame == kNoFrame) f.pages[at].node = said.node;
  }
}

// Each area is as large as it was asked for, or is not there. On a boot by
// kexec only memory far from what was handed over will do, so that it cannot be
// told whether there was enough.
void Stepper::CheckAreas(bool cold) {
  const CmaRequest& request = state_->request.cma;
  state_->cma = request.in_vain;
  std::array<uint64_t, kMaxNodes> seen{};
  for (const CmaView& area : snapshot_.cma)
    seen[static_cast<size_t>(area.node)] +=
        static_cast<uint64_t>(area.pages) * kSmallPage;
  const PoolView* largest =
      snapshot_.nr_pools > 0
          ? &snapshot_.pool[static_cast<size_t>(snapshot_.nr_pools - 1)]
          : nullptr;
  uint64_t reserved = 0, per_node = 0;
  if (request.page_size != 0) {
    const uint64_t pages = request.total / request.page_size;
    const auto nodes = static_cast<uint64_t>(state_->nodes);
    per_node = (pages + nodes - 1) / nodes * request.page_size;
  }
  for (int n = 0; n < state_->nodes; ++n) {
    const auto i = static_cast<size_t>(n);
    uint64_t asked = request.by_node
                         ? request.node[i]
                         : std::min(per_node, request.total - reserved);
    if (request.percent) asked = seen[i];
    auto wrong = [&](const char* what) {
      Fail("boot-budget",
           absl::StrCat("node ", n, " has a CMA area of ", seen[i], " bytes, ",
                        asked, " were asked for", what));
    };
    if (seen[i] != 0 && seen[i] != asked) wrong("");
    if (cold && seen[i] == 0 && asked != 0 && asked == request.page_size &&
        !fault_ && largest && largest->page_size == request.page_size &&
        largest->node[i].allocatable > 0)
      wrong(", and there is memory");
    reserved += seen[i];
  }
  state_->cma |= reserved != 0;
}

// Gigantic pages come from the areas, and those are for later.
bool Stepper::SkipsAtBoot(uint64_t page_size) const {
  return state_->cma && !state_->request.cma.only &&
         IsGigantic(state_->geometry, page_size);
}

void Stepper::Boot(bool cold, bool shortage_reported) {
  ++state_->generation;
  if (state_->image_loaded) state_->kernel = state_->image;
  state_->image_loaded = false;
  state_->request =
      ReadCommandLine(state_->kernel.command_line, state_->geometry,
                      state_->all_nodes, state_->kernel.missing_sizes);
  state_->nodes = state_->request.numa ? state_->all_nodes : 1;
  state_->names.fill(-1);
  state_->bind.fill(-1);
  state_->mappings.clear();
  state_->mounts.clear();
  state_->cgroups.assign(1, CgroupView());
  state_->cgroup_path.fill(kNobody);
  state_->in_cgroup.fill(kRootPath);
  state_->orphans.clear();
  state_->device_open = false;
  state_->luo_broken = false;
  state_->unsettled = false;
  state_->table = TableVerdict();
  state_->records.clear();
  state_->report_due = false;
  state_->quarantine = false;
  state_->many_errors = false;
  // A boot that is out of memory is no better than one with an injected fault.
  bool starved = shortage_reported && snapshot_.nr_pools > 0;
  for (int n = 0; starved && n < state_->nodes; ++n)
    starved = snapshot_.pool[0].node[static_cast<size_t>(n)].allocatable <= 0;
  state_->boot_fault = fault_ || starved;
  CheckAreas(cold);
  state_->devices.erase(
      std::remove_if(state_->devices.begin(), state_->devices.end(),
                     [this](const Device& d) {
                       const File& f = file(d.file);
                       const Page* page = FindPage(f.pages, d.page);
                       // The file may have got another page there.
                       return f.life == File::Life::kGone || !page ||
                              (!f.shmem && page->frame != kNoFrame &&
                               page->frame != d.frame);
                     }),
      state_->devices.end());
  state_->pools.clear();
  state_->resv_off.fill(0);
  state_->preserve_free.fill(false);
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

// What the new kernel makes of the table, which has to be what the ABI says. A
// call that fails while it boots may keep it from looking; it then counts what
// was announced, and looks when it is asked for the first file.
void Stepper::Import(const Observation& o, const std::vector<int>& published,
                     bool corrupted) {
  const TableView made = o.handed_known ? TableView() : TableOf(published);
  const TableView& handed = o.handed_known ? o.handed : made;
  if (handed.original.size() != published.size()) {
    Fail("metadata", absl::StrCat("the table lists ", handed.original.size(),
                                  " files, there are ", published.size()));
    return;
  }
  // The file that was frozen last stands first.
  for (size_t i = 0; i < published.size(); ++i)
    state_->records.emplace_back(handed.original[i],
                                 published[published.size() - 1 - i]);
  state_->addresses_known = o.handed_known;
  if (corrupted && o.handed_known) FollowHandles(handed.handles);
  std::vector<uint64_t> page_sizes;
  for (const Pool& pool : state_->pools) page_sizes.push_back(pool.page_size);
  state_->corrupted = corrupted;
  state_->table = JudgeTable(handed, page_sizes, state_->luo());
  CheckKeptAway(o);
  CountErrors();
  if (!state_->table.announced.empty() &&
      !(state_->request.numa ? handed.by_nodes : handed.by_one))
    state_->table.located = LocatePages(handed);
  if (!corrupted) {
    for (const TableView::File& f : handed.files)
      if (o.handed_known &&
          (!IsTight(f.runs, f.order) || !IsTight(f.late, f.order)))
        Fail("chain", "the table takes more room than it has to");
    size_t usable = 0;
    for (int id : published)
      usable += state_->FindPool(file(id).page_size) != nullptr;
    if (!state_->luo()) usable = 0;
    if (state_->table.accepted.size() != usable ||
        (state_->table.distrusted && state_->luo()))
      Fail("atomic-import",
           absl::StrCat("the old kernel left a table of ", usable,
                        " files of which the next one has to refuse ",
                        usable - state_->table.accepted.size()));
    MatchRegions();
  }
  state_->removed.clear();
  if (!fault_) {
    SettleTable();
    return;
  }
  const State before = *state_;
  SettleTable();
  LoseFree();
  if (ExplainsQuarantine() && ExplainsReport() && ExplainsUse() &&
      ExplainsPromises())
    return;
  State settled = std::move(*state_);
  *state_ = before;
  state_->unsettled = true;
  if (ExplainsQuarantine()) return;
  *state_ = before;
  // It never saw the root.
  state_->table = TableVerdict();
  state_->table.quarantine = state_->table.distrusted = true;
  SettleTable();
  if (!ExplainsQuarantine()) *state_ = std::move(settled);
}

// Who asks for a file gets the one whose record LUO names, or none at all.
void Stepper::FollowHandles(const std::vector<uint64_t>& handles) {
  int nobody = -1;
  size_t n = 0;
  for (Session& session : state_->sessions) {
    for (SessionFile& f : session.files) {
      if (file(f.file).shmem || n == handles.size()) continue;
      const uint64_t handle = handles[n++];
      int named = -1;
      for (const auto& [at, id] : state_->records)
        if (at == handle && !file(id).free) named = id;
      if (named == f.file) continue;
      if (nobody < 0) {
        File none;
        none.life = File::Life::kRefused;
        nobody = static_cast<int>(state_->files.size());
        state_->files.push_back(std::move(none));
      }
      f.file = named >= 0 ? named : nobody;
    }
  }
}

// The table that tells of these files, in the order in which they were frozen.
TableView Stepper::TableOf(const std::vector<int>& published) const {
  constexpr uint64_t kEndFrame = uint64_t{1} << 50;
  TableView table;
  table.found = table.placed = table.held = true;
  table.magic = table.version = table.checksum = table.counts_fit = true;
  table.end_frame = kEndFrame;
  table.nr_files = table.first = published.size();
  uint64_t unseen = kEndFrame / 2;
  std::map<std::pair<uint32_t, uint32_t>, uint64_t> counts;
  for (uint64_t at = table.first; at > 0; --at) {
    const File& f = state_->files[static_cast<size_t>(
        published[static_cast<size_t>(at - 1)])];
    TableView::File record;
    record.held = record.magic = record.version = record.checksum = true;
    record.counts_fit = true;
    record.at = at;
    record.next = at - 1;
    while (kSmallPage << record.order < f.page_size) ++record.order;
    record.size = static_cast<uint64_t>(f.size);
    record.position = static_cast<uint64_t>(f.position);
    record.seals = f.seals;
    record.mode = f.mode;
    record.nr_pages = f.pages.size();
    record.flags = f.free ? 1 : 0;
    TableView::Block block;
    block.held = block.magic = block.checksum = true;
    std::map<uint32_t, uint64_t> on;
    for (const Page& page : f.pages) {
      TableView::Run run;
      run.index = static_cast<uint64_t>(page.index);
      run.pages = 1;
      run.frame = static_cast<uint64_t>(page.frame);
      if (page.frame == kNoFrame) {
        run.frame = unseen;
        unseen += uint64_t{1} << record.order;
      }
      run.held = true;
      const int node = std::max(page.node, 0);
      run.node.push_back(node);
      ++on[static_cast<uint32_t>(node)];
      block.runs.push_back(std::move(run));
    }
    block.nr_runs = block.runs.size();
    if (block.nr_runs > 0) record.runs.blocks.push_back(std::move(block));
    Regions without_page = f.regions;
    for (const Page& page : f.pages)
      without_page.Remove(page.index, page.index + 1);
    TableView::Block resv;
    resv.held = resv.magic = resv.checksum = true;
    resv.frame = unseen++;
    for (const Region& region : without_page.list()) {
      TableView::Run run;
      run.index = static_cast<uint64_t>(region.from);
      run.pages = static_cast<uint64_t>(region.to - region.from);
      resv.runs.push_back(std::move(run));
    }
    resv.nr_runs = resv.runs.size();
    record.nr_resv = static_cast<uint64_t>(without_page.Count());
    if (resv.nr_runs > 0) record.resv.blocks.push_back(std::move(resv));
    for (const auto& [node, pages] : on) {
      record.counts.push_back({record.order, node, pages});
      counts[{record.order, node}] += pages;
    }
    table.original.push_back(at);
    table.files.push_back(std::move(record));
  }
  for (const auto& [key, pages] : counts)
    table.counts.push_back({key.first, key.second, pages});
  return table;
}

// What is reserved is handed over as it was. One thing can be too much: a fault
// had its reservation when the file was preserved, and then failed.
void Stepper::MatchRegions() {
  for (const HandedFile& handed : state_->table.accepted) {
    for (const auto& [at, id] : state_->records) {
      if (at != handed.at || handed.free) continue;
      File& f = file(id);
      const Regions regions = HandedRegions(handed);
      // What was left behind after the file was preserved is nobody's.
      auto left = [&f, &regions](const Region& r) {
        return std::count_if(f.left.begin(), f.left.end(), [&](int64_t index) {
          return r.from <= index && index < r.to && !regions.Contains(index);
        });
      };
      int64_t more = regions.Count() - f.regions.Count();
      bool all_there = true;
      for (const Region& r : f.regions.list()) {
        const int64_t without = left(r);
        all_there &= regions.CountIn(r.from, r.to) + without == r.to - r.from;
        more += without;
      }
      if (!all_there || (more > 0 && !f.raced)) {
        Fail("metadata",
             absl::StrCat("of ", f.regions.Count(), " reserved indices ",
                          regions.Count(), " were handed over",
                          all_there ? "" : ", some of them others"));
      }
      f.regions = regions;
      f.left.clear();
      if (snapshot_.charges_known) MatchOwners(&f, handed);
    }
  }
}

// Whether as many pages are in use after a boot as the files of this state
// have: free ones are not, once somebody has looked at them, unless they have
// memory errors.
bool Stepper::ExplainsUse() const {
  for (int i = 0; i < snapshot_.nr_pools; ++i) {
    const Pool seen =
        PoolOf(snapshot_.pool[static_cast<size_t>(i)], state_->nodes);
    int64_t in_use = 0;
    for (const File& f : state_->files)
      if (f.life == File::Life::kAnnounced && f.page_size == seen.page_size)
        in_use += std::count_if(
            f.pages.begin(), f.pages.end(),
            [&f](const Page& page) { return !f.free || page.poisoned; });
    if (seen.Nr() - seen.Free() != in_use) return false;
  }
  return true;
}

bool Stepper::ExplainsQuarantine(int finishing) const {
  std::vector<Reserved> expected = Quarantined();
  if (finishing >= 0) {
    for (const SessionFile& each :
         state_->sessions[static_cast<size_t>(finishing)].files) {
      const File& f = state_->files[static_cast<size_t>(each.file)];
      if (each.status > 0 || f.life != File::Life::kAnnounced || f.shmem)
        continue;
      for (const Page& page : f.pages)
        if (KhoKeeps(page)) expected.push_back({f.page_size, page.node, 1});
    }
  }
  return SameReserved(expected, snapshot_.quarantined);
}

// The files are what the table says, or refused.
void Stepper::SettleTable() {
  state_->unsettled = false;
  state_->report_due = true;
  state_->quarantine = state_->table.quarantine;
  frames_changed_ = true;
  std::vector<Page> before;  // of all files, by frame
  std::vector<std::pair<Page, uint64_t>> lost;
  for (const auto& [at, id] : state_->records) {
    const File& f = file(id);
    // What is in free pages is not known.
    if (!f.free) before.insert(before.end(), f.pages.begin(), f.pages.end());
    for (const Page& page : f.pages) lost.emplace_back(page, f.page_size);
    file(id).life = File::Life::kRefused;
  }
  auto by_frame = [](const Page& a, const Page& b) {
    return a.frame < b.frame;
  };
  std::sort(before.begin(), before.end(), by_frame);
  std::vector<std::pair<Frame, Frame>> claimed;
  for (const HandedFile& handed : state_->table.accepted) {
    for (const auto& [at, id] : state_->records) {
      if (at != handed.at) continue;
      file(id).life = File::Life::kAnnounced;
      // Else it is what it was, and the table has to say so.
      if (state_->corrupted) TakeOver(&file(id), handed, before);
      // Errors are of the memory, whichever record it is in: the kernel knows
      // what the list says of it and nothing else.
      if (state_->corrupted)
        for (Page& page : file(id).pages)
          page.poisoned = IsBad(page, handed.page_size);
      for (const Page& page : file(id).pages)
        claimed.emplace_back(page.frame, FrameEnd(page, handed.page_size));
    }
  }
  auto is_claimed = [&claimed](const Page& page, uint64_t page_size) {
    return std::any_of(claimed.begin(), claimed.end(), [&](const auto& span) {
      return span.first < FrameEnd(page, page_size) && page.frame < span.second;
    });
  };
  // Devices go on with the frames that they know.
  for (Device& device : state_->devices)
    for (const auto& [at, id] : state_->records)
      for (const Page& page : file(id).pages)
        if (file(id).life == File::Life::kAnnounced &&
            page.frame == device.frame) {
          device.file = id;
          device.page = page.index;
        }
  // Memory that the table says nothing of any more, or that of refused files
  // that others lay claim to.
  for (const auto& [at, id] : state_->records) {
    File& f = file(id);
    if (f.life != File::Life::kRefused) continue;
    f.pages.erase(std::remove_if(f.pages.begin(), f.pages.end(),
                                 [&](const Page& page) {
                                   return is_claimed(page, f.page_size);
                                 }),
                  f.pages.end());
    for (const Page& page : f.pages)
      claimed.emplace_back(page.frame, FrameEnd(page, f.page_size));
  }
  for (auto& [page, page_size] : lost) {
    if (is_claimed(page, page_size)) continue;
    KeepOut(page_size, page);
  }
}

bool Stepper::IsBad(const Page& page, uint64_t page_size) const {
  const std::vector<BadMemory>& bad = state_->table.bad;
  return page.frame != kNoFrame &&
         std::any_of(bad.begin(), bad.end(), [&](const BadMemory& m) {
           return m.from < static_cast<uint64_t>(FrameEnd(page, page_size)) &&
                  static_cast<uint64_t>(page.frame) < m.to;
         });
}

// Memory that the list of errors names is reserved, and no other.
void Stepper::CheckKeptAway(const Observation& o) {
  if (!o.errors_watched) return;
  std::vector<BadMemory> expected = state_->table.kept_away;
  expected.insert(expected.end(), o.reserved_before.begin(),
                  o.reserved_before.end());
  const std::vector<BadMemory> should = Joined(std::move(expected));
  // It may not have seen the root.
  if (fault_ && o.reserved == o.reserved_before) return;
  if (o.reserved != should) {
    const int64_t more = FramesIn(o.reserved) - FramesIn(should);
    Fail(more > 0 ? "boot-budget" : "one-owner",
         absl::StrCat("of memory with errors, ", FramesIn(should),
                      " frames should be reserved by now, ",
                      FramesIn(o.reserved), " are"));
  }
  if (o.not_kept_away != state_->table.not_kept_away)
    Fail("refusal",
         absl::StrCat(o.not_kept_away,
                      " memory errors are said not to be kept away from, ",
                      state_->table.not_kept_away, " should be"));
}

// How many errors the kernel may have on its own list in the end: of what it
// keeps away from, and what it found in pages that came.
void Stepper::CountErrors() {
  uint64_t most = state_->table.kept_away.size();
  for (const HandedFile& handed : state_->table.accepted)
    for (const HandedPage& page : handed.pages)
      for (const BadMemory& m : state_->table.bad) {
        const auto from = static_cast<uint64_t>(page.frame);
        const uint64_t to = from + handed.page_size / kSmallPage;
        if (m.from < to && from < m.to)
          most += std::min(m.to, to) - std::max(m.from, from);
      }
  state_->many_errors = most > kFewErrors;
}

// `f` becomes what its record says. What is in its pages is what was in these
// frames before.
void Stepper::TakeOver(File* f, const HandedFile& handed,
                       const std::vector<Page>& before) {
  const bool same =
      f->page_size == handed.page_size &&
      std::equal(f->pages.begin(), f->pages.end(), handed.pages.begin(),
                 handed.pages.end(), [](const Page& a, const HandedPage& b) {
                   return a.index == b.index && a.frame == b.frame;
                 });
  f->free = handed.free;
  f->size = handed.size;
  f->position = handed.position;
  f->seals = handed.seals;
  f->mode = handed.mode;
  f->regions = handed.free ? Regions() : HandedRegions(handed);
  f->charges.clear();
  for (const HandedRange& range : handed.reserved)
    if (range.owner != kNobody)
      f->charges.push_back({range.from, range.to, range.owner});
  if (same) {
    for (size_t i = 0; i < f->pages.size(); ++i)
      f->pages[i].owners = handed.pages[i].owners;
    return;
  }
  f->page_size = handed.page_size;
  f->pages.clear();
  for (const HandedPage& h : handed.pages) {
    Page page;
    page.frame = h.frame;
    auto it = std::lower_bound(
        before.begin(), before.end(), page,
        [](const Page& a, const Page& b) { return a.frame < b.frame; });
    if (it != before.end() && it->frame == h.frame) {
      page = *it;
    } else {
      f->unknown = true;
    }
    page.index = h.index;
    page.owners = h.owners;
    page.node = state_->request.numa ? h.node : 0;
    f->pages.push_back(std::move(page));
  }
}

// The check of the table that a boot had no memory for is made up for: what is
// refused now leaves the counters that it was already in. `went`: the command
// that asked got what it wanted, and there is no doubt about it.
void Stepper::SettleLate(bool went, int finishing) {
  if (!state_->unsettled) return;
  const State before = *state_;
  const auto events = events_;
  SettleTable();
  const bool held = StillHeld();
  // They have been in use so far, and get free as if a file ended.
  for (size_t id = 0; id < state_->files.size(); ++id)
    if (state_->files[id].free &&
        state_->files[id].life == File::Life::kAnnounced)
      Release(static_cast<int>(id));
  PromiseLate();
  bool reserved = true;
  for (size_t i = 0; !went && i < state_->pools.size(); ++i)
    reserved &=
        SeenReservations(state_->pools[i].page_size) ==
        ExpectedReservations(state_->pools[i].page_size) + state_->resv_off[i];
  if (fault_ && (held || !(ExplainsQuarantine(finishing) && ExplainsReport() &&
                           reserved))) {
    *state_ = before;  // there was no memory again
    events_ = events;
    return;
  }
  late_import_ = true;
}

// The announced files of a page size that have something reserved, in the order
// in which the kernel comes to them: that of their records' addresses.
std::vector<int> Stepper::Claimants(uint64_t page_size) const {
  std::vector<std::pair<uint64_t, int>> records = state_->records;
  std::sort(records.begin(), records.end());
  std::vector<int> ids;
  for (const auto& [at, id] : records) {
    const File& f = state_->files[static_cast<size_t>(id)];
    if (f.life == File::Life::kAnnounced && f.page_size == page_size &&
        f.Reserved() > 0)
      ids.push_back(id);
  }
  return ids;
}

// Whether KHO holds all the free pages that could be claimed: nobody has.
bool Stepper::StillHeld() const {
  bool any = false;
  for (const File& f : state_->files) {
    if (!f.free || f.life != File::Life::kAnnounced) continue;
    for (const Page& page : f.pages) {
      any = true;
      if (!std::binary_search(snapshot_.unclaimed.begin(),
                              snapshot_.unclaimed.end(), page.frame))
        return false;
    }
  }
  return any;
}

// Each file gets what it has reserved as a whole, as long as there is enough.
// Returns how many pages that makes.
int64_t Stepper::Promise(std::vector<File>* files, const std::vector<int>& ids,
                         int64_t available) {
  int64_t promised = 0;
  for (int id : ids) {
    File& f = (*files)[static_cast<size_t>(id)];
    f.promised = f.Reserved() <= available - promised;
    if (f.promised) promised += f.Reserved();
  }
  return promised;
}

// The pools are not made larger for it: it comes out of their free pages.
int64_t Stepper::PromiseAtBoot(uint64_t page_size, const Pool& seen) {
  if (state_->unsettled) return 0;
  std::vector<int> ids = Claimants(page_size);
  int64_t promised = Promise(&state_->files, ids, seen.Free());
  if (state_->addresses_known || ids.size() > kMostOrdered) return promised;
  std::sort(ids.begin(), ids.end());
  do {
    promised = Promise(&state_->files, ids, seen.Free());
  } while (promised != seen.resv &&
           std::next_permutation(ids.begin(), ids.end()));
  return promised;
}

// Whether what is reserved after a boot is what the files of this state have.
bool Stepper::ExplainsPromises() {
  for (int i = 0; i < snapshot_.nr_pools; ++i) {
    const Pool seen =
        PoolOf(snapshot_.pool[static_cast<size_t>(i)], state_->nodes);
    if (PromiseAtBoot(seen.page_size, seen) != seen.resv) return false;
  }
  return true;
}

// Meanwhile there may be pages to be had as surplus, and whether there is
// memory for them is not known here; nor is when somebody else changed the
// pool, who ran at the same time.
int64_t Stepper::Freed(size_t pool) const {
  return std::count_if(events_[pool].begin(), events_[pool].end(),
                       [](const PoolEvent& event) {
                         return event.kind == PoolEvent::Kind::kFree;
                       });
}

void Stepper::PromiseLate() {
  for (size_t i = 0; i < state_->pools.size(); ++i) {
    const Pool& pool = state_->pools[i];
    const std::vector<int> ids = Claimants(pool.page_size);
    if (ids.empty()) continue;
    const int64_t before =
        ExpectedReservations(pool.page_size) + state_->resv_off[i];
    const int64_t room = std::max<int64_t>(0, pool.overcommit - pool.Surplus());
    // Free pages that came are there by now, but for those that are surplus.
    const int64_t freed = Freed(i);
    const int64_t least = pool.Available() + (pool.Surplus() == 0 ? freed : 0);
    int64_t promised = 0;
    for (int64_t available = pool.Available() + room + freed; available >= 0;
         --available) {
      promised = Promise(&state_->files, ids, available);
      if (before + promised == SeenReservations(pool.page_size)) break;
      if (!racing_ && available <= least) break;
    }
    uncertain_resv_ |= room > 0 || racing_;
    if (promised == 0) continue;
    if (PoolEvent* event = Event(pool.page_size, PoolEvent::Kind::kReserve))
      event->count = promised;
  }
}

std::vector<Reserved> Stepper::Quarantined() const {
  std::vector<Reserved> list;
  auto add = [&](uint64_t page_size, const NodeSums& sums) {
    for (int n = 0; n < state_->nodes; ++n)
      if (sums[static_cast<size_t>(n)] != 0)
        list.push_back({page_size, n, sums[static_cast<size_t>(n)]});
  };
  for (const File& f : state_->files) {
    const bool announced = f.life == File::Life::kAnnounced && !f.shmem;
    if (f.life != File::Life::kRefused && !(state_->unsettled && announced))
      continue;
    NodeSums sums{};
    SumPages(f, &sums);
    add(f.page_size, sums);
  }
  if (!state_->unsettled) return list;
  // Counted on the strength of the announcement. Of a size that KHO holds no
  // page of a damaged root may announce some; BootPool() is where these count.
  for (const Pool& pool : state_->pools) {
    if (std::none_of(list.begin(), list.end(), [&pool](const Reserved& r) {
          return r.page_size == pool.page_size;
        }))
      continue;
    NodeSums sums{};
    for (int n = 0; n < state_->nodes; ++n)
      sums[static_cast<size_t>(n)] = -Announced(pool.page_size, n);
    add(pool.page_size, sums);
  }
  return list;
}

// On the strength of the announcement. If that is by other nodes, pages of
// sizes that are planned before the table is checked are where they are found
// to lie. Otherwise what is on a node that this kernel lacks is expected on the
// first one.
int64_t Stepper::Announced(uint64_t page_size, int node) const {
  const PageRequest* request = nullptr;
  for (const PageRequest& each : state_->request.pages)
    if (each.page_size == page_size) request = &each;
  int64_t pages = 0;
  if (request && request->named && IsGigantic(state_->geometry, page_size) &&
      !SkipsAtBoot(page_size)) {
    for (const auto& [order, nodes] : state_->table.located) {
      if (kSmallPage << order != page_size) continue;
      for (int at : nodes) pages += (state_->request.numa ? at : 0) == node;
      return pages;
    }
  }
  for (const TableView::Count& c : state_->table.announced) {
    if (kSmallPage << c.order != page_size) continue;
    const bool there = c.node < static_cast<uint32_t>(state_->nodes);
    if (there ? c.node == static_cast<uint32_t>(node) : node == 0)
      pages += static_cast<int64_t>(c.pages);
  }
  return pages;
}

// hugepages=N spreads evenly and counts what comes; hugepages=0:A,1:B holds for
// each node by itself. What comes beyond it is surplus.
void Stepper::BootPool(size_t index, bool cold, bool shortage_reported) {
  Pool& pool = state_->pools[index];
  // With areas for them, gigantic pages are left for later. What comes is
  // counted against what was asked for all the same, wherever that was.
  PageRequest request = state_->request.pages[index];
  const bool skips = SkipsAtBoot(request.page_size);
  if (skips) request.per_node = false;
  const PoolView* view = nullptr;
  for (int i = 0; i < snapshot_.nr_pools; ++i)
    if (snapshot_.pool[static_cast<size_t>(i)].page_size == pool.page_size)
      view = &snapshot_.pool[static_cast<size_t>(i)];
  if (!view) return;  // CheckPools() says so
  Pool seen = PoolOf(*view, state_->nodes);
  // What is counted as in use, and what the allocation was planned with: the
  // largest pages are allocated before anything but the root is looked at.
  NodeSums in{}, free{}, planned{};
  for (const File& f : state_->files)
    if (f.life == File::Life::kAnnounced && f.page_size == pool.page_size &&
        !state_->unsettled) {
      SumComing(f, &in, &free);
      SumPages(f, &planned);
    }
  for (int n = 0; state_->unsettled && n < state_->nodes; ++n)
    planned[static_cast<size_t>(n)] = in[static_cast<size_t>(n)] =
        Announced(pool.page_size, n);
  if (IsGigantic(state_->geometry, pool.page_size) && !cold)
    for (int n = 0; n < state_->nodes; ++n)
      planned[static_cast<size_t>(n)] = Announced(pool.page_size, n);
  int64_t incoming = 0, incoming_free = 0, planned_for = 0;
  for (int64_t count : in) incoming += count;
  for (int64_t count : free) incoming_free += count;
  for (int64_t count : planned) planned_for += count;

  // Also what announced pages the kernel left out or counted twice shows here.
  auto wrong = [&](std::string what) {
    Fail("boot-budget",
         absl::StrCat("after ", cold ? "a cold" : "a handover", " boot with ",
                      request.total, " pages asked for and ", incoming, "+",
                      incoming_free, " coming: ", what, ": ", Print(seen)));
  };
  const int64_t surplus = std::clamp<int64_t>(
      incoming + incoming_free - request.total, 0, incoming);
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
    int64_t fresh = seen.nr[i] - in[i] - free[i];
    if (fresh < 0) {
      wrong(
          absl::StrCat("node ", n, " lacks ", -fresh, " free pages that came"));
      plausible = false;
    }
    int64_t target = request.per_node ? request.node[i]
                                      : Share(request.total, state_->nodes, n);
    int64_t deficit = skips ? 0 : std::max<int64_t>(0, target - planned[i]);
    short_by[i] = deficit - fresh;
    if (request.per_node) {
      missing += std::max<int64_t>(0, short_by[i]);
      if (fresh > deficit)
        wrong(absl::StrCat("node ", n, " got ", fresh - deficit, " too many"));
      // Also if the fresh ones were allocated for a page on another node.
      if (seen.surplus[i] !=
          std::min(in[i], std::max<int64_t>(0, seen.nr[i] - target)))
        wrong(absl::StrCat("the surplus of node ", n, " is not what exceeds ",
                           target));
    } else if (seen.surplus[i] >
               std::max<int64_t>(
                   0, in[i] - (incoming - surplus) / state_->nodes)) {
      wrong(absl::StrCat("node ", n, " has surplus within its share"));
    }
  }
  if (!request.per_node) {
    int64_t fresh = seen.Nr() - incoming - incoming_free;
    int64_t target =
        skips ? 0 : std::max<int64_t>(0, request.total - planned_for);
    missing = std::max<int64_t>(0, target - fresh);
    if (fresh > target) wrong(absl::StrCat(fresh - target, " pages too many"));
    if (seen.Surplus() != surplus)
      wrong("the surplus is not what exceeds the request");
  }
  // The records of free pages, and their tables, go back to the page allocator
  // when their pages are in the pools, which is after other pools asked for
  // more.
  int64_t given_back = 0;
  if (!cold) {
    for (const HandedFile& handed : state_->table.accepted)
      given_back += handed.free ? 2 : 0;
  }
  // A node may get more than its part only where another had no memory left,
  // and fewer only if it has none itself.
  bool excess = false, excused = false, memory_left = false;
  for (int n = 0; n < state_->nodes; ++n) {
    size_t i = static_cast<size_t>(n);
    // Early in a handover boot there is only memory far from what was handed
    // over, so what is free afterwards says nothing of gigantic pages.
    bool dry = view->node[i].allocatable <= given_back || fault_ ||
               (!cold && IsGigantic(state_->geometry, pool.page_size));
    excess |= !request.per_node && short_by[i] < 0;
    excused |= short_by[i] > 0 && dry;
    memory_left |= !dry && (!request.per_node || short_by[i] > 0);
  }
  if (plausible && excess && !excused)
    wrong("a node has more than its part and no other is out of memory");
  if (missing > 0 && memory_left)
    wrong(absl::StrCat(missing, " pages are missing though there is memory"));
  if (missing > 0 && !shortage_reported && !fault_)
    wrong(absl::StrCat(missing, " pages are missing and nothing was said"));
  const int64_t promised = cold ? 0 : PromiseAtBoot(pool.page_size, seen);
  if (seen.resv != promised)
    wrong(absl::StrCat(promised, " pages should be reserved"));
  if (seen.overcommit != 0) wrong("overcommit outlives its kernel");
  // Gigantic pages that were announced and are refused: fewer were allocated.
  const bool reduced = IsGigantic(state_->geometry, pool.page_size) &&
                       planned_for > 0 && request.total > 0 && !skips;
  if (!SaysSized(seen, reduced || incoming + incoming_free > 0, in, free))
    wrong("the log does not say so, node by node");
  pool = seen;
}

// What the log says of a size must be what is seen of it, for each node. Of
// those that nothing comes of it says nothing, unless something was to come and
// is `due`.
bool Stepper::SaysSized(const Pool& seen, bool due,
                        const std::array<int64_t, kMaxNodes>& in,
                        const std::array<int64_t, kMaxNodes>& free_on) const {
  int nodes = 0;
  for (const SizedPool& said : snapshot_.sized) {
    if (said.page_size != seen.page_size) continue;
    if (said.node != nodes || nodes == state_->nodes) return false;
    const auto n = static_cast<size_t>(nodes++);
    if (said.preserved != in[n] || said.free != free_on[n] ||
        said.allocated != seen.nr[n] - in[n] - free_on[n] ||
        said.surplus != seen.surplus[n])
      return false;
  }
  return nodes == state_->nodes || (nodes == 0 && !due);
}

}  // namespace handover::model
