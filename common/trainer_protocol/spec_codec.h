// JSON <-> TrainSpec. Keys are the job file's (snake_case). Strict: an unknown key, a wrong type, a
// number that is not finite or does not fit is an error that names its path, like
// "method.lora.rank: expected an integer, found \"8\"". Pure functions, safe from any thread.
#ifndef LONGLORA_COMMON_TRAINER_PROTOCOL_SPEC_CODEC_H_
#define LONGLORA_COMMON_TRAINER_PROTOCOL_SPEC_CODEC_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/trainer_protocol/train_spec.h"

namespace longlora::common {

// Parses one JSON object. Absent keys keep their defaults; where a key of two alternatives is given
// (group_ratio | group_size, max_steps | epochs) only that one is set. Integers may be written as
// JSON numbers without a fraction (8, 8.0, 8e0) or, for 64-bit ones, as decimal strings (protobuf's
// JSON form). INVALID_ARGUMENT with the path otherwise. Does not check ranges: see spec_rules.h.
absl::StatusOr<TrainSpec> ParseTrainSpec(absl::string_view json);

// The whole spec with every default written out; ParseTrainSpec(FormatTrainSpec(s)) equals s.
std::string FormatTrainSpec(const TrainSpec& spec);

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_TRAINER_PROTOCOL_SPEC_CODEC_H_
