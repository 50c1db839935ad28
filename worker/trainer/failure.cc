#include "worker/trainer/failure.h"

#include <c10/util/Exception.h>

#include <atomic>
#include <new>
#include <optional>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace longlora::trainer {
namespace {

constexpr char kReasonUrl[] = "longlora/trainer-reason";

std::atomic<Phase> phase = Phase::kOther;

// What ran, and what makes it smaller.
std::pair<const char*, const char*> PhaseAndAdvice() {
  switch (phase.load()) {
    case Phase::kForward:
      return {"the forward pass of a training step",
              "lower max_sequence_length or training.micro_batch_size"};
    case Phase::kBackward:
      return {"the backward pass of a training step",
              "lower max_sequence_length or training.micro_batch_size, or train fewer parameters "
              "(method.trainable, method.lora.rank), whose gradients it makes"};
    case Phase::kOptimizer:
      return {"the optimizer's update",
              "train fewer parameters (method.trainable, method.lora.rank)"};
    case Phase::kEvaluation:
      return {"an evaluation", "lower max_sequence_length"};
    case Phase::kOther:
      break;
  }
  return {"loading or saving",
          "train fewer parameters (method.trainable), or take a smaller base_model"};
}

// LibTorch's CPU allocator throws a plain c10::Error when malloc fails.
bool SaysOutOfMemory(absl::string_view message) {
  return absl::StrContains(message, "not enough memory") ||
         absl::StrContains(message, "can't allocate memory") ||
         absl::StrContains(message, "out of memory");
}

}  // namespace

absl::Status WithReason(absl::Status status, absl::string_view reason) {
  if (!status.ok() && !status.GetPayload(kReasonUrl).has_value()) {
    status.SetPayload(kReasonUrl, absl::Cord(reason));
  }
  return status;
}

absl::Status BlameInput(absl::Status status, absl::string_view reason) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kDataLoss:
      return WithReason(std::move(status), reason);
    default:
      return status;
  }
}

std::string ReasonOf(const absl::Status& status) {
  if (const auto payload = status.GetPayload(kReasonUrl); payload.has_value()) {
    return std::string(*payload);
  }
  return status.code() == absl::StatusCode::kResourceExhausted ? "DISK_FULL" : "TRAINER_ERROR";
}

common::ExitCode ExitCodeOf(const absl::Status& status) {
  const std::string reason = ReasonOf(status);
  if (reason == "INVALID_SPEC" || reason == "DATASET_INVALID" || reason == "MODEL_INVALID" ||
      reason == "ADAPTER_INVALID" || reason == "RESUME_MISMATCH") {
    return common::ExitCode::kInvalidJob;
  }
  if (reason == "OUT_OF_MEMORY") return common::ExitCode::kOutOfMemory;
  if (reason == "NON_FINITE") return common::ExitCode::kNonFinite;
  if (reason == "DISK_FULL" || reason == "DEVICE_UNAVAILABLE" || reason == "PEER_LOST" ||
      status.code() == absl::StatusCode::kUnavailable) {
    return common::ExitCode::kResource;
  }
  return common::ExitCode::kInternal;
}

void EnterPhase(Phase entered) { phase.store(entered); }

absl::Status StatusFromException(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  const std::string message =
      torch_error != nullptr ? torch_error->what_without_backtrace() : error.what();
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
      dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr || SaysOutOfMemory(message)) {
    const auto [what, advice] = PhaseAndAdvice();
    return WithReason(absl::ResourceExhaustedError(absl::StrCat(
                          "memory ran out in ", what, " (", message.substr(0, message.find('\n')),
                          "); ", advice, ", or use a device with more memory")),
                      "OUT_OF_MEMORY");
  }
  return absl::InternalError(message);
}

}  // namespace longlora::trainer
