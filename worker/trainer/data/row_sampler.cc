#include "worker/trainer/data/row_sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

namespace longlora::trainer {
namespace {

// SplitMix64 (Steele, Lea and Flood, 2014). Standard shuffles differ between libraries; this does
// not.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t state) : state_(state) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // Uniform in [0, bound): numbers of the incomplete last stretch are drawn again.
  uint64_t Below(uint64_t bound) {
    const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
    uint64_t number = Next();
    while (number >= limit) number = Next();
    return number % bound;
  }

 private:
  uint64_t state_;
};

}  // namespace

nlohmann::json ToJson(const SamplerState& state) {
  return {{"epoch", state.epoch}, {"position", state.position}, {"num_rows", state.num_rows}};
}

absl::StatusOr<SamplerState> SamplerStateFromJson(const nlohmann::json& json) {
  SamplerState state;
  for (const auto& [key, value] :
       {std::pair("epoch", &state.epoch), std::pair("position", &state.position),
        std::pair("num_rows", &state.num_rows)}) {
    if (!json.is_object() || !json.contains(key) || !json[key].is_number_integer()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the data position lacks the integer \"", key, "\""));
    }
    *value = json[key].get<int64_t>();
  }
  return state;
}

std::vector<int64_t> EpochOrder(int64_t num_rows, bool shuffle, int64_t seed, int64_t epoch) {
  std::vector<int64_t> order(static_cast<size_t>(num_rows));
  std::iota(order.begin(), order.end(), 0);
  if (!shuffle) return order;
  // Seed and epoch go through the mixer one after the other, so (1, 2) and (2, 1) are unrelated.
  SplitMix64 of_seed(static_cast<uint64_t>(seed));
  SplitMix64 generator(of_seed.Next() + static_cast<uint64_t>(epoch));
  generator = SplitMix64(generator.Next());
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[generator.Below(i)]);
  return order;
}

RowSampler::RowSampler(const SamplerOptions& options) : options_(options) {
  state_.num_rows = options.num_rows;
  order_ = EpochOrder(options.num_rows, options.shuffle, options.seed, 0);
}

absl::StatusOr<RowSampler> RowSampler::Create(const SamplerOptions& options) {
  if (options.num_rows < 1 || options.micro_batch_size < 1 || options.accumulation_steps < 1 ||
      options.world_size < 1 || options.rank < 0 || options.rank >= options.world_size) {
    return absl::InvalidArgumentError("rows, micro-batch, accumulation and ranks must be positive");
  }
  return RowSampler(options);
}

int64_t RowSampler::rows_per_step() const {
  return options_.micro_batch_size * options_.accumulation_steps * options_.world_size;
}

int64_t RowSampler::StepsForEpochs(double epochs) const {
  const double rows = epochs * static_cast<double>(options_.num_rows);
  // The small number keeps 0.1 * 30 rows at 3 rows.
  const double steps = std::ceil(rows / static_cast<double>(rows_per_step()) - 1e-9);
  return std::max<int64_t>(1, static_cast<int64_t>(steps));
}

int64_t RowSampler::NextRow() {
  if (state_.position == options_.num_rows) {
    ++state_.epoch;
    state_.position = 0;
    order_ = EpochOrder(options_.num_rows, options_.shuffle, options_.seed, state_.epoch);
  }
  return order_[static_cast<size_t>(state_.position++)];
}

std::vector<std::vector<int64_t>> RowSampler::NextStep() {
  std::vector<std::vector<int64_t>> mine;
  for (int64_t batch = 0; batch < options_.accumulation_steps * options_.world_size; ++batch) {
    std::vector<int64_t> rows;
    for (int64_t i = 0; i < options_.micro_batch_size; ++i) rows.push_back(NextRow());
    if (batch % options_.world_size == options_.rank) mine.push_back(std::move(rows));
  }
  return mine;
}

absl::Status RowSampler::Restore(const SamplerState& state) {
  if (state.num_rows != options_.num_rows) {
    return absl::FailedPreconditionError(
        absl::StrCat("the checkpoint was written with ", state.num_rows,
                     " training rows and the dataset now has ", options_.num_rows,
                     ": resume with the dataset of the first run"));
  }
  if (state.epoch < 0 || state.position < 0 || state.position > state.num_rows) {
    return absl::FailedPreconditionError(absl::StrCat("impossible data position: epoch ",
                                                      state.epoch, ", row ", state.position, " of ",
                                                      state.num_rows));
  }
  state_ = state;
  order_ = EpochOrder(options_.num_rows, options_.shuffle, options_.seed, state.epoch);
  return absl::OkStatus();
}

}  // namespace longlora::trainer
