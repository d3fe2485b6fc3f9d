// SPDX-License-Identifier: BSD-3-Clause
#include "sim/machine/crash.h"

#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "sim/machine/actors.h"
#include "sim/machine/asan.h"
#include "sim/machine/machine.h"

// The code of kernel/new (scripts/lib/collect-data.py).
extern "C" const char __start_knew_text[] __attribute__((weak));
extern "C" const char __stop_knew_text[] __attribute__((weak));

namespace sim {
namespace {

// What an address says without being one of the host's.
std::string Describe(const void* address) {
  const auto at = reinterpret_cast<uintptr_t>(address);
  char text[64];
  if (at == 0) return "access through a null or a wild pointer";
  if (at < 65536) {
    std::snprintf(text, sizeof(text), "access at address %#llx",
                  static_cast<unsigned long long>(at));
    return text;
  }
  PhysicalMemory& memory = M().memory();
  const uint64_t phys = at - reinterpret_cast<uintptr_t>(memory.base());
  if (phys < memory.end_pfn() << 12) {
    std::snprintf(text, sizeof(text),
                  "access to physical address %#llx, where nothing is",
                  static_cast<unsigned long long>(phys));
    return text;
  }
  return "access through a wild pointer";
}

// Signals are handled on a stack of their own, since an actor may have run out
// of its stack.
alignas(16) char signal_stack[64 * 1024];

// The machine is looked at ten times for each second that it computed: real
// time does not count, nor time spent waiting.
constexpr int kTickMicroseconds = 100000;
// Steps are microseconds apart, and a whole boot takes milliseconds. Four
// seconds are as far from that as from a reader's patience.
constexpr int kFirstLimit = 40;
// Once one is found it is shrunk, with many more. Sanitized code, too, is ten
// times faster than this.
constexpr int kNextLimit = 3;

int limit = kFirstLimit;
int quiet_ticks = 0;
uint64_t last_progress = 0;

// The x86_64 instruction pointer, where there is one.
const char* InterruptedAt(const void* context) {
#ifdef __x86_64__
  return reinterpret_cast<const char*>(
      static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
#else
  static_cast<void>(context);
  return nullptr;
#endif
}

bool IsKernelNew(const char* code) {
  return code >= __start_knew_text && code < __stop_knew_text;
}

// Follows watchdog_timer_fn() of kernel/watchdog.c, but for the clock.
void OnTick(const void* context) {
  const uint64_t progress = Progress();
  if (!CanStop() || !HaveMachine() || progress != last_progress) {
    last_progress = progress;
    quiet_ticks = 0;
    return;
  }
  ++quiet_ticks;
  if (quiet_ticks < limit) return;
  // The simulator may be in the middle of the host's malloc(): wait for a tick
  // that hits the kernel's own code, though not for ever.
  if (!IsKernelNew(InterruptedAt(context)) && quiet_ticks < 2 * limit) return;
  limit = kNextLimit;
  quiet_ticks = 0;
  M().Report("discipline",
             "soft lockup: " + std::string(ActorName(CurrentActor())) +
                 " computes without end, with no step in between");
  StopHistory();
}

void OnFault(int signal, const siginfo_t* info) {
  if (!CanStop() || !HaveMachine()) {
    // The instruction runs again, and meets the default action.
    ::signal(signal, SIG_DFL);
    return;
  }
  M().Report("discipline",
             "Oops in " + std::string(ActorName(CurrentActor())) + ": " +
                 (signal == SIGFPE ? "divide error" : Describe(info->si_addr)));
  // Never returns to the frame that the signal interrupted. No signal is
  // blocked (SA_NODEFER), and this stack is free again once it is left.
  StopHistory();
}

// The frames of the last fault were left for good: their red zones are still
// there. Instrumented, this function would have some itself.
__attribute__((__no_sanitize_address__)) void OnSignal(int signal,
                                                       siginfo_t* info,
                                                       void* context) {
#ifdef SIM_ASAN
  ASAN_UNPOISON_MEMORY_REGION(signal_stack, sizeof(signal_stack));
#endif
  if (signal == SIGVTALRM) {
    OnTick(context);
  } else {
    OnFault(signal, info);
  }
}

}  // namespace

void SetSoftLockupLimit(int ticks) { limit = ticks > 0 ? ticks : kFirstLimit; }

void CatchCrashes() {
  static const bool installed = [] {
    stack_t stack = {};
    stack.ss_sp = signal_stack;
    stack.ss_size = sizeof(signal_stack);
    sigaltstack(&stack, nullptr);
    struct sigaction action = {};
    action.sa_sigaction = &OnSignal;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    for (int signal : {SIGSEGV, SIGBUS, SIGFPE}) {
      sigaction(signal, &action, nullptr);
    }
    last_progress = Progress();
    action.sa_flags |= SA_RESTART;
    sigaction(SIGVTALRM, &action, nullptr);
    itimerval timer = {};
    timer.it_interval.tv_usec = timer.it_value.tv_usec = kTickMicroseconds;
    setitimer(ITIMER_VIRTUAL, &timer, nullptr);
    return true;
  }();
  static_cast<void>(installed);
}

}  // namespace sim
