// FineTuneSpec <-> the JSON of a job file (protobuf's mapping, field names in snake_case). Pure
// functions.
#ifndef LONGLORA_RPC_SPEC_JSON_H_
#define LONGLORA_RPC_SPEC_JSON_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/trainer_protocol/train_spec.h"
#include "longlora/v1/fine_tune_spec.pb.h"

namespace longlora::rpc {

// Only the fields that are set.
absl::StatusOr<std::string> SpecToJson(const v1::FineTuneSpec& spec);

// INVALID_ARGUMENT on anything that is not a FineTuneSpec. Use common::ParseTrainSpec first for
// errors that name the path.
absl::StatusOr<v1::FineTuneSpec> SpecFromJson(absl::string_view json);

// As plain structs with defaults filled in; does not check ranges (common::CheckTrainSpec does).
absl::StatusOr<common::TrainSpec> ToTrainSpec(const v1::FineTuneSpec& spec);

}  // namespace longlora::rpc

#endif  // LONGLORA_RPC_SPEC_JSON_H_
