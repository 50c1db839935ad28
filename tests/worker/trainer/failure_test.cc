// Goal: every way to fail has the reason and the exit code the supervisor expects. Method: tables.
#include "worker/trainer/failure.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

#include "common/status/annotate.h"

namespace longlora::trainer {
namespace {

using common::ExitCode;

TEST(FailureTest, EveryReasonHasItsExitCode) {
  const std::vector<std::pair<const char*, ExitCode>> table = {
      {"INVALID_SPEC", ExitCode::kInvalidJob},     {"DATASET_INVALID", ExitCode::kInvalidJob},
      {"MODEL_INVALID", ExitCode::kInvalidJob},    {"ADAPTER_INVALID", ExitCode::kInvalidJob},
      {"RESUME_MISMATCH", ExitCode::kInvalidJob},  {"OUT_OF_MEMORY", ExitCode::kOutOfMemory},
      {"NON_FINITE", ExitCode::kNonFinite},        {"DISK_FULL", ExitCode::kResource},
      {"DEVICE_UNAVAILABLE", ExitCode::kResource}, {"PEER_LOST", ExitCode::kResource},
      {"TRAINER_ERROR", ExitCode::kInternal},      {"EXPORT_INVALID", ExitCode::kInternal}};
  for (const auto& [reason, code] : table) {
    const absl::Status status = WithReason(absl::InternalError("x"), reason);
    EXPECT_EQ(ReasonOf(status), reason);
    EXPECT_EQ(ExitCodeOf(status), code) << reason;
  }
}

TEST(FailureTest, TheFirstReasonStaysWhenContextIsAdded) {
  absl::Status status = WithReason(absl::InvalidArgumentError("line 3"), "DATASET_INVALID");
  status = WithReason(common::Annotate(status, "training.jsonl"), "MODEL_INVALID");
  EXPECT_EQ(ReasonOf(status), "DATASET_INVALID");
  EXPECT_EQ(status.message(), "training.jsonl: line 3");
}

TEST(FailureTest, OnlyInputIsBlamedForInput) {
  EXPECT_EQ(ReasonOf(BlameInput(absl::NotFoundError("x"), "MODEL_INVALID")), "MODEL_INVALID");
  EXPECT_EQ(ReasonOf(BlameInput(absl::ResourceExhaustedError("x"), "MODEL_INVALID")), "DISK_FULL");
  const absl::Status disk = BlameInput(absl::UnavailableError("x"), "MODEL_INVALID");
  EXPECT_EQ(ReasonOf(disk), "TRAINER_ERROR");
  EXPECT_EQ(ExitCodeOf(disk), ExitCode::kResource);
}

TEST(FailureTest, RunningOutOfMemoryIsRecognized) {
  EXPECT_EQ(ExitCodeOf(StatusFromException(std::bad_alloc())), ExitCode::kOutOfMemory);
  EXPECT_EQ(ExitCodeOf(StatusFromException(std::runtime_error(
                "DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."))),
            ExitCode::kOutOfMemory);
  EXPECT_EQ(ExitCodeOf(StatusFromException(std::runtime_error("index out of range"))),
            ExitCode::kInternal);
}

TEST(FailureTest, RunningOutOfMemoryNamesThePhaseAndWhatHelpsThere) {
  const std::vector<std::tuple<Phase, const char*, const char*>> table = {
      {Phase::kForward, "forward pass", "training.micro_batch_size"},
      {Phase::kBackward, "backward pass", "method.trainable"},
      {Phase::kOptimizer, "optimizer's update", "method.lora.rank"},
      {Phase::kEvaluation, "evaluation", "max_sequence_length"},
      {Phase::kOther, "loading or saving", "base_model"}};
  for (const auto& [phase, what, advice] : table) {
    EnterPhase(phase);
    const std::string message(StatusFromException(std::bad_alloc()).message());
    EXPECT_NE(message.find(what), std::string::npos) << message;
    EXPECT_NE(message.find(advice), std::string::npos) << message;
  }
}

TEST(FailureTest, OkStaysOk) {
  EXPECT_TRUE(WithReason(absl::OkStatus(), "PEER_LOST").ok());
  EXPECT_TRUE(BlameInput(absl::OkStatus(), "MODEL_INVALID").ok());
}

}  // namespace
}  // namespace longlora::trainer
