#include "tests/simulation/fiber_stack.h"

#include <sys/mman.h>

#include <cstdlib>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace longlora::simulation {
namespace {

// Memory is only taken as far as a stack grows; the sanitizers' frames are large.
constexpr size_t kStackBytes = 1 << 20;
constexpr size_t kGuardBytes = 1 << 12;

std::vector<void*>& FreeStacks() {
  static auto* const stacks = new std::vector<void*>;
  return *stacks;
}

void* TakeStack() {
  if (!FreeStacks().empty()) {
    void* const stack = FreeStacks().back();
    FreeStacks().pop_back();
    return stack;
  }
  void* const stack = mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED || mprotect(stack, kGuardBytes, PROT_NONE) != 0) std::abort();
  return static_cast<char*>(stack) + kGuardBytes;
}

}  // namespace

void PrepareFiber(FiberContext& fiber, void (*entry)()) {
  fiber.stack = TakeStack();
  fiber.stack_bottom = fiber.stack;
  fiber.stack_bytes = kStackBytes;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
#if defined(__SANITIZE_THREAD__)
  fiber.sanitizer_fiber = __tsan_create_fiber(0);
#endif
}

void AdoptThread([[maybe_unused]] FiberContext& thread) {
#if defined(__SANITIZE_THREAD__)
  thread.sanitizer_fiber = __tsan_get_current_fiber();
#endif
}

void FinishFirstSwitch([[maybe_unused]] FiberContext& from) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &from.stack_bottom, &from.stack_bytes);
#endif
}

void SwitchFiber(FiberContext& from, FiberContext& to, [[maybe_unused]] bool from_is_done) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(from_is_done ? nullptr : &from.fake_stack, to.stack_bottom,
                                 to.stack_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(to.sanitizer_fiber, 0);
#endif
  swapcontext(&from.context, &to.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.fake_stack, &to.stack_bottom, &to.stack_bytes);
#endif
}

void ReleaseFiber(FiberContext& fiber) {
#if defined(__SANITIZE_THREAD__)
  __tsan_destroy_fiber(fiber.sanitizer_fiber);
#endif
  FreeStacks().push_back(fiber.stack);
}

}  // namespace longlora::simulation
