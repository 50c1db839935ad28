#include "rpc/spec_json.h"

#include <google/protobuf/util/json_util.h>

#include "common/status/status_macros.h"
#include "common/trainer_protocol/spec_codec.h"

namespace longlora::rpc {
namespace {

// Protobuf has a Status of its own; its messages name the offending field.
absl::Status FromProtobuf(const google::protobuf::util::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(std::string(status.message()));
}

}  // namespace

absl::StatusOr<std::string> SpecToJson(const v1::FineTuneSpec& spec) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  LONGLORA_RETURN_IF_ERROR(
      FromProtobuf(google::protobuf::util::MessageToJsonString(spec, &json, options)));
  return json;
}

absl::StatusOr<v1::FineTuneSpec> SpecFromJson(absl::string_view json) {
  v1::FineTuneSpec spec;
  LONGLORA_RETURN_IF_ERROR(
      FromProtobuf(google::protobuf::util::JsonStringToMessage(std::string(json), &spec)));
  return spec;
}

absl::StatusOr<common::TrainSpec> ToTrainSpec(const v1::FineTuneSpec& spec) {
  LONGLORA_ASSIGN_OR_RETURN(std::string json, SpecToJson(spec));
  return common::ParseTrainSpec(json);
}

}  // namespace longlora::rpc
