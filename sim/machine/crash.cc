// SPDX-License-Identifier: BSD-3-Clause
#include "sim/machine/crash.h"

#include <execinfo.h>
#include <signal.h>
#include <sim/kernel_api.h>
#include <sys/time.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "sim/machine/actors.h"
#include "sim/machine/asan.h"
#include "sim/machine/machine.h"
#include "sim/machine/symbols.h"

// The code of kernel/new (scripts/lib/collect-data.py).
extern "C" const char __start_knew_text[] __attribute__((weak));
extern "C" const char __stop_knew_text[] __attribute__((weak));

namespace sim {
namespace {

bool IsPhysical(uintptr_t at) {
  PhysicalMemory& memory = M().memory();
  return at - reinterpret_cast<uintptr_t>(memory.base()) < memory.end_pfn()
                                                               << 12;
}

// The struct pages of holes are not there.
bool IsMemMap(uintptr_t at) {
  return sim_mem_map != nullptr &&
         at - reinterpret_cast<uintptr_t>(sim_mem_map) <
             M().memory().end_pfn() * sizeof(struct page);
}

// x86 gives no address when it is none ("non-canonical"): poison, mostly.
bool HasAddress(const siginfo_t& info) { return info.si_code != SI_KERNEL; }

std::string Hex(uintptr_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "%#llx",
                static_cast<unsigned long long>(value));
  return text;
}

// What an address says without being one of the host's.
std::string Describe(const siginfo_t& info) {
  const auto at = reinterpret_cast<uintptr_t>(info.si_addr);
  if (!HasAddress(info)) return "access at a non-canonical address";
  if (at == 0) return "access through a null pointer";
  if (at < 65536) return "access at address " + Hex(at);
  if (IsPhysical(at)) {
    const auto base = reinterpret_cast<uintptr_t>(M().memory().base());
    return "access to physical address " + Hex(at - base) +
           ", where nothing is";
  }
  if (IsMemMap(at)) {
    const auto base = reinterpret_cast<uintptr_t>(sim_mem_map);
    return "access to the struct page of frame " +
           std::to_string((at - base) / sizeof(struct page)) +
           ", where nothing is";
  }
  return "access through a wild pointer";
}

// What it does not say: different in each build, or each time.
std::string DescribeHostAddress(int signal, const siginfo_t& info) {
  const auto at = reinterpret_cast<uintptr_t>(info.si_addr);
  if (signal == SIGFPE || !HasAddress(info) || at < 65536 || IsPhysical(at) ||
      IsMemMap(at)) {
    return "";
  }
  return " to " + Hex(at);
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
// Once one is found it is shrunk, with many more. Sanitized code, too, needs
// less than this.
constexpr int kNextLimit = 3;

int limit = kFirstLimit;
int quiet_ticks = 0;
uint64_t last_progress = 0;

bool IsKernelNew(const void* address) {
  const char* code = static_cast<const char*>(address);
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
                 " computes without end, with no step in between",
             ", at " + WhereInterrupted(context));
  StopHistory();
}

void OnFault(int signal, const siginfo_t* info, const void* context) {
  if (!CanStop() || !HaveMachine()) {
    // The instruction runs again, and meets the default action.
    ::signal(signal, SIG_DFL);
    return;
  }
  M().Report(
      "discipline",
      "Oops in " + std::string(ActorName(CurrentActor())) + ": " +
          (signal == SIGFPE ? "divide error" : Describe(*info)),
      DescribeHostAddress(signal, *info) + ", at " + WhereInterrupted(context));
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
    OnFault(signal, info, context);
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
    // What these need is there before a signal handler needs it.
    void* frame;
    backtrace(&frame, 1);
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
