// SPDX-License-Identifier: BSD-3-Clause
//
// What control groups are charged for: exactly the pages and reservations that
// say so.
#include <sim/kernel_api.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "sim/exec/invariants.h"
#include "sim/liveupdate/luo_internal.h"
#include "sim/mm/cgroup.h"
#include "sim/mm/hugetlb.h"
#include "sim/mm/mapping.h"

namespace sim {
namespace {

// In base pages, without what is charged below.
struct Sums {
  std::array<uint64_t, HUGE_MAX_HSTATE> usage{};
  std::array<uint64_t, HUGE_MAX_HSTATE> rsvd{};
  uint64_t memory = 0;
};

class Adder {
 public:
  Adder() : sums_(static_cast<size_t>(CgroupSlotsEnd())) {}

  const Sums& Of(const CgroupSlot& slot) const {
    return sums_[static_cast<size_t>(&slot - CgroupSlots())];
  }

  // Pages that a removed group has. A reservation may stay with one.
  int strays() const { return strays_; }

  void AddPages() {
    struct hstate* h;
    for_each_hstate(h) {
      struct list_head* head = &h->hugepage_activelist;
      for (struct list_head* at = head->next; at != head; at = at->next) {
        AddFolio(list_entry(at, struct folio, lru), hstate_index(h));
      }
    }
  }

  void AddFile(struct file* file) {
    if (file == nullptr || !is_file_hugepages(file)) return;
    struct inode* inode = file_inode(file);
    if (std::find(inodes_.begin(), inodes_.end(), inode) != inodes_.end())
      return;
    inodes_.push_back(inode);
    const auto idx = static_cast<size_t>(hstate_index(hstate_inode(inode)));
    const uint64_t pages = pages_per_huge_page(hstate_inode(inode));
    struct list_head* head = &HUGETLBFS_I(inode)->resv_map->regions;
    for (struct list_head* at = head->next; at != head; at = at->next) {
      const auto* region = list_entry(at, struct file_region, link);
      if (region->css == nullptr) continue;
      At(region->css).rsvd[idx] +=
          static_cast<uint64_t>(region->to - region->from) * pages;
    }
  }

  void AddMapping(Mapping* mapping) {
    if (mapping == nullptr) return;
    AddFile(mapping->vma.vm_file);
    if (!VmaPrivateLock(&mapping->vma)) return;
    const struct resv_map* resv = VmaResvMap(&mapping->vma);
    if (resv->css == nullptr) return;
    At(resv->css).rsvd[static_cast<size_t>(
        hstate_index(hstate_file(mapping->vma.vm_file)))] +=
        mapping->nr_pages * resv->pages_per_hpage;
  }

 private:
  Sums& At(const struct cgroup_subsys_state* css) {
    const auto* slot = container_of(css->cgroup, CgroupSlot, cgrp);
    return sums_[static_cast<size_t>(slot - CgroupSlots())];
  }

  void AddFolio(struct folio* folio, int h) {
    const auto idx = static_cast<size_t>(h);
    const auto pages = static_cast<uint64_t>(folio_nr_pages(folio));
    if (const struct hugetlb_cgroup* usage = hugetlb_cgroup_from_folio(folio)) {
      At(&usage->css).usage[idx] += pages;
      if (!(usage->css.flags & CSS_ONLINE)) ++strays_;
    }
    if (const auto* rsvd = hugetlb_cgroup_from_folio_rsvd(folio))
      At(&rsvd->css).rsvd[idx] += pages;
    // What the root's own tasks have is not counted.
    const struct obj_cgroup* objcg = folio->objcg;
    if (objcg == nullptr || objcg == &CgroupSlots()[0].objcg) return;
    At(&objcg->memcg->css).memory += pages;
  }

  std::vector<Sums> sums_;
  std::vector<const struct inode*> inodes_;
  int strays_ = 0;
};

bool IsBelow(const CgroupSlot& slot, const CgroupSlot& top) {
  const struct cgroup_subsys_state* css = &slot.cgrp.self;
  for (; css != nullptr; css = css->parent)
    if (css == &top.cgrp.self) return true;
  return false;
}

}  // namespace

void Invariants::CheckCharges() {
  if (AnyActiveMemcg())
    Fail("discipline", "a task goes on charging another's memory cgroup");
  Adder adder;
  adder.AddPages();
  if (adder.strays() > 0)
    Fail("counters", absl::StrCat(adder.strays(),
                                  " pages are a removed control group's, from "
                                  "which nobody takes them"));
  const UserSpace& user = executor_.user();
  for (int i = 0; i < user.files_end(); ++i) adder.AddFile(user.FileOf(i));
  for (int p = 0; p < UserSpace::kProcesses; ++p)
    for (int i = 0; i < user.mappings_end(p); ++i)
      adder.AddMapping(user.MappingNamed(p, i));
  for (LuoSessionList* sessions : {&g_luo.outgoing, &g_luo.incoming}) {
    if (sessions->list.next == nullptr) continue;
    LuoSession* session;
    list_for_each_entry(session, &sessions->list, list) {
      LuoFile* file;
      list_for_each_entry(file, &session->files.files, list) {
        adder.AddFile(file->file);
      }
    }
  }

  ForEachCgroup([&](const CgroupSlot& top) {
    Sums all;
    ForEachCgroup([&](const CgroupSlot& slot) {
      if (!IsBelow(slot, top)) return;
      const Sums& own = adder.Of(slot);
      for (size_t i = 0; i < HUGE_MAX_HSTATE; ++i) {
        all.usage[i] += own.usage[i];
        all.rsvd[i] += own.rsvd[i];
      }
      all.memory += own.memory;
    });
    const uint64_t number = CgroupNumber(&top.cgrp.self);
    auto same = [&](const char* what, uint64_t is, uint64_t should) {
      if (is == should) return;
      Fail("counters",
           absl::StrCat("control group ", model::PrintPath(number),
                        top.cgrp.self.flags & CSS_ONLINE ? "" : " (removed)",
                        " is charged for ", is, " base pages of ", what, ", ",
                        should, " say so"));
    };
    for (size_t i = 0; i < HUGE_MAX_HSTATE; ++i) {
      same("hugetlb", top.hugetlb.hugepage[i].usage, all.usage[i]);
      same("hugetlb rsvd", top.hugetlb.rsvd_hugepage[i].usage, all.rsvd[i]);
    }
    // Of one that was removed nobody reads what is left there.
    if (top.memory.css.flags & CSS_ONLINE)
      same("memory", top.memory.memory.usage, all.memory);
  });
}

// Everybody has let go of everything but what devices hold.
void Invariants::CheckNoCharges() {
  const struct hstate* h;
  for_each_hstate(h) {
    if (!list_empty(&h->hugepage_activelist)) return;
  }
  for (int left = kCgroups; left > 0; --left)
    for (int name = 0; name < kCgroups; ++name) CgroupRemove(name);
  int groups = 0;
  ForEachCgroup([&groups](const CgroupSlot&) { ++groups; });
  if (groups != 1)
    Fail("no-leak",
         absl::StrCat(groups - 1, " control groups are left in the end"));
}

}  // namespace sim
