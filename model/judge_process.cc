// SPDX-License-Identifier: BSD-3-Clause
//
// What processes, the administrator and devices do. Follows mm/hugetlb.c,
// fs/hugetlbfs/inode.c, mm/memfd.c and, for shmem files in outline, mm/shmem.c.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/judge_internal.h"

namespace handover::model {
namespace {

constexpr uint32_t kWriteSeals = kSealWrite | kSealFutureWrite;
constexpr uint64_t kSmallPage = 4096;
// Mappings whose copies are zapped in any order: 120 of them.
constexpr size_t kMaxZapped = 5;
// Which of the copies that give their reservation back have no memory for it.
constexpr unsigned kLost[] = {0, 1, 2, 4, 8, 3, 5, 6, 9, 10, 12};

bool Contains(const std::vector<int64_t>& list, int64_t value) {
  return std::binary_search(list.begin(), list.end(), value);
}

void Insert(std::vector<int64_t>* list, int64_t value) {
  auto it = std::lower_bound(list->begin(), list->end(), value);
  if (it == list->end() || *it != value) list->insert(it, value);
}

void Erase(std::vector<int64_t>* list, int64_t value) {
  auto it = std::lower_bound(list->begin(), list->end(), value);
  if (it != list->end() && *it == value) list->erase(it);
}

// Whole pages of a file up to its size. The size is a multiple of the page size
// unless a corrupted table said otherwise; hugetlbfs then rounds down.
int64_t SizeInPages(const File& file) {
  return file.size / static_cast<int64_t>(file.page_size);
}

}  // namespace

void Stepper::Memfd(const Command& c, const Outcome& o) {
  bool shmem = c.verb == Verb::kShmem;
  if (state_->names[static_cast<size_t>(c.file)] >= 0) Must(EEXIST);
  if (!shmem && !state_->FindPool(c.page_size)) Must(ENODEV);
  if (state_->boot_fault) May(ENOENT);  // its mount may have failed
  if (state_->pools.empty() || MemoryIsShort(state_->pools[0].page_size))
    for (int error : {ENOMEM, ENOSPC, ENFILE}) May(error);
  if (Went(o)) MakeFile(c, -1);
}

void Stepper::MakeFile(const Command& c, int mount) {
  const bool shmem = c.verb == Verb::kShmem;
  File added;
  added.mount = mount;
  added.page_size = shmem ? kSmallPage : c.page_size;
  added.shmem = shmem;
  added.mode = c.noexec ? 0666 : 0777;
  added.seals = c.noexec ? kSealExec : c.sealable ? 0 : kSealSeal;
  added.names = 1;
  int id = static_cast<int>(state_->files.size());
  state_->files.push_back(added);
  state_->names[static_cast<size_t>(c.file)] = id;
  if (const FileView* view = ViewOf(id)) file(id).inode = view->inode;
}

void Stepper::Truncate(const Command& c, const Outcome& o) {
  int id = FileOf(c);
  if (id < 0) {
    Went(o);
    return;
  }
  File& f = file(id);
  int64_t size = c.page * static_cast<int64_t>(f.page_size);
  if ((size < f.size && (f.seals & kSealShrink)) ||
      (size > f.size && (f.seals & kSealGrow)))
    Must(EPERM);
  if (f.preserved) {
    bool removes = !f.pages.empty() && f.pages.back().index >= c.page;
    if (size != f.size || (removes && !f.shmem)) {
      Must(EPERM);
    } else if (!f.shmem) {
      May(EPERM);
    }
  }
  if (!Went(o)) return;
  if (f.shmem && size == f.size) return;
  f.size = size;
  RemoveRange(id, c.page, INT64_MAX);
}

void Stepper::Map(const Command& c, const Outcome& o) {
  if (state_->FindMapping(c.process, c.mapping)) Must(EEXIST);
  int id = FileOf(c);
  if (id < 0) {
    Went(o);
    return;
  }
  File& f = file(id);
  int64_t page = static_cast<int64_t>(f.page_size);
  int64_t end = c.page + c.length;
  bool grows = !f.shmem && !c.read_only && f.size < end * page;
  bool reserves = !f.shmem && !c.no_reserve;
  bool shared_write = !c.is_private && !c.read_only;
  if (shared_write && (f.seals & kWriteSeals)) Must(EPERM);
  if (grows && f.preserved) Must(EPERM);
  int64_t charge = 0;
  if (reserves) {
    charge =
        c.is_private ? c.length : c.length - f.regions.CountIn(c.page, end);
    if (f.preserved && !c.is_private && charge > 0) Must(ENOMEM);
  }

  PoolEvent reserve;
  // Looked at before the pool is, the group before the mount.
  const Room room =
      std::max(RoomFor(payer_, Charge::kRsvd, f.page_size, charge),
               RoomInMount(f, charge));
  if (room == Room::kNone) Must(ENOMEM);
  int64_t more = charge;  // than its mount has in hand
  if (f.mount >= 0 && room != Room::kNone) {
    const Mount before = state_->mounts[static_cast<size_t>(f.mount)];
    more = TakeFromMount(f, charge);
    if (!must_.empty() || !o.ok())
      state_->mounts[static_cast<size_t>(f.mount)] = before;
  }
  bool can_fail = must_.empty() && (more > 0 || (charge > 0 && fault_));
  if (can_fail) May(ENOMEM);
  int bind = state_->bind[static_cast<size_t>(c.process)];
  bool went = Went(o);
  if (can_fail) {
    PoolEvent::Kind kind = PoolEvent::Kind::kReserve;
    if (!went)
      kind = fault_ || room == Room::kUnknown ? PoolEvent::Kind::kMaybeReserve
                                              : PoolEvent::Kind::kReserveFails;
    PoolEvent* event = Event(f.page_size, kind);
    if (event) {
      event->count = more;
      event->bind = bind;
      ForgiveShortage(f.page_size, event);
    }
  }
  if (!went) return;

  if (grows) f.size = end * page;
  Charged(payer_, Charge::kRsvd, f.page_size, charge);
  if (reserves && !c.is_private) f.Reserve(c.page, end, payer_);
  Mapping m;
  m.process = c.process;
  m.name = c.mapping;
  m.file = id;
  m.from = c.page;
  m.length = c.length;
  m.read_only = c.read_only;
  m.is_private = c.is_private;
  m.may_write = !c.is_private && !(c.read_only && (f.seals & kWriteSeals));
  m.owner = c.is_private && reserves;
  state_->mappings.push_back(m);
  ++f.mappings;
}

// Pages go out of the page tables first. Where the pool has no `surplus`, a
// copy gives back the reservation that it has used up
// (__unmap_hugepage_range()), and the mapping returns it. What a mount gets one
// by one or at once differs in what it has in hand then; nothing else does: a
// copy that is freed as surplus takes its page along.
void Stepper::DropCopies(Mapping* m, bool surplus) {
  const File& f = file(m->file);
  const bool gives_back = m->owner && f.mount >= 0 && !surplus;
  for (const Page& copy : m->copies) {
    FreePage(f.page_size, copy, gives_back ? -1 : f.mount);
    if (!gives_back) continue;
    Erase(&m->consumed, copy.index);
    if (PoolEvent* event = Event(f.page_size, PoolEvent::Kind::kUnreserve))
      event->count = -1;
  }
  m->copies.clear();
}

// Then the reservations that the mapping owns, then the reference to the file.
void Stepper::DropMapping(size_t mapping) {
  const Mapping& m = state_->mappings[mapping];
  const int id = m.file;
  if (m.unsure) ended_unsure_.push_back(file(id).page_size);
  if (m.owner)
    GiveBack(file(id), m.length - static_cast<int64_t>(m.consumed.size()));
  --file(id).mappings;
  state_->mappings.erase(state_->mappings.begin() +
                         static_cast<std::ptrdiff_t>(mapping));
  PutFile(id);
}

bool Stepper::HasSurplus(int id) const {
  const File& f = state_->files[static_cast<size_t>(id)];
  const Pool* pool = f.shmem ? nullptr : state_->FindPool(f.page_size);
  return pool && pool->Surplus() > 0;
}

void Stepper::Unmap(const Command& c, const Outcome& o) {
  Mapping* m = state_->FindMapping(c.process, c.mapping);
  if (!m) Must(EBADF);
  if (!Went(o)) return;
  if (!m) return;
  DropCopies(m, HasSurplus(m->file));
  DropMapping(static_cast<size_t>(m - state_->mappings.data()));
}

// `names`: the mappings, in the order in which they end. All lose their copies
// first (`at_once`), or else each when its turn comes: the surplus pages that
// were there have gone by that of the one at `gone`.
void Stepper::DropMappings(int process, const std::vector<int>& names,
                           bool at_once, size_t gone) {
  for (size_t i = 0; at_once && i < names.size(); ++i) {
    Mapping* m = state_->FindMapping(process, names[i]);
    DropCopies(m, HasSurplus(m->file));
  }
  for (size_t i = 0; i < names.size(); ++i) {
    Mapping* m = state_->FindMapping(process, names[i]);
    DropCopies(m, HasSurplus(m->file) && i < gone);
    DropMapping(static_cast<size_t>(m - state_->mappings.data()));
  }
}

// An exit is one batch of pages, and mappings end by address then. The
// simulator ends one after the other. What a mount with both limits has in hand
// afterwards depends on that: the first way that leads to what was seen is
// taken.
void Stepper::Exit(int process) {
  std::vector<int> names;
  bool depends = false;
  for (const Mapping& m : state_->mappings) {
    if (m.process != process) continue;
    names.push_back(m.name);
    const int mount = file(m.file).mount;
    if (mount < 0) continue;
    const Mount& limits = state_->mounts[static_cast<size_t>(mount)];
    depends |= m.owner && limits.most >= 0 && limits.least >= 0;
  }
  if (depends && names.size() > 1 && !racing_ && !fault_) {
    ExitAsSeen(process, names);
  } else {
    DropMappings(process, names, false, names.size());
  }
  state_->bind[static_cast<size_t>(process)] = -1;
  state_->in_cgroup[static_cast<size_t>(process)] = kRootPath;
}

void Stepper::ExitAsSeen(int process, std::vector<int> names) {
  const State before = *state_;
  const auto events = events_;
  auto leads = [&](bool at_once, size_t gone) {
    *state_ = before;
    events_ = events;
    DropMappings(process, names, at_once, gone);
    return ReservedAsSeen();
  };
  for (size_t gone = names.size(); gone > 0; --gone)
    if (leads(false, gone)) return;
  const std::vector<int> first = names;
  std::sort(names.begin(), names.end());
  do {
    if (leads(true, 0)) return;
  } while (names.size() <= kMaxZapped &&
           std::next_permutation(names.begin(), names.end()));
  names = first;
  leads(false, names.size());
}

void Stepper::Access(const Command& c, const Outcome& o) {
  bool write = c.verb == Verb::kWrite;
  Mapping* m = state_->FindMapping(c.process, c.mapping);
  if (!m) {
    Must(EBADF);
    Went(o);
    return;
  }
  int id = m->file;
  File& f = file(id);
  // The address decides, so at= may reach into a later page.
  int64_t page = c.page + static_cast<int64_t>(c.at / f.page_size);
  uint64_t at = c.at % f.page_size;
  int64_t index = m->from + page;

  auto expect = [&](Outcome::Kind kind, std::string_view name) {
    if (o.kind == kind) return;
    Fail("refusal", absl::StrCat("the access should get ", std::string(name)));
  };
  if (page >= m->length || (write && m->read_only)) {
    expect(Outcome::Kind::kSigsegv, "SIGSEGV");
    return;
  }
  Page* own = FindPage(&f.pages, index);
  Page* copy = m->is_private ? FindPage(&m->copies, index) : nullptr;
  bool beyond = index >= SizeInPages(f);
  if (beyond && !copy && (!own || f.shmem)) {
    expect(Outcome::Kind::kSigbus, "SIGBUS");
    return;
  }

  bool ok = o.kind == Outcome::Kind::kDone && o.result >= 0;
  if (own && own->poisoned && !copy) {
    if (!ok || !own->still_mapped) {
      expect(Outcome::Kind::kSigbus, "SIGBUS for a memory error");
      return;
    }
  }
  int bind = state_->bind[static_cast<size_t>(c.process)];
  // A page is needed for a hole (a private mapping gets a copy of its own
  // even for a read), and for a first private write.
  bool needs_copy =
      m->is_private && !copy && (!own || write) && !(f.shmem && !write);
  bool needs_own = !m->is_private && !own;
  bool reserved = needs_copy ? m->owner && !Contains(m->consumed, index)
                             : f.regions.Contains(index);
  if (needs_copy && m->unsure && !racing_)
    reserved = SeenReservations(f.page_size) < CountedReservations(f.page_size);
  // The hugetlb controller is asked before the pool, that of memory afterwards.
  const bool pays = !f.shmem && (needs_copy || needs_own);
  const Room mount = pays && !reserved ? RoomInMount(f, 1) : Room::kEnough;
  const Room hugetlb = pays
                           ? std::max(mount, RoomForPage(f.page_size, reserved))
                           : Room::kEnough;
  const Room memory = pays ? RoomInMemory(f.page_size) : Room::kEnough;
  if (ok && pays && mount == Room::kNone)
    Fail("counters", "a mount gave more pages than its size=");
  else if (ok && (hugetlb == Room::kNone || memory == Room::kNone))
    Fail("counters", "a limit of a control group was exceeded");
  // A new page may get a memory error before it can be written.
  const bool spoilt = o.kind == Outcome::Kind::kSigbus && needs_own &&
                      MayBePoisoned(id, index) && SeenPage(id, index);
  if (!ok && !spoilt) {
    bool no_memory = o.kind == Outcome::Kind::kSigbus ||
                     (fault_ && (o.kind == Outcome::Kind::kKilled ||
                                 o.kind == Outcome::Kind::kDone));
    if (IsCut(id) && o.kind == Outcome::Kind::kSigbus) return;
    if (!no_memory || !(needs_copy || needs_own) || (f.shmem && !fault_)) {
      if (!fault_ || (o.kind == Outcome::Kind::kDone && o.result >= 0))
        Fail("refusal", "the access should have gone well");
    } else if (!f.shmem && (fault_ || hugetlb != Room::kNone)) {
      const bool maybe =
          fault_ || hugetlb == Room::kUnknown || memory != Room::kEnough;
      PoolEvent* event =
          Event(f.page_size, maybe ? PoolEvent::Kind::kMaybeChurn
                                   : PoolEvent::Kind::kTakeFails);
      if (event) {
        event->reserved = reserved || HasInMount(f);
        event->bind = bind;
      }
      if (needs_own && !reserved) LeaveRegion(id, index);
      if (needs_copy && m->owner && reserved && fault_)
        LoseReservation(m, index);
    }
    if (pays && !reserved && mount != Room::kNone && no_memory) LoseInMount(f);
    if (o.kind == Outcome::Kind::kKilled) Exit(c.process);
    return;
  }

  bool promised = reserved;
  if (pays && !reserved) promised = TakeFromMount(f, 1) == 0;
  // Where a call failed it was tried again, with another page.
  if (pays && fault_)
    if (PoolEvent* event = Event(f.page_size, PoolEvent::Kind::kMaybeChurn))
      event->bind = bind;
  if (needs_copy) {
    Page added;
    added.index = index;
    if (own && (write || !f.shmem)) added.words = own->words;
    added.frame = o.frame;
    added.node = o.node;
    if (!f.shmem) {
      if (PoolEvent* event = Event(f.page_size, PoolEvent::Kind::kTake)) {
        event->reserved = promised;
        event->bind = bind;
        event->node = o.node;
      }
      if (bind != kAnyNode && o.node >= 0 && o.node != bind)
        Fail("placement", absl::StrCat("a page of node ", o.node,
                                       " for a process bound to ", bind));
    }
    if (!f.shmem) ChargePage(&f, &added, reserved);
    if (m->owner) Insert(&m->consumed, index);
    copy = AddPage(&m->copies, index);
    *copy = added;
    frames_changed_ = true;
  } else if (needs_own) {
    if (!f.shmem) {
      if (PoolEvent* event = Event(f.page_size, PoolEvent::Kind::kTake)) {
        event->reserved = promised;
        event->bind = bind;
      }
      f.Reserve(index, index + 1, kNobody);
    }
    own = NewPage(id, index, bind, &o);
    if (!f.shmem) ChargePage(&f, own, reserved);
    if (f.preserved && !f.shmem) Insert(&f.late, index);
  }
  if (spoilt) {
    spoilt_.emplace_back(id, index);
    return;
  }
  Page* page_used = copy ? copy : own;
  const bool held =
      page_used && (page_used->pinned || (!copy && f.Holds(index)));
  // Right before that it may have been moved where it can stay: while its file
  // is preserved, or, a late page, frozen.
  const PageView* seen = racing_ && !copy ? SeenPage(id, index) : nullptr;
  const bool moves = seen && page_used && !page_used->pinned &&
                     ((f.preserved && !held) ||
                      (seen->frame == o.frame &&
                       std::find(may_migrate_.begin(), may_migrate_.end(),
                                 id) != may_migrate_.end()));
  if (page_used && o.frame != kNoFrame && page_used->frame != kNoFrame &&
      o.frame != page_used->frame && !f.shmem && !moves &&
      (held || !(offlined_ || offlines_))) {
    Fail("identity", absl::StrCat("the access reached frame ", o.frame,
                                  ", the page lies in ", page_used->frame));
  }
  if (write) {
    if (page_used) page_used->Write(at, c.value, state_->generation, false);
    if (racing_ && page_used && !m->is_private) {
      for (const Written& w : written_)
        if (w.file == id && w.index == index && w.at == at)
          page_used->Find(at)->rival = true;
      written_.push_back({id, index, at});
    }
  } else if (!f.unknown) {
    CheckRead(page_used, at, o.value);
  }
}

void Stepper::CheckRead(Page* page, uint64_t at, uint64_t value) {
  Word* word = page ? page->Find(at) : nullptr;
  uint64_t expected = word ? word->value : 0;
  if (word && word->rival && value == word->previous) {
    std::swap(word->value, word->previous);  // the other one came last
    expected = value;
  }
  if (word) word->rival = false;
  if (value == expected) return;
  // A value that is older than the kernel shows a write that got lost.
  bool lost = word && word->generation < state_->generation && !word->device &&
              (value == word->previous || value == 0);
  Fail(lost ? "no-lost-write" : "contents",
       absl::StrCat("byte ", at, " of frame ", page ? page->frame : kNoFrame,
                    " is ", absl::Hex(value), ", should be ",
                    absl::Hex(expected)));
}

void Stepper::Fallocate(const Command& c, const Outcome& o) {
  int id = FileOf(c);
  if (id < 0) {
    Went(o);
    return;
  }
  File& f = file(id);
  int64_t page = static_cast<int64_t>(f.page_size);
  int64_t end = c.page + c.length;
  bool beyond = end * page > f.size;
  if (beyond && (f.seals & kSealGrow)) Must(EPERM);
  if (f.preserved) {
    if (f.shmem || (beyond && !c.keep_size)) {
      Must(EPERM);
    } else if (beyond) {
      May(EPERM);
    }
  }
  int bind = state_->bind[static_cast<size_t>(c.process)];
  bool refused = !must_.empty();
  // Pages are allocated one after the other; those that were had before one
  // could not be stay in the file.
  bool stops = !refused && o.kind == Outcome::Kind::kDone &&
               (o.result == -ENOSPC || (fault_ && o.result < 0)) &&
               o.result != -EPERM;
  if (!refused) May(ENOSPC);
  if (!refused && f.shmem) May(ENOMEM);
  bool went = Went(o);
  if (!went && !stops) return;
  if (f.shmem && !went) return;
  // The one that could not be had may be there by now, from somebody else.
  bool all_seen = racing_;
  for (int64_t index = c.page; index < end && all_seen; ++index)
    all_seen = FindPage(f.pages, index) || SeenPage(id, index);
  for (int64_t index = c.page; index < end; ++index) {
    if (FindPage(f.pages, index)) continue;
    bool reserved = f.regions.Contains(index);
    const Room mount = f.shmem || reserved ? Room::kEnough : RoomInMount(f, 1);
    const Room hugetlb =
        f.shmem ? Room::kEnough
                : std::max(mount, RoomForPage(f.page_size, reserved));
    const Room memory = f.shmem ? Room::kEnough : RoomInMemory(f.page_size);
    if (stops && (all_seen || !SeenPage(id, index))) {
      const bool maybe =
          fault_ || hugetlb == Room::kUnknown || memory != Room::kEnough;
      PoolEvent* event = nullptr;
      if (fault_ || hugetlb != Room::kNone)
        event = Event(f.page_size, maybe ? PoolEvent::Kind::kMaybeChurn
                                         : PoolEvent::Kind::kTakeFails);
      if (event) {
        event->reserved = reserved || HasInMount(f);
        event->bind = bind;
      }
      if (!reserved) LeaveRegion(id, index);
      if (!reserved && mount != Room::kNone) LoseInMount(f);
      stops = false;
      break;
    }
    if (mount == Room::kNone)
      Fail("counters", "a mount gave more pages than its size=");
    else if (hugetlb == Room::kNone || memory == Room::kNone)
      Fail("counters", "a limit of a control group was exceeded");
    if (!f.shmem) {
      const bool promised = reserved || TakeFromMount(f, 1) == 0;
      if (PoolEvent* event = Event(f.page_size, PoolEvent::Kind::kTake)) {
        event->reserved = promised;
        event->bind = bind;
      }
      f.Reserve(index, index + 1, kNobody);
    }
    Page* added = NewPage(id, index, bind, nullptr);
    if (!f.shmem) ChargePage(&f, added, reserved);
    if (f.preserved && !f.shmem) Insert(&f.late, index);
  }
  if (stops && !fault_)
    Fail("refusal", "fallocate failed though it has all its pages");
  if (went && beyond && !c.keep_size) f.size = end * page;
}

void Stepper::Punch(const Command& c, const Outcome& o) {
  int id = FileOf(c);
  if (id < 0) {
    Went(o);
    return;
  }
  File& f = file(id);
  if (f.seals & kWriteSeals) Must(EPERM);
  int64_t end = c.page + c.length;
  if (f.preserved) {
    bool removes = std::any_of(
        f.pages.begin(), f.pages.end(), [&c, end](const Page& page) {
          return page.index >= c.page && page.index < end;
        });
    if (removes || f.shmem) {
      Must(EPERM);
    } else {
      May(EPERM);
    }
  }
  if (!Went(o)) return;
  RemoveRange(id, c.page, end);
}

void Stepper::Seal(const Command& c, const Outcome& o) {
  int id = FileOf(c);
  if (id < 0) {
    Went(o);
    return;
  }
  File& f = file(id);
  uint32_t seals = c.seals;
  if (f.seals & kSealSeal) Must(EPERM);
  if ((seals & kSealExec) && (f.mode & 0111))
    seals |= kSealShrink | kSealGrow | kSealWrite | kSealFutureWrite;
  if ((seals & kSealWrite) && !(f.seals & kSealWrite)) {
    bool writable = std::any_of(
        state_->mappings.begin(), state_->mappings.end(),
        [id](const Mapping& m) { return m.file == id && m.may_write; });
    bool pinned =
        std::any_of(f.pages.begin(), f.pages.end(), [](const Page& page) {
          // memory_failure() keeps a reference.
          return page.pinned || page.poisoned;
        });
    // LUO's own pins count like any other device's; late pages get theirs when
    // the file is frozen, and may keep it if that update fails.
    bool held =
        std::any_of(f.pages.begin(), f.pages.end(),
                    [&f](const Page& page) { return f.Holds(page.index); });
    if (writable || pinned || held) {
      Must(EBUSY);
    } else if (!f.late.empty() || !f.unsure.empty()) {
      May(EBUSY);
    }
  }
  if (racing_ && f.preserved && !f.shmem) {
    May(EBUSY);  // the seals may have been handed over already
  }
  if (!Went(o)) return;
  f.seals |= seals;
}

void Stepper::Seek(const Command& c, const Outcome& o) {
  int id = FileOf(c);
  if (Went(o) && id >= 0) file(id).position = c.position;
}

void Stepper::Bind(const Command& c, const Outcome& o) {
  if (c.node >= state_->nodes) Must(EINVAL);
  if (Went(o)) state_->bind[static_cast<size_t>(c.process)] = c.node;
}

void Stepper::Pin(const Command& c, const Outcome& o) {
  int id = FileOf(c);
  if (id < 0) {
    Went(o);
    return;
  }
  File& f = file(id);
  if (c.page >= SizeInPages(f)) Must(EINVAL);
  // A size that is no multiple of the page size ends within the last page.
  if ((c.page + 1) * static_cast<int64_t>(f.page_size) > f.size) May(EINVAL);
  Page* page = FindPage(&f.pages, c.page);
  bool hole = !page && !f.shmem;
  bool refused = !must_.empty();
  if (!refused) {
    if (hole) May(ENOMEM);
    if (hole && f.preserved) {
      May(EPERM);
      May(EBUSY);
    }
    if (MemoryIsShort(f.page_size) ||
        (page &&
         (page->poisoned || (IsGigantic(state_->geometry, f.page_size) &&
                             InCma(f.page_size, page->frame))))) {
      May(ENOMEM);  // it has to leave CMA and cannot
      May(EBUSY);
    }
  }
  bool went = Went(o);
  if (refused) return;
  may_migrate_.push_back(id);
  int bind = state_->bind[static_cast<size_t>(c.process)];
  const bool charged = hole && !f.regions.Contains(c.page);
  // Of a preserved file no further hole can be reserved.
  const Room mount = charged ? RoomInMount(f, 1) : Room::kEnough;
  if (hole && (went || !f.preserved || !charged)) {
    if (!went) {
      if (mount == Room::kNone && !fault_) return;
      const int64_t more = charged && !HasInMount(f) ? 1 : 0;
      PoolEvent* event = Event(f.page_size, PoolEvent::Kind::kMaybeReserve);
      if (event) {
        event->count = more;
        event->bind = bind;
      }
      if (!fault_) return;
      Event(f.page_size, PoolEvent::Kind::kMaybeChurn);
      // The page has used its reservation up when it cannot be added; if that
      // was made for it, memfd_alloc_folio() takes it back once more.
      uncertain_resv_ = true;
      if (PoolEvent* lost =
              Event(f.page_size, PoolEvent::Kind::kMaybeUnreserve)) {
        lost->count = 1;
        lost->reserved = charged;
      }
      return;
    }
    if (mount == Room::kNone)
      Fail("counters", "a mount gave more pages than its size=");
    if (charged && TakeFromMount(f, 1) > 0) {
      PoolEvent* event = Event(f.page_size, PoolEvent::Kind::kReserve);
      if (event) {
        event->count = 1;
        event->bind = bind;
      }
    }
    if (PoolEvent* event = Event(f.page_size, PoolEvent::Kind::kTake))
      event->reserved = true;
    if (charged &&
        RoomFor(payer_, Charge::kRsvd, f.page_size, 1) == Room::kNone)
      Fail("counters", "a limit of a control group was exceeded");
    // Nobody is charged for the page itself: alloc_hugetlb_folio_reserve().
    f.Reserve(c.page, c.page + 1, payer_);
    if (charged) Charged(payer_, Charge::kRsvd, f.page_size, 1);
    page = NewPage(id, c.page, kAnyNode, &o);
    if (f.preserved) Insert(&f.late, c.page);
  }
  if (!went) return;
  if (f.shmem && !page) page = NewPage(id, c.page, kAnyNode, &o);
  Device device;
  device.name = c.file;
  device.asked = device.page = c.page;
  device.file = id;
  const PageView* seen = SeenPage(id, c.page);
  device.frame = f.shmem ? kNoFrame : seen ? seen->frame : o.frame;
  state_->devices.push_back(device);
  // It may move one last time, out of CMA: CheckPages() pins it afterwards.
  if (page && seen && seen->frame != page->frame) return;
  if (page) page->pinned = true;
}

void Stepper::Close(const Command& c, const Outcome& o) {
  int id = FileOf(c);
  if (!Went(o) || id < 0) return;
  state_->names[static_cast<size_t>(c.file)] = -1;
  --file(id).names;
  PutFile(id);
}

void Stepper::Nr(const Command& c, const Outcome& o) {
  bool nr = c.verb == Verb::kNr;
  if (!state_->FindPool(c.page_size) || c.node >= state_->nodes) {
    Must(ENOENT);
    Must(EINVAL);
  }
  if (!Went(o)) return;
  PoolEvent* event = Event(c.page_size, nr ? PoolEvent::Kind::kSetNr
                                           : PoolEvent::Kind::kSetOvercommit);
  if (!event) return;
  event->count = c.length;
  event->bind = c.node;
}

// Takes any free page, from whichever node comes first; those that are in use
// or have been handed over are out of its reach.
void Stepper::PreserveFree(const Command& c, const Outcome& o) {
  const Pool* pool = state_->FindPool(c.page_size);
  if (!pool || state_->kernel.no_option) {
    Must(ENOENT);
  } else if (c.on && !state_->handler()) {
    Must(EOPNOTSUPP);
  }
  if (state_->boot_fault) May(EOPNOTSUPP);
  if (Went(o) && pool)
    state_->preserve_free[static_cast<size_t>(pool - state_->pools.data())] =
        c.on;
}

void Stepper::Demote(const Command& c, const Outcome& o) {
  Pool* from = state_->FindPool(c.page_size);
  Pool* to = nullptr;
  for (Pool& pool : state_->pools)
    if (pool.page_size < c.page_size) to = &pool;  // ascending
  // Smaller pages would be less than an area gives away.
  const bool no_demotion =
      state_->cma && c.page_size <= DefaultPageSize(state_->geometry);
  if (!from || !to || c.node >= state_->nodes || no_demotion) {
    Must(ENOENT);
    Went(o);
    return;
  }
  // Reserved pages are not left out, once there is one that is not reserved
  // (demote_store()); it goes on for as long as the two numbers differ.
  const auto node = static_cast<size_t>(std::max(c.node, 0));
  const int64_t free = c.node < 0 ? from->Free() : from->free[node];
  const int64_t most =
      free == from->resv || c.length == 0 ? 0 : std::min(c.length, free);
  const bool vain = c.length > most && free != from->resv && from->resv != 0;
  if (racing_) {
    May(EBUSY);
  } else if (vain) {
    Must(EBUSY);
  }
  Went(o);
  if (racing_ ? c.length == 0 : most == 0) return;
  const auto pieces = static_cast<int64_t>(from->page_size / to->page_size);
  PoolEvent* leave = Event(from->page_size, PoolEvent::Kind::kLeave);
  leave->bind = c.node;
  leave->count = racing_ ? c.length : most;
  leave->exact = !racing_;
  PoolEvent* join = Event(to->page_size, PoolEvent::Kind::kJoin);
  join->bind = c.node;
  join->count = leave->count * pieces;
  join->exact = !racing_;
  if (racing_) return;
  // Where the pieces are is where the pages were.
  for (int n = 0; n < state_->nodes; ++n) {
    const auto i = static_cast<size_t>(n);
    const int64_t left = from->nr[i] - SeenPages(from->page_size, n);
    const int64_t came = SeenPages(to->page_size, n) - to->nr[i];
    if (left * pieces != came)
      Fail("placement", absl::StrCat(left, " pages of node ", n, " became ",
                                     came, " smaller ones"));
  }
}

// Pages in use are moved to another node, free ones dissolved. One that is
// preserved or pinned stays, and the block with it; until it does, some of the
// others have moved.
void Stepper::Offline(const Command& c, const Outcome& o) {
  const int id = FileOf(c);
  if (id < 0) {
    Went(o);
    return;
  }
  File& f = file(id);
  const Page* page = f.shmem ? nullptr : FindPage(&f.pages, c.page);
  if (!page && !racing_) {
    Must(ENOENT);
    Went(o);
    return;
  }
  const bool held = page && !racing_ && (page->pinned || f.Holds(c.page));
  // Neighbours that cannot be moved, no place to move to, a hole.
  for (int error : {EBUSY, EINTR, EINVAL}) {
    if (held) {
      Must(error);
    } else {
      May(error);
    }
  }
  // A real machine does not tell where a page with a memory error lies.
  if (racing_ || page->poisoned) May(ENOENT);
  const PageView* seen = SeenPage(id, c.page);
  if (Went(o) && !racing_ && seen && page->frame == seen->frame)
    Fail("refusal", "memory went offline with a page in it");
  all_may_migrate_ = offlined_ = true;
  for (const Pool& pool : state_->pools) {
    const int64_t most = std::max<int64_t>(
        1,
        static_cast<int64_t>(MemoryBlock(state_->geometry) / pool.page_size));
    // The first of several explains what all of them did.
    for (PoolEvent& event :
         events_[static_cast<size_t>(&pool - state_->pools.data())])
      if (event.kind == PoolEvent::Kind::kOffline) event.count += most;
    Event(pool.page_size, PoolEvent::Kind::kOffline)->count = most;
  }
}

// A base page of a file's page gets a memory error. The page stays in the file,
// and stays out of the pool when the file is gone.
void Stepper::Poison(const Command& c, const Outcome& o) {
  const int id = FileOf(c);
  if (id < 0) {
    Went(o);
    return;
  }
  File& f = file(id);
  Page* page = f.shmem ? nullptr : FindPage(&f.pages, c.page);
  const PageView* seen = f.shmem ? nullptr : SeenPage(id, c.page);
  if (!page && o.ok() && IsCut(id) && seen && c.at < f.page_size) {
    // Whoever added it did not get to the end.
    page = AddPage(&f.pages, c.page);
    page->frame = seen->frame;
    page->node = seen->node;
    page->owners = seen->owners;
    f.regions.Add(c.page, c.page + 1);
    frames_changed_ = true;
  }
  if (!page || c.at >= f.page_size) {
    Must(ENOENT);
    Went(o);
    return;
  }
  if (page->poisoned) {
    Must(EHWPOISON);
    Went(o);
    return;
  }
  May(EBUSY);
  page->still_mapped = !Went(o);
  page->poisoned = true;
}

// A base page of a free page that is promised to nobody gets a memory error.
// The page leaves its pool, and no pool gets the base page, here or in a kernel
// to come.
void Stepper::PoisonFree(const Command& c, const Outcome& o) {
  const Pool* pool = state_->FindPool(c.page_size);
  if (!pool || c.node >= state_->nodes || c.at >= c.page_size) {
    Must(ENOENT);
    Went(o);
    return;
  }
  const int64_t free =
      c.node < 0 ? pool->Free() : pool->free[static_cast<size_t>(c.node)];
  if (racing_) {
    May(ENOENT);
  } else if (free == 0 || pool->Available() <= 0) {
    Must(ENOENT);
  }
  // Without memory to note which base page it is, all of them are out of use.
  const bool lost = fault_ && o.kind == Outcome::Kind::kDone &&
                    o.result == -EBUSY && must_.empty();
  if (lost) May(EBUSY);
  if (!Went(o) && !lost) return;
  Event(c.page_size, PoolEvent::Kind::kDissolve)->node = c.node;
}

// Pages of a size that the snapshot shows on a node.
int64_t Stepper::SeenPages(uint64_t page_size, int node) const {
  for (int i = 0; i < snapshot_.nr_pools; ++i)
    if (snapshot_.pool[static_cast<size_t>(i)].page_size == page_size)
      return snapshot_.pool[static_cast<size_t>(i)]
          .node[static_cast<size_t>(node)]
          .nr;
  return 0;
}

void Stepper::Dev(const Command& c, const Outcome& o) {
  Device* device = nullptr;
  for (Device& d : state_->devices)
    if (d.name == c.file && d.asked == c.page) device = &d;
  Page* page = nullptr;
  bool orphan = false;
  if (device) {
    File& f = file(device->file);
    if (f.life != File::Life::kGone) page = FindPage(&f.pages, device->page);
    // Its file may have let go of the page and have another one there now.
    if (page && !f.shmem && page->frame != device->frame) page = nullptr;
    for (const Orphan& o2 : state_->orphans)
      orphan |= !f.shmem && o2.frame == device->frame;
  }
  if (device && c.at >= file(device->file).page_size) {
    if (o.ok()) Fail("refusal", "a device wrote past the end of its page");
    return;
  }
  // What becomes of shmem's pages when calls fail is its own handler's.
  const bool shmem = device && file(device->file).shmem;
  if (o.kind == Outcome::Kind::kDone && o.result == -ENODEV) {
    if (page && !shmem)
      Fail("contents", "the device lost a page that should still be there");
    return;
  }
  if (o.kind != Outcome::Kind::kDone || o.result < 0) {
    Fail("refusal", absl::StrCat("dev ended with ", o.result));
    return;
  }
  if (!page && !orphan && !shmem) {
    Fail("contents", "a device wrote to a page that it has no more");
    return;
  }
  if (page) page->Write(c.at, c.value, state_->generation, true);
}

void Stepper::StopDevices(int id, int64_t page, Frame frame) {
  auto& devices = state_->devices;
  devices.erase(std::remove_if(devices.begin(), devices.end(),
                               [id, page, frame](const Device& d) {
                                 return frame != kNoFrame
                                            ? d.frame == frame
                                            : d.file == id && d.page == page;
                               }),
                devices.end());
}

// Whether another command poisons the page at the same time.
bool Stepper::MayBePoisoned(int id, int64_t index) const {
  return std::any_of(poisons_.begin(), poisons_.end(), [&](const Command& c) {
    return state_->names[static_cast<size_t>(c.file)] == id && c.page == index;
  });
}

const PageView* Stepper::SeenPage(int id, int64_t index) {
  const FileView* view = ViewOf(id);
  if (!view) return nullptr;
  auto begin = snapshot_.pages.begin() + view->pages_begin;
  auto end = snapshot_.pages.begin() + view->pages_end;
  auto it = std::lower_bound(
      begin, end, index,
      [](const PageView& page, int64_t i) { return page.index < i; });
  return it != end && it->index == index ? &*it : nullptr;
}

bool Stepper::SeenReserved(int id, int64_t index) const {
  const FileView* view = ViewOf(id);
  if (!view) return false;
  for (uint32_t i = view->regions_begin; i < view->regions_end; ++i)
    if (snapshot_.regions[i].from <= index && index < snapshot_.regions[i].to)
      return true;
  return false;
}

// A page could not be added, and then there was no memory to take its region
// away, or to look for it: restore_reserve_on_error() leaves it, for nobody's
// account. If it has found it, the page counts as reserved when it is freed.
void Stepper::LeaveRegion(int id, int64_t index) {
  File& f = file(id);
  if (!fault_ || f.shmem || !SeenReserved(id, index)) return;
  f.Reserve(index, index + 1, kNobody);
  if (f.preserved) Insert(&f.left, index);
  Event(f.page_size, PoolEvent::Kind::kMaybeKeep);
  uncertain_resv_ = true;
}

// The same of a private mapping: what was reserved is taken for used up.
void Stepper::LoseReservation(Mapping* m, int64_t index) {
  const uint64_t page_size = file(m->file).page_size;
  m->unsure |= racing_;
  if (racing_ || SeenReservations(page_size) >= CountedReservations(page_size))
    return;
  Insert(&m->consumed, index);
  if (PoolEvent* event = Event(page_size, PoolEvent::Kind::kMaybeUnreserve))
    event->count = 1;
}

Page* Stepper::NewPage(int id, int64_t index, int bind,
                       const Outcome* outcome) {
  File& f = file(id);
  Page* page = AddPage(&f.pages, index);
  frames_changed_ = true;
  if (f.shmem) return page;
  if (racing_) Insert(&f.unsure, index);
  const PageView* seen = SeenPage(id, index);
  // It may have been moved by the time that it is looked at: to be pinned, or
  // since its memory goes offline.
  const bool moved =
      racing_ && outcome && outcome->ok() && outcome->frame != kNoFrame;
  if (seen && !moved) {
    page->frame = seen->frame;
    page->node = seen->node;
  } else if (outcome) {
    page->frame = outcome->frame;
    page->node = outcome->node;
  }
  // Where it came from is not where it is then.
  const int node = offlines_ && !moved ? kAnyNode : page->node;
  size_t pool =
      static_cast<size_t>(state_->FindPool(f.page_size) - state_->pools.data());
  if (!events_[pool].empty()) events_[pool].back().node = node;
  if (bind != kAnyNode && node >= 0 && node != bind)
    Fail("placement", absl::StrCat("a page of node ", node,
                                   " for a process bound to ", bind));
  return page;
}

void Stepper::FreePage(uint64_t page_size, const Page& page, int mount) {
  frames_changed_ = true;
  if (page.pinned || page.poisoned) {
    state_->orphans.push_back({page_size, page.frame});
    return;
  }
  // A device of the kernel before had it only by way of the file.
  if (page.frame != kNoFrame) StopDevices(-1, -1, page.frame);
  PoolEvent* event = Event(page_size, PoolEvent::Kind::kFree);
  if (!event) return;
  event->node = page.node;
  event->exact = !racing_;
  // free_huge_folio(): what the mount has in hand again is reserved again.
  if (mount < 0 || state_->mounts[static_cast<size_t>(mount)].Put(1) > 0)
    return;
  if (PoolEvent* again = Event(page_size, PoolEvent::Kind::kUnreserve))
    again->count = -1;
}

// remove_inode_hugepages(): a truncation (`to` is the end of all) drops the
// reservations of the range too, a punched hole only those of its pages.
void Stepper::RemovePages(int id, int64_t from, int64_t to) {
  File& f = file(id);
  int64_t freed = 0;
  for (size_t i = 0; i < f.pages.size();) {
    if (f.pages[i].index < from || f.pages[i].index >= to) {
      ++i;
      continue;
    }
    int64_t index = f.pages[i].index;
    if (f.shmem) {
      StopDevices(id, index, kNoFrame);
    } else if (to != INT64_MAX && fault_ && SeenReserved(id, index) &&
               !SeenPage(id, index)) {
      // No memory to split the region: it stays, and counts as reserved again
      // if there is a page for it. Where somebody else adds a page meanwhile
      // that makes no difference in the end.
      Event(f.page_size, PoolEvent::Kind::kMaybeKeep);
      uncertain_resv_ = true;
    } else if (to != INT64_MAX) {
      f.Unreserve(index, index + 1);
    }
    if (!f.shmem) FreePage(f.page_size, f.pages[i], f.mount);
    Erase(&f.late, f.pages[i].index);
    f.pages.erase(f.pages.begin() + static_cast<std::ptrdiff_t>(i));
    ++freed;
  }
  if (f.shmem || to != INT64_MAX) return;
  int64_t unused = f.regions.CountIn(from, to) - freed;
  f.Unreserve(from, to);
  GiveBack(f, unused);
}

// Removing pages from a file takes them out of all page tables, private copies
// of them included: mapping after mapping is looked at and then freed, in an
// order that the kernel picks. The first way that leads to what was seen is
// taken.
void Stepper::RemoveRange(int id, int64_t from, int64_t to) {
  ZapWay way;
  // Punching a hole in a shmem file leaves copies alone.
  int64_t owned = 0;
  for (size_t i = 0; i < state_->mappings.size(); ++i) {
    const Mapping& m = state_->mappings[i];
    if (m.file != id || !m.is_private || CopiesIn(m, from, to) == 0) continue;
    if (file(id).shmem && to != INT64_MAX) continue;
    way.order.push_back(i);
    owned += m.owner ? CopiesIn(m, from, to) : 0;
  }
  auto remove = [&] {
    ZapCopies(id, from, to, way);
    RemovePages(id, from, to);
  };
  const bool fails = fault_ && owned > 0 && !file(id).shmem;
  if (fails && racing_) MakeUnsure(way.order);
  const bool depends =
      fails ? !racing_ : way.order.size() > 1 && HasSurplus(id);
  if (!depends) return remove();

  const State before = *state_;
  const auto events = events_;
  const bool uncertain = uncertain_resv_;
  auto leads = [&] {
    *state_ = before;
    events_ = events;
    uncertain_resv_ = uncertain;
    remove();
    return ReservedAsSeen();
  };
  const std::vector<size_t> first = way.order;
  for (unsigned lost : kLost) {
    if (lost != 0 && !fails) break;
    way.lost = lost;
    for (bool surplus : {false, true}) {
      way.surplus = surplus;
      do {
        if (!leads()) continue;
        // Which copy it was, of several, does not show, nor whether it was a
        // region of the file that was kept for nothing.
        if (lost != 0 && (owned > 1 || uncertain_resv_)) MakeUnsure(first);
        return;
      } while (first.size() <= kMaxZapped &&
               std::next_permutation(way.order.begin(), way.order.end()));
      way.order = first;
    }
  }
  way = ZapWay();
  way.order = first;
  leads();
}

int64_t Stepper::CopiesIn(const Mapping& m, int64_t from, int64_t to) {
  return std::count_if(m.copies.begin(), m.copies.end(), [=](const Page& copy) {
    return copy.index >= from && copy.index < to;
  });
}

// A copy that had used up a reservation gives it back while the pool has no
// surplus and there is memory to note that (__unmap_hugepage_range()). Where it
// does not, the mount gets it (free_huge_folio()).
void Stepper::ZapCopies(int id, int64_t from, int64_t to, const ZapWay& way) {
  File& f = file(id);
  const Pool* found = f.shmem ? nullptr : state_->FindPool(f.page_size);
  Pool pool = found ? *found : Pool();
  unsigned owned = 0;  // so far
  for (size_t i : way.order) {
    Mapping& m = state_->mappings[i];
    const bool gives_back = found && m.owner && pool.Surplus() == 0;
    for (size_t k = 0; k < m.copies.size();) {
      const Page copy = m.copies[k];
      if (copy.index < from || copy.index >= to) {
        ++k;
        continue;
      }
      m.copies.erase(m.copies.begin() + static_cast<std::ptrdiff_t>(k));
      if (f.shmem) continue;
      const bool back = gives_back && !(way.lost >> owned & 1);
      owned += gives_back;
      FreePage(f.page_size, copy, back ? -1 : f.mount);
      if (back) {
        Erase(&m.consumed, copy.index);
        if (PoolEvent* event = Event(f.page_size, PoolEvent::Kind::kUnreserve))
          event->count = -1;
      }
      auto* on = pool.surplus.data();
      if (copy.node >= 0) {
        on += copy.node;
      } else if (way.surplus) {
        on = std::max_element(pool.surplus.begin(), pool.surplus.end());
      } else {
        continue;
      }
      *on = std::max<int64_t>(0, *on - 1);
    }
  }
}

void Stepper::MakeUnsure(const std::vector<size_t>& mappings) {
  for (size_t i : mappings) {
    Mapping& m = state_->mappings[i];
    m.unsure |= m.owner;
  }
}

int64_t Stepper::SeenReservations(uint64_t page_size) const {
  for (int i = 0; i < snapshot_.nr_pools; ++i)
    if (snapshot_.pool[static_cast<size_t>(i)].page_size == page_size)
      return snapshot_.pool[static_cast<size_t>(i)].resv;
  return 0;
}

void Stepper::PutFile(int id) {
  File& f = file(id);
  if (f.life != File::Life::kLive || f.names > 0 || f.mappings > 0 ||
      f.preserved || f.retrieved)
    return;
  RemovePages(id, 0, INT64_MAX);
  f.life = File::Life::kGone;
  f.pages.clear();
  EndMount(f.mount);
}

}  // namespace handover::model
