// SPDX-License-Identifier: BSD-3-Clause
#include "sim/machine/locks.h"

#include <gtest/gtest.h>
#include <sim/kernel_api.h>

#include <functional>
#include <string>

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"

namespace sim {
namespace {

class LocksTest : public testing::Test {
 protected:
  LocksTest() : machine_(*MakeGeometry("small", 2), 1) {
    mutex_init(&a_);
    mutex_init(&b_);
    mutex_init(&c_);
    init_rwsem(&sem_);
    spin_lock_init(&spin_);
    spin_lock_init(&spin2_);
  }

  // What is reported while fn runs on p0, one line each.
  std::string Reports(std::function<void()> fn) {
    const size_t before = machine_.violations().size();
    RunOnActor(p0_, std::move(fn));
    std::string all;
    for (size_t i = before; i < machine_.violations().size(); ++i) {
      EXPECT_EQ(machine_.violations()[i].property, "discipline");
      all += (all.empty() ? "" : "\n") + machine_.violations()[i].what;
    }
    return all;
  }

  Machine machine_;
  const int p0_ = ActorByName("p0");
  const int p1_ = ActorByName("p1");
  struct mutex a_;
  struct mutex b_;
  struct mutex c_;
  struct rw_semaphore sem_;
  spinlock_t spin_;
  spinlock_t spin2_;
};

TEST_F(LocksTest, OrderlyUseReportsNothing) {
  EXPECT_EQ(Reports([&] {
              mutex_lock(&a_);
              EXPECT_TRUE(mutex_is_locked(&a_));
              EXPECT_TRUE(sim_lock_held(&a_.l));
              down_write(&sem_);
              spin_lock(&spin_);
              spin_unlock(&spin_);
              up_write(&sem_);
              mutex_unlock(&a_);
              EXPECT_FALSE(mutex_is_locked(&a_));
              EXPECT_FALSE(sim_lock_held(&a_.l));
              down_read(&sem_);
              EXPECT_TRUE(sim_lock_held(&sem_.l));
              EXPECT_EQ(down_write_trylock(&sem_), 0);
              up_read(&sem_);
              EXPECT_EQ(mutex_lock_killable(&a_), 0);
              EXPECT_EQ(mutex_trylock(&a_), 0);
              mutex_unlock(&a_);
              spin_lock_irq(&spin2_);
              spin_lock(&spin_);
              spin_unlock(&spin_);
              spin_unlock_irq(&spin2_);
              unsigned long flags;
              spin_lock_irqsave(&spin2_, flags);
              spin_unlock_irqrestore(&spin2_, flags);
            }),
            "");
  EXPECT_EQ(SpinlocksHeld(), 0);
}

TEST_F(LocksTest, BootTakesLocksWithoutBlocking) {
  EXPECT_EQ(RunBoot([&] {
              mutex_lock(&a_);
              spin_lock(&spin_);
              EXPECT_EQ(SpinlocksHeld(), 1);
              spin_unlock(&spin_);
              mutex_unlock(&a_);
            }),
            RunResult::kDone);
  EXPECT_TRUE(machine_.violations().empty());
  RunBoot([&] { mutex_lock(&a_); });
  ASSERT_EQ(machine_.violations().size(), 1u);
  EXPECT_EQ(machine_.violations()[0].what, "boot is done and still holds &a_");
}

TEST_F(LocksTest, SleepingUnderASpinlock) {
  EXPECT_EQ(Reports([&] {
              spin_lock(&spin_);
              mutex_lock(&a_);
              mutex_unlock(&a_);
              spin_unlock(&spin_);
            }),
            "p0 sleeps in mutex_lock under a spinlock");
  EXPECT_EQ(Reports([&] {
              spin_lock(&spin_);
              down_read(&sem_);
              up_read(&sem_);
              spin_unlock(&spin_);
            }),
            "p0 sleeps in down_read under a spinlock");
  EXPECT_EQ(Reports([&] {
              spin_lock(&spin_);
              sim_might_sleep("cond_resched");
              EXPECT_EQ(mutex_trylock(&b_), 1);
              mutex_unlock(&b_);
              spin_unlock(&spin_);
            }),
            "p0 sleeps in cond_resched under a spinlock");
}

TEST_F(LocksTest, InterruptsOffAndOn) {
  auto with_them_on = [&] {
    spin_lock(&spin_);
    spin_unlock(&spin_);
  };
  auto with_them_off = [&] {
    spin_lock_irq(&spin_);
    spin_unlock_irq(&spin_);
  };
  EXPECT_EQ(Reports(with_them_on), "");
  EXPECT_EQ(Reports(with_them_off),
            "p0 takes &spin_ with interrupts off, unlike others");
  EXPECT_EQ(Reports(with_them_off), "") << "once for a lock";
  RunOnActor(p0_, [] { StopKernel(); });
  spin_lock_init(&spin_);
  EXPECT_EQ(Reports(with_them_off), "");
  EXPECT_EQ(Reports(with_them_on),
            "p0 takes &spin_ with interrupts on, unlike others");
  EXPECT_EQ(Reports([&] {
              spin_lock_irq(&spin2_);
              spin_unlock(&spin2_);
            }),
            "p0 releases &spin2_ and leaves interrupts off, unlike before");
}

uint64_t g_guarded;

TEST_F(LocksTest, WhatALockGuards) {
  GuardedBy(&spin_.l, [] { return g_guarded; });
  auto change = [&] {
    spin_lock(&spin_);
    ++g_guarded;
    spin_unlock(&spin_);
  };
  ++g_guarded;
  EXPECT_EQ(Reports(change), "") << "not known before";
  EXPECT_EQ(Reports(change), "");
  ++g_guarded;
  EXPECT_EQ(Reports(change),
            "p0 finds that somebody changed what &spin_ guards and did not "
            "hold it");
  EXPECT_EQ(Reports(change), "");
  ++g_guarded;
  EXPECT_EQ(RunBoot(change), RunResult::kDone);
  EXPECT_EQ(Reports(change), "") << "what boot left is boot's";
  RunOnActor(p0_, [] { StopKernel(); });
  spin_lock_init(&spin_);
  ++g_guarded;
  EXPECT_EQ(Reports(change), "") << "forgotten by the next kernel";
}

TEST_F(LocksTest, TakenTwice) {
  EXPECT_EQ(Reports([&] {
              mutex_lock(&a_);
              mutex_lock(&a_);
              ADD_FAILURE() << "the kernel hangs";
            }),
            "p0 takes &a_ twice");
}

TEST_F(LocksTest, ReadTwice) {
  EXPECT_EQ(Reports([&] {
              down_read(&sem_);
              down_read(&sem_);
            }),
            "p0 takes &sem_ twice");
}

TEST_F(LocksTest, UnlockByANonHolder) {
  RunOnActor(p1_, [&] {
    mutex_lock(&a_);
    Block(this, false);
    mutex_unlock(&a_);
  });
  EXPECT_EQ(Reports([&] { mutex_unlock(&a_); }),
            "p0 releases &a_, which it does not hold");
  EXPECT_EQ(Reports([&] { spin_unlock(&spin_); }),
            "p0 releases &spin_, which it does not hold");
  EXPECT_EQ(Reports([&] {
              down_read(&sem_);
              up_write(&sem_);
              up_read(&sem_);
            }),
            "p0 releases &sem_, which it does not hold");
  EXPECT_EQ(Reports([&] { WakeAll(this); }), "");
}

TEST_F(LocksTest, OrderInversionOfTwo) {
  EXPECT_EQ(Reports([&] {
              mutex_lock(&a_);
              mutex_lock(&b_);
              mutex_unlock(&b_);
              mutex_unlock(&a_);
            }),
            "");
  auto inverted = [&] {
    mutex_lock(&b_);
    mutex_lock(&a_);
    mutex_unlock(&a_);
    mutex_unlock(&b_);
  };
  EXPECT_EQ(Reports(inverted),
            "p0 takes &a_ under &b_: the other order was used before");
  EXPECT_EQ(Reports(inverted), "") << "once for a pair";
}

TEST_F(LocksTest, OrderInversionThroughAThird) {
  EXPECT_EQ(Reports([&] {
              mutex_lock(&a_);
              down_read(&sem_);
              up_read(&sem_);
              mutex_unlock(&a_);
              down_write(&sem_);
              spin_lock(&spin_);
              spin_unlock(&spin_);
              up_write(&sem_);
            }),
            "");
  EXPECT_EQ(Reports([&] {
              mutex_lock(&c_);
              mutex_unlock(&c_);
              spin_lock(&spin_);
              spin_lock(&spin2_);
              spin_unlock(&spin2_);
              spin_unlock(&spin_);
              spin_lock(&spin2_);
              EXPECT_EQ(mutex_trylock(&a_), 1) << "a try is no inversion";
              mutex_unlock(&a_);
              spin_unlock(&spin2_);
            }),
            "");
  EXPECT_EQ(Reports([&] {
              spin_lock(&spin2_);
              mutex_lock(&a_);
              mutex_unlock(&a_);
              spin_unlock(&spin2_);
            }),
            "p0 sleeps in mutex_lock under a spinlock\n"
            "p0 takes &a_ under &spin2_: the other order was used before");
}

TEST_F(LocksTest, ClassIsTheNameAndNestingInAClassIsAllowed) {
  struct mutex one, two;
  char name1[] = "&inode->i_rwsem";
  char name2[] = "&inode->i_rwsem";
  sim_mutex_init(&one, name1);
  sim_mutex_init(&two, name2);
  EXPECT_EQ(Reports([&] {
              mutex_lock(&one);
              mutex_lock(&two);
              mutex_unlock(&two);
              mutex_unlock(&one);
              mutex_lock(&one);
              mutex_lock(&a_);
              mutex_unlock(&a_);
              mutex_unlock(&one);
            }),
            "");
  EXPECT_EQ(
      Reports([&] {
        mutex_lock(&a_);
        mutex_lock(&two);
        mutex_unlock(&two);
        mutex_unlock(&a_);
      }),
      "p0 takes &inode->i_rwsem under &a_: the other order was used before");
}

TEST_F(LocksTest, OrderIsForgottenByTheNextKernel) {
  EXPECT_EQ(Reports([&] {
              mutex_lock(&a_);
              mutex_lock(&b_);
              StopKernel();
            }),
            "");
  mutex_init(&a_);
  mutex_init(&b_);
  EXPECT_EQ(Reports([&] {
              mutex_lock(&b_);
              mutex_lock(&a_);
              mutex_unlock(&a_);
              mutex_unlock(&b_);
            }),
            "");
}

TEST_F(LocksTest, HeldAtTheEndOfACommand) {
  EXPECT_EQ(Reports([&] {
              mutex_lock(&a_);
              spin_lock(&spin_);
              down_read(&sem_);
              up_read(&sem_);
            }),
            "p0 sleeps in down_read under a spinlock\n"
            "p0 is done and still holds &a_\n"
            "p0 is done and still holds &spin_");
  EXPECT_EQ(Reports([&] { sim_might_sleep("x"); }), "");
}

TEST_F(LocksTest, LockThatWasNeverInitialised) {
  struct mutex junk;
  std::memset(static_cast<void*>(&junk), 0xa5, sizeof(junk));
  EXPECT_EQ(Reports([&] { mutex_lock(&junk); }),
            "p0 uses a lock that is not initialised");
}

TEST_F(LocksTest, LockWithoutNameIsNotOrdered) {
  static struct mutex zero;
  EXPECT_EQ(Reports([&] {
              mutex_lock(&zero);
              mutex_lock(&a_);
              mutex_unlock(&zero);
              mutex_lock(&zero);
              mutex_unlock(&zero);
              mutex_unlock(&a_);
            }),
            "");
}

TEST_F(LocksTest, WaitersGetTheLockWhenItIsFree) {
  std::string order;
  PlanDuring(2, p1_, [&] {
    mutex_lock(&a_);
    order += " p1";
    mutex_unlock(&a_);
  });
  EXPECT_EQ(Reports([&] {
              mutex_lock(&a_);  // step 1
              EXPECT_EQ(StateOf(p1_), ActorState::kIdle);
              sim_might_sleep("x");  // step 2
              EXPECT_EQ(StateOf(p1_), ActorState::kBlocked);
              EXPECT_EQ(a_.l.waiters, 1);
              order += "p0";
              mutex_unlock(&a_);
            }),
            "");
  EXPECT_EQ(order, "p0 p1");
  EXPECT_EQ(a_.l.waiters, 0);
}

TEST_F(LocksTest, SpinningActorLetsTheHolderRun) {
  std::string order;
  PlanDuring(2, p1_, [&] {
    spin_lock(&spin_);
    order += " p1";
    spin_unlock(&spin_);
  });
  EXPECT_EQ(Reports([&] {
              spin_lock(&spin_);
              Step("x");
              order += "p0";
              spin_unlock(&spin_);
            }),
            "");
  EXPECT_EQ(order, "p0 p1");
}

TEST_F(LocksTest, ReadersShareAndKeepWritersOut) {
  PlanDuring(2, p1_, [&] {
    EXPECT_EQ(down_read_trylock(&sem_), 1);
    up_read(&sem_);
    EXPECT_EQ(down_write_trylock(&sem_), 0);
    down_write(&sem_);
    EXPECT_EQ(sem_.l.readers, 0);
    up_write(&sem_);
  });
  EXPECT_EQ(Reports([&] {
              down_read(&sem_);
              Step("x");
              EXPECT_EQ(StateOf(p1_), ActorState::kBlocked);
              up_read(&sem_);
            }),
            "");
  EXPECT_EQ(StateOf(p1_), ActorState::kIdle);
}

TEST_F(LocksTest, KilledWaiterGivesUp) {
  RunOnActor(p1_, [&] {
    mutex_lock(&a_);
    Block(this, false);
    mutex_unlock(&a_);
  });
  int ret = 0;
  Reports([&] { ret = mutex_lock_killable(&a_); });
  EXPECT_EQ(StateOf(p0_), ActorState::kBlocked);
  Kill(p0_);
  EXPECT_EQ(RunRunnable(), RunResult::kDone);
  EXPECT_EQ(ret, -EINTR);
  EXPECT_EQ(a_.l.waiters, 0);
}

TEST_F(LocksTest, WaitQueue) {
  DECLARE_WAIT_QUEUE_HEAD(wq);
  bool open = false;
  int killed = 0;
  RunOnActor(p1_, [&] {
    while (!open) {
      if (sim_wait(&wq, true)) {
        ++killed;
        break;
      }
    }
  });
  EXPECT_EQ(wq.waiters, 1);
  EXPECT_EQ(Reports([&] { wake_up_all(&wq); }), "");
  EXPECT_EQ(StateOf(p1_), ActorState::kBlocked) << "the condition is checked";
  EXPECT_EQ(Reports([&] {
              open = true;
              wake_up(&wq);
            }),
            "");
  EXPECT_EQ(StateOf(p1_), ActorState::kIdle);
  EXPECT_EQ(wq.waiters, 0);
  EXPECT_EQ(killed, 0);
  EXPECT_EQ(Reports([&] {
              spin_lock(&spin_);
              sim_wait(&wq, true);
              spin_unlock(&spin_);
            }),
            "p0 sleeps in wait_event under a spinlock");
  Kill(p0_);
  RunRunnable();
}

TEST_F(LocksTest, SrcuWaitsForReaders) {
  static struct srcu_struct srcu;
  srcu = {};
  RunOnActor(p1_, [&] {
    const int idx = srcu_read_lock(&srcu);
    Block(this, false);
    srcu_read_unlock(&srcu, idx);
  });
  EXPECT_EQ(Reports([&] {
              const int idx = srcu_read_lock(&srcu);
              srcu_read_unlock(&srcu, idx);
              synchronize_srcu(&srcu);
              EXPECT_EQ(StateOf(p1_), ActorState::kIdle);
            }),
            "");
  EXPECT_EQ(StateOf(p0_), ActorState::kBlocked);
  const int p2 = ActorByName("p2");
  EXPECT_EQ(RunOnActor(p2,
                       [&] {
                         // A reader that comes later does not hold the grace
                         // period up.
                         const int idx = srcu_read_lock(&srcu);
                         WakeAll(this);
                         Block(&spin2_, false);
                         srcu_read_unlock(&srcu, idx);
                       }),
            RunResult::kBlocked);
  EXPECT_EQ(StateOf(p0_), ActorState::kIdle);
  EXPECT_EQ(Reports([&] { WakeAll(&spin2_); }), "");
  EXPECT_EQ(srcu.readers + srcu.old_readers + srcu.waiters, 0);
}

TEST_F(LocksTest, RcuReadSections) {
  struct mem_cgroup memory = {};
  struct obj_cgroup group = {&memory, 1};
  struct folio folio = {};
  EXPECT_EQ(Reports([&] {
              folio_memcg(&folio);  // not charged: nothing that could go
              folio.objcg = &group;
              rcu_read_lock();
              rcu_read_lock();
              rcu_read_unlock();
              folio_memcg(&folio);
              EXPECT_TRUE(rcu_read_lock_held());
              rcu_read_unlock();
              EXPECT_FALSE(rcu_read_lock_held());
              mutex_lock(&a_);
              mutex_unlock(&a_);
            }),
            "");
  EXPECT_NE(Reports([&] { folio_memcg(&folio); }).find("rcu_read_lock_held"),
            std::string::npos);
  EXPECT_EQ(Reports([&] {
              rcu_read_lock();
              mutex_lock(&a_);
              mutex_unlock(&a_);
              rcu_read_unlock();
              rcu_read_unlock();
            }),
            "p0 sleeps in mutex_lock in an RCU read section\n"
            "p0 leaves an RCU read section that it is not in");
  EXPECT_EQ(Reports([&] { rcu_read_lock(); }),
            "p0 is done and still holds the RCU read lock");
}

TEST_F(LocksTest, SrcuMisuse) {
  static struct srcu_struct srcu;
  srcu = {};
  EXPECT_EQ(Reports([&] { srcu_read_unlock(&srcu, 0); }),
            "p0 leaves an SRCU read section that it is not in");
  EXPECT_EQ(Reports([&] { srcu_read_lock(&srcu); }),
            "p0 is done and still holds an SRCU read lock");
  EXPECT_EQ(Reports([&] {
              srcu_read_lock(&srcu);
              synchronize_srcu_expedited(&srcu);
            }),
            "p0 waits for its own SRCU read section");
}

}  // namespace
}  // namespace sim
