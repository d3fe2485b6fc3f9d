// SPDX-License-Identifier: BSD-3-Clause
#include "sim/machine/machine.h"

#include <gtest/gtest.h>
#include <sim/kernel_api.h>

#include <string>
#include <vector>

#include "sim/machine/actors.h"

namespace sim {
namespace {

class MachineTest : public testing::Test {
 protected:
  MachineTest() : machine_(*MakeGeometry("small", 1), 42) {}

  std::string LastLog() { return machine_.log().back(); }

  Machine machine_;
};

TEST_F(MachineTest, IsCurrentWhileItLives) {
  EXPECT_EQ(&M(), &machine_);
  { Machine other(*MakeGeometry("small", 1), 42); }
  EXPECT_FALSE(HaveMachine());
}

TEST_F(MachineTest, DigestIsTheSameEverywhere) {
  // Fixed: a change of this number changes every digest ever written down.
  EXPECT_EQ(machine_.digest(), 0x41908bfcfc45f264ULL);
  machine_.DigestAdd(1);
  machine_.Trace("a line of text");
  EXPECT_EQ(machine_.digest(), 0xfa739f56b8fb32fULL);
}

TEST_F(MachineTest, DigestTellsEventsApart) {
  auto digest = [](auto fn, uint64_t seed = 1, int nodes = 1) {
    Machine machine(*MakeGeometry("small", nodes), seed);
    fn(machine);
    return machine.digest();
  };
  std::vector<uint64_t> all = {
      digest([](Machine&) {}),
      digest([](Machine&) {}, 2),
      digest([](Machine&) {}, 1, 2),
      digest([](Machine& m) { m.DigestAdd(0); }),
      digest([](Machine& m) {
        m.Trace("");
        m.Trace("ab");
      }),
      digest([](Machine& m) {
        m.Trace("a");
        m.Trace("b");
      }),
      digest([](Machine& m) { m.Trace("12345678"); }),
      digest([](Machine& m) { m.Trace("123456780"); }),
      digest([](Machine& m) { m.Printk("<3>x"); }),
      digest([](Machine& m) { m.Report("contents", "x"); }),
  };
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
}

TEST_F(MachineTest, TracingDoesNotChangeTheDigest) {
  auto digest = [](bool tracing) {
    Machine machine(*MakeGeometry("small", 1), 1);
    machine.set_tracing(tracing);
    machine.Trace("x");
    machine.Printk("<6>y");
    machine.set_fault_plan({FailKind::kAny, 1});
    machine.Fails(FailKind::kAlloc, "kmalloc");
    machine.Report("contents", "z");
    EXPECT_EQ(machine.trace().size(), tracing ? 5u : 0u);
    if (tracing) {
      EXPECT_EQ(machine.trace()[1], "log: <6>y");
      EXPECT_EQ(machine.trace()[2], "call 1 (alloc 1): kmalloc");
      EXPECT_EQ(machine.trace()[3], "fault: kmalloc fails");
      EXPECT_EQ(machine.trace()[4], "broken: contents: z");
    }
    return machine.digest();
  };
  EXPECT_EQ(digest(true), digest(false));
}

TEST_F(MachineTest, FaultPlanHitsTheNthCallOfItsKindOnce) {
  machine_.set_fault_plan({FailKind::kKho, 2});
  EXPECT_FALSE(machine_.Fails(FailKind::kKho, "a"));
  EXPECT_FALSE(machine_.Fails(FailKind::kAlloc, "b"));
  EXPECT_FALSE(machine_.fault_fired());
  EXPECT_TRUE(machine_.Fails(FailKind::kKho, "c"));
  EXPECT_TRUE(machine_.fault_fired());
  EXPECT_FALSE(machine_.Fails(FailKind::kKho, "d"));
  EXPECT_EQ(machine_.fallible_calls(), 4u);
  machine_.set_fault_plan({FailKind::kAny, 1});
  EXPECT_FALSE(machine_.fault_fired());
  EXPECT_TRUE(machine_.Fails(FailKind::kOther, "e"));
  machine_.set_fault_plan({});
  EXPECT_FALSE(machine_.Fails(FailKind::kOther, "f"));
}

TEST_F(MachineTest, WarnAndBugAreViolations) {
  sim_warn("/somewhere/mm/hugetlb_luo.c", 12, "hugetlb_luo_x", "!folio");
  EXPECT_EQ(RunBoot([] { sim_bug("lib.c", 3, "f", "BUG()"); }),
            RunResult::kBug);
  ASSERT_EQ(machine_.violations().size(), 2u);
  EXPECT_EQ(machine_.violations()[0].property, "discipline");
  EXPECT_EQ(machine_.violations()[0].what,
            "WARN !folio in hugetlb_luo_x() at hugetlb_luo.c:12");
  EXPECT_EQ(machine_.violations()[1].what, "BUG BUG() in f() at lib.c:3");
}

TEST_F(MachineTest, PrintkKeepsLevelAndDropsLineFeed) {
  pr_err("hugetlb: %d pages\n", 3);
  EXPECT_EQ(LastLog(), "<3>hugetlb: 3 pages");
  EXPECT_EQ(_printk("plain"), 5);
  EXPECT_EQ(LastLog(), "<4>plain");
  pr_debug("not shown %d\n", 1);
  EXPECT_EQ(machine_.log().size(), 2u);
  machine_.ClearLog();
  EXPECT_TRUE(machine_.log().empty());
}

TEST_F(MachineTest, PrintkNumbers) {
  pr_info("%d %u %x %X %#x %o %c%%", -1, 4000000000u, 255, 255, 255, 8, 'c');
  EXPECT_EQ(LastLog(), "<6>-1 4000000000 ff FF 0xff 10 c%");
  pr_info("%ld %lu %lx", -1L, ~0UL, 1UL << 40);
  EXPECT_EQ(LastLog(), "<6>-1 18446744073709551615 10000000000");
  pr_info("%lld %llu %#llx", -1LL, ~0ULL, 1ULL << 40);
  EXPECT_EQ(LastLog(), "<6>-1 18446744073709551615 0x10000000000");
  pr_info("%zu %zd", static_cast<size_t>(7), static_cast<ssize_t>(-7));
  EXPECT_EQ(LastLog(), "<6>7 -7");
  pr_info("[%5d] [%-5d] [%05d] [%+d] [%*d] [%-*d]", 1, 2, 3, 4, 3, 5, 3, 6);
  EXPECT_EQ(LastLog(), "<6>[    1] [2    ] [00003] [+4] [  5] [6  ]");
  pr_info("[%016llx] [%.3d]", 0xabcULL, 5);
  EXPECT_EQ(LastLog(), "<6>[0000000000000abc] [005]");
}

TEST_F(MachineTest, PrintkStrings) {
  pr_info("%s [%6s] [%-6s] [%.2s] [%.*s]", "abc", "abc", "abc", "abc", 1,
          "abc");
  EXPECT_EQ(LastLog(), "<6>abc [   abc] [abc   ] [ab] [a]");
  const std::string longer(1000, 'x');
  pr_info("%s", longer.c_str());
  EXPECT_EQ(LastLog(), "<6>" + longer);
  const char* volatile none = nullptr;
  _printk("%s", none);
  EXPECT_EQ(LastLog(), "<4>(null)");
}

TEST_F(MachineTest, PrintkPointers) {
  pr_err("%pe|%pe|%pe", ERR_PTR(-ENOMEM), ERR_PTR(-EOPNOTSUPP), ERR_PTR(-4000));
  EXPECT_EQ(LastLog(), "<3>-ENOMEM|-EOPNOTSUPP|-4000");
  const phys_addr_t phys = 0x1234000;
  pr_err("%pa.", &phys);
  EXPECT_EQ(LastLog(), "<3>0x0000000001234000.");
  // Never an address of the host.
  pr_err("%p %pK %px %pS %pe", &phys, &phys, &phys, &phys, &phys);
  EXPECT_EQ(LastLog(),
            "<3>(____ptrval____) (____ptrval____) (____ptrval____) (symbol) "
            "(____ptrval____)");
  pr_err("%p [%8pe] [%-8pe]", static_cast<void*>(nullptr), ERR_PTR(-EIO),
         ERR_PTR(-EIO));
  EXPECT_EQ(LastLog(), "<3>(null) [    -EIO] [-EIO    ]");
}

}  // namespace
}  // namespace sim
