// SPDX-License-Identifier: BSD-3-Clause
#include "sim/machine/actors.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sim/machine/fiber.h"
#include "sim/machine/locks.h"
#include "sim/machine/machine.h"

namespace sim {
namespace {

void ActorMain();

struct Actor {
  explicit Actor(std::string_view n) : name(n), fiber(&ActorMain) {}

  std::string name;
  Fiber fiber;
  ActorState state = ActorState::kIdle;
  std::function<void()> fn;
  const void* channel = nullptr;
  bool killable = false;  // the wait it is in
  bool killed = false;    // fatal signal pending
  bool woken_by_kill = false;
  bool waited = false;  // since it was started
  int spinlocks = 0;
};

struct Plan {
  uint64_t nth_step;
  int actor;
  std::function<void()> fn;
};

enum class Stop { kNone, kKernel, kHistory };

// Actors have numbers below this; the text form of histories knows fewer.
constexpr size_t kMaxActors = 64;
constexpr int kNobody = -1;
constexpr uint64_t kNever = ~0ULL;
// One command that takes more steps hangs.
constexpr uint64_t kMaxSteps = 1ULL << 27;
// So many steps and nobody waited: on another CPU the others would have gone
// on.
constexpr uint64_t kSlice = 1ULL << 20;

struct Scheduler {
  std::vector<std::unique_ptr<Actor>> actors;
  std::unique_ptr<Actor> boot;  // what runs while no actor does
  int current = kNobody;
  Actor* running = nullptr;  // current's, or boot; null: the host's stack
  int next = kNobody;        // to run before any other: a plan that starts
  Stop stop = Stop::kNone;
  bool over = false;
  std::vector<Plan> plans;  // ascending by step, then as planned
  uint64_t next_plan_step = kNever;
  uint64_t steps = 0;
  uint64_t resumed_at = 0;  // the step at which `running` got its turn
  uint64_t turns = 0;       // state of the dice; 0: nobody takes turns
  uint64_t resumed = 0;     // any actor, ever
  uint64_t runs = 0;
  int boot_spinlocks = 0;  // outside of RunBoot() too
  std::function<void(const char*)> watcher;
};

Scheduler& S() {
  static auto* scheduler = new Scheduler;
  return *scheduler;
}

Actor& Get(int actor) {
  Scheduler& s = S();
  if (actor < 0 || static_cast<size_t>(actor) >= s.actors.size()) {
    std::fprintf(stderr, "no actor has number %d\n", actor);
    std::abort();
  }
  return *s.actors[static_cast<size_t>(actor)];
}

// What every fiber runs: one command after the other.
void ActorMain() {
  for (;;) {
    Actor& actor = *S().running;
    actor.fn();
    actor.state = ActorState::kIdle;
    Fiber::Suspend();
  }
}

void GoOn(int number, Actor& actor) {
  Scheduler& s = S();
  s.current = number;
  s.running = &actor;
  s.resumed_at = s.steps;
  ++s.resumed;
  actor.fiber.Resume();
  s.current = kNobody;
  s.running = nullptr;
  if (actor.state != ActorState::kIdle) return;
  actor.fn = nullptr;
  actor.killed = false;
  CheckNoLocksHeld(number);
  actor.spinlocks = 0;
}

void Start(Actor& actor, std::function<void()> fn) {
  actor.fn = std::move(fn);
  actor.state = ActorState::kRunnable;
  actor.woken_by_kill = false;
  actor.waited = false;
}

// Of those that can run, the one whose turn it is; kNobody: the current one
// goes on. xorshift64, and one step in four on the average.
int RollTurn() {
  Scheduler& s = S();
  s.turns ^= s.turns << 13;
  s.turns ^= s.turns >> 7;
  s.turns ^= s.turns << 17;
  if ((s.turns & 3) != 0) return kNobody;
  int others = 0;
  for (size_t i = 0; i < s.actors.size(); ++i) {
    others += static_cast<int>(i) != s.current &&
              s.actors[i]->state == ActorState::kRunnable;
  }
  if (others == 0) return kNobody;
  auto left = static_cast<int>((s.turns >> 8) % static_cast<uint64_t>(others));
  for (size_t i = 0;; ++i) {
    if (static_cast<int>(i) == s.current ||
        s.actors[i]->state != ActorState::kRunnable) {
      continue;
    }
    if (left-- == 0) return static_cast<int>(i);
  }
}

// Whoever can run and comes after the current one.
int NextRunnable() {
  const Scheduler& s = S();
  const size_t nr = s.actors.size();
  for (size_t i = 1; i < nr; ++i) {
    const size_t at = (static_cast<size_t>(s.current) + i) % nr;
    if (s.actors[at]->state == ActorState::kRunnable)
      return static_cast<int>(at);
  }
  return kNobody;
}

int LowestRunnable() {
  const auto& actors = S().actors;
  for (size_t i = 0; i < actors.size(); ++i) {
    if (actors[i]->state == ActorState::kRunnable) return static_cast<int>(i);
  }
  return kNobody;
}

void FindNextPlan() {
  Scheduler& s = S();
  s.next_plan_step = s.plans.empty() ? kNever : s.plans.front().nth_step;
}

// Makes the first plan whose time has come and whose actor is idle the next to
// run.
bool StartPlan(uint64_t step) {
  Scheduler& s = S();
  for (auto plan = s.plans.begin(); plan != s.plans.end(); ++plan) {
    if (plan->nth_step > step) break;
    Actor& actor = Get(plan->actor);
    if (actor.state != ActorState::kIdle) continue;
    s.next = plan->actor;
    Start(actor, std::move(plan->fn));
    s.plans.erase(plan);
    FindNextPlan();
    return true;
  }
  return false;
}

void DropStack(Actor& actor, ActorState state) {
  actor.fiber.Drop();
  actor.state = state;
  actor.fn = nullptr;
  actor.channel = nullptr;
  actor.killable = false;
  actor.killed = false;
  actor.woken_by_kill = false;
  actor.spinlocks = 0;
}

void DropPlans() {
  Scheduler& s = S();
  s.plans.clear();
  s.next_plan_step = kNever;
  s.next = kNobody;
}

// After StopKernel() or StopHistory() gave control back.
RunResult Stopped() {
  Scheduler& s = S();
  const bool history = s.stop == Stop::kHistory;
  s.stop = Stop::kNone;
  s.over |= history;
  for (auto& actor : s.actors) {
    DropStack(*actor, history ? ActorState::kDead : ActorState::kIdle);
  }
  if (s.boot != nullptr) DropStack(*s.boot, ActorState::kIdle);
  s.boot_spinlocks = 0;
  DropPlans();
  LocksReset();
  return history ? RunResult::kBug : RunResult::kKernelDown;
}

// Runs until nobody can. `primary` is the actor that plans wait for.
bool RunAll(int primary) {
  Scheduler& s = S();
  for (;;) {
    if (s.next == kNobody && !s.plans.empty() &&
        (primary == kNobody || Get(primary).state == ActorState::kIdle ||
         LowestRunnable() == kNobody)) {
      StartPlan(kNever);
    }
    const int number = s.next != kNobody ? s.next : LowestRunnable();
    s.next = kNobody;
    if (number == kNobody) return true;
    GoOn(number, Get(number));
    if (s.stop != Stop::kNone) return false;
  }
}

void MustBeOutside(const char* what) {
  if (S().running == nullptr) return;
  std::fprintf(stderr, "%s from within an actor\n", what);
  std::abort();
}

[[noreturn]] void StopWith(Stop stop) {
  if (S().running == nullptr) {
    std::fprintf(stderr, "the kernel stops outside of any actor\n");
    if (HaveMachine()) {
      for (const Violation& v : M().violations()) {
        std::fprintf(stderr, "%s: %s\n", v.property.c_str(), v.what.c_str());
      }
    }
    std::abort();
  }
  S().stop = stop;
  Fiber::Suspend();
  std::abort();
}

// Steps are part of the digest: two runs that differ in one differ.
void CountStep(const char* what) {
  Scheduler& s = S();
  if (HaveMachine()) M().AddStep(s.current, what);
  ++s.steps;
  // Nothing can be started in boot.
  if (s.current != kNobody && HaveMachine() && M().tracing())
    M().Note("step " + std::to_string(s.steps) + " " + s.running->name + ": " +
             what);
  if (s.steps != kMaxSteps || s.running == nullptr) return;
  M().Report("discipline", std::string(ActorName(s.current)) +
                               " is in an endless loop, at " + what);
  StopHistory();
}

}  // namespace

int ActorByName(std::string_view name) {
  auto& actors = S().actors;
  for (size_t i = 0; i < actors.size(); ++i) {
    if (actors[i]->name == name) return static_cast<int>(i);
  }
  if (actors.size() == kMaxActors) {
    std::fprintf(stderr, "too many actors\n");
    std::abort();
  }
  actors.push_back(std::make_unique<Actor>(name));
  if (S().over) actors.back()->state = ActorState::kDead;
  return static_cast<int>(actors.size()) - 1;
}

std::string_view ActorName(int actor) {
  return actor < 0 ? std::string_view("boot") : Get(actor).name;
}

int CurrentActor() { return S().current; }

ActorState StateOf(int actor) { return Get(actor).state; }

bool HasWaited(int actor) { return Get(actor).waited; }

RunResult RunOnActor(int actor, std::function<void()> fn) {
  Scheduler& s = S();
  MustBeOutside("RunOnActor()");
  if (s.over) return RunResult::kBug;
  Actor& a = Get(actor);
  if (a.state != ActorState::kIdle) {
    std::fprintf(stderr, "actor %s is not idle\n", a.name.c_str());
    std::abort();
  }
  s.steps = 0;
  ++s.runs;
  Start(a, std::move(fn));
  s.next = actor;
  if (!RunAll(actor)) return Stopped();
  DropPlans();
  return a.state == ActorState::kIdle ? RunResult::kDone : RunResult::kBlocked;
}

RunResult RunRunnable() {
  Scheduler& s = S();
  MustBeOutside("RunRunnable()");
  if (s.over) return RunResult::kBug;
  s.steps = 0;
  // Plans are for the next RunOnActor().
  std::vector<Plan> plans = std::exchange(s.plans, {});
  FindNextPlan();
  if (!RunAll(kNobody)) return Stopped();
  s.plans = std::move(plans);
  FindNextPlan();
  return RunResult::kDone;
}

RunResult RunBoot(std::function<void()> fn) {
  Scheduler& s = S();
  MustBeOutside("RunBoot()");
  if (s.over) return RunResult::kBug;
  if (s.boot == nullptr) s.boot = std::make_unique<Actor>("boot");
  s.steps = 0;
  Start(*s.boot, std::move(fn));
  GoOn(kNobody, *s.boot);
  s.boot_spinlocks = 0;
  return s.stop == Stop::kNone ? RunResult::kDone : Stopped();
}

void PlanDuring(uint64_t nth_step, int actor, std::function<void()> fn) {
  auto& plans = S().plans;
  auto at = plans.begin();
  while (at != plans.end() && at->nth_step <= nth_step) ++at;
  plans.insert(at, Plan{nth_step, actor, std::move(fn)});
  FindNextPlan();
}

void Step(const char* what) {
  Scheduler& s = S();
  CountStep(what);
  if (s.current == kNobody) return;
  if (s.watcher) s.watcher(what);
  while (s.steps >= s.next_plan_step && StartPlan(s.steps)) {
    Fiber::Suspend();
    // More may be due by now: steps of others count.
  }
  // Who holds a spinlock is not interrupted here.
  if (s.running->spinlocks != 0) return;
  s.next = s.turns != 0                       ? RollTurn()
           : s.steps - s.resumed_at >= kSlice ? NextRunnable()
                                              : kNobody;
  if (s.next != kNobody) Fiber::Suspend();
}

void WatchSteps(std::function<void(const char*)> watcher) {
  S().watcher = std::move(watcher);
}

void TakeTurns(uint64_t seed) {
  // Small seeds make poor first throws.
  S().turns = seed * 0x9e3779b97f4a7c15;
}

void CheckMaySleep(const char* what) {
  const char* where = SpinlocksHeld() != 0 ? " under a spinlock"
                      : InRcuReadSection() ? " in an RCU read section"
                                           : nullptr;
  if (where == nullptr) return;
  M().Report("discipline", std::string(ActorName(CurrentActor())) +
                               " sleeps in " + what + where);
}

void MightSleep(const char* what) {
  CheckMaySleep(what);
  Step(what);
}

void SpinlocksHeldDelta(int delta) {
  Scheduler& s = S();
  (s.current == kNobody ? s.boot_spinlocks : s.running->spinlocks) += delta;
}

int SpinlocksHeld() {
  Scheduler& s = S();
  return s.current == kNobody ? s.boot_spinlocks : s.running->spinlocks;
}

bool Block(const void* channel, bool killable) {
  Scheduler& s = S();
  if (s.current == kNobody) {
    M().Report("discipline", "boot waits, and nobody is there to wake it");
    StopHistory();
  }
  Actor& actor = *s.running;
  if (killable && actor.killed) return true;
  actor.channel = channel;
  actor.killable = killable;
  actor.woken_by_kill = false;
  actor.state = ActorState::kBlocked;
  actor.waited = true;
  Fiber::Suspend();
  return actor.woken_by_kill;
}

void WakeAll(const void* channel) {
  for (auto& actor : S().actors) {
    if (actor->state != ActorState::kBlocked) continue;
    if (actor->channel != channel) continue;
    actor->state = ActorState::kRunnable;
    actor->channel = nullptr;
  }
}

void Kill(int number) {
  Actor& actor = Get(number);
  if (actor.state == ActorState::kIdle || actor.state == ActorState::kDead) {
    return;
  }
  actor.killed = true;
  if (actor.state != ActorState::kBlocked || !actor.killable) return;
  actor.state = ActorState::kRunnable;
  actor.channel = nullptr;
  actor.woken_by_kill = true;
}

bool FatalSignalPending() {
  const Scheduler& s = S();
  return s.current != kNobody && s.running->killed;
}

uint64_t Progress() { return (S().resumed << 32) + S().steps; }

bool CanStop() { return S().running != nullptr; }

void StopKernel() { StopWith(Stop::kKernel); }

void StopHistory() { StopWith(Stop::kHistory); }

void ResetActors() {
  Scheduler& s = S();
  MustBeOutside("ResetActors()");
  s.actors.clear();
  s.over = false;
  s.stop = Stop::kNone;
  s.steps = 0;
  s.turns = 0;
  s.boot_spinlocks = 0;
  DropPlans();
  LocksReset();
}

uint64_t StepsOfLastRun() { return S().steps; }

uint64_t Runs() { return S().runs; }

}  // namespace sim

// No step: nobody else runs, and it has no number.
extern "C" void sim_smp_wmb(void) {
  sim::Scheduler& s = sim::S();
  if (s.watcher) s.watcher("smp_wmb");
}
