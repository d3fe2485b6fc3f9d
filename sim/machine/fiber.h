// SPDX-License-Identifier: BSD-3-Clause
#ifndef SIM_MACHINE_FIBER_H_
#define SIM_MACHINE_FIBER_H_

#include <cstddef>

namespace sim {

// A stack of its own, and the place where the code on it has stopped. Fibers
// are resumed by the host's stack and give way to it, never to each other.
class Fiber {
 public:
  // entry() never returns. Stacks come from a pool and go back to it.
  explicit Fiber(void (*entry)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Forgets what is on the stack, without unwinding it: the next Resume()
  // starts entry() from the beginning.
  void Drop();

  // Runs the fiber until it calls Suspend(). Called on the host's stack.
  void Resume();
  // Goes back to whoever called Resume() of the running fiber.
  static void Suspend();

 private:
  struct Stack;
  static void Begin();

  void (*entry_)();
  Stack* stack_;
};

}  // namespace sim

#endif  // SIM_MACHINE_FIBER_H_
