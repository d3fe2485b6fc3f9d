// SPDX-License-Identifier: BSD-3-Clause
//
// Mounts of hugetlbfs, and what their limits make of a file's pages. Follows
// fs/hugetlbfs/inode.c, and struct hugepage_subpool in mm/hugetlb.c.
#include <algorithm>
#include <cerrno>

#include "model/judge_internal.h"

namespace handover::model {

int64_t Mount::Get(int64_t pages) {
  if (most >= 0) {
    if (used + pages > most) return -1;
    used += pages;
  }
  if (least < 0) return pages;
  const int64_t own = std::min(pages, ready);
  ready -= own;
  return pages - own;
}

int64_t Mount::Put(int64_t pages) {
  if (most >= 0) used -= pages;
  if (least < 0 || used >= least) return pages;
  const int64_t all = ready + pages;
  ready = std::min(all, least);
  return all - ready;
}

bool Mount::Unused() const {
  if (most >= 0) return used == 0;
  return least < 0 || ready == least;
}

// What min_size= says is reserved at once, at nobody's charge.
void Stepper::MakeMount(const Command& c, const Outcome& o) {
  if (state_->names[static_cast<size_t>(c.file)] >= 0) Must(EEXIST);
  if (state_->pools.empty()) {
    Must(ENODEV);
  } else if (!state_->FindPool(c.page_size)) {
    Must(EINVAL);
  }
  if (c.most >= 0 && c.least > c.most) Must(EINVAL);
  if (state_->boot_fault) May(ENODEV);  // nothing to be mounted
  if (state_->pools.empty() || MemoryIsShort(state_->pools[0].page_size))
    for (int error : {ENOMEM, ENOSPC, ENFILE}) May(error);
  const bool reserves = must_.empty() && c.least > 0;
  if (reserves) May(ENOMEM);
  const bool went = Went(o);
  if (reserves) {
    PoolEvent::Kind kind = PoolEvent::Kind::kReserve;
    if (!went)
      kind = fault_ || o.result != -ENOMEM ? PoolEvent::Kind::kMaybeReserve
                                           : PoolEvent::Kind::kReserveFails;
    if (PoolEvent* event = Event(c.page_size, kind)) {
      event->count = c.least;
      event->bind = state_->bind[static_cast<size_t>(c.process)];
      ForgiveShortage(c.page_size, event);
    }
  }
  if (!went) return;
  Mount added;
  added.page_size = c.page_size;
  added.most = c.most;
  added.least = c.least;
  added.ready = std::max<int64_t>(c.least, 0);
  added.unsure = racing_ || fault_;
  state_->mounts.push_back(added);
  MakeFile(c, static_cast<int>(state_->mounts.size()) - 1);
}

Stepper::Room Stepper::RoomInMount(const File& f, int64_t pages) const {
  if (f.mount < 0 || pages == 0) return Room::kEnough;
  Mount m = state_->mounts[static_cast<size_t>(f.mount)];
  if (m.most < 0) return Room::kEnough;
  if (m.unsure) return Room::kUnknown;
  return m.Get(pages) < 0 ? Room::kNone : Room::kEnough;
}

int64_t Stepper::TakeFromMount(const File& f, int64_t pages) {
  if (f.mount < 0) return pages;
  const int64_t more = state_->mounts[static_cast<size_t>(f.mount)].Get(pages);
  return more < 0 ? pages : more;
}

// alloc_hugetlb_folio() gives back to the mount what it had in hand only: of
// its size= the page stays taken.
void Stepper::LoseInMount(const File& f) {
  if (f.mount < 0) return;
  Mount& m = state_->mounts[static_cast<size_t>(f.mount)];
  Mount after = m;
  if (after.Get(1) == 1 && m.most >= 0) ++m.used;
}

bool Stepper::HasInMount(const File& f) const {
  return f.mount >= 0 && state_->mounts[static_cast<size_t>(f.mount)].ready > 0;
}

// hugetlb_unreserve_pages(), and the end of a mapping that reserved.
void Stepper::GiveBack(const File& f, int64_t pages) {
  if (pages <= 0) return;
  if (f.mount >= 0)
    pages = state_->mounts[static_cast<size_t>(f.mount)].Put(pages);
  if (pages <= 0) return;
  if (PoolEvent* event = Event(f.page_size, PoolEvent::Kind::kUnreserve))
    event->count = pages;
}

// With its last file. A page that is still in use somewhere keeps what it has
// reserved. Nothing changes that later, so there is no doubt after this step.
void Stepper::EndMount(int mount) {
  if (mount < 0) return;
  Mount& m = state_->mounts[static_cast<size_t>(mount)];
  m.closed = true;
  if (!m.unsure && !m.Unused()) return;
  m.gone = true;
  if (m.least <= 0) return;
  if (m.unsure) ended_unsure_.push_back(m.page_size);
  if (PoolEvent* event = Event(m.page_size, PoolEvent::Kind::kUnreserve))
    event->count = m.least;
}

bool Stepper::UnsureOf(uint64_t page_size) const {
  return std::find(ended_unsure_.begin(), ended_unsure_.end(), page_size) !=
             ended_unsure_.end() ||
         std::any_of(
             state_->mappings.begin(), state_->mappings.end(),
             [this, page_size](const Mapping& m) {
               return m.unsure &&
                      state_->files[static_cast<size_t>(m.file)].page_size ==
                          page_size;
             }) ||
         std::any_of(state_->mounts.begin(), state_->mounts.end(),
                     [page_size](const Mount& m) {
                       return m.page_size == page_size && m.unsure && !m.gone &&
                              m.least >= 0;
                     });
}

}  // namespace handover::model
