// What a trainer says while it works: one JSON object a line, on standard output or an inherited
// descriptor. The trainer writes, the worker's supervisor reads; the server stores the same fields.
#ifndef LONGLORA_COMMON_TRAINER_PROTOCOL_TRAINER_EVENT_H_
#define LONGLORA_COMMON_TRAINER_PROTOCOL_TRAINER_EVENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::common {

// Model, data and devices are ready; the first step follows.
struct PreparedEvent {
  int64_t total_steps = 0;
  int64_t start_step = 0;  // updates already in the checkpoint resumed from; 0: fresh
  int64_t parameters = 0;  // of the base model
  int64_t trainable_parameters = 0;
  int64_t training_rows = 0;
  int64_t training_tokens = 0;
  int64_t validation_tokens = 0;
  double fill_ratio = 0.0;  // tokens / (rows * max_sequence_length), (0, 1]
  // Peak of rank 0 up to here, with a step and an evaluation of the greatest size, tried before the
  // first step; absent: not tried. As StepEvent::memory_bytes.
  std::optional<int64_t> memory_bytes;
  // First step that trains with dense attention, by method.attention.dense_final_fraction; absent:
  // none does.
  std::optional<int64_t> dense_start_step;
  // What was told of rank 0's peak by memory/memory_estimate.h, without trying; absent: not told.
  std::optional<int64_t> estimated_memory_bytes;
};

// One optimizer update.
struct StepEvent {
  int64_t step = 0;   // counts updates from 1
  double loss = 0.0;  // before the update: mean over target tokens of all micro-batches and ranks
  double learning_rate = 0.0;
  double grad_norm = 0.0;          // before clipping
  int64_t tokens = 0;              // of this update, all ranks
  double tokens_per_second = 0.0;  // all ranks together
  int64_t memory_bytes = 0;        // peak of rank 0: resident set on CPU, allocated on CUDA
  bool skipped = false;            // no update was made: loss or grad_norm is not finite
  int64_t skipped_steps = 0;       // of the whole job so far, with this one
  // That the loop waited for a checkpoint's copy since the step before.
  double checkpoint_seconds = 0.0;
};

// Loss over the targets that have [begin, end) tokens of their document before them in the row.
struct PositionBucket {
  int64_t begin = 0;
  int64_t end = 0;
  double loss = 0.0;
  int64_t tokens = 0;  // targets
};

// Answers to the passkey prompts of one length.
struct PasskeyResult {
  int64_t length = 0;  // tokens of a prompt
  int64_t trials = 0;
  int64_t correct = 0;
};

// Dense loss on the validation set.
struct EvaluationEvent {
  int64_t step = 0;  // updates done before it
  double loss = 0.0;
  double perplexity = 0.0;
  int64_t tokens = 0;  // targets
  // With the attention pattern of training; absent when that is dense. What it is above `loss` is
  // the fidelity gap.
  std::optional<double> training_pattern_loss;
  std::vector<PositionBucket>
      buckets;  // dense loss by position, rising; those without targets left out
  std::vector<PasskeyResult> passkey;  // empty: not probed
};

// A complete checkpoint lies at `path`.
struct CheckpointEvent {
  int64_t step = 0;
  std::string path;  // relative to the output directory: "checkpoints/step-100"
  int64_t bytes = 0;
  bool best = false;  // by checkpoint.keep_best: of the lowest validation loss so far
};

struct WarningEvent {
  std::string message;
};

// A line the trainer or a library of it wrote to standard error; made by the supervisor.
struct LogEvent {
  std::string message;
  int32_t rank = 0;
};

// The trainer is about to exit with an error.
struct ErrorEvent {
  std::string
      reason;  // UPPER_SNAKE, of FailureReason names: "DATASET_INVALID", "OUT_OF_MEMORY", ...
  std::string message;
};

// The trainer is about to exit well.
struct FinishedEvent {
  int64_t step = 0;
  bool stopped = false;  // by SIGTERM: a checkpoint of `step` exists, there is no result
  std::string adapter;   // relative to the output directory: "adapter"; empty when stopped
  std::string merged;    // "merged", when asked
  // Updates in the exported weights, with export.weights best.
  std::optional<int64_t> weights_step;
  std::string early_stop;  // why evaluation.patience ended the run, a sentence; empty: it did not
};

struct TrainerEvent {
  double time = 0.0;  // seconds since the Unix epoch, trainer's clock
  std::variant<PreparedEvent, StepEvent, EvaluationEvent, CheckpointEvent, WarningEvent, LogEvent,
               ErrorEvent, FinishedEvent>
      body;
};

// {"type":"step","time":…,"step":1,"loss":…} without line break. Fields that are absent, false
// flags, empty lists and, where 0 says nothing, zeros are left out. Non-finite numbers are written
// as the strings "NaN", "Infinity", "-Infinity" (protobuf's JSON form).
std::string FormatTrainerEvent(const TrainerEvent& event);

// Reads what FormatTrainerEvent wrote; unknown keys are ignored (a newer trainer), an unknown type,
// a missing key or a wrong type is INVALID_ARGUMENT.
absl::StatusOr<TrainerEvent> ParseTrainerEvent(absl::string_view line);

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_TRAINER_PROTOCOL_TRAINER_EVENT_H_
