// Which rows each rank trains on, step by step. Called by the training loop. Deterministic: order
// depends on seed, epoch and number of rows only, not on ranks, machine or library version. Not
// thread-safe.
#ifndef LONGLORA_WORKER_TRAINER_DATA_ROW_SAMPLER_H_
#define LONGLORA_WORKER_TRAINER_DATA_ROW_SAMPLER_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace longlora::trainer {

struct SamplerOptions {
  int64_t num_rows = 0;  // >= 1
  bool shuffle = true;
  int64_t seed = 0;
  int64_t micro_batch_size = 1;    // rows a rank runs at once
  int64_t accumulation_steps = 1;  // micro-batches a rank runs in a step
  int64_t rank = 0;                // data-parallel rank
  int64_t world_size = 1;          // data-parallel ranks
};

// Where the whole job (all ranks) stands: the same on every rank.
struct SamplerState {
  int64_t epoch = 0;     // passes completed
  int64_t position = 0;  // rows of this pass already given out, [0, num_rows]
  int64_t num_rows = 0;  // of the dataset this belongs to
};

nlohmann::json ToJson(const SamplerState& state);
absl::StatusOr<SamplerState> SamplerStateFromJson(const nlohmann::json& json);

// The rows of one pass in their order: Fisher-Yates over SplitMix64 seeded from (seed, epoch).
std::vector<int64_t> EpochOrder(int64_t num_rows, bool shuffle, int64_t seed, int64_t epoch);

class RowSampler {
 public:
  // INVALID_ARGUMENT for impossible numbers.
  static absl::StatusOr<RowSampler> Create(const SamplerOptions& options);

  // Row indices of this rank's micro-batches of the next optimizer step:
  // [accumulation_steps][micro_batch_size]. All ranks together take the next rows_per_step() rows
  // of the order, micro-batch by micro-batch in turn, so N ranks see in a step the rows that one
  // rank with N times the accumulation sees. A step at the end of a pass goes on into the next one.
  std::vector<std::vector<int64_t>> NextStep();

  int64_t rows_per_step() const;  // of all ranks
  // Steps that give every row `epochs` times: rounded up, so the last step may reach into the next
  // pass.
  int64_t StepsForEpochs(double epochs) const;

  SamplerState state() const { return state_; }
  // FAILED_PRECONDITION if the state belongs to a dataset with another number of rows.
  absl::Status Restore(const SamplerState& state);

 private:
  explicit RowSampler(const SamplerOptions& options);
  int64_t NextRow();

  SamplerOptions options_;
  SamplerState state_;
  std::vector<int64_t> order_;  // of state_.epoch
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_ROW_SAMPLER_H_
