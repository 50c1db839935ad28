// Where a job's base model and initial adapter lie on this node, and what a job may not name. Reads
// the file system; safe from any thread.
#ifndef LONGLORA_WORKER_AGENT_MODEL_PATHS_H_
#define LONGLORA_WORKER_AGENT_MODEL_PATHS_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::worker {

struct ModelRoots {
  std::string model_dir;                   // a plain name is looked up here
  std::vector<std::string> allowed_roots;  // an absolute path must lie below one of these
};

// The directory that `value` names. INVALID_ARGUMENT (INVALID_SPEC) that names `field` when it is
// neither a plain name of a directory in model_dir nor an absolute path that, after symbolic links
// are followed, is a directory at or below an allowed root.
absl::StatusOr<std::string> ResolveModelPath(absl::string_view field, const std::string& value,
                                             const ModelRoots& roots);

// Names of the models in `model_dir`: its directories with a config.json, sorted, at most 10,000.
std::vector<std::string> ListModels(const std::string& model_dir);

// Texts of the config.json of `models` in `model_dir`, by name. Left out: one that cannot be read
// or is larger than a server takes, and all after the first that would exceed what a server takes
// in all.
std::vector<std::pair<std::string, std::string>> ReadModelConfigs(
    const std::string& model_dir, const std::vector<std::string>& models);

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_MODEL_PATHS_H_
