// SPDX-License-Identifier: BSD-3-Clause
#include <gtest/gtest.h>
#include <sim/kernel_api.h>

#include <algorithm>
#include <cstring>

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"

namespace sim {
namespace {

class MemoryTest : public testing::Test {
 protected:
  MemoryTest() : machine_(*MakeGeometry("small", 2), 1) {
    first_ = machine_.geometry().spans[0].start_pfn;
  }

  PhysicalMemory& memory() { return machine_.memory(); }
  unsigned char* Frame(uint64_t pfn) {
    return reinterpret_cast<unsigned char*>(memory().base() + pfn * PAGE_SIZE);
  }
  bool AllBytes(uint64_t pfn, unsigned char value) {
    return std::all_of(Frame(pfn), Frame(pfn) + PAGE_SIZE,
                       [value](unsigned char c) { return c == value; });
  }

  Machine machine_;
  uint64_t first_;
};

TEST_F(MemoryTest, FramesAndNodesAreThoseOfTheGeometry) {
  uint64_t frames = 0;
  for (const NodeSpan& span : machine_.geometry().spans) {
    for (uint64_t i = 0; i < span.nr_pages; ++i) {
      ASSERT_EQ(memory().NodeOf(span.start_pfn + i), span.nid);
    }
    frames += span.nr_pages;
  }
  uint64_t exist = 0;
  for (uint64_t pfn = 0; pfn < memory().end_pfn() + 100; ++pfn) {
    exist += memory().Exists(pfn);
  }
  EXPECT_EQ(exist, frames);
  EXPECT_FALSE(memory().Exists(~0ULL));
  EXPECT_FALSE(memory().Exists(0));
  EXPECT_EQ(sim_direct_map, memory().base());
  EXPECT_EQ(sim_phys_end, memory().end_pfn() * PAGE_SIZE);
}

TEST_F(MemoryTest, UnwrittenFramesAreZero) {
  for (const NodeSpan& span : machine_.geometry().spans) {
    EXPECT_TRUE(AllBytes(span.start_pfn, 0));
    EXPECT_FALSE(memory().IsDirty(span.start_pfn));
  }
  EXPECT_EQ(memory().FindUnmarkedWrite(), memory().end_pfn());
}

TEST_F(MemoryTest, OnlyDirtyFramesArePoisoned) {
  memory().MarkDirty(first_ + 1);
  memory().MarkDirty(first_ + 62, 4);
  std::memset(Frame(first_ + 1), 1, PAGE_SIZE);
  memory().Poison(0, ~0ULL);
  EXPECT_TRUE(AllBytes(first_, 0));
  EXPECT_TRUE(AllBytes(first_ + 1, PhysicalMemory::kPoison));
  EXPECT_TRUE(AllBytes(first_ + 61, 0));
  for (int i = 62; i < 66; ++i) {
    EXPECT_TRUE(AllBytes(first_ + i, PhysicalMemory::kPoison));
  }
  EXPECT_TRUE(AllBytes(first_ + 66, 0));
  EXPECT_TRUE(memory().IsDirty(first_ + 1));
}

TEST_F(MemoryTest, PoisonedFramesThatAreWrittenArePoisonedAgain) {
  memory().MarkDirty(first_, 2);
  memory().Poison(first_, 2);
  memory().MarkDirty(first_);
  std::memset(Frame(first_), 7, PAGE_SIZE);
  memory().Poison(first_, 2);
  EXPECT_TRUE(AllBytes(first_, PhysicalMemory::kPoison));
  EXPECT_TRUE(AllBytes(first_ + 1, PhysicalMemory::kPoison));
}

TEST_F(MemoryTest, ZeroMakesFramesClean) {
  memory().MarkDirty(first_, 3);
  std::memset(Frame(first_), 7, 3 * PAGE_SIZE);
  memory().Zero(first_ + 1, 2);
  EXPECT_TRUE(AllBytes(first_, 7));
  EXPECT_TRUE(AllBytes(first_ + 1, 0));
  EXPECT_FALSE(memory().IsDirty(first_ + 1));
  memory().Poison(first_, 3);
  EXPECT_TRUE(AllBytes(first_ + 2, 0));
  EXPECT_TRUE(AllBytes(first_, PhysicalMemory::kPoison));
}

TEST_F(MemoryTest, FindsWritesThatNobodyAnnounced) {
  Frame(first_ + 5)[4095] = 1;
  EXPECT_EQ(memory().FindUnmarkedWrite(), first_ + 5);
  memory().MarkDirty(first_ + 5);
  EXPECT_EQ(memory().FindUnmarkedWrite(), memory().end_pfn());
  memory().Poison(first_, 10);
  EXPECT_EQ(memory().FindUnmarkedWrite(), memory().end_pfn());
  Frame(first_ + 5)[9] = 1;
  EXPECT_EQ(memory().FindUnmarkedWrite(), first_ + 5);
}

TEST(MemoryReuseTest, TheNextMachineFindsZeros) {
  char* base = nullptr;
  for (const char* name : {"small", "x86"}) {
    const Geometry geometry = *MakeGeometry(name, 2);
    const uint64_t pfn = geometry.spans[1].start_pfn;
    for (uint64_t frames : {3, 512}) {
      {
        Machine machine(geometry, 1);
        base = machine.memory().base();
        machine.memory().MarkDirty(pfn, frames);
        std::memset(base + pfn * PAGE_SIZE, 0x77, frames * PAGE_SIZE);
        if (frames == 3) machine.memory().Poison(pfn, 2);
      }
      Machine machine(geometry, 1);
      EXPECT_EQ(machine.memory().base(), base) << "the mapping is used again";
      for (uint64_t i = 0; i < frames * PAGE_SIZE; ++i) {
        ASSERT_EQ(base[pfn * PAGE_SIZE + i], 0);
      }
      EXPECT_FALSE(machine.memory().IsDirty(pfn));
    }
  }
}

TEST(MemoryReuseTest, MuchDirtyMemoryIsForgotten) {
  const Geometry geometry = *MakeGeometry("x86", 1);
  const uint64_t pfn = geometry.spans[0].start_pfn;
  constexpr uint64_t kFrames = 20000;
  {
    Machine machine(geometry, 1);
    machine.memory().MarkDirty(pfn, kFrames);
    for (uint64_t i = 0; i < kFrames; ++i) {
      machine.memory().base()[(pfn + i) * PAGE_SIZE] = 1;
    }
  }
  Machine machine(geometry, 1);
  for (uint64_t i = 0; i < kFrames; ++i) {
    ASSERT_EQ(machine.memory().base()[(pfn + i) * PAGE_SIZE], 0);
  }
  EXPECT_FALSE(machine.memory().IsDirty(pfn));
}

TEST_F(MemoryTest, AddressesConvertBothWays) {
  const phys_addr_t phys = first_ * PAGE_SIZE + 123;
  void* virt = sim_phys_to_virt(phys);
  EXPECT_EQ(virt, memory().base() + phys);
  EXPECT_EQ(sim_virt_to_phys(virt), phys);
}

TEST_F(MemoryTest, AddressesOfNothingAreBugs) {
  auto bug = [&](auto fn) {
    ResetActors();
    EXPECT_EQ(RunBoot(fn), RunResult::kBug);
    return machine_.violations().back().what;
  };
  EXPECT_EQ(bug([] { sim_phys_to_virt(0); }),
            "BUG no such physical address in phys_to_virt() at page.h");
  EXPECT_EQ(bug([] { sim_phys_to_virt(~0ULL); }),
            "BUG no such physical address in phys_to_virt() at page.h");
  EXPECT_EQ(bug([] { sim_phys_to_virt(sim_phys_end); }),
            "BUG no such physical address in phys_to_virt() at page.h");
  int local;
  EXPECT_EQ(bug([&] { sim_virt_to_phys(&local); }),
            "BUG not in the direct map in virt_to_phys() at page.h");
  EXPECT_EQ(bug([&] { memory().MarkDirty(0); }),
            "BUG no such page frame in PhysicalMemory() at memory.cc");
  EXPECT_EQ(bug([&] { memory().MarkDirty(first_, 100000); }),
            "BUG no such page frame in PhysicalMemory() at memory.cc");
  const NodeSpan& span = machine_.geometry().spans[0];
  EXPECT_EQ(bug([&] { memory().Zero(span.start_pfn, span.nr_pages + 1); }),
            "BUG no such page frame in PhysicalMemory() at memory.cc");
}

}  // namespace
}  // namespace sim
