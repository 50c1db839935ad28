// What makes a spec possible: ranges and combinations that can be judged without model, data or
// devices.
#ifndef LONGLORA_COMMON_TRAINER_PROTOCOL_SPEC_RULES_H_
#define LONGLORA_COMMON_TRAINER_PROTOCOL_SPEC_RULES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/trainer_protocol/train_spec.h"

namespace longlora::common {

// One thing wrong with a spec: where, and what to write instead.
struct SpecViolation {
  std::string field;        // path, like "optimizer.learning_rate"
  std::string description;  // "must be greater than 0, is -1"
};

// Every violation of `spec`, in the order of the fields; empty: possible. Includes what this
// version of the trainer does not honour yet (refused, not ignored).
std::vector<SpecViolation> FindViolations(const TrainSpec& spec);

// OK, or INVALID_ARGUMENT with all violations, one a line: "field: description".
absl::Status CheckTrainSpec(const TrainSpec& spec);

// Tokens a group of S²-Attn holds in a row of max_sequence_length (paper, section 3.2): group_size,
// or group_ratio of the length rounded down to an even number, at least 2.
int64_t GroupSize(const TrainSpec& spec);

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_TRAINER_PROTOCOL_SPEC_RULES_H_
