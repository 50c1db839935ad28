// Stacks for fibers, reused from run to run, and the switch between two of them, of which the
// sanitizers must be told.
#ifndef LONGLORA_TESTS_SIMULATION_FIBER_STACK_H_
#define LONGLORA_TESTS_SIMULATION_FIBER_STACK_H_

#include <ucontext.h>

#include <cstddef>

namespace longlora::simulation {

// Where a fiber, or the thread that runs them all, stands while it does not run.
struct FiberContext {
  ucontext_t context = {};
  void* stack = nullptr;  // null: the thread's own
  const void* stack_bottom = nullptr;
  size_t stack_bytes = 0;
  void* fake_stack = nullptr;       // AddressSanitizer's
  void* sanitizer_fiber = nullptr;  // ThreadSanitizer's
};

// Makes `fiber` begin with `entry` on a stack of its own when it is switched to.
void PrepareFiber(FiberContext& fiber, void (*entry)());
// What the thread itself needs before the first switch.
void AdoptThread(FiberContext& thread);
// To be called first by what begins on a new stack, with where it came from.
void FinishFirstSwitch(FiberContext& from);
void SwitchFiber(FiberContext& from, FiberContext& to, bool from_is_done);
// After its last switch.
void ReleaseFiber(FiberContext& fiber);

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_FIBER_STACK_H_
