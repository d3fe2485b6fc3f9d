// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MM_MEMMAP_TEST_KERNEL_H_
#define SIM_MM_MEMMAP_TEST_KERNEL_H_

// A machine for tests of the allocators: booted up to a working kmalloc, with
// neither KHO nor HugeTLB.

#include <gtest/gtest.h>
#include <sim/kernel_api.h>

#include <string>

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/boot.h"
#include "sim/mm/buddy.h"
#include "sim/mm/memmap.h"
#include "sim/mm/owners.h"
#include "sim/mm/slab.h"

namespace sim {

class AllocTest : public ::testing::Test {
 protected:
  explicit AllocTest(const char* geometry = "small", int nodes = 2)
      : machine_(MakeGeometry(geometry, nodes).value(), 1) {
    ResetActors();
    scratch_ = {0, 0};
    kho_scratch = &scratch_;
    kho_scratch_cnt = 0;
  }

  ~AllocTest() override {
    kho_scratch = nullptr;
    kho_scratch_cnt = 0;
    ResetActors();
  }

  void TearDown() override {
    EXPECT_EQ(machine_.violations().size(), expected_violations_);
    for (const Violation& v : machine_.violations()) {
      if (machine_.violations().size() == expected_violations_) break;
      ADD_FAILURE() << v.property << ": " << v.what;
    }
  }

  // Up to where memblock can be asked for memory.
  void StartMemblock() {
    MmReset();
    MemblockAddRam();
    FreeAreaInit();
  }

  // With one scratch region, if its size is not zero.
  void BootMm(phys_addr_t scratch = 0, phys_addr_t scratch_size = 0) {
    scratch_ = {scratch, scratch_size};
    kho_scratch_cnt = scratch_size == 0 ? 0 : 1;
    StartMemblock();
    MemmapInit();
    MmCoreInit();
    DeferredInit();
  }

  uint64_t FreePages() const {
    uint64_t pages = 0;
    for (int nid = 0; nid < machine_.geometry().nodes; ++nid) {
      pages += FreePagesOfNode(nid);
    }
    return pages;
  }

  // The nth of violations found, which the test expects.
  std::string Violated(size_t n) {
    expected_violations_ = n + 1;
    if (machine_.violations().size() <= n) return "none";
    return machine_.violations()[n].property + ": " +
           machine_.violations()[n].what;
  }

  Machine machine_;
  struct kho_scratch scratch_;
  size_t expected_violations_ = 0;
};

}  // namespace sim

#endif  // SIM_MM_MEMMAP_TEST_KERNEL_H_
