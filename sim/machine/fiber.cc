// SPDX-License-Identifier: BSD-3-Clause
#include "sim/machine/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "sim/machine/asan.h"

#if defined(__x86_64__) && !defined(SIM_FIBER_UCONTEXT)
#define SIM_FIBER_X86_64 1
#else
#include <ucontext.h>
#endif

#ifdef SIM_FIBER_X86_64
// void sim_fiber_switch(void** save, void* load): saves what a call must keep
// (System V ABI) on the running stack and its place in *save, goes on at load.
// swapcontext() would do, but for two system calls each time.
extern "C" void sim_fiber_switch(void** save, void* load);
asm(R"(
    .text
    .p2align 4
    .globl sim_fiber_switch
    .hidden sim_fiber_switch
    .type sim_fiber_switch, @function
sim_fiber_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size sim_fiber_switch, . - sim_fiber_switch
)");
#endif

namespace sim {
namespace {

#ifdef SIM_ASAN
constexpr size_t kStackBytes = 512 * 1024;  // frames are larger
#else
constexpr size_t kStackBytes = 128 * 1024;
#endif
constexpr size_t kGuardBytes = 64 * 1024;

#ifdef SIM_FIBER_X86_64
using Context = void*;
#else
using Context = ucontext_t;
#endif

void SwitchContext(Context* save, Context* load) {
#ifdef SIM_FIBER_X86_64
  sim_fiber_switch(save, *load);
#else
  swapcontext(save, load);
#endif
}

Context host;
Fiber* running = nullptr;

#ifdef SIM_ASAN
void* host_fake_stack = nullptr;
const void* host_bottom = nullptr;
size_t host_bytes = 0;
#endif

}  // namespace

struct Fiber::Stack {
  char* map;
  Context context;
  bool started = false;
#ifdef SIM_ASAN
  // Kept when the fiber is dropped: there is no way to free it from outside,
  // but the next fiber on this stack can go on with it.
  void* fake_stack = nullptr;
#endif

  char* bottom() const { return map + kGuardBytes; }

  static std::vector<Stack*>& Free() {
    static auto* free = new std::vector<Stack*>;
    return *free;
  }

  static Stack* Take() {
    if (!Free().empty()) {
      Stack* stack = Free().back();
      Free().pop_back();
      return stack;
    }
    void* map =
        mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (map == MAP_FAILED || mprotect(map, kGuardBytes, PROT_NONE) != 0) {
      std::perror("mmap of a stack");
      std::abort();
    }
    auto* stack = new Stack;
    stack->map = static_cast<char*>(map);
    return stack;
  }

  // Makes the next switch to this stack call begin().
  void Prepare(void (*begin)()) {
#ifdef SIM_ASAN
    // Frames that never returned left their red zones.
    ASAN_UNPOISON_MEMORY_REGION(bottom(), kStackBytes);
#endif
#ifdef SIM_FIBER_X86_64
    // What sim_fiber_switch pops: six registers, then where to return to.
    // begin() finds the stack as if called by a function at address 0, where
    // every unwinder stops.
    auto* top = reinterpret_cast<uintptr_t*>(bottom() + kStackBytes);
    top[-1] = 0;
    top[-2] = reinterpret_cast<uintptr_t>(begin);
    for (int i = 3; i <= 8; ++i) top[-i] = 0;
    context = top - 8;
#else
    getcontext(&context);
    context.uc_stack.ss_sp = bottom();
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    makecontext(&context, begin, 0);
#endif
    started = true;
  }
};

Fiber::Fiber(void (*entry)()) : entry_(entry), stack_(Stack::Take()) {}

Fiber::~Fiber() {
  Drop();
  Stack::Free().push_back(stack_);
}

void Fiber::Drop() { stack_->started = false; }

void Fiber::Begin() {
#ifdef SIM_ASAN
  __sanitizer_finish_switch_fiber(running->stack_->fake_stack, &host_bottom,
                                  &host_bytes);
#endif
  running->entry_();
  std::abort();
}

void Fiber::Resume() {
  if (running != nullptr) {
    std::fprintf(stderr, "a fiber resumes another one\n");
    std::abort();
  }
  if (!stack_->started) stack_->Prepare(&Fiber::Begin);
  running = this;
#ifdef SIM_ASAN
  __sanitizer_start_switch_fiber(&host_fake_stack, stack_->bottom(),
                                 kStackBytes);
#endif
  SwitchContext(&host, &stack_->context);
#ifdef SIM_ASAN
  __sanitizer_finish_switch_fiber(host_fake_stack, nullptr, nullptr);
#endif
  running = nullptr;
}

void Fiber::Suspend() {
  Stack* stack = running->stack_;
#ifdef SIM_ASAN
  __sanitizer_start_switch_fiber(&stack->fake_stack, host_bottom, host_bytes);
#endif
  SwitchContext(&stack->context, &host);
#ifdef SIM_ASAN
  __sanitizer_finish_switch_fiber(stack->fake_stack, &host_bottom, &host_bytes);
#endif
}

}  // namespace sim
