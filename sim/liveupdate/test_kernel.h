// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_LIVEUPDATE_TEST_KERNEL_H_
#define SIM_LIVEUPDATE_TEST_KERNEL_H_

// A machine for this room's tests.

#include <gtest/gtest.h>
#include <sim/kernel_api.h>

#include <functional>
#include <string>

#include "sim/liveupdate/kexec.h"
#include "sim/liveupdate/luo.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/owners.h"

namespace sim {

class KernelTest : public ::testing::Test {
 protected:
  explicit KernelTest(const char* geometry = "small")
      : KernelTest(MakeGeometry(geometry, 2).value()) {}
  explicit KernelTest(const Geometry& geometry) : machine_(geometry, 1) {
    ResetActors();
    config_.has_luo_hugetlb = false;
  }

  // A test that expects reports says how many; all others expect none.
  void TearDown() override {
    EXPECT_EQ(machine_.violations().size(), expected_violations_);
    for (const Violation& v : machine_.violations()) {
      if (machine_.violations().size() == expected_violations_) break;
      ADD_FAILURE() << v.property << ": " << v.what;
    }
    EXPECT_TRUE(expected_violations_ != 0 || VerifyOneOwner());
    SetBootObserver(nullptr);
    ResetActors();
  }

  void BootKernel(const char* cmdline = "kho=on liveupdate=on") {
    config_.cmdline = cmdline;
    ASSERT_TRUE(Boot(config_));
  }

  // reboot(2) by the agent, without kexec: 0 if the kernel went down.
  int RebootCall() {
    int err = 1;
    const RunResult result = RunOnActor(
        ActorByName("agent"), [&err] { err = Reboot(/*image_loaded=*/true); });
    return result == RunResult::kKernelDown ? 0 : err;
  }

  void KexecKernel() {
    ASSERT_EQ(RebootCall(), 0);
    ASSERT_TRUE(Kexec(config_));
  }

  uint64_t FreePages() const { return FreePagesOfNode(0) + FreePagesOfNode(1); }

  Machine machine_;
  KernelConfig config_;
  size_t expected_violations_ = 0;
};

}  // namespace sim

#endif  // SIM_LIVEUPDATE_TEST_KERNEL_H_
