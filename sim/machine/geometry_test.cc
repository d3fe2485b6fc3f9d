// SPDX-License-Identifier: BSD-3-Clause
#include "sim/machine/geometry.h"

#include <algorithm>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace sim {
namespace {

class GeometryTest
    : public testing::TestWithParam<std::tuple<std::string, int>> {
 protected:
  GeometryTest()
      : g_(*MakeGeometry(std::get<0>(GetParam()), std::get<1>(GetParam()))) {}
  const Geometry g_;
};

TEST_P(GeometryTest, SpansAreInOrderWithHolesBetweenThem) {
  const uint64_t block = 1ULL << g_.max_page_order;
  uint64_t end = 0;
  std::set<int> nodes;
  for (const NodeSpan& span : g_.spans) {
    EXPECT_GT(span.start_pfn, end) << "a hole, also at address 0";
    EXPECT_GT(span.nr_pages, 0u);
    EXPECT_EQ(span.start_pfn % block, 0u);
    EXPECT_EQ(span.nr_pages % block, 0u);
    end = span.start_pfn + span.nr_pages;
    nodes.insert(span.nid);
  }
  EXPECT_EQ(nodes.size(), static_cast<size_t>(g_.nodes));
  EXPECT_EQ(*nodes.begin(), 0);
  EXPECT_EQ(*nodes.rbegin(), g_.nodes - 1);
  EXPECT_EQ(g_.name, std::get<0>(GetParam()));
  if (g_.nodes > 1) {
    EXPECT_GT(g_.spans.size(), nodes.size()) << "a node has two spans";
  }
}

TEST_P(GeometryTest, OrdersKeepTheirRelations) {
  EXPECT_LE(g_.pageblock_order, g_.max_page_order);
  EXPECT_TRUE(std::is_sorted(g_.huge_orders.begin(), g_.huge_orders.end()));
  EXPECT_EQ(
      std::count(g_.huge_orders.begin(), g_.huge_orders.end(), g_.hpage_order),
      1);
  EXPECT_GT(g_.huge_orders.back(), g_.max_page_order) << "a gigantic size";
  EXPECT_EQ(g_.kho_ext_block & (g_.kho_ext_block - 1), 0u);
  const uint64_t block = 4096ULL << g_.max_page_order;
  for (uint64_t size :
       {g_.scratch_lowmem, g_.scratch_global, g_.scratch_pernode}) {
    EXPECT_GT(size, 0u);
    EXPECT_EQ(size % block, 0u);
  }
}

// A window of the largest huge page's size and alignment which is more than
// scratch alone could take away.
TEST_P(GeometryTest, EachNodeHasRoomForItsLargestPage) {
  const uint64_t size = 1ULL << g_.huge_orders.back();
  const uint64_t scratch =
      (g_.scratch_lowmem + g_.scratch_global + g_.scratch_pernode) / 4096;
  for (int nid = 0; nid < g_.nodes; ++nid) {
    uint64_t windows = 0;
    uint64_t frames = 0;
    for (const NodeSpan& span : g_.spans) {
      if (span.nid != nid) continue;
      const uint64_t start = (span.start_pfn + size - 1) / size * size;
      const uint64_t end = span.start_pfn + span.nr_pages;
      if (start < end) windows += (end - start) / size;
      frames += span.nr_pages;
    }
    EXPECT_GE(windows, 2u) << nid;
    EXPECT_GE(frames, size + scratch) << nid;
  }
}

INSTANTIATE_TEST_SUITE_P(All, GeometryTest,
                         testing::Combine(testing::Values("small", "x86",
                                                          "arm64"),
                                          testing::Range(1, 5)),
                         [](const auto& info) {
                           return std::get<0>(info.param) +
                                  std::to_string(std::get<1>(info.param));
                         });

TEST(MakeGeometryTest, RefusesWhatItDoesNotKnow) {
  const auto name = MakeGeometry("riscv", 2);
  EXPECT_EQ(name.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(name.status().message(),
            "no geometry is called \"riscv\": there are small, x86 and arm64");
  for (int nodes : {-1, 0, 5}) {
    EXPECT_EQ(MakeGeometry("small", nodes).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace sim
