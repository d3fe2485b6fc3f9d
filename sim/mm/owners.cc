// SPDX-License-Identifier: BSD-3-Clause
#include "sim/mm/owners.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "sim/machine/machine.h"
#include "sim/mm/buddy.h"
#include "sim/mm/memmap.h"

namespace sim {
namespace {

// Machines of up to this many frames are looked at frame by frame.
constexpr uint64_t kFewFrames = 8192;

bool Bad(uint64_t pfn, const char* what) {
  M().Report("one-owner", absl::StrCat("page frame ", pfn, ": ", what));
  return false;
}

bool AllOwned(uint64_t pfn, uint64_t nr, Owner owner) {
  const uint8_t* own = Map().owner.data() + pfn;
  const uint8_t want = static_cast<uint8_t>(owner);
  return own[0] == want && (nr == 1 || memcmp(own, own + 1, nr - 1) == 0);
}

// Every free block is on the list of its order, type and node and belongs to
// nobody; *blocks counts them.
bool VerifyFreeLists(uint64_t* blocks) {
  const bool few = Map().end_pfn <= kFewFrames;
  for (int nid = 0; nid < MAX_NUMNODES; ++nid) {
    const Zone& zone = ZoneOf(nid);
    if (zone.zonelist_length == 0) continue;
    uint64_t free_pages = 0;
    for (unsigned order = 0; order <= MAX_PAGE_ORDER; ++order) {
      const uint64_t nr = uint64_t{1} << order;
      uint64_t here = 0;
      for (int type = 0; type < MIGRATE_TYPES; ++type) {
        const struct list_head* head = &zone.area[order].list[type];
        for (const struct list_head* at = head->next; at != head;
             at = at->next) {
          const auto* page = list_entry(at, struct page, lru);
          const uint64_t pfn = page_to_pfn(page);
          ++here;
          if (!PageBuddy(page) || BuddyOrder(page) != order) {
            return Bad(pfn, "on a free list, but not free in that order");
          }
          if ((pfn & (nr - 1)) != 0 ||
              page->flags >> SIM_NODE_SHIFT != static_cast<uint64_t>(nid)) {
            return Bad(pfn, "on a free list of another node or order");
          }
          if (PageblockType(pfn) != type) {
            return Bad(pfn, "on a free list of another migrate type");
          }
          if (page->_refcount.counter != 0) {
            return Bad(pfn, "free, but has references");
          }
          if (few ? !AllOwned(pfn, nr, Owner::kFree)
                  : OwnerOf(pfn) != Owner::kFree ||
                        OwnerOf(pfn + nr - 1) != Owner::kFree) {
            return Bad(pfn, "free, but owned by somebody");
          }
        }
      }
      if (here != zone.area[order].nr_free) {
        return Bad(zone.start_pfn, "free list of the node is miscounted");
      }
      *blocks += here;
      free_pages += here * nr;
    }
    if (free_pages != zone.free_pages + zone.free_isolated_pages ||
        free_pages != FramesOwned(nid, Owner::kFree)) {
      return Bad(zone.start_pfn,
                 "free pages of the node are lost or counted twice");
    }
  }
  return true;
}

// Every frame without an owner lies in exactly one free block, every other
// one in none.
bool VerifyFrames(uint64_t blocks) {
  const MemMap& map = Map();
  uint64_t heads = 0;
  for (uint64_t pfn = 0; pfn < map.end_pfn;) {
    if (map.nid[pfn] < 0) {
      ++pfn;
      continue;
    }
    const struct page* page = &map.pages[pfn];
    if (map.owner[pfn] == static_cast<uint8_t>(Owner::kFree)) {
      if (!PageBuddy(page)) return Bad(pfn, "nobody's, but not free");
      ++heads;
      pfn += uint64_t{1} << BuddyOrder(page);
      continue;
    }
    if (PageBuddy(page)) return Bad(pfn, "owned by somebody, but free");
    if ((map.owner[pfn] == static_cast<uint8_t>(Owner::kSlab)) !=
        (((page->flags >> PG_slab) & 1) != 0)) {
      return Bad(pfn, "slab page and its owner disagree");
    }
    ++pfn;
  }
  if (heads != blocks) return Bad(0, "a free block is on no list, or on two");
  return true;
}

}  // namespace

const char* OwnerName(Owner owner) {
  static const char* const kNames[kOwners] = {"free",     "a hole",  "reserved",
                                              "slab",     "kernel",  "folio",
                                              "isolated", "poisoned"};
  return kNames[static_cast<int>(owner)];
}

Owner OwnerOf(uint64_t pfn) {
  const MemMap& map = Map();
  return pfn < map.end_pfn ? static_cast<Owner>(map.owner[pfn]) : Owner::kHole;
}

void SetOwner(uint64_t pfn, uint64_t nr, Owner owner) {
  MemMap& map = Map();
  if (nr == 1) {
    const int8_t node = map.nid[pfn];
    if (node < 0) return;
    --map.owned[node][map.owner[pfn]];
    ++map.owned[node][static_cast<int>(owner)];
    map.owner[pfn] = static_cast<uint8_t>(owner);
    map.touched_owner[pfn / 4096] |= uint64_t{1} << pfn / 64 % 64;
    return;
  }
  SetBits(map.touched_owner.data(), pfn / 64, (pfn + nr + 63) / 64 - pfn / 64);
  uint8_t* own = map.owner.data() + pfn;
  const int8_t* nid = map.nid.data() + pfn;
  const uint8_t to = static_cast<uint8_t>(owner);
  for (uint64_t i = 0; i < nr;) {
    const uint8_t from = own[i];
    const int8_t node = nid[i];
    uint64_t end = i + 1;
    while (end < nr && own[end] == from && nid[end] == node) ++end;
    if (node >= 0) {
      memset(own + i, to, end - i);
      map.owned[node][from] -= end - i;
      map.owned[node][to] += end - i;
    }
    i = end;
  }
}

uint64_t FramesOwned(int nid, Owner owner) {
  return Map().owned[nid][static_cast<int>(owner)];
}

bool VerifyOneOwner() {
  uint64_t blocks = 0;
  if (!VerifyFreeLists(&blocks)) return false;
  return Map().end_pfn > kFewFrames || VerifyFrames(blocks);
}

uint64_t FreePagesOfNode(int nid) {
  const Zone& zone = ZoneOf(nid);
  return zone.free_pages + zone.free_isolated_pages;
}

uint64_t FreeCmaPagesOfNode(int nid) { return ZoneOf(nid).free_cma_pages; }

int LargestFreeOrder(int nid) {
  const Zone& zone = ZoneOf(nid);
  if (zone.zonelist_length == 0) return -1;
  for (int order = static_cast<int>(MAX_PAGE_ORDER); order >= 0; --order) {
    if (zone.area[order].nr_free > 0) return order;
  }
  return -1;
}

}  // namespace sim
