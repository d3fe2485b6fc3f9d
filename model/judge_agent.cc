// SPDX-License-Identifier: BSD-3-Clause
//
// What the live update agent does. Follows kernel/liveupdate/luo_session.c,
// luo_file.c and luo_core.c, and this project's rules for hugetlb files.
#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "model/judge_internal.h"

namespace handover::model {
namespace {

Session* FindIncoming(State* state, int name) {
  for (Session& session : state->sessions)
    if (session.incoming && session.name == name) return &session;
  return nullptr;
}

// Memory of the kernel before that nobody has claimed: an update would lose it.
bool Unclaimed(const State& state) {
  if (state.quarantine) return true;
  for (const Session& session : state.sessions) {
    if (!session.incoming) continue;
    for (const SessionFile& f : session.files)
      if (!state.files[static_cast<size_t>(f.file)].shmem && f.status <= 0)
        return true;
  }
  for (const File& file : state.files)
    if (!file.shmem && !file.pages.empty() &&
        (file.life == File::Life::kRefused ||
         file.life == File::Life::kAnnounced))
      return true;
  return false;
}

}  // namespace

void Stepper::Agent(const Command& c, const Outcome& o) {
  Session* session =
      c.session >= 0 ? state_->FindOpenSession(c.session) : nullptr;
  // Whatever failed by plan while this kernel booted may show only now.
  if (state_->boot_fault)
    for (int error : {EIO, ENOMEM, ENOENT, ENODEV, EINVAL, EAGAIN}) May(error);
  switch (c.verb) {
    case Verb::kOpen:
      if (!state_->luo()) {
        for (int error : {ENOENT, ENODEV, ENXIO}) Must(error);
      } else if (state_->device_open) {
        Must(EBUSY);
      } else if (state_->luo_broken) {
        Must(EIO);
      }
      if (Went(o)) {
        state_->device_open = true;
      } else if (fault_ && o.result == -EIO) {
        state_->luo_broken = true;  // it is never tried again
      }
      break;
    case Verb::kCloseDevice:
      if (!state_->device_open) Must(EBADF);
      if (Went(o)) state_->device_open = false;
      break;
    case Verb::kSession:
      if (!state_->device_open) Must(EBADF);
      if (session) Must(EEXIST);
      override_ = o.ok() ? "" : "exact-rollback";
      if (Went(o)) {
        Session added;
        added.name = c.session;
        added.open = true;
        state_->sessions.push_back(added);
      }
      break;
    case Verb::kDrop:
      if (!session) Must(EBADF);
      if (session && !session->incoming) override_ = "exact-rollback";
      if (Went(o)) DropSession(c.session);
      break;
    case Verb::kPreserve:
      Preserve(c, o);
      break;
    case Verb::kReboot:
      Reboot(c, o);
      break;
    case Verb::kTake: {
      Session* incoming = FindIncoming(state_, c.session);
      if (!state_->device_open) Must(EBADF);
      if (session) Must(EEXIST);
      if (!incoming) Must(ENOENT);
      if (incoming && (incoming->open || incoming->stuck)) Must(EINVAL);
      if (Went(o) && incoming) incoming->open = true;
      break;
    }
    case Verb::kRetrieve:
      Retrieve(c, o);
      break;
    case Verb::kFinish:
      if (!session) Must(EBADF);
      if (session && !session->incoming) Must(EINVAL);
      if (Went(o) && session && !FinishSession(session))
        Fail("refusal", "finished, and nobody knows what came");
      break;
    default:
      Fail("refusal", "no command for the agent");
      break;
  }
  must_.clear();
  may_.clear();
}

// Pages may lie in scratch, and are moved out one by one, each to another place
// on its node. Of those that were not moved there was no such place for one, it
// may be: what the attempt itself needed is there again, and more is not.
bool Stepper::NoRoomToMove(int id) {
  const File& f = file(id);
  if (f.shmem) return false;
  std::array<int64_t, kMaxNodes> stayed{};
  for (const Page& page : f.pages) {
    const PageView* seen = SeenPage(id, page.index);
    if (page.node >= 0 && (!seen || seen->frame == page.frame))
      ++stayed[static_cast<size_t>(page.node)];
  }
  for (int i = 0; i < snapshot_.nr_pools; ++i) {
    const PoolView& pool = snapshot_.pool[static_cast<size_t>(i)];
    if (pool.page_size != f.page_size) continue;
    for (size_t n = 0; n < kMaxNodes; ++n)
      if (stayed[n] > 0 && pool.node[n].allocatable <= stayed[n]) return true;
  }
  return false;
}

void Stepper::Preserve(const Command& c, const Outcome& o) {
  Session* session = state_->FindOpenSession(c.session);
  override_ = o.ok() ? "" : "exact-rollback";
  if (!session) Must(EBADF);
  if (session && session->incoming) Must(EINVAL);
  if (session)
    for (const SessionFile& f : session->files)
      if (f.token == c.token) Must(EEXIST);
  int id = FileOf(c);
  if (id >= 0) {
    File& f = file(id);
    if (!f.shmem && (!state_->handler() || f.mount >= 0)) Must(ENOENT);
    if (f.preserved || f.retrieved) Must(EBUSY);
    int64_t page = static_cast<int64_t>(f.page_size);
    int64_t end = (f.size + page - 1) / page;
    bool beyond = (!f.pages.empty() && f.pages.back().index >= end) ||
                  f.regions.CountIn(end, INT64_MAX) > 0;
    const bool looks = must_.empty();  // at its pages
    if (!f.shmem && beyond) Must(EOPNOTSUPP);
    if (must_.empty() && (MemoryIsShort(f.page_size) || NoRoomToMove(id)))
      for (int error : {ENOMEM, EBUSY, ENOSPC}) May(error);
    // It may lie in scratch, where it cannot stay.
    for (const Page& p : f.pages)
      if (p.poisoned && !f.shmem) May(EHWPOISON);
    if (state_->many_errors && !f.shmem && must_.empty()) May(EHWPOISON);
    // No other gigantic page is allocated for one that has to leave its area.
    if (looks && !f.shmem && IsGigantic(state_->geometry, f.page_size)) {
      for (const Page& p : f.pages) {
        if (!InCma(f.page_size, p.frame)) continue;
        if (beyond) {
          Must(ENOMEM);  // or the end is looked at: pages are pinned first
        } else {
          May(ENOMEM);
        }
      }
    }
    may_migrate_.push_back(id);
  }
  if (!Went(o) || id < 0 || !session) return;
  file(id).preserved = true;
  file(id).raced = racing_;
  if (!racing_) file(id).unsure.clear();
  session->files.push_back({c.token, id, 0});
}

// luo_file_unpreserve_files() or luo_file_finish(), then the session is gone.
void Stepper::DropSession(int name) {
  Session* session = state_->FindOpenSession(name);
  if (!session) return;
  if (session->incoming) {
    if (!FinishSession(session)) {
      // Nobody knows what came. It is held for good, without a descriptor.
      session = state_->FindOpenSession(name);
      session->open = false;
      session->stuck = true;
      return;
    }
  } else {
    while (!session->files.empty()) {
      int id = session->files.back().file;
      session->files.pop_back();
      file(id).preserved = false;
      file(id).late.clear();
      file(id).unsure.clear();
      file(id).left.clear();
      PutFile(id);
    }
  }
  state_->sessions.erase(state_->sessions.begin() +
                         (session - state_->sessions.data()));
}

// A page that stays reserved for good. Devices go on with it.
void Stepper::KeepOut(uint64_t page_size, const Page& page, bool free) {
  File limbo;
  limbo.free = free;
  limbo.life = File::Life::kRefused;
  limbo.page_size = page_size;
  limbo.pages.push_back(page);
  const int id = static_cast<int>(state_->files.size());
  state_->files.push_back(std::move(limbo));
  for (Device& device : state_->devices) {
    if (device.frame != page.frame) continue;
    device.file = id;
    device.page = page.index;
  }
}

// KHO was made by plan not to let go of the page.
bool Stepper::KhoKeeps(const Page& page) const {
  return fault_ && std::binary_search(snapshot_.unclaimed.begin(),
                                      snapshot_.unclaimed.end(), page.frame);
}

// Nobody asked for the file: its pages become ordinary pages of the pool.
void Stepper::Release(int id) {
  const uint64_t page_size = file(id).page_size;
  const int64_t promised = file(id).promised ? file(id).Reserved() : 0;
  std::vector<Page> pages = std::move(file(id).pages);
  file(id).life = File::Life::kGone;
  file(id).pages.clear();
  file(id).promised = false;
  frames_changed_ = true;
  if (file(id).shmem) return;
  // Which ones KHO keeps shows before any is freed.
  auto kept = [this](const Page& page) { return KhoKeeps(page); };
  for (const Page& page : pages) {
    if (!kept(page)) continue;
    if (PoolEvent* event = Event(page_size, PoolEvent::Kind::kLose))
      event->node = page.node;
    KeepOut(page_size, page, file(id).free);
    state_->quarantine = true;
  }
  for (const Page& page : pages)
    if (!kept(page)) FreePage(page_size, page);
  if (promised == 0) return;
  if (PoolEvent* event = Event(page_size, PoolEvent::Kind::kUnreserve))
    event->count = promised;
}

// A kernel that had no memory at boot to look at what came counts it as one
// that had. Whether there was some now shows by what nobody asked for.
bool Stepper::StillAnnounced(const Session& session) const {
  if (!fault_ || !state_->boot_fault) return false;
  bool any = false;
  for (const SessionFile& each : session.files) {
    const File& f = state_->files[static_cast<size_t>(each.file)];
    if (each.status > 0 || f.shmem || f.life != File::Life::kAnnounced)
      continue;
    for (const Page& page : f.pages) {
      any = true;
      if (!KhoKeeps(page)) return false;
    }
  }
  return any && ExplainsQuarantine();
}

// False: there was no memory to look at what came.
bool Stepper::FinishSession(Session* session) {
  const bool asks = std::any_of(
      session->files.begin(), session->files.end(),
      [this](const auto& f) { return f.status <= 0 && !file(f.file).shmem; });
  if (asks) {
    const auto at = session - state_->sessions.data();
    SettleLate(/*went=*/true, static_cast<int>(at));
    session = &state_->sessions[static_cast<size_t>(at)];
    if (state_->unsettled || StillAnnounced(*session)) return false;
  }
  while (!session->files.empty()) {
    SessionFile last = session->files.back();
    session->files.pop_back();
    if (last.status > 0) {
      file(last.file).retrieved = false;
      PutFile(last.file);
    } else if (file(last.file).life == File::Life::kAnnounced) {
      Release(last.file);
    }
    // A refused file stays what it is, finished or not.
  }
  session->finished = true;
  return true;
}

// What asking for a refused file ends with.
std::vector<int> Stepper::WhyRefused(int id) const {
  if (!state_->handler()) return {ENOENT, EIO, ENODEV};
  for (const auto& [at, file] : state_->records)
    if (file == id)
      for (const RefusedFile& refused : state_->table.refused)
        if (refused.at == at) return refused.errors;
  return {ENOENT};
}

void Stepper::Retrieve(const Command& c, const Outcome& o) {
  Session* session = state_->FindOpenSession(c.session);
  if (!session) Must(EBADF);
  if (state_->names[static_cast<size_t>(c.file)] >= 0) Must(EEXIST);
  if (session && !session->incoming) Must(EINVAL);
  auto find = [&]() -> SessionFile* {
    for (SessionFile& f : state_->FindOpenSession(c.session)->files)
      if (f.token == c.token) return &f;
    return nullptr;
  };
  SessionFile* entry = session && session->incoming ? find() : nullptr;
  if (session && session->incoming && !entry) Must(ENOENT);
  bool asked = must_.empty() && entry;
  if (!asked) {
    Went(o);
    return;
  }
  if (!file(entry->file).shmem) {
    SettleLate(o.ok());  // which may move all files and sessions
    entry = find();
  }
  File& f = file(entry->file);
  bool first = entry->status == 0;
  // A refused file is refused each time, with an errno that says why.
  // So is one that somebody else got, where LUO's records name it twice.
  bool refused = f.life == File::Life::kRefused ||
                 (first && !f.shmem && f.life != File::Life::kAnnounced);
  if (entry->status < 0) Must(-entry->status);
  if (first && refused) {
    override_ = "atomic-import";
    for (int error : WhyRefused(entry->file)) Must(error);
    if (Went(o)) Fail("refusal", "a refused file was handed out");
    return;
  }
  if (first && MemoryIsShort(f.shmem ? 0 : f.page_size)) {
    May(EAGAIN);
    May(ENOMEM);
  }
  override_ = o.ok() ? "" : "atomic-import";
  if (first && !f.shmem) {
    const Room room = RoomForFile(f);
    if (room == Room::kNone) Must(EAGAIN);
    if (room == Room::kUnknown) May(EAGAIN);
  }
  if (first && !f.shmem && !state_->unsettled) RetrievePromise(&f, o);
  if (!Went(o)) {
    // LUO remembers a failure, except the one that asks to try again.
    if (first && o.kind == Outcome::Kind::kDone && f.shmem)
      entry->status = static_cast<int>(o.result);
    return;
  }
  if (first) {
    entry->status = 1;
    f.life = File::Life::kLive;
    f.retrieved = true;
    f.promised = false;  // it is the file's own now
    f.inode = 0;
    frames_changed_ = true;
    TakeCharges(&f);
  }
  state_->names[static_cast<size_t>(c.file)] = entry->file;
  ++f.names;
  if (const FileView* view = ViewOf(entry->file)) {
    f.inode = view->inode;
  }
}

// What the file has reserved was not to be had at boot. Then that is what is
// asked for first, and kept even if something else fails.
void Stepper::RetrievePromise(File* f, const Outcome& o) {
  const int64_t count = f->Reserved();
  const Pool* pool = state_->FindPool(f->page_size);
  if (f->promised || count == 0 || !pool) return;
  const auto at = static_cast<size_t>(pool - state_->pools.data());
  int64_t needed = count - pool->Available();
  if (pool->Surplus() == 0) needed -= Freed(at);
  for (const PoolEvent& event : events_[at])
    if (event.kind == PoolEvent::Kind::kReserve) needed += event.count;
  if (needed > 0) {
    // As surplus, if there is memory for it. Who runs at the same time may have
    // changed the pool.
    if (needed > pool->overcommit - pool->Surplus() && !racing_) Must(EAGAIN);
    May(EAGAIN);
  }
  if (racing_) May(EAGAIN);
  const int64_t before =
      ExpectedReservations(f->page_size) + state_->resv_off[at];
  f->promised = o.ok() || SeenReservations(f->page_size) == before + count;
  PoolEvent::Kind kind = PoolEvent::Kind::kReserveFails;
  if (f->promised) {
    kind = PoolEvent::Kind::kReserve;
  } else if (fault_) {
    kind = PoolEvent::Kind::kMaybeReserve;
  }
  if (PoolEvent* event = Event(f->page_size, kind)) event->count = count;
}

void Stepper::Reboot(const Command&, const Outcome& o) {
  if (!state_->image_loaded) Must(EINVAL);
  // Nobody asks for free pages, so this is where they are looked at again.
  if (state_->image_loaded && !state_->kernel.no_option) SettleLate(o.ok());
  if (state_->unsettled) Must(EBUSY);
  if (!state_->kernel.no_option && Unclaimed(*state_)) Must(EBUSY);
  // Of a refused file without pages the records are left.
  for (const File& f : state_->files)
    if (f.life == File::Life::kRefused) May(EBUSY);
  bool late = false;
  for (Session& session : state_->sessions) {
    if (session.incoming) continue;
    for (const SessionFile& f : session.files) {
      // Of some it was not to be seen whether they came before.
      const bool some =
          !file(f.file).late.empty() || !file(f.file).unsure.empty();
      late |= some;
      if (state_->many_errors && must_.empty()) May(EHWPOISON);
      if (some) late_may_migrate_.push_back(f.file);
      for (int64_t index : file(f.file).late)
        if (const Page* page = FindPage(file(f.file).pages, index))
          if (page->poisoned && must_.empty()) May(EHWPOISON);
      file(f.file).raced |= racing_ && !file(f.file).late.empty();
    }
  }
  // Late pages are pinned and recorded only now, which takes memory.
  if (late && must_.empty())
    for (int error : {ENOMEM, EBUSY, ENOSPC, EOPNOTSUPP}) May(error);
  // Somebody may be about to change a file that has to be frozen.
  if (racing_) May(EBUSY);
  if (!o.ok()) override_ = "exact-rollback";
  Went(o);
}

}  // namespace handover::model
