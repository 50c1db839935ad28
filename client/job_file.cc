#include "client/job_file.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/resource_name.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"
#include "common/trainer_protocol/spec_codec.h"
#include "common/yaml/yaml.h"
#include "nlohmann/json.hpp"
#include "rpc/spec_json.h"

namespace longlora::client {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int64_t kMaxJobFileBytes = 1 << 20;

absl::Status AsInvalid(const absl::Status& status) {
  return status.ok() ? status : absl::InvalidArgumentError(status.message());
}

// "parse error at line 3, column 5: syntax error ..." out of nlohmann's "[json...] parse error at
// ...".
std::string JsonErrorText(const std::string& what) {
  const size_t end = what.find("] ");
  return end == std::string::npos ? what : what.substr(end + 2);
}

// Strict JSON; the lines come from reading it once more as the YAML it nearly always is.
absl::StatusOr<common::YamlDocument> ParseJson(absl::string_view text) {
  std::vector<std::set<std::string>> keys;
  std::string duplicate;
  const auto callback = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key &&
        !keys.back().insert(parsed.get<std::string>()).second) {
      duplicate = parsed.get<std::string>();
    }
    return true;
  };
  common::YamlDocument document;
  // Only nlohmann's exceptions tell where the text is broken; they end here.
  try {
    document.value = Json::parse(text.begin(), text.end(), callback);
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(JsonErrorText(error.what()));
  }
  absl::StatusOr<common::YamlDocument> as_yaml = common::ParseYaml(text);
  if (!duplicate.empty()) {
    return as_yaml.ok()
               ? absl::InvalidArgumentError(absl::StrCat("the key ", duplicate, " is given twice"))
               : as_yaml.status();
  }
  if (as_yaml.ok()) document.lines = std::move(as_yaml->lines);
  return document;
}

absl::StatusOr<common::YamlDocument> ParseText(absl::string_view text, absl::string_view label) {
  if (absl::EndsWithIgnoreCase(label, ".json")) return ParseJson(text);
  if (absl::StartsWith(absl::StripLeadingAsciiWhitespace(text), "{")) {
    absl::StatusOr<common::YamlDocument> json = ParseJson(text);
    if (json.ok()) return json;
  }
  return common::ParseYaml(text);
}

// Takes `field` out of `value`, so that the rest can be judged; false when it is not there.
bool Remove(Json& value, absl::string_view field) {
  Json* parent = &value;
  std::vector<std::string> parts = absl::StrSplit(field, '.');
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    if (!parent->is_object() || !parent->contains(parts[i])) return false;
    parent = &(*parent)[parts[i]];
  }
  return parent->is_object() && parent->erase(parts.back()) > 0;
}

bool IsBelow(absl::string_view field, absl::string_view ancestor) {
  return field == ancestor || absl::StartsWith(field, absl::StrCat(ancestor, "."));
}

// All findings of codec and rules. What has the wrong type is told once and then left out, so that
// one run shows everything.
std::vector<common::SpecViolation> FindSpecViolations(const Json& value) {
  std::vector<common::SpecViolation> violations;
  absl::StatusOr<common::TrainSpec> spec = common::ParseTrainSpec(value.dump());
  Json rest = value;
  if (!spec.ok()) {
    for (absl::string_view line : absl::StrSplit(spec.status().message(), '\n')) {
      const std::pair<std::string, std::string> parts =
          absl::StrSplit(line, absl::MaxSplits(": ", 1));
      if (parts.second.empty()) {
        violations.push_back({"", parts.first});
        continue;
      }
      violations.push_back({parts.first, parts.second});
      Remove(rest, parts.first);
    }
    spec = common::ParseTrainSpec(rest.dump());
  }
  if (!spec.ok()) return violations;
  const size_t wrong_types = violations.size();
  for (common::SpecViolation& violation : common::FindViolations(*spec)) {
    const bool told = std::any_of(violations.begin(),
                                  violations.begin() + static_cast<std::ptrdiff_t>(wrong_types),
                                  [&](const common::SpecViolation& earlier) {
                                    return IsBelow(violation.field, earlier.field);
                                  });
    if (!told) violations.push_back(std::move(violation));
  }
  return violations;
}

// A dataset that the spec names by a path of this machine.
struct LocalPath {
  std::string field;
  std::string text;  // as written
  std::string path;
};

// None when it is empty, stored at the server already, or not a string (which is told elsewhere).
std::vector<LocalPath> FindLocalPaths(const Json& spec, const std::string& directory) {
  std::vector<LocalPath> paths;
  const auto dataset = spec.find("dataset");
  if (dataset == spec.end() || !dataset->is_object()) return paths;
  for (const char* key : {"training", "validation"}) {
    const auto value = dataset->find(key);
    if (value == dataset->end() || !value->is_string()) continue;
    const auto text = value->get<std::string>();
    if (text.empty() || IsFileName(text)) continue;
    paths.push_back({absl::StrCat("dataset.", key), text,
                     (fs::path(directory) / text).lexically_normal().string()});
  }
  return paths;
}

// What is wrong with a dataset file before anybody reads its content.
std::optional<std::string> FindFault(const LocalPath& local) {
  if (absl::StartsWith(local.text, "s3://")) {
    return "s3:// is not supported by this version: name a local file";
  }
  const absl::StatusOr<int64_t> size = common::FileSize(local.path);
  if (!size.ok()) return std::string(size.status().message());
  if (*size == 0) return absl::StrCat(local.path, " is empty");
  if (access(local.path.c_str(), R_OK) != 0) {
    return absl::StrCat(local.path, " may not be read by you");
  }
  return std::nullopt;
}

// The line of `field`, or of the nearest part of the spec around it.
std::optional<int> LineOf(const std::map<std::string, int>& lines, std::string field) {
  while (!field.empty()) {
    if (const auto it = lines.find(field); it != lines.end()) return it->second;
    const size_t dot = field.rfind('.');
    field.resize(dot == std::string::npos ? 0 : dot);
  }
  return std::nullopt;
}

// "line 12: x" -> "job.yaml:12: x".
absl::Status SyntaxError(absl::string_view label, const absl::Status& status) {
  absl::string_view text = status.message();
  if (absl::ConsumePrefix(&text, "line "))
    return absl::InvalidArgumentError(absl::StrCat(label, ":", text));
  return absl::InvalidArgumentError(absl::StrCat(label, ": ", text));
}

absl::StatusOr<std::string> ReadStandardInput() {
  absl::StatusOr<std::string> text = common::ReadFile("/dev/stdin", kMaxJobFileBytes);
  if (text.ok() && text->empty()) return absl::InvalidArgumentError("standard input is empty");
  return text;
}

}  // namespace

std::string FormatViolations(const JobFile& file,
                             const std::vector<common::SpecViolation>& violations) {
  std::vector<std::pair<int, std::string>> lines;
  for (const common::SpecViolation& violation : violations) {
    const std::optional<int> line = LineOf(file.lines, violation.field);
    lines.emplace_back(
        line.value_or(0),
        absl::StrCat(file.label, line.has_value() ? absl::StrCat(":", *line) : "", ": ",
                     violation.field, violation.field.empty() ? "" : ": ", violation.description));
  }
  std::stable_sort(lines.begin(), lines.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string text;
  for (const auto& [line, message] : lines)
    absl::StrAppend(&text, text.empty() ? "" : "\n", message);
  return text;
}

absl::StatusOr<JobFile> ParseJobFile(absl::string_view text, absl::string_view label,
                                     const std::string& directory, DatasetUse use) {
  absl::StatusOr<common::YamlDocument> document = ParseText(text, label);
  if (!document.ok()) return SyntaxError(label, document.status());
  if (!document->value.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(label, ":1: expected keys and values, like \"base_model: smollm2-135m\""));
  }
  JobFile file{
      .spec = {}, .datasets = {}, .label = std::string(label), .lines = std::move(document->lines)};
  std::vector<common::SpecViolation> violations = FindSpecViolations(document->value);
  const std::vector<LocalPath> paths = use == DatasetUse::kUpload
                                           ? FindLocalPaths(document->value, directory)
                                           : std::vector<LocalPath>();
  for (const LocalPath& local : paths) {
    if (std::optional<std::string> fault = FindFault(local)) {
      violations.push_back({local.field, *std::move(fault)});
    }
  }
  if (!violations.empty()) return absl::InvalidArgumentError(FormatViolations(file, violations));
  LONGLORA_ASSIGN_OR_RETURN(file.spec, rpc::SpecFromJson(document->value.dump()));
  for (const LocalPath& local : paths) {
    LONGLORA_ASSIGN_OR_RETURN(LocalFile inspected, InspectFile(local.path));
    file.datasets.push_back({local.field, std::move(inspected)});
  }
  return file;
}

absl::StatusOr<JobFile> ReadJobFile(const std::string& path, DatasetUse use) {
  const bool standard_input = path == "-";
  absl::StatusOr<std::string> text =
      standard_input ? ReadStandardInput() : common::ReadFile(path, kMaxJobFileBytes);
  LONGLORA_RETURN_IF_ERROR(AsInvalid(text.status()));
  return ParseJobFile(*text, standard_input ? "stdin" : path,
                      standard_input ? "" : fs::path(path).parent_path().string(), use);
}

void ReplaceDataset(v1::FineTuneSpec& spec, absl::string_view field, const std::string& name) {
  if (field == "dataset.training") spec.mutable_dataset()->set_training(name);
  if (field == "dataset.validation") spec.mutable_dataset()->set_validation(name);
}

}  // namespace longlora::client
