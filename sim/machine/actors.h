// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MACHINE_ACTORS_H_
#define SIM_MACHINE_ACTORS_H_

// Actors: processes, administrator, agent, loader, each with a stack of its
// own, since a fault may wait for another actor. One runs at a time; it gives
// way only at steps (locks, allocations, stores, sleeps). Which actor runs next
// is decided by the history (commands given "during" another one) and, among
// runnable ones, by their number: no clock and no host thread is involved.
//
// Rule for code that runs on an actor: hold no host heap object in a local
// across a call that may block. A kernel that dies takes the stacks of its
// actors with it without unwinding them.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace sim {

// kDead: a BUG() ended the history; nothing runs until ResetActors().
enum class ActorState { kIdle, kRunnable, kBlocked, kDead };

// Identifies an actor by name ("p0", "admin", "agent"); made on first use.
// The number is stable within a history.
int ActorByName(std::string_view name);
std::string_view ActorName(int actor);
int CurrentActor();  // -1 outside of any actor (boot, executor)
ActorState StateOf(int actor);
// In what it runs now, or ran last.
bool HasWaited(int actor);

// Runs fn on the actor's stack until it returns, or blocks, or the kernel
// stops. The actor must be idle. Then goes on with every other runnable actor
// until all are idle or blocked.
enum class RunResult {
  kDone,        // fn returned
  kBlocked,     // fn waits; it goes on when somebody wakes it
  kKernelDown,  // somebody called StopKernel(): all stacks are gone
  kBug,         // BUG(): the history is over
};
RunResult RunOnActor(int actor, std::function<void()> fn);
// Goes on with actors that are runnable without a new command: after Kill()
// or WakeAll() from outside. kDone: all are idle or blocked again.
RunResult RunRunnable();
// Runs fn with no actor, as boot code runs: it cannot wait for anybody, but
// BUG() and StopKernel() end it in good order. Not from within an actor.
RunResult RunBoot(std::function<void()> fn);

// To be started when the next RunOnActor() has passed its nth step (1-based).
// If it never gets that far, it is started right after it. The actor has to be
// idle at that time: a plan for one that is not waits until it is, and is
// dropped when the run ends first.
void PlanDuring(uint64_t nth_step, int actor, std::function<void()> fn);

// While several actors can run they take turns at steps that `seed` chooses. 0:
// one runs until it waits or ends, which is how it is without this.
void TakeTurns(uint64_t seed);

// One step: the seam where another actor may run. Called by every lock,
// unlock, allocation, store, sleep. `what` is a stable name, for the trace.
void Step(const char* what);
// The same for calls that may sleep: reports "discipline" when a spinlock is
// held, then is a step.
void MightSleep(const char* what);
// Only the report, for calls that sleep at once and so take no step before.
void CheckMaySleep(const char* what);
void SpinlocksHeldDelta(int delta);  // by the lock implementation
int SpinlocksHeld();

// Blocks the current actor until WakeAll(channel). Returns true when it was
// woken because it got a fatal signal. Outside an actor there is nobody who
// could wake it: reported as "discipline" (deadlock in boot), ends the history.
// No step lies between the call and the sleep: what was checked before still
// holds.
bool Block(const void* channel, bool killable);
void WakeAll(const void* channel);
// A fatal signal: a killable wait returns; the actor sees
// FatalSignalPending() until it goes idle.
void Kill(int actor);
bool FatalSignalPending();

// The CPUs stop: control returns to RunOnActor()'s caller with kKernelDown,
// every actor's stack is dropped and all actors are idle again. Does not
// return. Called by the reboot path once the point of no return is passed.
[[noreturn]] void StopKernel();
// Same for a BUG(). Outside RunOnActor() and RunBoot() there is nowhere to
// return to: prints the violations and aborts the program.
[[noreturn]] void StopHistory();
// There is somewhere to return to.
bool CanStop();
// Drops all actors, stacks and plans (new machine, power cut).
void ResetActors();

// Called at the beginning of each step of an actor, with the step's name, and
// at each write barrier, "smp_wmb"; it only looks. An empty one: nobody is.
void WatchSteps(std::function<void(const char*)> watcher);

uint64_t StepsOfLastRun();
// So many RunOnActor() have begun: what runs at the same time has one number.
uint64_t Runs();
// Another number after each step and each time an actor goes on. May be called
// from a signal handler.
uint64_t Progress();

}  // namespace sim

#endif  // SIM_MACHINE_ACTORS_H_
