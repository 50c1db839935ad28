#include "server/api/submit_check.h"

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/status_macros.h"
#include "common/trainer_protocol/spec_names.h"
#include "common/trainer_protocol/spec_rules.h"
#include "rpc/grpc_status.h"
#include "rpc/spec_json.h"
#include "server/api/file_name.h"

namespace longlora::server {
namespace {

using common::SpecViolation;

constexpr size_t kMaxRequestIdBytes = 128;

void CheckFileField(const std::string& field, const std::string& name,
                    std::vector<SpecViolation>& violations) {
  if (name.empty() || ParseFileName(name).ok()) return;
  violations.push_back({field,
                        "must be files/{sha256} of an uploaded file; the client uploads local "
                        "paths of a job file"});
}

absl::Status CheckRequestId(const std::string& request_id) {
  bool printable = request_id.size() <= kMaxRequestIdBytes;
  for (const char c : request_id) printable &= absl::ascii_isgraph(static_cast<unsigned char>(c));
  if (printable) return absl::OkStatus();
  const std::string description = absl::StrCat("must be at most ", kMaxRequestIdBytes,
                                               " visible ASCII characters, best a UUID");
  return rpc::MakeError(
      absl::StatusCode::kInvalidArgument, absl::StrCat("request_id: ", description),
      {.reason = "REQUEST_ID_INVALID", .violations = {{"request_id", description}}});
}

absl::StatusOr<common::TrainSpec> ParseSpec(const v1::FineTuneSpec& spec) {
  absl::StatusOr<common::TrainSpec> parsed = rpc::ToTrainSpec(spec);
  if (!parsed.ok()) return SpecInvalid({ToViolation(parsed.status().message())});
  return parsed;
}

}  // namespace

absl::Status SpecInvalid(std::vector<SpecViolation> violations) {
  const std::string list =
      absl::StrJoin(violations, "; ", [](std::string* out, const SpecViolation& violation) {
        absl::StrAppend(out, violation.field, ": ", violation.description);
      });
  return rpc::MakeError(absl::StatusCode::kInvalidArgument,
                        absl::StrCat("the spec is invalid: ", list),
                        {.reason = "SPEC_INVALID", .violations = std::move(violations)});
}

SpecViolation ToViolation(absl::string_view message) {
  const size_t colon = message.find(": ");
  if (colon == absl::string_view::npos) return {"spec", std::string(message)};
  return {std::string(message.substr(0, colon)), std::string(message.substr(colon + 2))};
}

absl::StatusOr<common::TrainSpec> CheckSpec(const v1::FineTuneSpec& spec) {
  LONGLORA_ASSIGN_OR_RETURN(common::TrainSpec parsed, ParseSpec(spec));
  std::vector<SpecViolation> violations = common::FindViolations(parsed);
  if (!violations.empty()) return SpecInvalid(std::move(violations));
  return parsed;
}

absl::Status CheckSubmit(const v1::CreateFineTuneJobRequest& request, DatasetCheck& datasets) {
  LONGLORA_RETURN_IF_ERROR(CheckRequestId(request.request_id()));
  if (!request.has_spec()) return SpecInvalid({{"spec", "is required"}});
  LONGLORA_ASSIGN_OR_RETURN(const common::TrainSpec spec, ParseSpec(request.spec()));
  std::vector<SpecViolation> violations = common::FindViolations(spec);
  const common::DatasetSpec& dataset = spec.dataset;
  CheckFileField("dataset.training", dataset.training, violations);
  CheckFileField("dataset.validation", dataset.validation, violations);
  if (!violations.empty()) return SpecInvalid(std::move(violations));
  LONGLORA_RETURN_IF_ERROR(datasets.Check("dataset.training", dataset.training, dataset.format));
  if (dataset.validation.empty()) return absl::OkStatus();
  return datasets.Check("dataset.validation", dataset.validation, dataset.format);
}

bool NeedsReading(const v1::FineTuneSpec& spec, DatasetCheck& datasets) {
  common::DatasetFormat format = common::DatasetSpec().format;
  const v1::DatasetSpec& dataset = spec.dataset();
  // Of an unknown one nothing is read.
  if (dataset.has_format() && !common::FromName(dataset.format(), format)) return false;
  return datasets.NeedsReading(dataset.training(), format) ||
         datasets.NeedsReading(dataset.validation(), format);
}

absl::Status CheckSpecSize(const v1::FineTuneSpec& spec, int64_t max_bytes) {
  const auto bytes = static_cast<int64_t>(spec.ByteSizeLong());
  if (bytes <= max_bytes) return absl::OkStatus();
  return rpc::MakeError(
      absl::StatusCode::kInvalidArgument,
      absl::StrCat("the spec has ", bytes, " bytes; this server takes at most ", max_bytes,
                   " (--max-spec-bytes)"),
      {.reason = "SPEC_TOO_LARGE", .metadata = {{"max_spec_bytes", absl::StrCat(max_bytes)}}});
}

}  // namespace longlora::server
