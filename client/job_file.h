// A job file (YAML or JSON) becomes a FineTuneSpec. Everything that can be judged without a server
// is judged here, all at once, each finding with file, line and path. Used by `submit` and
// `estimate`.
#ifndef LONGLORA_CLIENT_JOB_FILE_H_
#define LONGLORA_CLIENT_JOB_FILE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/upload.h"
#include "common/trainer_protocol/spec_rules.h"
#include "longlora/v1/fine_tune_spec.pb.h"

namespace longlora::client {

// A dataset file on this machine that the spec names.
struct LocalDataset {
  std::string field;  // "dataset.training" or "dataset.validation"
  LocalFile file;
};

struct JobFile {
  v1::FineTuneSpec spec;               // local paths still as they were written
  std::vector<LocalDataset> datasets;  // to upload; then ReplaceDataset
  std::string label;                   // for messages: the path, or "stdin"
  std::map<std::string, int> lines;    // path in the spec -> line
};

// Whether the files that a job file names are to be uploaded, so have to be there.
enum class DatasetUse { kUpload, kIgnore };

// Reads `path`, or standard input when it is "-". Relative dataset paths start at the file's
// directory (the present one for standard input). INVALID_ARGUMENT with one finding a line, like
// "job.yaml:12: method.lora.rank: must be from 1 to 1024, is 0".
absl::StatusOr<JobFile> ReadJobFile(const std::string& path, DatasetUse use = DatasetUse::kUpload);

// The same of `text`, for tests and callers that have it; reads dataset files below `directory`.
absl::StatusOr<JobFile> ParseJobFile(absl::string_view text, absl::string_view label,
                                     const std::string& directory,
                                     DatasetUse use = DatasetUse::kUpload);

// Makes `field` of the spec say `name`, files/{sha256}.
void ReplaceDataset(v1::FineTuneSpec& spec, absl::string_view field, const std::string& name);

// Findings of a server about the spec, worded as ReadJobFile words its own.
std::string FormatViolations(const JobFile& file,
                             const std::vector<common::SpecViolation>& violations);

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_JOB_FILE_H_
