// SPDX-License-Identifier: BSD-3-Clause
//
// Control groups: who is charged for what, and which limits that meets. Follows
// mm/hugetlb_cgroup.c, and mm/memcontrol.c with memory_hugetlb_accounting.
#include <algorithm>
#include <cerrno>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/judge_internal.h"

namespace handover::model {
namespace {

constexpr int64_t kSmallPage = 4096;
constexpr size_t kUsage = static_cast<size_t>(Charge::kUsage);
constexpr size_t kRsvd = static_cast<size_t>(Charge::kRsvd);
constexpr size_t kMemory = static_cast<size_t>(Charge::kMemory);

template <typename View>
auto& CounterOf(View& cgroup, Charge charge, size_t pool) {
  if (charge == Charge::kMemory) return cgroup.memory;
  return charge == Charge::kUsage ? cgroup.usage[pool] : cgroup.rsvd[pool];
}

std::string Print(const Owners& owners) {
  return absl::StrCat(PrintPath(owners[kUsage]), " (rsvd ",
                      PrintPath(owners[kRsvd]), ", memory ",
                      PrintPath(owners[kMemory]), ")");
}

std::string Print(const std::vector<RegionCharge>& charges) {
  std::string out = "{";
  for (const RegionCharge& c : charges)
    absl::StrAppend(&out, " ", c.from, "-", c.to, " ", PrintPath(c.owner));
  return out + " }";
}

bool Same(const std::vector<RegionCharge>& a,
          const std::vector<RegionCharge>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const RegionCharge& x, const RegionCharge& y) {
                      return x.from == y.from && x.to == y.to &&
                             x.owner == y.owner;
                    });
}

}  // namespace

void Stepper::Cgroup(const Command& c, const Outcome& o) {
  CgroupPath path = kRootPath;
  if (c.cgroup >= 0) path = state_->cgroup_path[static_cast<size_t>(c.cgroup)];
  if (c.verb == Verb::kCgroup) {
    CgroupPath parent = kRootPath;
    if (c.parent >= 0)
      parent = state_->cgroup_path[static_cast<size_t>(c.parent)];
    if (path != kNobody) Must(EEXIST);
    if (parent == kNobody) Must(ENOENT);
    if (!Went(o)) return;
    CgroupView added;
    added.path = ChildPath(parent, c.cgroup);
    state_->cgroup_path[static_cast<size_t>(c.cgroup)] = added.path;
    state_->cgroups.push_back(added);
    return;
  }
  if (path == kNobody) Must(ENOENT);
  if (c.verb == Verb::kMove) {
    const size_t task =
        c.task < 0 ? kMaxProcesses : static_cast<size_t>(c.task);
    if (Went(o)) state_->in_cgroup[task] = path;
    return;
  }
  if (c.verb == Verb::kLimit) {
    SetCgroupLimit(c, o);
    return;
  }
  const auto& in = state_->in_cgroup;
  bool busy = std::find(in.begin(), in.end(), path) != in.end();
  for (const CgroupPath other : state_->cgroup_path)
    busy |= other != kNobody && ParentPath(other) == path;
  if (busy && path != kNobody) Must(EBUSY);
  if (!Went(o) || path == kNobody) return;
  state_->cgroup_path[static_cast<size_t>(c.cgroup)] = kNobody;
  Removed(path);
}

// What it was charged for is its parent's.
void Stepper::Removed(CgroupPath path) {
  state_->removed.push_back(path);
  auto& cgroups = state_->cgroups;
  cgroups.erase(
      std::remove_if(cgroups.begin(), cgroups.end(),
                     [path](const CgroupView& c) { return c.path == path; }),
      cgroups.end());
  for (File& f : state_->files) {
    if (f.life != File::Life::kLive) continue;
    // It may have been frozen by then.
    f.raced |= racing_ && f.preserved;
    for (Page& page : f.pages)
      for (CgroupPath& owner : page.owners)
        if (owner == path) owner = ParentPath(path);
    for (RegionCharge& c : f.charges)
      if (c.owner == path) c.owner = ParentPath(path);
    JoinCharges(&f.charges);
  }
}

void Stepper::SetCgroupLimit(const Command& c, const Outcome& o) {
  const Pool* pool = state_->FindPool(c.page_size);
  const CgroupPath path = state_->cgroup_path[static_cast<size_t>(c.cgroup)];
  CgroupView* cgroup = state_->FindCgroup(path);
  if (!pool) Must(ENOENT);
  if (!pool || !cgroup) {
    Went(o);
    return;
  }
  const auto at = static_cast<size_t>(pool - state_->pools.data());
  const int64_t max =
      c.length < 0 ? -1
                   : c.length * static_cast<int64_t>(c.page_size) / kSmallPage;
  auto& counter = CounterOf(*cgroup, c.charge, at);
  if (c.charge != Charge::kMemory && max >= 0) {
    if (racing_) {
      May(EBUSY);
    } else if (counter.used > max) {
      Must(EBUSY);
    }
  }
  if (Went(o)) counter.max = max;
}

Stepper::Room Stepper::RoomFor(CgroupPath path, Charge charge,
                               uint64_t page_size, int64_t pages) const {
  const Pool* pool = state_->FindPool(page_size);
  if (!pool || pages == 0) return Room::kEnough;
  const auto at = static_cast<size_t>(pool - state_->pools.data());
  Room room = Room::kEnough;
  for (; path > kRootPath; path = ParentPath(path)) {
    const CgroupView* cgroup = state_->FindCgroup(path);
    if (!cgroup) continue;
    const auto& counter = CounterOf(*cgroup, charge, at);
    if (counter.max < 0) continue;
    if (racing_) return Room::kUnknown;
    if (counter.used + pages * static_cast<int64_t>(page_size) / kSmallPage >
        counter.max)
      room = Room::kNone;
  }
  return room;
}

Stepper::Room Stepper::RoomForPage(uint64_t page_size, bool reserved) const {
  const Room rsvd =
      reserved ? Room::kEnough : RoomFor(payer_, Charge::kRsvd, page_size, 1);
  return rsvd == Room::kEnough ? RoomFor(payer_, Charge::kUsage, page_size, 1)
                               : rsvd;
}

Stepper::Room Stepper::RoomInMemory(uint64_t page_size) const {
  return RoomFor(payer_, Charge::kMemory, page_size, 1);
}

void Stepper::Charged(CgroupPath path, Charge charge, uint64_t page_size,
                      int64_t pages) {
  const Pool* pool = state_->FindPool(page_size);
  if (!pool) return;
  const auto at = static_cast<size_t>(pool - state_->pools.data());
  for (; path >= kRootPath; path = ParentPath(path)) {
    CgroupView* cgroup = state_->FindCgroup(path);
    if (!cgroup) continue;
    CounterOf(*cgroup, charge, at).used +=
        pages * static_cast<int64_t>(page_size) / kSmallPage;
  }
}

// A page that was reserved has been charged for as such before.
void Stepper::ChargePage(File* f, Page* page, bool reserved) {
  page->owners = {payer_, reserved ? kNobody : payer_, payer_};
  Charged(payer_, Charge::kUsage, f->page_size, 1);
  Charged(payer_, Charge::kMemory, f->page_size, 1);
  if (!reserved) Charged(payer_, Charge::kRsvd, f->page_size, 1);
}

CgroupPath Stepper::PayerFor(CgroupPath path) const {
  if (path == kNobody || path == kRootPath) return path;
  const auto& paths = state_->cgroup_path;
  return std::find(paths.begin(), paths.end(), path) != paths.end() ? path
                                                                    : payer_;
}

Stepper::Room Stepper::RoomForFile(const File& f) const {
  std::map<std::pair<CgroupPath, Charge>, int64_t> sums;
  bool groups = false;
  auto add = [&](CgroupPath owner, Charge charge, int64_t pages) {
    groups |= owner > kRootPath;
    // With all that is above it.
    for (CgroupPath p = PayerFor(owner); p > kRootPath; p = ParentPath(p))
      sums[{p, charge}] += pages;
  };
  for (const Page& page : f.pages)
    for (Charge charge : {Charge::kUsage, Charge::kRsvd, Charge::kMemory})
      add(page.owners[static_cast<size_t>(charge)], charge, 1);
  for (const RegionCharge& c : f.charges)
    add(c.owner, Charge::kRsvd, c.to - c.from);
  // One may be removed between the look at it and the charge. A table that was
  // damaged may have owners of nothing, and these are looked at as well.
  if (racing_ && (groups || state_->corrupted)) return Room::kUnknown;
  Room room = Room::kEnough;
  for (const auto& [key, pages] : sums) {
    const Room one = RoomFor(key.first, key.second, f.page_size, pages);
    if (one == Room::kUnknown) return one;
    if (one == Room::kNone) room = one;
  }
  return room;
}

// The file has been retrieved.
void Stepper::TakeCharges(File* f) {
  for (Page& page : f->pages)
    for (CgroupPath& owner : page.owners) owner = PayerFor(owner);
  for (RegionCharge& c : f->charges) c.owner = PayerFor(c.owner);
  JoinCharges(&f->charges);
}

// Of a file that others raced with, two things may be otherwise: a group that
// was removed after the file was frozen is handed over under its name, and a
// page that is on its way to another place when it is looked at may have left
// its charges behind (move_hugetlb_state()).
void Stepper::MatchOwners(File* f, const HandedFile& handed) {
  const auto& removed = state_->removed;
  auto heir = [&removed](CgroupPath path) {
    while (std::find(removed.begin(), removed.end(), path) != removed.end())
      path = ParentPath(path);
    return path;
  };
  std::vector<RegionCharge> charges, left;
  for (const HandedRange& range : handed.reserved)
    if (range.owner != kNobody)
      charges.push_back({range.from, range.to, range.owner});
  left = charges;
  for (RegionCharge& c : left) c.owner = heir(c.owner);
  JoinCharges(&charges);
  JoinCharges(&left);
  if (!Same(charges, f->charges) && !(f->raced && Same(left, f->charges)))
    Fail("metadata",
         absl::StrCat("reservations are handed over as charged to ",
                      Print(charges), ", should be ", Print(f->charges)));
  f->charges = std::move(charges);
  for (size_t i = 0; i < f->pages.size() && i < handed.pages.size(); ++i) {
    Page& page = f->pages[i];
    if (page.index != handed.pages[i].index ||
        page.owners == handed.pages[i].owners)
      continue;
    bool may = f->raced;
    for (size_t kind = 0; kind < page.owners.size(); ++kind) {
      const CgroupPath owner = handed.pages[i].owners[kind];
      may &= owner == page.owners[kind] || owner == kNobody ||
             heir(owner) == page.owners[kind];
    }
    if (!may)
      Fail("metadata",
           absl::StrCat("page ", page.index, " is handed over as charged to ",
                        Print(handed.pages[i].owners), ", should be ",
                        Print(page.owners)));
    page.owners = handed.pages[i].owners;
  }
}

void Stepper::CheckCharges(int id, const FileView& view) {
  File& f = file(id);
  const bool sure = Trusts(id) && !racing_ && !cut_short_;
  auto wrong = [&](std::string what, std::string is, std::string should) {
    if (sure)
      Fail(Property("metadata"),
           absl::StrCat("f", view.name, ": ", std::move(what), " charged to ",
                        std::move(is), ", should be ", std::move(should)));
  };
  std::vector<RegionCharge> charges(
      snapshot_.charges.begin() + view.charges_begin,
      snapshot_.charges.begin() + view.charges_end);
  // Each of them may be in several pieces.
  JoinCharges(&charges);
  if (!Same(charges, f.charges)) {
    wrong("reservations are", Print(charges), Print(f.charges));
    f.charges = std::move(charges);
  }
  for (uint32_t i = view.pages_begin; i < view.pages_end; ++i) {
    const PageView& seen = snapshot_.pages[i];
    Page* page = FindPage(&f.pages, seen.index);
    if (!page || page->owners == seen.owners) continue;
    wrong(absl::StrCat("page ", seen.index, " is"), Print(seen.owners),
          Print(page->owners));
    page->owners = seen.owners;
  }
}

void Stepper::CheckCgroups() {
  if (!snapshot_.charges_known) return;
  std::vector<CgroupView> seen = snapshot_.cgroups;
  auto by_path = [](const CgroupView& a, const CgroupView& b) {
    return a.path < b.path;
  };
  std::sort(seen.begin(), seen.end(), by_path);
  std::sort(state_->cgroups.begin(), state_->cgroups.end(), by_path);
  const bool same = std::equal(
      seen.begin(), seen.end(), state_->cgroups.begin(), state_->cgroups.end(),
      [this](const CgroupView& a, const CgroupView& b) {
        bool limits = a.memory.max == b.memory.max;
        for (size_t i = 0; i < state_->pools.size(); ++i)
          limits &= a.usage[i].max == b.usage[i].max &&
                    a.rsvd[i].max == b.rsvd[i].max;
        return a.path == b.path && limits;
      });
  if (!same && !racing_ && !cut_short_)
    Fail(Property("metadata"), "control groups or limits are others");
  state_->cgroups = std::move(seen);
}

}  // namespace handover::model
