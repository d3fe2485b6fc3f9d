// SPDX-License-Identifier: BSD-3-Clause
#include "model/command_line.h"

#include <array>
#include <string>
#include <string_view>
#include <vector>

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

TEST(CommandLineTest, Areas) {
  CmaRequest cma = Read("hugetlb_cma=512K hugetlb_cma_only=on").cma;
  EXPECT_EQ(cma.total, 512u << 10);
  EXPECT_EQ(cma.page_size, 256u << 10);
  EXPECT_TRUE(cma.only);
  EXPECT_FALSE(cma.by_node || cma.percent || cma.in_vain);
  cma = Read("hugetlb_cma=512K hugetlb_cma=0:256K,1:1M").cma;
  EXPECT_TRUE(cma.by_node);
  EXPECT_EQ(cma.total, 0u);
  EXPECT_EQ(cma.node, (std::array<uint64_t, kMaxNodes>{256 << 10, 1 << 20}));
  cma = Read("hugetlb_cma=0:256K,1:1M hugetlb_cma=1M").cma;
  EXPECT_FALSE(cma.by_node);
  EXPECT_EQ(cma.total, 1u << 20);
  EXPECT_TRUE(Read("hugetlb_cma=1:20%").cma.percent);
  // No such node, and no multiple of the largest page.
  cma = Read("hugetlb_cma=2:256K,1:64K hugetlb_cma_only=on").cma;
  EXPECT_FALSE(cma.by_node || cma.only);
  EXPECT_EQ(Read("hugetlb_cma=300K").cma.total, 0u);
  cma =
      ReadCommandLine("hugetlb_cma=256K", Geometry::kSmall, 2, {256 << 10}).cma;
  EXPECT_EQ(cma.total, 0u);
  EXPECT_TRUE(cma.in_vain);
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

std::vector<std::string> Ignored(std::string_view line,
                                 const std::vector<uint64_t>& missing = {}) {
  std::vector<std::string> ignored;
  ReadCommandLine(line, Geometry::kSmall, 2, missing, &ignored);
  return ignored;
}

TEST(CommandLineTest, SaysWhatIsIgnored) {
  EXPECT_TRUE(Ignored("").empty());
  EXPECT_TRUE(Ignored("kho=on  liveupdate=0 kho_scratch=64K,64K,64K "
                      "hugepages=1 hugepagesz=16K hugepages=0:2,1:3 "
                      "hugepagesz=256K hugepages=0")
                  .empty());
  struct Case {
    std::string_view line;
    std::string_view word;
    std::string_view why;
  };
  for (const Case& c : {
           Case{"hugepage=2", "'hugepage=2'", "means nothing"},
           Case{"hugepages", "'hugepages'", "means nothing"},
           Case{"hugepages=abc", "'hugepages=abc'", "not a number"},
           Case{"hugepages=0:1,2:1", "'hugepages=0:1,2:1'", "these nodes"},
           Case{"hugepages=4x", "'hugepages=4x'", "ends in 'x'"},
           Case{"hugepages=2 hugepages=3", "'hugepages=3'", "second number"},
           Case{"hugepagesz=32K", "'hugepagesz=32K'", "no such page size"},
           Case{"hugepagesz=16K hugepagesz=16K", "'hugepagesz=16K'", "already"},
           Case{"default_hugepagesz=16K default_hugepagesz=64K",
                "'default_hugepagesz=64K'", "already"},
           Case{"default_hugepagesz=1K", "'default_hugepagesz=1K'", "no such"},
           Case{"kho=maybe", "'kho=maybe'", "neither on nor off"},
           Case{"hugepages=3 hugepagesz=64K hugepages=5", "'hugepages='",
                "of 64K is ignored"},
       }) {
    const std::vector<std::string> ignored = Ignored(c.line);
    ASSERT_EQ(ignored.size(), 1u) << c.line;
    EXPECT_EQ(ignored[0].rfind(c.word, 0), 0u) << ignored[0];
    EXPECT_NE(ignored[0].find(c.why), std::string::npos) << ignored[0];
  }
  EXPECT_EQ(Ignored("hugepagesz=32K hugepages=4").size(), 2u);
  EXPECT_FALSE(Ignored("hugepages=4", {64 << 10}).empty());
}

TEST(CommandLineTest, SaysWhereItStands) {
  auto history = ParseHistory(
      "history 1\ngeometry small nodes=1\nboot quiet\np0 exit\n"
      "sim during 1 loader load hugepages=x\nloader load no-size=16K "
      "hugepagesz=16K\n");
  ASSERT_TRUE(history.ok());
  const std::vector<std::string> words = IgnoredWords(*history);
  ASSERT_EQ(words.size(), 3u);
  EXPECT_EQ(words[0].rfind("boot: 'quiet'", 0), 0u);
  EXPECT_EQ(words[1].rfind("step 1 (loader load): 'hugepages=x'", 0), 0u);
  EXPECT_EQ(words[2].rfind("step 2 (loader load): 'hugepagesz=16K'", 0), 0u);
}

TEST(CommandLineTest, Switches) {
  EXPECT_FALSE(Read("liveupdate=off").liveupdate);
  EXPECT_TRUE(Read("liveupdate=0 liveupdate=on").liveupdate);
  // LUO needs KHO.
  EXPECT_FALSE(Read("kho=off liveupdate=on").liveupdate);
}

}  // namespace
}  // namespace handover::model
