// SPDX-License-Identifier: BSD-3-Clause
#include "model/kernel_log.h"

#include "gtest/gtest.h"

namespace handover::model {
namespace {

TEST(KernelLog, ReportsHaveTheirNumbers) {
  bool shortage = false;
  std::vector<Reserved> reported;
  ReadKernelMessage(
      "hugetlb_luo: 3 preserved pages of order 9 on node 1 cannot be claimed "
      "and stay reserved",
      &shortage, &reported);
  ASSERT_EQ(reported.size(), 1u);
  EXPECT_EQ(reported[0].page_size, 2u << 20);
  EXPECT_EQ(reported[0].node, 1);
  EXPECT_EQ(reported[0].count, 3);
  ReadKernelMessage("hugetlb_luo: table of preserved pages refused: -22",
                    &shortage, &reported);
  ASSERT_EQ(reported.size(), 2u);
  EXPECT_EQ(reported[1].page_size, 0u);
  EXPECT_FALSE(shortage);
  ReadKernelMessage("HugeTLB: registered 2.00 MiB page size", &shortage,
                    &reported);
  EXPECT_EQ(reported.size(), 2u);
  ReadKernelMessage(
      "HugeTLB: allocating 9 of page size 2.00 MiB failed.  Only allocated 4 "
      "hugepages.",
      &shortage, &reported);
  EXPECT_TRUE(shortage);
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
