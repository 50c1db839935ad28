#include "worker/agent/failure.h"

#include "rpc/grpc_status.h"

namespace longlora::worker {
namespace {

api::Failure::Fault ToProto(Fault fault) {
  return fault == Fault::kJob ? api::Failure::JOB : api::Failure::SYSTEM;
}

// Reasons of calls that are the job's doing; the service's others are faults of the transfer.
absl::string_view ReasonOfCall(absl::string_view call_reason) {
  if (call_reason == "FILE_NOT_FOUND") return "DATASET_INVALID";
  return "TRANSFER_FAILED";
}

bool IsFailureReason(absl::string_view reason) {
  return FaultOf(reason) == Fault::kJob || reason == "DISK_FULL" || reason == "TRANSFER_FAILED" ||
         reason == "DEVICE_UNAVAILABLE" || reason == "WORKER_LOST" || reason == "TRAINER_ERROR";
}

}  // namespace

absl::Status FailureError(absl::string_view reason, absl::string_view message) {
  const absl::StatusCode code = FaultOf(reason) == Fault::kJob ? absl::StatusCode::kInvalidArgument
                                                               : absl::StatusCode::kUnavailable;
  return rpc::MakeError(code, message,
                        {.reason = std::string(reason), .metadata = {}, .violations = {}});
}

api::Failure FailureFromStatus(const absl::Status& status) {
  const std::string call_reason = rpc::GetErrorDetails(status).reason;
  std::string reason;
  if (IsFailureReason(call_reason)) {
    reason = call_reason;
  } else if (call_reason.empty() && absl::IsResourceExhausted(status)) {
    reason = "DISK_FULL";
  } else {
    reason = std::string(ReasonOfCall(call_reason));
  }
  api::Failure failure;
  failure.set_reason(reason);
  failure.set_message(std::string(status.message()));
  failure.set_fault(ToProto(FaultOf(reason)));
  return failure;
}

api::Failure FailureFromRanks(const RankFailure& rank_failure) {
  api::Failure failure;
  failure.set_reason(rank_failure.reason);
  failure.set_message(rank_failure.message);
  failure.set_fault(ToProto(rank_failure.fault));
  return failure;
}

}  // namespace longlora::worker
