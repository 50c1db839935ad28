// What the validation losses of a run have been so far: which evaluation was the best, and since
// when none got better. Decides what checkpoint.keep_best keeps and when evaluation.patience ends
// the run. Part of every checkpoint; the same on all ranks. Plain data and pure functions.
#ifndef LONGLORA_WORKER_TRAINER_VALIDATION_RECORD_H_
#define LONGLORA_WORKER_TRAINER_VALIDATION_RECORD_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/status/statusor.h"

namespace longlora::trainer {

struct ValidationRecord {
  std::optional<double> first_loss;  // before the first step; nullopt: not finite, or none yet
  std::optional<double> last_loss;   // of the newest evaluation; the same
  int64_t last_step = 0;
  // Of all evaluations, that of the untrained model included.
  std::optional<double> lowest_loss;
  int64_t lowest_step = 0;
  int64_t evaluations_without_gain = 0;  // in a row, since lowest_loss
  // Of the evaluations after at least one step: the weights of the untrained model are no result.
  std::optional<double> best_loss;
  int64_t best_step = 0;
};

// Takes the loss after `step` updates; true when it is a new best_loss. A loss that is not finite
// is never lower.
bool TakeEvaluation(int64_t step, double loss, ValidationRecord& record);

// null for nullopt, and back; the second throws nlohmann::json::exception for what is no number.
nlohmann::json ToJson(const std::optional<double>& value);
std::optional<double> NumberFromJson(const nlohmann::json& json);

nlohmann::json ToJson(const ValidationRecord& record);
// INVALID_ARGUMENT when `json` is not what ToJson made.
absl::StatusOr<ValidationRecord> ValidationRecordFromJson(const nlohmann::json& json);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_VALIDATION_RECORD_H_
