// SPDX-License-Identifier: BSD-3-Clause
#include <climits>
#include <random>
#include <set>

#include "sim/mm/hugetlb.h"
#include "sim/mm/hugetlb_test_kernel.h"

namespace sim {
namespace {

class ResvMapTest : public HugetlbTest {};

// Regions of a map, as a set of pages; they are sorted, apart and not empty.
std::set<long> Pages(const struct resv_map* map) {
  std::set<long> pages;
  long last = -1;
  const struct file_region* region;
  list_for_each_entry(region, &map->regions, link) {
    EXPECT_LT(last, region->from);
    EXPECT_LT(region->from, region->to);
    last = region->to;
    for (long page = region->from; page < region->to; page++)
      pages.insert(page);
  }
  return pages;
}

long CountIn(const std::set<long>& pages, long f, long t) {
  return std::distance(pages.lower_bound(f), pages.lower_bound(t));
}

// Random changes, with allocations that fail, against a set.
TEST_F(ResvMapTest, IsASetOfPages) {
  BootKernel("kho=on liveupdate=on");
  const uint64_t objects = SlabInUse().objects;
  struct resv_map* map = resv_map_alloc();
  ASSERT_NE(map, nullptr);
  std::set<long> model;
  std::mt19937 random(7);

  for (int i = 0; i < 20000; i++) {
    const long f = random() % 40;
    const long t = f + 1 + random() % 12;
    if (random() % 5 == 0)
      machine_.set_fault_plan(
          {FailKind::kAlloc, 1 + static_cast<int>(random() % 3)});
    long needed;
    switch (random() % 4) {
      case 0:
      case 1: {
        const long missing = (t - f) - CountIn(model, f, t);
        const long chg = region_chg(map, f, t, &needed);
        if (chg == -ENOMEM) {
          // The lock is dropped and nothing is under way.
          EXPECT_TRUE(machine_.fault_fired());
          break;
        }
        ASSERT_EQ(chg, missing);
        if (random() % 4 == 0) {
          region_abort(map, f, t, needed);
          break;
        }
        ASSERT_EQ(region_add(map, f, t, needed, nullptr, nullptr), missing);
        for (long page = f; page < t; page++) model.insert(page);
        break;
      }
      case 2: {
        const long end = random() % 16 == 0 ? LONG_MAX : t;
        const long present = CountIn(model, f, end);
        const long del = region_del(map, f, end);
        if (del == -ENOMEM) {
          EXPECT_TRUE(machine_.fault_fired());
          EXPECT_NE(end, LONG_MAX);
          break;
        }
        ASSERT_EQ(del, present);
        model.erase(model.lower_bound(f), model.lower_bound(end));
        break;
      }
      case 3:
        ASSERT_EQ(region_count(map, f, t), CountIn(model, f, t));
        break;
    }
    machine_.set_fault_plan({});
    ASSERT_EQ(Pages(map), model);
    ASSERT_EQ(map->adds_in_progress, 0);
    ASSERT_EQ(Length(&map->region_cache),
              static_cast<unsigned long>(map->region_cache_count));
  }
  kref_put(&map->refs, resv_map_release);
  EXPECT_EQ(SlabInUse().objects, objects);
}

// Somebody else changes the map between region_chg() and region_add(): more
// regions are needed than were set aside.
TEST_F(ResvMapTest, AddAllocatesWhatChangedSinceChg) {
  BootKernel("kho=on liveupdate=on");
  struct resv_map* map = resv_map_alloc();
  long needed;
  ASSERT_EQ(region_chg(map, 0, 10, &needed), 10);
  ASSERT_EQ(needed, 1);
  for (long page : {2, 4, 6}) {
    long one;
    ASSERT_EQ(region_chg(map, page, page + 1, &one), 1);
    ASSERT_EQ(region_add(map, page, page + 1, one, nullptr, nullptr), 1);
  }
  machine_.set_fault_plan({FailKind::kAlloc, 1});
  EXPECT_EQ(region_add(map, 0, 10, needed, nullptr, nullptr), -ENOMEM);
  EXPECT_EQ(map->adds_in_progress, 1);
  machine_.set_fault_plan({});
  EXPECT_EQ(region_add(map, 0, 10, needed, nullptr, nullptr), 7);
  EXPECT_EQ(map->adds_in_progress, 0);
  EXPECT_EQ(Pages(map).size(), 10u);
  EXPECT_EQ(Length(&map->regions), 1u);
  kref_put(&map->refs, resv_map_release);
}

}  // namespace
}  // namespace sim
