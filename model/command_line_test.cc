// SPDX-License-Identifier: BSD-3-Clause
#include "model/command_line.h"

#include <array>
#include <string_view>

#include "gtest/gtest.h"

namespace handover::model {
namespace {

using Nodes = std::array<int64_t, kMaxNodes>;

BootRequest Read(std::string_view line, Geometry geometry = Geometry::kSmall) {
  return ReadCommandLine(line, geometry, 2, {});
}

TEST(CommandLineTest, Nothing) {
  BootRequest request = Read("");
  ASSERT_EQ(request.pages.size(), 3u);
  for (const PageRequest& pages : request.pages) EXPECT_EQ(pages.total, 0);
  EXPECT_TRUE(request.kho);
  EXPECT_TRUE(request.liveupdate);
}

TEST(CommandLineTest, SizesAndNodes) {
  BootRequest request = Read(
      "quiet hugepagesz=16K hugepages=4 hugepagesz=256K "
      "hugepages=0:2,1:1");
  EXPECT_EQ(request.pages[0].total, 4);
  EXPECT_FALSE(request.pages[0].per_node);
  EXPECT_EQ(request.pages[1].total, 0);
  EXPECT_EQ(request.pages[2].total, 3);
  EXPECT_TRUE(request.pages[2].per_node);
  EXPECT_EQ(request.pages[2].node, (Nodes{2, 1, 0, 0}));
}

TEST(CommandLineTest, DefaultSize) {
  EXPECT_EQ(Read("hugepages=3").pages[1].total, 3);
  EXPECT_EQ(Read("hugepages=3 default_hugepagesz=16K").pages[0].total, 3);
  EXPECT_EQ(Read("default_hugepagesz=256K hugepages=3").pages[2].total, 3);
  // The implicit number wins over the explicit one.
  EXPECT_EQ(Read("hugepages=3 hugepagesz=64K hugepages=5").pages[1].total, 3);
  EXPECT_EQ(Read("hugepages=3", Geometry::kX86).pages[0].total, 3);
  EXPECT_EQ(Read("hugepages=3", Geometry::kArm64).pages[1].total, 3);
}

TEST(CommandLineTest, WhatTheKernelIgnores) {
  // A size it does not have, and the number that belongs to it.
  EXPECT_EQ(Read("hugepagesz=32K hugepages=4").pages[1].total, 0);
  // The second number for one size; a size that is named twice.
  EXPECT_EQ(Read("hugepagesz=16K hugepages=4 hugepages=5").pages[0].total, 4);
  EXPECT_EQ(Read("hugepagesz=16K hugepages=4 hugepagesz=16K hugepages=5")
                .pages[0]
                .total,
            4);
  // A node that is not there takes everything of its parameter along.
  EXPECT_EQ(Read("hugepagesz=16K hugepages=0:4,2:1").pages[0].total, 0);
  EXPECT_EQ(Read("hugepagesz=16K hugepages=0:4,5").pages[0].total, 0);
}

TEST(CommandLineTest, MissingSize) {
  BootRequest request = ReadCommandLine("hugepagesz=16K hugepages=4",
                                        Geometry::kSmall, 2, {16 << 10});
  ASSERT_EQ(request.pages.size(), 2u);
  EXPECT_EQ(request.pages[0].total, 0);
  EXPECT_EQ(request.pages[1].page_size, 256u << 10);
  // Without the default size there are none.
  request = ReadCommandLine("hugepages=4", Geometry::kSmall, 2, {64 << 10});
  EXPECT_TRUE(request.pages.empty());
}

TEST(CommandLineTest, Switches) {
  EXPECT_FALSE(Read("liveupdate=off").liveupdate);
  EXPECT_TRUE(Read("liveupdate=0 liveupdate=on").liveupdate);
  // LUO needs KHO.
  EXPECT_FALSE(Read("kho=off liveupdate=on").liveupdate);
}

}  // namespace
}  // namespace handover::model
