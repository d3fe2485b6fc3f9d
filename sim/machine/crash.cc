// SPDX-License-Identifier: BSD-3-Clause
#include "sim/machine/crash.h"

#include <signal.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "sim/machine/actors.h"
#include "sim/machine/asan.h"
#include "sim/machine/machine.h"

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
                                                       siginfo_t* info, void*) {
#ifdef SIM_ASAN
  ASAN_UNPOISON_MEMORY_REGION(signal_stack, sizeof(signal_stack));
#endif
  OnFault(signal, info);
}

}  // namespace

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
    return true;
  }();
  static_cast<void>(installed);
}

}  // namespace sim
