// SPDX-License-Identifier: BSD-3-Clause
#include "sim/user/user_space.h"

#include <gtest/gtest.h>
#include <sim/kernel_api.h>

#include <functional>

#include "sim/liveupdate/kexec.h"
#include "sim/machine/actors.h"
#include "sim/machine/machine.h"
#include "sim/mm/vfs.h"

namespace sim {
namespace {

class UserSpaceTest : public ::testing::Test {
 protected:
  UserSpaceTest() : machine_(MakeGeometry("small", 2).value(), 1) {
    KernelConfig config;
    config.cmdline = "kho=on liveupdate=on hugepages=4";
    EXPECT_TRUE(Boot(config));
  }
  ~UserSpaceTest() override {
    for (const Violation& v : machine_.violations()) {
      ADD_FAILURE() << v.property << ": " << v.what;
    }
  }

  CallResult As(const char* actor, std::function<CallResult()> fn) {
    CallResult result;
    EXPECT_EQ(RunOnActor(ActorByName(actor), [&] { result = fn(); }),
              RunResult::kDone);
    return result;
  }
  int64_t P0(std::function<CallResult()> fn) {
    const CallResult result = As("p0", std::move(fn));
    EXPECT_EQ(result.end, CallResult::End::kDone);
    return result.value;
  }
  int64_t Agent(std::function<CallResult()> fn) {
    return As("agent", std::move(fn)).value;
  }

  Machine machine_;
  UserSpace user_;
};

TEST_F(UserSpaceTest, NamesThatAreNotThere) {
  EXPECT_EQ(P0([&] { return user_.Truncate(0, 1); }), -EBADF);
  EXPECT_EQ(P0([&] { return user_.Fallocate(0, 0, 1, false); }), -EBADF);
  EXPECT_EQ(P0([&] { return user_.Punch(0, 0, 1); }), -EBADF);
  EXPECT_EQ(P0([&] { return user_.Seal(0, F_SEAL_GROW); }), -EBADF);
  EXPECT_EQ(P0([&] { return user_.Seek(0, 1); }), -EBADF);
  EXPECT_EQ(P0([&] { return user_.Close(0); }), -EBADF);
  EXPECT_EQ(P0([&] { return user_.Pin(0, 0); }), -EBADF);
  EXPECT_EQ(P0([&] { return user_.Unmap(0, 0); }), -EBADF);
  EXPECT_EQ(P0([&] { return user_.Read(0, 0, 0, 0); }), -EBADF);
  EXPECT_EQ(P0([&] { return user_.Map(0, 0, 0, 0, 1, false, false, false); }),
            -EBADF);
  EXPECT_EQ(Agent([&] { return user_.CloseDevice(); }), -EBADF);
  EXPECT_EQ(Agent([&] { return user_.NewSession(0); }), -EBADF);
  EXPECT_EQ(Agent([&] { return user_.TakeSession(0); }), -EBADF);
  EXPECT_EQ(Agent([&] { return user_.DropSession(0); }), -EBADF);
  EXPECT_EQ(Agent([&] { return user_.Preserve(0, 1, 0); }), -EBADF);
  EXPECT_EQ(Agent([&] { return user_.Retrieve(0, 1, 0); }), -EBADF);
  EXPECT_EQ(Agent([&] { return user_.FinishSession(0); }), -EBADF);
}

TEST_F(UserSpaceTest, NamesThatAreThereAlready) {
  EXPECT_EQ(P0([&] { return user_.Memfd(1, 65536, false, false); }), 0);
  EXPECT_EQ(P0([&] { return user_.Memfd(1, 65536, false, false); }), -EEXIST);
  EXPECT_EQ(P0([&] { return user_.Shmem(1); }), -EEXIST);
  auto map = [&] { return user_.Map(0, 2, 1, 0, 1, false, false, false); };
  EXPECT_EQ(P0(map), 0);
  EXPECT_EQ(P0(map), -EEXIST);
  EXPECT_EQ(Agent([&] { return user_.OpenDevice(); }), 0);
  EXPECT_EQ(Agent([&] { return user_.OpenDevice(); }), -EBUSY);
  EXPECT_EQ(Agent([&] { return user_.NewSession(3); }), 0);
  EXPECT_EQ(Agent([&] { return user_.NewSession(3); }), -EEXIST);
  EXPECT_EQ(Agent([&] { return user_.TakeSession(3); }), -EEXIST);
}

TEST_F(UserSpaceTest, UnknownSizesAndNodes) {
  EXPECT_EQ(P0([&] { return user_.Memfd(0, 2 << 20, false, false); }), -ENODEV);
  EXPECT_EQ(P0([&] { return user_.Bind(2); }), -EINVAL);
  EXPECT_EQ(As("admin", [&] { return user_.SetNr(2 << 20, 1, -1); }).value,
            -ENOENT);
  EXPECT_EQ(As("admin", [&] { return user_.SetNr(65536, 1, 2); }).value,
            -ENOENT);
  EXPECT_EQ(As("admin", [&] { return user_.SetOvercommit(65536, 1); }).value,
            0);
}

TEST_F(UserSpaceTest, StoresAndLoads) {
  P0([&] { return user_.Memfd(0, 65536, false, false); });
  P0([&] { return user_.Map(0, 0, 0, 0, 2, false, false, false); });
  P0([&] { return user_.Write(0, 0, 1, 8, 42); });
  // An offset beyond the page is one into a later page.
  CallResult read = As("p0", [&] { return user_.Read(0, 0, 0, 65536 + 8); });
  EXPECT_EQ(read.word, 42u);
  EXPECT_GE(read.frame, 0);
  EXPECT_EQ(As("p0", [&] { return user_.Read(0, 0, 2, 0); }).end,
            CallResult::End::kSigsegv);
  P0([&] { return user_.Truncate(0, 1); });
  EXPECT_EQ(As("p0", [&] { return user_.Read(0, 0, 1, 0); }).end,
            CallResult::End::kSigbus);
}

TEST_F(UserSpaceTest, BindDecidesTheNode) {
  P0([&] { return user_.Memfd(0, 65536, false, false); });
  P0([&] { return user_.Map(0, 0, 0, 0, 2, false, false, false); });
  P0([&] { return user_.Bind(1); });
  EXPECT_EQ(As("p0", [&] { return user_.Write(0, 0, 0, 0, 1); }).node, 1);
}

TEST_F(UserSpaceTest, ExitUnmapsAndClosesNothing) {
  P0([&] { return user_.Memfd(0, 65536, false, false); });
  P0([&] { return user_.Map(0, 0, 0, 0, 2, false, false, false); });
  EXPECT_TRUE(user_.Runs(0));
  P0([&] { return user_.Exit(0); });
  EXPECT_FALSE(user_.Runs(0));
  EXPECT_EQ(P0([&] { return user_.Unmap(0, 0); }), -EBADF);
  EXPECT_EQ(LiveFiles(), 1);
  P0([&] { return user_.Close(0); });
  EXPECT_EQ(LiveFiles(), 0);
  EXPECT_EQ(LiveInodes(), 0);
}

TEST_F(UserSpaceTest, DeviceHoldsItsPage) {
  P0([&] { return user_.Memfd(0, 65536, false, false); });
  P0([&] { return user_.Fallocate(0, 0, 1, false); });
  EXPECT_EQ(P0([&] { return user_.Pin(0, 1); }), -EINVAL);
  EXPECT_EQ(P0([&] { return user_.Pin(0, 0); }), 0);
  P0([&] { return user_.Close(0); });
  user_.StopDevices();
  EXPECT_EQ(user_.DeviceWrite(0, 0, 0, 1).value, 0);
  EXPECT_EQ(user_.DeviceWrite(0, 0, 65536, 1).value, -EINVAL);
  EXPECT_EQ(user_.DeviceWrite(0, 1, 0, 1).value, -ENODEV);
}

TEST_F(UserSpaceTest, DeviceOfAShmemFileGoesWithTheFile) {
  P0([&] { return user_.Shmem(0); });
  P0([&] { return user_.Truncate(0, 1); });
  EXPECT_EQ(P0([&] { return user_.Pin(0, 0); }), 0);
  user_.StopDevices();
  EXPECT_EQ(user_.DeviceWrite(0, 0, 0, 1).value, 0);
  P0([&] { return user_.Close(0); });
  user_.StopDevices();
  EXPECT_EQ(user_.DeviceWrite(0, 0, 0, 1).value, -ENODEV);
  EXPECT_EQ(user_.PinnedShmemPages(), 1u);
}

}  // namespace
}  // namespace sim
