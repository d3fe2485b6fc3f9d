// SPDX-License-Identifier: BSD-3-Clause
#include "model/kernel_log.h"

#include "gtest/gtest.h"

namespace handover::model {
namespace {

TEST(KernelLog, ReportsHaveTheirNumbers) {
  bool shortage = false;
  std::vector<Reserved> reported;
  std::vector<SizedPool> sized;
  std::vector<Reserved> handing;
  ReadKernelMessage(
      "hugetlb_luo: 3 preserved pages of order 9 on node 1 cannot be claimed "
      "and stay reserved",
      &shortage, &reported, &sized, &handing);
  ASSERT_EQ(reported.size(), 1u);
  EXPECT_EQ(reported[0].page_size, 2u << 20);
  EXPECT_EQ(reported[0].node, 1);
  EXPECT_EQ(reported[0].count, 3);
  ReadKernelMessage("hugetlb_luo: table of preserved pages refused: -22",
                    &shortage, &reported, &sized, &handing);
  ASSERT_EQ(reported.size(), 2u);
  EXPECT_EQ(reported[1].page_size, 0u);
  EXPECT_FALSE(shortage);
  ReadKernelMessage("HugeTLB: registered 2.00 MiB page size", &shortage,
                    &reported, &sized, &handing);
  EXPECT_EQ(reported.size(), 2u);
  ReadKernelMessage(
      "HugeTLB: allocating 9 of page size 2.00 MiB failed.  Only allocated 4 "
      "hugepages.",
      &shortage, &reported, &sized, &handing);
  EXPECT_TRUE(shortage);
  EXPECT_TRUE(sized.empty());
}

TEST(KernelLog, PoolsAreToldNodeByNode) {
  bool shortage = false;
  std::vector<Reserved> reported;
  std::vector<SizedPool> sized;
  std::vector<Reserved> handing;
  for (const char* line :
       {"<6>hugetlb_luo: order 9: 8 pages asked for, by node",
        "<6>hugetlb_luo: order 9, node 1: 3 preserved pages in use, 4 "
        "free, 5 allocated, 2 surplus",
        "hugetlb_luo: order 60, node 1: 3 preserved pages in use, 4 "
        "free, 5 allocated, 2 surplus",
        "hugetlb_luo: order 9, node 1: 3 pages"})
    ReadKernelMessage(line, &shortage, &reported, &sized, &handing);
  ASSERT_EQ(sized.size(), 1u);
  EXPECT_EQ(sized[0].page_size, 2u << 20);
  EXPECT_EQ(sized[0].node, 1);
  EXPECT_EQ(sized[0].preserved, 3);
  EXPECT_EQ(sized[0].free, 4);
  EXPECT_EQ(sized[0].allocated, 5);
  EXPECT_EQ(sized[0].surplus, 2);
  EXPECT_TRUE(reported.empty());
  EXPECT_TRUE(handing.empty());
  EXPECT_FALSE(shortage);
}

TEST(KernelLog, FreePagesAreToldNodeByNode) {
  bool shortage = false;
  std::vector<Reserved> reported;
  std::vector<SizedPool> sized;
  std::vector<Reserved> handing;
  for (const char* line :
       {"<6>hugetlb_luo: order 9, node 1: 7 free pages are handed over",
        "<6>hugetlb_luo: order 9: 2 free pages are not handed over"})
    ReadKernelMessage(line, &shortage, &reported, &sized, &handing);
  ASSERT_EQ(handing.size(), 1u);
  EXPECT_EQ(handing[0].page_size, 2u << 20);
  EXPECT_EQ(handing[0].node, 1);
  EXPECT_EQ(handing[0].count, 7);
  EXPECT_TRUE(sized.empty());
}

TEST(KernelLog, TroubleIsToldFromWords) {
  EXPECT_TRUE(IsKernelTrouble("WARNING: mm/hugetlb.c:1 at f+0x1/0x2"));
  EXPECT_TRUE(IsKernelTrouble("BUG: Bad page state in process init"));
  EXPECT_TRUE(IsKernelTrouble("Kernel panic - not syncing: no init"));
  EXPECT_FALSE(IsKernelTrouble("Kernel command line: panic=-1 oops=panic"));
  EXPECT_FALSE(IsKernelTrouble("smp: Brought up 2 nodes, 2 CPUs"));
}

}  // namespace
}  // namespace handover::model
