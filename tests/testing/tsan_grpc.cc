// Tells ThreadSanitizer, in every program that it watches, what gRPC orders: what a thread did
// before it began an operation of a call is done for the thread that ends it. Debian's libgrpc,
// which is not instrumented, passes the call between them by atomics. It finds these two in place
// of its own.
#include <dlfcn.h>
#include <grpc/grpc.h>
#include <sanitizer/tsan_interface.h>

extern "C" {

// An operation begins.
grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t nops, void* tag,
                                      void* reserved) {
  static auto* const own =
      reinterpret_cast<decltype(&grpc_call_start_batch)>(dlsym(RTLD_NEXT, "grpc_call_start_batch"));
  __tsan_release(call);
  return own(call, ops, nops, tag, reserved);
}

// What gRPC's headers call when an operation has ended, before anything of ours hears of it.
void grpc_call_unref(grpc_call* call) {
  static auto* const own =
      reinterpret_cast<decltype(&grpc_call_unref)>(dlsym(RTLD_NEXT, "grpc_call_unref"));
  __tsan_acquire(call);
  own(call);
}

}  // extern "C"
