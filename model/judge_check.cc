// SPDX-License-Identifier: BSD-3-Clause
//
// The state against a snapshot.
#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/judge_internal.h"

namespace handover::model {
namespace {

constexpr uint64_t kSmallPage = 4096;

std::string Name(const FileView& view) {
  return view.name >= 0 ? absl::StrCat("f", view.name)
                        : absl::StrCat("inode ", view.inode);
}

std::string Print(const Regions& regions) {
  std::string out = "{";
  for (const Region& region : regions.list())
    absl::StrAppend(&out, " ", region.from, "-", region.to);
  return out + " }";
}

// Adds up what has one size and node. A report without numbers has page size 0.
std::vector<Reserved> Sum(std::vector<Reserved> list) {
  std::vector<Reserved> sums;
  for (const Reserved& r : list) {
    if (r.count == 0) continue;
    auto it = std::find_if(sums.begin(), sums.end(), [&r](const Reserved& s) {
      return s.page_size == r.page_size && s.node == r.node;
    });
    if (it == sums.end()) {
      sums.push_back(r);
    } else {
      it->count += r.count;
    }
  }
  sums.erase(std::remove_if(sums.begin(), sums.end(),
                            [](const Reserved& r) { return r.count == 0; }),
             sums.end());
  std::sort(sums.begin(), sums.end(), [](const Reserved& a, const Reserved& b) {
    return std::tie(a.page_size, a.node) < std::tie(b.page_size, b.node);
  });
  return sums;
}

std::string Print(const std::vector<Reserved>& list) {
  std::string out = "{";
  for (const Reserved& r : list)
    absl::StrAppend(&out, " ", r.count, " of ", PrintSize(r.page_size),
                    " on node ", r.node);
  return out + " }";
}

}  // namespace

bool SameReserved(const std::vector<Reserved>& a,
                  const std::vector<Reserved>& b) {
  const std::vector<Reserved> x = Sum(a), y = Sum(b);
  return std::equal(x.begin(), x.end(), y.begin(), y.end(),
                    [](const Reserved& l, const Reserved& r) {
                      return l.page_size == r.page_size && l.node == r.node &&
                             l.count == r.count;
                    });
}

void Stepper::Check() {
  if (snapshot_.generation != state_->generation) {
    Fail("chain", absl::StrCat("kernel ", snapshot_.generation,
                               " runs, it should be ", state_->generation));
    state_->generation = snapshot_.generation;
  }
  CheckFiles();
  for (const auto& [id, index] : spoilt_) {
    const Page* page = FindPage(file(id).pages, index);
    if (page && !page->poisoned)
      Fail("refusal", "the access should have gone well");
  }
  CheckCgroups();
  if (all_may_migrate_) ForgetCopies();
  CheckPools();
  if (frames_changed_) CheckDuplicates();
  CheckSessions();
  CheckQuarantine();
}

// Where private copies are now is seen again when somebody touches them.
void Stepper::ForgetCopies() {
  for (Mapping& m : state_->mappings) {
    if (file(m.file).shmem) continue;
    for (Page& copy : m.copies) {
      copy.frame = kNoFrame;
      copy.node = -1;
    }
  }
}

bool Stepper::IsCut(int id) const {
  return std::find(cut_files_.begin(), cut_files_.end(), id) !=
         cut_files_.end();
}

void Stepper::CutShort(const Command& command, const Outcome& outcome) {
  cut_short_ = true;
  if (command.verb == Verb::kPoison && outcome.value != 0) {
    const int id = state_->names[static_cast<size_t>(command.file)];
    if (Page* page = id < 0 ? nullptr : FindPage(&file(id).pages, command.page))
      page->poisoned = true;
  }
  if (command.verb == Verb::kOffline) all_may_migrate_ = offlined_ = true;
  if (command.verb == Verb::kRmdir) {
    // What it was charged for may be its parent's already.
    const CgroupPath path =
        state_->cgroup_path[static_cast<size_t>(command.cgroup)];
    if (path != kNobody) state_->removed.push_back(path);
    for (File& f : state_->files) f.raced |= f.preserved;
  }
  int id = -1;
  if (command.file >= 0) {
    id = state_->names[static_cast<size_t>(command.file)];
  } else if (command.mapping >= 0) {
    Mapping* m = state_->FindMapping(command.process, command.mapping);
    if (m) id = m->file;
  }
  if (id >= 0) cut_files_.push_back(id);
}

const FileView* Stepper::ViewOf(int id) const {
  const File& f = state_->files[static_cast<size_t>(id)];
  for (const FileView& view : snapshot_.files) {
    if (view.name >= 0 ? state_->names[static_cast<size_t>(view.name)] == id
                       : f.names == 0 && view.inode == f.inode &&
                             f.life == File::Life::kLive)
      return &view;
  }
  return nullptr;
}

void Stepper::CheckFiles() {
  for (const FileView& view : snapshot_.files) {
    if (view.name >= 0) {
      int id = state_->names[static_cast<size_t>(view.name)];
      if (id < 0) {
        Fail(Property("metadata"),
             absl::StrCat(Name(view), " is open and should not be"));
        continue;
      }
      CheckFile(id, view);
      continue;
    }
    for (size_t id = 0; id < state_->files.size(); ++id) {
      const File& f = state_->files[id];
      if (f.life == File::Life::kLive && f.names == 0 &&
          f.inode == view.inode && f.inode != 0)
        CheckFile(static_cast<int>(id), view);
    }
  }
  for (size_t name = 0; name < state_->names.size(); ++name) {
    if (state_->names[name] < 0) continue;
    bool seen = std::any_of(snapshot_.files.begin(), snapshot_.files.end(),
                            [name](const FileView& view) {
                              return view.name == static_cast<int>(name);
                            });
    if (!seen)
      Fail(Property("metadata"), absl::StrCat("f", name, " is not open"));
  }
}

void Stepper::CheckFile(int id, const FileView& view) {
  File& f = file(id);
  if (f.inode == 0) f.inode = view.inode;
  auto wrong = [&](std::string_view field, int64_t is, int64_t should) {
    if (!Trusts(id)) return;
    Fail(Property("metadata"),
         absl::StrCat(Name(view), ": ", std::string(field), " is ", is,
                      ", should be ", should));
  };
  if (view.page_size != f.page_size)
    wrong("page size", static_cast<int64_t>(view.page_size),
          static_cast<int64_t>(f.page_size));
  f.page_size = view.page_size;
  if (view.inode != f.inode) {
    wrong("inode", static_cast<int64_t>(view.inode),
          static_cast<int64_t>(f.inode));
    f.inode = view.inode;
  }
  if (view.size != f.size) wrong("size", view.size, f.size);
  if (view.position != f.position) wrong("position", view.position, f.position);
  if (view.seals != f.seals) wrong("seals", view.seals, f.seals);
  // What shmem's own handler does with the mode is not this project's.
  if (!f.shmem && view.mode != f.mode) wrong("mode", view.mode, f.mode);
  f.size = view.size;
  f.position = view.position;
  f.seals = view.seals;
  f.mode = view.mode;
  if (f.shmem) return;
  if (snapshot_.regions_known) CheckRegions(id, view);
  CheckPages(id, view);
  if (snapshot_.charges_known) CheckCharges(id, view);
}

void Stepper::CheckRegions(int id, const FileView& view) {
  File& f = file(id);
  Regions regions;
  regions.Assign(snapshot_.regions.data() + view.regions_begin,
                 snapshot_.regions.data() + view.regions_end);
  bool same = std::equal(regions.list().begin(), regions.list().end(),
                         f.regions.list().begin(), f.regions.list().end(),
                         [](const Region& a, const Region& b) {
                           return a.from == b.from && a.to == b.to;
                         });
  if (!same && Trusts(id))
    Fail(Property("metadata"),
         absl::StrCat(Name(view), ": reserved regions are ", Print(regions),
                      ", should be ", Print(f.regions)));
  if (!same && !IsCut(id)) f.regions = std::move(regions);
}

bool Stepper::InCma(uint64_t page_size, Frame frame) const {
  constexpr uint64_t kSmallPage = 4096;
  const Frame end = frame + static_cast<Frame>(page_size / kSmallPage);
  return frame != kNoFrame &&
         std::any_of(snapshot_.cma.begin(), snapshot_.cma.end(),
                     [&](const CmaView& area) {
                       return !area.given_away && area.from < end &&
                              frame < area.from + area.pages;
                     });
}

void Stepper::CheckPages(int id, const FileView& view) {
  File& f = file(id);
  bool may_migrate = std::find(may_migrate_.begin(), may_migrate_.end(), id) !=
                     may_migrate_.end();
  bool late_may_migrate =
      std::find(late_may_migrate_.begin(), late_may_migrate_.end(), id) !=
      late_may_migrate_.end();
  size_t at = 0;
  for (uint32_t i = view.pages_begin; i < view.pages_end; ++i) {
    const PageView& seen = snapshot_.pages[i];
    while (at < f.pages.size() && f.pages[at].index < seen.index) {
      if (Trusts(id))
        Fail(Property("identity"),
             absl::StrCat(Name(view), ": page ", f.pages[at].index,
                          " is not there"));
      f.pages.erase(f.pages.begin() + static_cast<std::ptrdiff_t>(at));
    }
    if (at == f.pages.size() || f.pages[at].index != seen.index) {
      if (IsCut(id)) f.regions.Add(seen.index, seen.index + 1);
      if (Trusts(id))
        Fail(Property("identity"),
             absl::StrCat(Name(view), ": page ", seen.index,
                          " should be a hole"));
      Page page;
      page.index = seen.index;
      page.frame = seen.frame;
      page.node = seen.node;
      page.owners = seen.owners;
      f.pages.insert(f.pages.begin() + static_cast<std::ptrdiff_t>(at), page);
      frames_changed_ = true;
    }
    Page& page = f.pages[at++];
    if (seen.frame == kNoFrame) {
      // On a real machine: who wants to look at it gets a memory error.
      if (!page.poisoned && Trusts(id))
        Fail(Property("identity"),
             absl::StrCat(Name(view), ": page ", seen.index,
                          " has a memory error"));
      continue;
    }
    if (f.Holds(seen.index) && Trusts(id) && InCma(f.page_size, seen.frame))
      Fail(Property("identity"),
           absl::StrCat(Name(view), ": page ", seen.index,
                        " is preserved and lies in a CMA area"));
    if (page.frame == seen.frame) {
      if (page.node != seen.node && page.node >= 0)
        Fail(Property("placement"),
             absl::StrCat("frame ", seen.frame, " is on node ", seen.node,
                          ", was on node ", page.node));
      page.node = seen.node;
      continue;
    }
    frames_changed_ = true;
    if (page.frame != kNoFrame) {
      bool held = f.Holds(seen.index);
      bool moves =
          (may_migrate || ((late_may_migrate || all_may_migrate_) && !held)) &&
          !page.pinned && page.node >= 0;
      if (!moves && Trusts(id)) {
        Fail(Property("identity"),
             absl::StrCat(Name(view), ": page ", seen.index, " lies in frame ",
                          seen.frame, ", should be in ", page.frame));
      } else if (moves && !offlined_) {
        if (PoolEvent* event = Event(f.page_size, PoolEvent::Kind::kMigrate)) {
          event->node = page.node;
          event->to = seen.node;
        }
      }
      // It may come back, but not to a device that nobody waited for.
      if (moves && !f.shmem) StopDevices(-1, -1, page.frame);
    }
    page.frame = seen.frame;
    page.node = seen.node;
    for (const Device& device : state_->devices)
      if (device.file == id && device.page == seen.index &&
          device.frame == seen.frame)
        page.pinned = true;
  }
  while (at < f.pages.size()) {
    if (Trusts(id))
      Fail(Property("identity"),
           absl::StrCat(Name(view), ": page ", f.pages[at].index,
                        " is not there"));
    f.pages.erase(f.pages.begin() + static_cast<std::ptrdiff_t>(at));
    frames_changed_ = true;
  }
}

// A state-only way to the count that the events lead to as well.
int64_t Stepper::ExpectedReservations(uint64_t page_size) const {
  int64_t resv = 0;
  for (const File& f : state_->files)
    if ((f.life == File::Life::kLive || f.promised) && !f.shmem &&
        f.page_size == page_size)
      resv += f.Reserved();
  for (const Mapping& m : state_->mappings)
    if (m.owner &&
        state_->files[static_cast<size_t>(m.file)].page_size == page_size)
      resv += m.length - static_cast<int64_t>(m.consumed.size());
  for (const Mount& m : state_->mounts)
    if (!m.gone && m.page_size == page_size) resv += m.ready;
  return resv;
}

int64_t Stepper::CountedReservations(uint64_t page_size) const {
  for (size_t i = 0; i < state_->pools.size(); ++i)
    if (state_->pools[i].page_size == page_size)
      return ExpectedReservations(page_size) + state_->resv_off[i];
  return 0;
}

bool Stepper::ReservedAsSeen() const {
  return std::all_of(state_->pools.begin(), state_->pools.end(),
                     [this](const Pool& pool) {
                       return SeenReservations(pool.page_size) ==
                              CountedReservations(pool.page_size);
                     });
}

// Whether a boot in which a call failed looked at the files does not always
// show. If it did not, it makes up for that when somebody asks for the first
// one.
void Stepper::PromiseUnnoticed(size_t pool, int64_t resv) {
  const uint64_t page_size = state_->pools[pool].page_size;
  const int64_t more =
      resv - ExpectedReservations(page_size) - state_->resv_off[pool];
  std::vector<int> ids;
  for (int id : Claimants(page_size))
    if (!file(id).promised) ids.push_back(id);
  if (more <= 0 || ids.empty()) return;
  std::vector<File> files = state_->files;
  if (Promise(&files, ids, more) != more) return;
  state_->files = std::move(files);
  PoolEvent event;
  event.kind = PoolEvent::Kind::kReserve;
  event.count = more;
  events_[pool].insert(events_[pool].begin(), event);
}

// A change of size looks twice, so others may come in between.
void Stepper::LetPass(std::vector<PoolEvent>* events) {
  int64_t passing = 0;
  for (const PoolEvent& event : *events) {
    if (event.kind == PoolEvent::Kind::kUnreserve && event.count > 0)
      passing += event.count;
    passing += event.kind == PoolEvent::Kind::kFree ||
               event.kind == PoolEvent::Kind::kMigrate;
  }
  bool resized = false, freed = false;
  for (PoolEvent& event : *events) {
    // What takes the place of a page that moves is taken first.
    freed |= event.kind == PoolEvent::Kind::kFree ||
             event.kind == PoolEvent::Kind::kMigrate;
    if (event.kind != PoolEvent::Kind::kSetNr) continue;
    event.passing = passing;
    resized = true;
  }
  for (PoolEvent& event : *events) {
    if (resized && (event.kind == PoolEvent::Kind::kTake ||
                    event.kind == PoolEvent::Kind::kReserve))
      event.exact = false;
    if (freed && event.kind == PoolEvent::Kind::kTakeFails) event.exact = false;
  }
}

// What preserve_free shows.
void Stepper::CheckChoice(size_t pool) {
  const int is = snapshot_.pool[pool].preserve_free;
  const bool should = state_->preserve_free[pool];
  if (is < 0 || (is != 0) == should) return;
  Fail(Property("counters"),
       absl::StrCat(PrintSize(state_->pools[pool].page_size),
                    ": preserve_free is ", is, ", should be ", should));
  state_->preserve_free[pool] = is != 0;
}

void Stepper::CheckPools() {
  if (static_cast<size_t>(snapshot_.nr_pools) != state_->pools.size()) {
    Fail(Property("counters"),
         absl::StrCat("there are ", snapshot_.nr_pools, " page sizes, not ",
                      state_->pools.size()));
    return;
  }
  for (size_t i = 0; i < state_->pools.size(); ++i) {
    Pool& pool = state_->pools[i];
    CheckChoice(i);
    if (snapshot_.pool[i].page_size != pool.page_size) {
      Fail(Property("counters"),
           absl::StrCat("page size ", PrintSize(pool.page_size),
                        " is not there"));
      continue;
    }
    Pool seen = PoolOf(snapshot_.pool[i], state_->nodes);
    std::string why;
    if (racing_) LetPass(&events_[i]);
    if (state_->boot_fault) PromiseUnnoticed(i, seen.resv);
    bool explained = Explains(pool, events_[i], seen, &why);
    if (!explained && racing_) {
      // What was moved may have been before the others came.
      std::stable_partition(events_[i].begin(), events_[i].end(),
                            [](const PoolEvent& event) {
                              return event.kind == PoolEvent::Kind::kMigrate;
                            });
      std::string other;
      explained = Explains(pool, events_[i], seen, &other);
    }
    const bool unsure = UnsureOf(pool.page_size);
    if (!explained && !cut_short_ && !late_import_ && !unsure)
      Fail(Property("counters"), why);
    int64_t resv = ExpectedReservations(pool.page_size) + state_->resv_off[i];
    state_->resv_off[i] += seen.resv - resv;
    // A file that is not as it should be has been reported already.
    if (resv != seen.resv && verdicts.empty() && !cut_short_ &&
        !uncertain_resv_ && !unsure)
      Fail(Property("counters"),
           absl::StrCat(PrintSize(pool.page_size), ": ", seen.resv,
                        " pages are reserved, should be ", resv));
    pool = seen;
    events_[i].clear();
  }
}

// Every frame that a file, a private copy, a device or the handover holds.
void Stepper::CheckDuplicates() {
  struct Span {
    Frame from;
    Frame to;
    bool refused;
    bool operator<(const Span& other) const { return from < other.from; }
  };
  std::vector<Span> spans;
  auto add = [&spans](const Page& page, uint64_t page_size, bool refused) {
    if (page.frame != kNoFrame)
      spans.push_back({page.frame,
                       page.frame + static_cast<Frame>(page_size / 4096),
                       refused});
  };
  for (const File& f : state_->files) {
    if (f.life == File::Life::kGone || f.shmem || f.unknown) continue;
    for (const Page& page : f.pages)
      add(page, f.page_size, f.life == File::Life::kRefused);
  }
  for (const Mapping& m : state_->mappings) {
    const File& f = state_->files[static_cast<size_t>(m.file)];
    if (f.shmem) continue;
    for (const Page& page : m.copies) add(page, f.page_size, false);
  }
  for (const Orphan& orphan : state_->orphans) {
    Page page;
    page.frame = orphan.frame;
    add(page, orphan.page_size, false);
  }
  std::sort(spans.begin(), spans.end());
  for (size_t i = 1; i < spans.size(); ++i) {
    if (spans[i - 1].to <= spans[i].from) continue;
    bool refused = spans[i - 1].refused != spans[i].refused;
    Fail(refused ? "quarantine" : "no-duplicate",
         absl::StrCat("frame ", spans[i].from, " has two owners",
                      refused ? ", one of them quarantined" : ""));
  }
}

void Stepper::CheckSessions() {
  std::vector<std::pair<int, bool>> seen, expected;
  for (const SessionView& view : snapshot_.sessions)
    seen.emplace_back(view.name, view.incoming);
  for (const Session& session : state_->sessions)
    if (session.open) expected.emplace_back(session.name, session.incoming);
  std::sort(seen.begin(), seen.end());
  std::sort(expected.begin(), expected.end());
  if (seen == expected) return;
  auto print = [](const std::vector<std::pair<int, bool>>& list) {
    std::string out = "{";
    for (const auto& [name, incoming] : list)
      absl::StrAppend(&out, " s", name, incoming ? " incoming" : "");
    return out + " }";
  };
  Fail(Property("metadata"), absl::StrCat("sessions are ", print(seen),
                                          ", should be ", print(expected)));
}

void Stepper::CheckQuarantine() {
  std::vector<Reserved> expected = Quarantined();
  if (snapshot_.quarantine_known &&
      !SameReserved(snapshot_.quarantined, expected))
    Fail("quarantine",
         absl::StrCat("quarantined is ", Print(Sum(snapshot_.quarantined)),
                      ", should be ", Print(Sum(expected))));
  if (!state_->report_due || ExplainsReport()) return;
  Fail("quarantine",
       absl::StrCat("reported is ", Print(Sum(snapshot_.reported)),
                    ", should be ", Print(Sum(Due())),
                    state_->table.distrusted
                        ? " and that none of it can be relied on"
                        : ""));
}

std::vector<Reserved> Stepper::Due() const {
  std::vector<Reserved> due;
  for (const TableView::Count& c : state_->table.lost)
    due.push_back({kSmallPage << c.order, static_cast<int>(c.node),
                   static_cast<int64_t>(c.pages)});
  return due;
}

bool Stepper::ExplainsReport() const {
  std::vector<Reserved> numbers;
  for (const Reserved& r : snapshot_.reported)
    if (r.page_size != 0) numbers.push_back(r);
  const bool vague = numbers.size() != snapshot_.reported.size();
  return SameReserved(numbers, Due()) && vague == state_->table.distrusted;
}

void Stepper::CheckCells(const std::vector<Cell>& cells) {
  if (cells.empty()) return;
  for (File& f : state_->files) {
    if (f.life == File::Life::kGone || f.shmem || f.unknown || f.free) continue;
    for (Page& page : f.pages) {
      if (page.frame == kNoFrame) continue;
      for (const Cell& cell : cells)
        if (cell.frame == page.frame) CheckRead(&page, cell.at, cell.value);
    }
  }
}

}  // namespace handover::model
