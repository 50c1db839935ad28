// How a trainer process ends. The supervisor maps these, and death by signal, to failure reasons.
#ifndef LONGLORA_COMMON_TRAINER_PROTOCOL_EXIT_CODE_H_
#define LONGLORA_COMMON_TRAINER_PROTOCOL_EXIT_CODE_H_

namespace longlora::common {

enum class ExitCode : int {
  kSucceeded = 0,
  kInternal = 1,     // our bug, or an exception nobody expected; retried as a system fault
  kInvalidJob = 2,   // spec, model, data or adapter is at fault: never retried
  kStopped = 3,      // SIGTERM obeyed: checkpoint written, nothing wrong
  kOutOfMemory = 4,  // host or device memory: never retried as it stands
  kNonFinite = 5,    // the loss or gradients are NaN or infinite: never retried
  kResource = 6,     // disk full, device missing, peer rank lost: retried as a system fault
};

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_TRAINER_PROTOCOL_EXIT_CODE_H_
