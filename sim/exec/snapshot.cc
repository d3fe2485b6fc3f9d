// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/snapshot.h"

#include <sim/kernel_api.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "model/kernel_log.h"
#include "sim/liveupdate/kho_internal.h"
#include "sim/liveupdate/luo_internal.h"
#include "sim/machine/machine.h"
#include "sim/mm/buddy.h"
#include "sim/mm/cgroup.h"
#include "sim/mm/cma.h"
#include "sim/mm/hugetlb_cma.h"
#include "sim/mm/hugetlb_sysfs.h"
#include "sim/mm/mapping.h"
#include "sim/mm/memmap.h"
#include "sim/mm/owners.h"

namespace sim {
namespace {

// Indices of hstates by page size.
int SortedHstates(int (&order)[HUGE_MAX_HSTATE]) {
  for (int i = 0; i < hugetlb_max_hstate; ++i) {
    int at = i;
    for (; at > 0 && hstates[order[at - 1]].order > hstates[i].order; --at) {
      order[at] = order[at - 1];
    }
    order[at] = i;
  }
  return hugetlb_max_hstate;
}

bool HasInode(const model::Snapshot& snapshot, uint64_t inode) {
  for (const model::FileView& view : snapshot.files) {
    if (view.inode == inode) return true;
  }
  return false;
}

// Ranges that an area of the node would give away as they are, and ranges that
// alloc_contig_frozen_pages() would find free: that leaves CMA alone, which
// areas and scratch are.
int64_t FreeContigRanges(int nid, unsigned order) {
  const uint64_t nr = uint64_t{1} << order;
  const Zone& zone = ZoneOf(nid);
  const MemMap& map = Map();
  int64_t found = 0;
  for (const CmaArea& area : CmaAreas())
    if (area.nid == nid) found += CmaFreeRanges(area, order);
  if (HugetlbCmaExclusive()) return found;
  for (uint64_t pfn = (zone.start_pfn + nr - 1) & ~(nr - 1);
       pfn + nr <= zone.end_pfn; pfn += nr) {
    uint64_t at = pfn;
    while (at < pfn + nr) {
      if (map.nid[at] != nid ||
          map.owner[at] != static_cast<uint8_t>(Owner::kFree) ||
          !PageBuddy(&map.pages[at]) || PageblockType(at) == MIGRATE_CMA) {
        break;
      }
      at += uint64_t{1} << BuddyOrder(&map.pages[at]);
    }
    if (at >= pfn + nr) ++found;
  }
  return found;
}

model::Owners OwnersOf(const struct folio* folio) {
  model::Owners owners;
  const struct hugetlb_cgroup* usage = folio->_hugetlb_cgroup;
  const struct hugetlb_cgroup* rsvd = folio->_hugetlb_cgroup_rsvd;
  const struct obj_cgroup* objcg = folio->objcg;
  owners[static_cast<size_t>(model::Charge::kUsage)] =
      CgroupNumber(usage ? &usage->css : nullptr);
  owners[static_cast<size_t>(model::Charge::kRsvd)] =
      CgroupNumber(rsvd ? &rsvd->css : nullptr);
  owners[static_cast<size_t>(model::Charge::kMemory)] =
      CgroupNumber(objcg ? &objcg->memcg->css : nullptr);
  return owners;
}

// Ranges that touch and have the same owner are one.
void AddCharge(const struct file_region& region, size_t begin,
               model::Snapshot* out) {
  const model::CgroupPath owner = CgroupNumber(region.css);
  if (owner == model::kNobody) return;
  if (out->charges.size() > begin && out->charges.back().to == region.from &&
      out->charges.back().owner == owner) {
    out->charges.back().to = region.to;
  } else {
    out->charges.push_back({region.from, region.to, owner});
  }
}

model::CgroupView::Counter CounterOf(const struct page_counter& counter) {
  return {
      static_cast<int64_t>(counter.usage),
      counter.max >= PAGE_COUNTER_MAX ? -1 : static_cast<int64_t>(counter.max)};
}

void FillCgroups(model::Snapshot* out) {
  int sorted[HUGE_MAX_HSTATE];
  const int nr = SortedHstates(sorted);
  ForEachCgroup([&](const CgroupSlot& slot) {
    if (!(slot.cgrp.self.flags & CSS_ONLINE)) return;
    model::CgroupView view;
    view.path = CgroupNumber(&slot.cgrp.self);
    for (int i = 0; i < nr; ++i) {
      const auto at = static_cast<size_t>(i);
      view.usage[at] = CounterOf(slot.hugetlb.hugepage[sorted[i]]);
      view.rsvd[at] = CounterOf(slot.hugetlb.rsvd_hugepage[sorted[i]]);
    }
    view.memory = CounterOf(slot.memory.memory);
    out->cgroups.push_back(view);
  });
}

}  // namespace

int64_t SureAllocations(int nid, unsigned order) {
  if (order > MAX_PAGE_ORDER) return FreeContigRanges(nid, order);
  const Zone& zone = ZoneOf(nid);
  int64_t blocks = 0;
  for (unsigned o = order; o <= MAX_PAGE_ORDER; ++o) {
    blocks += static_cast<int64_t>(zone.area[o].nr_free << (o - order));
  }
  // What may lie in scratch is no place for everybody.
  blocks -= static_cast<int64_t>(zone.free_cma_pages >> order);
  return std::max<int64_t>(blocks, 0);
}

void Snapshooter::NoteHandover(const model::TableView& table, bool cut) {
  handed_over_.clear();
  if (!g_kho.enable || g_kho.out_fdt == nullptr) return;
  for (const KhoKey& key : KhoOutgoingKeys()) {
    const uint64_t pfn = key.phys >> PAGE_SHIFT;
    // It could be moved, or the next kernel could make an area of it. A free
    // page of one has a key until the second look at it.
    if (!cut && CmaIntersects(pfn, uint64_t{1} << key.order))
      M().Report("identity",
                 absl::StrCat("page frame ", pfn, " of order ", key.order,
                              " is handed over out of a CMA area"));
    const auto* folio = reinterpret_cast<const struct folio*>(pfn_to_page(pfn));
    if (key.order > 0 && folio_test_hugetlb(folio)) {
      handed_over_.push_back(key);
    }
  }
  // Free ones may have become anything by now.
  for (const model::TableView::Free& free : table.free) {
    for (const model::TableView::FreePage& page : free.pages) {
      const KhoKey key{page.frame << PAGE_SHIFT, free.order};
      if (std::find(handed_over_.begin(), handed_over_.end(), key) ==
          handed_over_.end())
        handed_over_.push_back(key);
    }
  }
  std::sort(handed_over_.begin(), handed_over_.end());
}

void Snapshooter::Booted(bool cold) {
  if (cold) handed_over_.clear();
  restored_.clear();
  reported_.clear();
  sized_.clear();
  handing_.clear();
  announced_ = {};
  trouble_ = false;
  unclaimed_pages_ = ~uint64_t{0};
}

void Snapshooter::ReadLogLine(std::string_view line, bool* shortage) {
  trouble_ |= line.find("hugetlb_luo: ") != std::string_view::npos &&
              line.starts_with("<3>");
  model::ReadKernelMessage(line, shortage, &reported_, &sized_, &handing_);
}

void Snapshooter::FillPools(model::Snapshot* out) const {
  int sorted[HUGE_MAX_HSTATE];
  out->nr_pools = SortedHstates(sorted);
  const int nodes = M().geometry().nodes;
  for (int i = 0; i < out->nr_pools; ++i) {
    const struct hstate& h = hstates[sorted[i]];
    model::PoolView& pool = out->pool[static_cast<size_t>(i)];
    pool = model::PoolView();
    pool.page_size = huge_page_size(&h);
    pool.resv = static_cast<int32_t>(h.resv_huge_pages);
    pool.overcommit = static_cast<int32_t>(h.nr_overcommit_huge_pages);
    pool.preserve_free = PreserveFreeRead(pool.page_size);
    for (int n = 0; n < nodes; ++n) {
      model::NodeCounts& counts = pool.node[static_cast<size_t>(n)];
      counts.nr = static_cast<int32_t>(h.nr_huge_pages_node[n]);
      counts.free = static_cast<int32_t>(h.free_huge_pages_node[n]);
      counts.surplus = static_cast<int32_t>(h.surplus_huge_pages_node[n]);
      counts.allocatable = static_cast<int32_t>(
          std::min<int64_t>(SureAllocations(n, h.order), 1 << 20));
    }
  }
}

void Snapshooter::CountFit(model::Snapshot* out) const {
  for (int i = 0; i < out->nr_pools; ++i) {
    model::PoolView& pool = out->pool[static_cast<size_t>(i)];
    if (pool.preserve_free != 1) continue;
    const struct hstate* h = size_to_hstate(pool.page_size);
    for (int n = 0; n < M().geometry().nodes; ++n) {
      int32_t fit = 0;
      const struct list_head* head = &h->hugepage_freelists[n];
      for (const struct list_head* at = head->next; at != head; at = at->next) {
        auto* folio =
            list_entry(const_cast<struct list_head*>(at), struct folio, lru);
        fit +=
            !folio_test_hwpoison(folio) && folio_is_longterm_pinnable(folio) &&
            !kho_scratch_overlap(PFN_PHYS(folio_pfn(folio)), huge_page_size(h));
      }
      pool.node[static_cast<size_t>(n)].fit = fit;
    }
  }
}

void Snapshooter::AddFile(model::Snapshot* out, int name,
                          struct file* file) const {
  struct inode* inode = file_inode(file);
  model::FileView view;
  view.name = name;
  view.inode = inode->i_ino;
  view.page_size = FilePageSize(file);
  view.size = inode->i_size;
  view.position = file->f_pos;
  view.seals = static_cast<uint32_t>(memfd_get_seals(file));
  view.mode = inode->i_mode & 07777;
  if (!is_file_hugepages(file)) {
    out->files.push_back(view);
    return;
  }
  for (const model::FileView& other : out->files) {
    if (other.inode != view.inode) continue;
    view.pages_begin = other.pages_begin;
    view.pages_end = other.pages_end;
    view.regions_begin = other.regions_begin;
    view.regions_end = other.regions_end;
    view.charges_begin = other.charges_begin;
    view.charges_end = other.charges_end;
    out->files.push_back(view);
    return;
  }
  view.pages_begin = static_cast<uint32_t>(out->pages.size());
  const unsigned order = huge_page_order(hstate_file(file));
  unsigned long index = 0;
  struct xarray* pages = &file->f_mapping->i_pages;
  for (void* entry = xa_find(pages, &index, ~0UL, XA_PRESENT); entry != nullptr;
       entry = xa_find_after(pages, &index, ~0UL, XA_PRESENT)) {
    const auto* folio = static_cast<const struct folio*>(entry);
    out->pages.push_back({static_cast<int64_t>(index >> order),
                          static_cast<int64_t>(folio_pfn(folio)),
                          folio_nid(folio), OwnersOf(folio)});
  }
  view.pages_end = static_cast<uint32_t>(out->pages.size());
  view.regions_begin = static_cast<uint32_t>(out->regions.size());
  view.charges_begin = static_cast<uint32_t>(out->charges.size());
  const struct list_head* head = &HUGETLBFS_I(inode)->resv_map->regions;
  for (const struct list_head* at = head->next; at != head; at = at->next) {
    const auto* region = list_entry(at, struct file_region, link);
    // The kernel merges regions that touch, but not in every case.
    if (out->regions.size() > view.regions_begin &&
        out->regions.back().to == region->from) {
      out->regions.back().to = region->to;
    } else {
      out->regions.push_back({region->from, region->to});
    }
    AddCharge(*region, view.charges_begin, out);
  }
  view.regions_end = static_cast<uint32_t>(out->regions.size());
  view.charges_end = static_cast<uint32_t>(out->charges.size());
  out->files.push_back(view);
}

// Files without a name: mapped, or held by a session.
void Snapshooter::AddUnnamed(model::Snapshot* out) const {
  for (int p = 0; p < UserSpace::kProcesses; ++p) {
    for (int i = 0; i < user_.mappings_end(p); ++i) {
      const Mapping* mapping = user_.MappingNamed(p, i);
      if (mapping == nullptr) continue;
      struct file* file = mapping->vma.vm_file;
      if (!HasInode(*out, file_inode(file)->i_ino)) AddFile(out, -1, file);
    }
  }
  for (LuoSessionList* sessions : {&g_luo.outgoing, &g_luo.incoming}) {
    if (sessions->list.next == nullptr) continue;
    LuoSession* session;
    list_for_each_entry(session, &sessions->list, list) {
      LuoFile* luo_file;
      list_for_each_entry(luo_file, &session->files.files, list) {
        struct file* file = luo_file->file;
        if (file == nullptr || HasInode(*out, file_inode(file)->i_ino)) {
          continue;
        }
        AddFile(out, -1, file);
      }
    }
  }
}

void Snapshooter::FillFiles(model::Snapshot* out) const {
  for (int name = 0; name < user_.files_end(); ++name) {
    if (struct file* file = user_.FileOf(name)) AddFile(out, name, file);
  }
  AddUnnamed(out);
}

// What was handed over is KHO's until somebody claims it. Some of it the pools
// count as pages in use: those are announced. The rest is in quarantine.
void Snapshooter::FillQuarantine(model::Snapshot* out, bool stopped) {
  out->reported = reported_;
  out->sized = sized_;
  for (const CmaArea& area : CmaAreas()) {
    for (const CmaRange& range : area.ranges)
      out->cma.push_back({area.nid, static_cast<int64_t>(range.base_pfn),
                          static_cast<int64_t>(range.count), area.count == 0});
  }
  if (handed_over_.empty()) return;
  const uint64_t unclaimed_pages = KhoUnclaimedPages();
  if (unclaimed_pages != unclaimed_pages_) {
    unclaimed_pages_ = unclaimed_pages;
    const std::vector<KhoKey> unclaimed = KhoUnclaimed();
    auto still = [&unclaimed](const KhoKey& key) {
      return std::binary_search(unclaimed.begin(), unclaimed.end(), key);
    };
    auto claimed =
        std::stable_partition(handed_over_.begin(), handed_over_.end(), still);
    restored_.insert(restored_.end(), claimed, handed_over_.end());
    handed_over_.erase(claimed, handed_over_.end());
  }
  for (const KhoKey& key : handed_over_)
    out->unclaimed.push_back(static_cast<int64_t>(key.phys >> PAGE_SHIFT));
  const int nodes = M().geometry().nodes;
  for (const unsigned order : M().geometry().huge_orders) {
    int64_t held[model::kMaxNodes] = {};
    int64_t sum = 0;
    for (const KhoKey& key : handed_over_) {
      if (key.order != order) continue;
      ++held[M().memory().NodeOf(key.phys >> PAGE_SHIFT)];
      ++sum;
    }
    if (sum == 0) continue;
    if (struct hstate* h = size_to_hstate(PAGE_SIZE << order)) {
      int64_t in_use[model::kMaxNodes] = {};
      const struct list_head* head = &h->hugepage_activelist;
      for (const struct list_head* at = head->next; at != head; at = at->next) {
        ++in_use[folio_nid(list_entry(at, struct folio, lru))];
      }
      // A retrieval that failed holds on to what it got from KHO.
      for (const KhoKey& key : restored_) {
        const auto* folio = reinterpret_cast<const struct folio*>(
            pfn_to_page(key.phys >> PAGE_SHIFT));
        // One with a memory error has another reference, for good.
        if (key.order == order && folio_test_hugetlb(folio) &&
            folio->_refcount.counter > int{folio_test_hwpoison(folio)} &&
            folio->mapping == nullptr && folio->_pincount.counter == 0) {
          ++in_use[folio_nid(folio)];
        }
      }
      // Only the agent claims some. Pages on their way from one to another are
      // on no list, and so it is what was seen before that counts.
      auto& announced = announced_[static_cast<size_t>(hstate_index(h))];
      for (int n = 0; n < nodes; ++n) {
        if (!stopped)
          announced[static_cast<size_t>(n)] = std::max<int64_t>(
              0, static_cast<int64_t>(h->nr_huge_pages_node[n]) -
                     h->free_huge_pages_node[n] - in_use[n]);
        held[n] -= announced[static_cast<size_t>(n)];
      }
    }
    for (int n = 0; n < nodes; ++n) {
      if (held[n] != 0)
        out->quarantined.push_back({PAGE_SIZE << order, n, held[n]});
    }
  }
}

void Snapshooter::Fill(model::Snapshot* out, bool stopped) {
  out->Clear();
  out->generation = M().generation;
  FillPools(out);
  FillCgroups(out);
  FillFiles(out);
  for (int name = 0; name < user_.sessions_end(); ++name) {
    if (user_.SessionFile(name) != nullptr) {
      out->sessions.push_back({name, user_.SessionIncoming(name)});
    }
  }
  FillQuarantine(out, stopped);
}

}  // namespace sim
