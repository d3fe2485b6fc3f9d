// SPDX-License-Identifier: BSD-3-Clause
#include "sim/machine/locks.h"

#include <sim/kernel_api.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <cstring>
#include <string>
#include <vector>

#include "sim/machine/actors.h"
#include "sim/machine/machine.h"

namespace sim {
namespace {

// sim_lock::writer of a lock that boot holds; actors are their number + 1.
constexpr int kBootHolds = -1;
// Lock classes that one kernel may have; more would go unchecked.
constexpr int kMaxClasses = 256;
constexpr int kNoClass = -1;
using Classes = std::bitset<kMaxClasses>;

enum class Kind { kMutex, kRwsem, kSpinlock, kSrcu, kRcu };
// Stands for RCU, of which there is one.
const char kRcuItself = 0;

struct Held {
  const void* lock;
  int lock_class;
  Kind kind;
  bool reader;
  bool irqs_off = false;  // a spinlock that was taken with interrupts off
};

// See GuardedBy(). `left` was summed up by boot, by an actor, or not yet.
struct Guard {
  const struct sim_lock* lock = nullptr;
  uint64_t (*state)() = nullptr;
  enum { kNobody, kBoot, kActor } by = kNobody;
  uint64_t left = 0;
};

struct Checker {
  Guard guard;
  // Held locks in the order in which they were taken, by actor + 1.
  std::vector<std::vector<Held>> held;
  std::vector<std::string> classes;
  // Where the class of a name was found before, by a hash of its address:
  // only a shortcut, the content decides.
  struct Shortcut {
    const char* name;
    int lock_class;
  };
  std::array<Shortcut, 512> shortcuts{};
  // after[a][b]: b was taken while a was held, or follows from such pairs.
  std::array<Classes, kMaxClasses> after;
  // Spinlocks that were taken with interrupts off, or on.
  Classes irqs_off, irqs_on;
};

Checker& C() {
  static auto* checker = new Checker;
  return *checker;
}

std::vector<Held>& HeldBy(int actor) {
  auto& held = C().held;
  const size_t slot = static_cast<size_t>(actor + 1);
  if (slot >= held.size()) held.resize(slot + 1);
  return held[slot];
}

std::vector<Held>& HeldHere() { return HeldBy(CurrentActor()); }

int Me() {
  const int actor = CurrentActor();
  return actor < 0 ? kBootHolds : actor + 1;
}

void Report(const std::string& what) {
  M().Report("discipline", std::string(ActorName(CurrentActor())) + " " + what);
}

std::string NameOf(const struct sim_lock* lock) {
  return lock->name == nullptr ? "a lock without name" : lock->name;
}

int ClassOf(const char* name) {
  if (name == nullptr) return kNoClass;
  Checker& c = C();
  const auto address = reinterpret_cast<uintptr_t>(name);
  Checker::Shortcut& shortcut =
      c.shortcuts[(address * 0x9e3779b97f4a7c15ULL >> 32) % c.shortcuts.size()];
  if (shortcut.name == name &&
      c.classes[static_cast<size_t>(shortcut.lock_class)] == name) {
    return shortcut.lock_class;
  }
  auto found = std::find(c.classes.begin(), c.classes.end(), name);
  if (found == c.classes.end()) {
    if (c.classes.size() == kMaxClasses) return kNoClass;
    found = c.classes.emplace(found, name);
  }
  shortcut = {name, static_cast<int>(found - c.classes.begin())};
  return shortcut.lock_class;
}

// Remembers that `next` was taken under `first`, and reports it when the
// opposite happened before, directly or through other locks. Two locks of one
// class are not looked at: the kernel annotates such nesting.
void CheckOrder(int first, int next) {
  if (first == kNoClass || next == kNoClass || first == next) return;
  auto& after = C().after;
  const auto a = static_cast<size_t>(first);
  const auto b = static_cast<size_t>(next);
  if (after[a][b]) return;
  if (after[b][a]) {
    const auto& names = C().classes;
    Report("takes " + names[b] + " under " + names[a] +
           ": the other order was used before");
    // Once for each pair.
    after[a].set(b);
    return;
  }
  const Classes news = after[b] | Classes().set(b);
  for (size_t i = 0; i < C().classes.size(); ++i) {
    if (i == a || after[i][a]) after[i] |= news;
  }
}

std::vector<Held>::iterator FindHeld(const void* lock) {
  auto& held = HeldHere();
  return std::find_if(held.begin(), held.end(),
                      [lock](const Held& h) { return h.lock == lock; });
}

bool IsHeldHere(const void* lock) { return FindHeld(lock) != HeldHere().end(); }

// Memory that was never written as a lock, or died with its kernel, is full of
// a junk byte: no address of a name begins like that.
bool IsJunk(const struct sim_lock* lock) {
  if (reinterpret_cast<uintptr_t>(lock->name) >> 48 == 0) return false;
  Report("uses a lock that is not initialised");
  if (CanStop()) StopHistory();
  return true;
}

// A try never waits and so cannot be half of a deadlock: `ordered` is false.
void Took(struct sim_lock* lock, Kind kind, bool reader, bool ordered) {
  auto& held = HeldHere();
  if (IsJunk(lock)) return;
  const int lock_class = ClassOf(lock->name);
  if (ordered) {
    for (const Held& h : held) CheckOrder(h.lock_class, lock_class);
  }
  held.push_back({lock, lock_class, kind, reader});
  if (reader) {
    ++lock->readers;
  } else {
    lock->writer = Me();
  }
}

// Waits until the lock can be had. Returns false when killed meanwhile.
bool WaitFor(struct sim_lock* lock, bool reader, bool killable) {
  if (IsJunk(lock)) return true;
  if (IsHeldHere(lock)) {
    Report("takes " + NameOf(lock) + " twice");
    // In a real kernel it hangs here for good.
    if (CanStop()) StopHistory();
    return true;
  }
  while (lock->writer != 0 || (!reader && lock->readers != 0)) {
    ++lock->waiters;
    const bool killed = Block(lock, killable);
    --lock->waiters;
    if (killed) return false;
  }
  return true;
}

bool IsFree(const struct sim_lock* lock, bool reader) {
  return !IsJunk(lock) && lock->writer == 0 && (reader || lock->readers == 0);
}

// Returns false, after a report, if the caller does not hold the lock.
bool GiveBack(struct sim_lock* lock, bool reader) {
  if (IsJunk(lock)) return false;
  auto held = FindHeld(lock);
  if (held == HeldHere().end() || held->reader != reader) {
    Report("releases " + NameOf(lock) + ", which it does not hold");
    return false;
  }
  HeldHere().erase(held);
  if (reader) {
    --lock->readers;
  } else {
    lock->writer = 0;
  }
  if (lock->waiters != 0) WakeAll(lock);
  return true;
}

void Init(struct sim_lock* lock, const char* name) {
  *lock = {};
  lock->name = name;
}

// Follows lockdep: what is taken with interrupts off since an interrupt may
// take it is never taken with them on.
void CheckIrqs(Held* held, bool irqs_off) {
  held->irqs_off = irqs_off;
  if (held->lock_class == kNoClass) return;
  if (!irqs_off) {
    for (const Held& other : HeldHere()) {
      if (other.irqs_off) return;
    }
  }
  const auto lock_class = static_cast<size_t>(held->lock_class);
  Checker& c = C();
  Classes& now = irqs_off ? c.irqs_off : c.irqs_on;
  const Classes& before = irqs_off ? c.irqs_on : c.irqs_off;
  if (now[lock_class]) return;
  now.set(lock_class);
  if (before[lock_class]) {
    Report("takes " + c.classes[lock_class] + " with interrupts " +
           (irqs_off ? "off" : "on") + ", unlike others");
  }
}

void SpinLock(spinlock_t* lock, const char* what, bool irqs_off) {
  Step(what);
  WaitFor(&lock->l, /*reader=*/false, /*killable=*/false);
  Took(&lock->l, Kind::kSpinlock, /*reader=*/false, /*ordered=*/true);
  SpinlocksHeldDelta(1);
  auto held = FindHeld(&lock->l);
  if (held != HeldHere().end()) CheckIrqs(&*held, irqs_off);
  const Guard& guard = C().guard;
  if (guard.lock == &lock->l &&
      guard.by == (CurrentActor() < 0 ? Guard::kBoot : Guard::kActor) &&
      guard.left != guard.state()) {
    Report("finds that somebody changed what " + NameOf(&lock->l) +
           " guards and did not hold it");
  }
}

void SpinUnlock(spinlock_t* lock, const char* what, bool irqs_off) {
  Guard& guard = C().guard;
  if (guard.lock == &lock->l) {
    guard.by = CurrentActor() < 0 ? Guard::kBoot : Guard::kActor;
    guard.left = guard.state();
  }
  auto held = FindHeld(&lock->l);
  if (held != HeldHere().end() && held->irqs_off != irqs_off) {
    Report("releases " + NameOf(&lock->l) + " and leaves interrupts " +
           (irqs_off ? "on" : "off") + ", unlike before");
  }
  if (GiveBack(&lock->l, /*reader=*/false)) SpinlocksHeldDelta(-1);
  Step(what);
}

}  // namespace

void LocksReset() {
  Checker& c = C();
  for (auto& held : c.held) held.clear();
  for (size_t i = 0; i < c.classes.size(); ++i) c.after[i].reset();
  c.classes.clear();
  c.shortcuts.fill({nullptr, kNoClass});
  c.irqs_off.reset();
  c.irqs_on.reset();
  c.guard = {};
}

void GuardedBy(const struct sim_lock* lock, uint64_t (*state)()) {
  C().guard = {lock, state};
}

void CheckNoLocksHeld(int actor) {
  auto& held = HeldBy(actor);
  if (held.empty()) return;
  for (const Held& h : held) {
    const std::string name =
        h.kind == Kind::kSrcu  ? "an SRCU read lock"
        : h.kind == Kind::kRcu ? "the RCU read lock"
        : h.lock_class == kNoClass
            ? "a lock without name"
            : C().classes[static_cast<size_t>(h.lock_class)];
    M().Report("discipline", std::string(ActorName(actor)) +
                                 " is done and still holds " + name);
  }
  held.clear();
}

bool InRcuReadSection() { return IsHeldHere(&kRcuItself); }

}  // namespace sim

extern "C" {

// Follow kernel/locking/mutex.c with lockdep. Left out: fairness among those
// who wait, spinning on the owner.
void sim_mutex_init(struct mutex* lock, const char* name) {
  sim::Init(&lock->l, name);
}

void mutex_lock(struct mutex* lock) {
  sim::MightSleep("mutex_lock");
  sim::WaitFor(&lock->l, /*reader=*/false, /*killable=*/false);
  sim::Took(&lock->l, sim::Kind::kMutex, /*reader=*/false, /*ordered=*/true);
}

int mutex_lock_killable(struct mutex* lock) {
  sim::MightSleep("mutex_lock");
  if (!sim::WaitFor(&lock->l, /*reader=*/false, /*killable=*/true)) {
    return -EINTR;
  }
  sim::Took(&lock->l, sim::Kind::kMutex, /*reader=*/false, /*ordered=*/true);
  return 0;
}

int mutex_trylock(struct mutex* lock) {
  sim::Step("mutex_trylock");
  if (!sim::IsFree(&lock->l, /*reader=*/false)) return 0;
  sim::Took(&lock->l, sim::Kind::kMutex, /*reader=*/false, /*ordered=*/false);
  return 1;
}

void mutex_unlock(struct mutex* lock) {
  sim::GiveBack(&lock->l, /*reader=*/false);
  sim::Step("mutex_unlock");
}

bool mutex_is_locked(struct mutex* lock) { return lock->l.writer != 0; }

// Follow kernel/locking/rwsem.c with lockdep. Left out: a writer that waits
// keeps later readers out.
void sim_init_rwsem(struct rw_semaphore* sem, const char* name) {
  sim::Init(&sem->l, name);
}

void down_read(struct rw_semaphore* sem) {
  sim::MightSleep("down_read");
  sim::WaitFor(&sem->l, /*reader=*/true, /*killable=*/false);
  sim::Took(&sem->l, sim::Kind::kRwsem, /*reader=*/true, /*ordered=*/true);
}

int down_read_trylock(struct rw_semaphore* sem) {
  sim::Step("down_read_trylock");
  if (!sim::IsFree(&sem->l, /*reader=*/true)) return 0;
  sim::Took(&sem->l, sim::Kind::kRwsem, /*reader=*/true, /*ordered=*/false);
  return 1;
}

void up_read(struct rw_semaphore* sem) {
  sim::GiveBack(&sem->l, /*reader=*/true);
  sim::Step("up_read");
}

void down_write(struct rw_semaphore* sem) {
  sim::MightSleep("down_write");
  sim::WaitFor(&sem->l, /*reader=*/false, /*killable=*/false);
  sim::Took(&sem->l, sim::Kind::kRwsem, /*reader=*/false, /*ordered=*/true);
}

int down_write_trylock(struct rw_semaphore* sem) {
  sim::Step("down_write_trylock");
  if (!sim::IsFree(&sem->l, /*reader=*/false)) return 0;
  sim::Took(&sem->l, sim::Kind::kRwsem, /*reader=*/false, /*ordered=*/false);
  return 1;
}

void up_write(struct rw_semaphore* sem) {
  sim::GiveBack(&sem->l, /*reader=*/false);
  sim::Step("up_write");
}

// Follow include/linux/spinlock.h with lockdep. An actor that has to spin lets
// the holder run, as another CPU would. Left out: interrupts themselves.
void sim_spin_lock_init(spinlock_t* lock, const char* name) {
  sim::Init(&lock->l, name);
}

void spin_lock(spinlock_t* lock) {
  sim::SpinLock(lock, "spin_lock", /*irqs_off=*/false);
}

void spin_unlock(spinlock_t* lock) {
  sim::SpinUnlock(lock, "spin_unlock", /*irqs_off=*/false);
}

void spin_lock_irq(spinlock_t* lock) {
  sim::SpinLock(lock, "spin_lock", /*irqs_off=*/true);
}

void spin_unlock_irq(spinlock_t* lock) {
  sim::SpinUnlock(lock, "spin_unlock", /*irqs_off=*/true);
}

unsigned long sim_spin_lock_irqsave(spinlock_t* lock) {
  sim::SpinLock(lock, "spin_lock", /*irqs_off=*/true);
  return 0;
}

void spin_unlock_irqrestore(spinlock_t* lock, unsigned long) {
  sim::SpinUnlock(lock, "spin_unlock", /*irqs_off=*/true);
}

// The caller holds the lock, in whatever way.
int sim_lock_held(const struct sim_lock* lock) { return sim::IsHeldHere(lock); }

// Follow kernel/sched/wait.c.
bool sim_wait(struct wait_queue_head* wq, bool killable) {
  sim::CheckMaySleep("wait_event");
  // No step before the sleep: the caller has just found its condition false,
  // and a wakeup in between would be lost.
  ++wq->waiters;
  const bool killed = sim::Block(wq, killable);
  --wq->waiters;
  sim::Step("wait_event");
  return killed;
}

void wake_up_all(struct wait_queue_head* wq) {
  if (wq->waiters != 0) sim::WakeAll(wq);
  sim::Step("wake_up");
}

// Follow kernel/rcu/tree_plugin.h with lockdep. Nobody waits for a grace period
// here: all that is left are the checks.
void rcu_read_lock(void) {
  sim::HeldHere().push_back(
      {&sim::kRcuItself, sim::kNoClass, sim::Kind::kRcu, /*reader=*/true});
}

void rcu_read_unlock(void) {
  auto held = sim::FindHeld(&sim::kRcuItself);
  if (held == sim::HeldHere().end()) {
    sim::Report("leaves an RCU read section that it is not in");
  } else {
    sim::HeldHere().erase(held);
  }
}

int rcu_read_lock_held(void) { return sim::InRcuReadSection(); }

// Follow kernel/rcu/srcutree.c: a grace period ends when all readers that were
// there when it began have left. Left out: callbacks, more than two periods.
int srcu_read_lock(struct srcu_struct* ssp) {
  sim::Step("srcu_read_lock");
  ++ssp->readers;
  sim::HeldHere().push_back(
      {ssp, sim::kNoClass, sim::Kind::kSrcu, /*reader=*/true});
  return ssp->idx;
}

void srcu_read_unlock(struct srcu_struct* ssp, int idx) {
  auto held = sim::FindHeld(ssp);
  if (held == sim::HeldHere().end()) {
    sim::Report("leaves an SRCU read section that it is not in");
  } else {
    sim::HeldHere().erase(held);
    int& readers = idx == ssp->idx ? ssp->readers : ssp->old_readers;
    --readers;
    if (readers == 0 && ssp->waiters != 0) sim::WakeAll(ssp);
  }
  sim::Step("srcu_read_unlock");
}

void synchronize_srcu(struct srcu_struct* ssp) {
  sim::MightSleep("synchronize_srcu");
  if (sim::IsHeldHere(ssp)) {
    sim::Report("waits for its own SRCU read section");
    if (sim::CanStop()) sim::StopHistory();
    return;
  }
  auto wait = [ssp] {
    while (ssp->old_readers != 0) {
      ++ssp->waiters;
      sim::Block(ssp, /*killable=*/false);
      --ssp->waiters;
    }
  };
  wait();  // for whoever is here to the same end
  ssp->old_readers = ssp->readers;
  ssp->readers = 0;
  ssp->idx ^= 1;
  wait();
}

void synchronize_srcu_expedited(struct srcu_struct* ssp) {
  synchronize_srcu(ssp);
}

}  // extern "C"
