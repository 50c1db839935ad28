// Why a trainer ends badly, in the words of the protocol: an UPPER_SNAKE reason for the error event
// and an exit code for the supervisor. The reason travels inside the Status, so that context can be
// added on the way up. Pure functions.
#ifndef LONGLORA_WORKER_TRAINER_FAILURE_H_
#define LONGLORA_WORKER_TRAINER_FAILURE_H_

#include <exception>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/trainer_protocol/exit_code.h"

namespace longlora::trainer {

// `status` with `reason` attached, unless it has one already (the first wins) or is OK.
absl::Status WithReason(absl::Status status, absl::string_view reason);

// WithReason for errors that blame what was read: wrong, missing, unreadable. Errors of disk,
// memory or network keep the reason their code implies.
absl::Status BlameInput(absl::Status status, absl::string_view reason);

// The attached reason, else what the code implies: DISK_FULL for RESOURCE_EXHAUSTED, TRAINER_ERROR
// for the rest.
std::string ReasonOf(const absl::Status& status);

// How a trainer that failed with `status` exits.
common::ExitCode ExitCodeOf(const absl::Status& status);

// What the process computes: where memory can run out. One a process, set from any thread.
enum class Phase { kOther, kForward, kBackward, kOptimizer, kEvaluation };
void EnterPhase(Phase phase);

// An exception LibTorch or the standard library threw, as a Status: OUT_OF_MEMORY when memory ran
// out, which names the phase and the settings that would help there, else TRAINER_ERROR.
absl::Status StatusFromException(const std::exception& error);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_FAILURE_H_
