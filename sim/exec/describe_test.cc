// SPDX-License-Identifier: BSD-3-Clause
#include "sim/exec/describe.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace sim {
namespace {

namespace model = ::handover::model;

TEST(DescribeTest, Outcomes) {
  model::Outcome outcome;
  EXPECT_EQ(Describe(outcome), "");
  outcome.result = -EBUSY;
  EXPECT_EQ(Describe(outcome), " -> -EBUSY");
  outcome = model::Outcome();
  outcome.value = 0x7f;
  outcome.frame = 64;
  outcome.node = 1;
  EXPECT_EQ(Describe(outcome), " -> 7f (frame 64 on node 1)");
  outcome.kind = model::Outcome::Kind::kSigbus;
  EXPECT_EQ(Describe(outcome), " -> SIGBUS");
}

TEST(DescribeTest, NothingChanged) {
  model::Snapshot snapshot;
  EXPECT_EQ(DescribeChange(snapshot, snapshot), "");
}

TEST(DescribeTest, Changes) {
  model::Snapshot before, after;
  before.nr_pools = after.nr_pools = 1;
  before.pool[0].page_size = after.pool[0].page_size = 65536;
  before.pool[0].node[1].free = 2;
  after.pool[0].node[1].free = 1;
  model::FileView file;
  file.name = 3;
  file.inode = 7;
  file.page_size = 65536;
  file.mode = 0777;
  before.files.push_back(file);
  file.size = 65536;
  file.seals = model::kSealSeal | model::kSealGrow;
  file.mode = 0640;
  file.pages_end = 1;
  file.regions_end = 1;
  after.files.push_back(file);
  after.pages.push_back({0, 512, 1});
  after.regions.push_back({0, 1});
  after.sessions.push_back({2, true});
  after.quarantined.push_back({65536, 1, 4});
  EXPECT_EQ(DescribeChange(before, after),
            "    pool 64K: node1: free 2->1\n"
            "    f3: size 0->65536 bytes, seals none->seal,grow, mode "
            "0777->0640, regions {}->{0-1}\n"
            "    f3[0]: frame 512 on node 1\n"
            "    s2 is open, from the kernel before\n"
            "    quarantined: 4 of 64K on node 1\n");
}

}  // namespace
}  // namespace sim
