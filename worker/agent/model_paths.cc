#include "worker/agent/model_paths.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/io/files.h"
#include "worker/agent/failure.h"

namespace longlora::worker {
namespace {

namespace fs = std::filesystem;

constexpr size_t kModelsMax = 10'000;
// SynchronizeRequest.model_configs.
constexpr int64_t kConfigBytes = 64 << 10;
constexpr int64_t kConfigBytesInAll = 1 << 20;

// The path without symbolic links; nothing when it does not exist.
std::optional<std::string> RealPath(const std::string& path) {
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  if (error) return std::nullopt;
  return real.string();
}

bool IsDirectory(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool LiesBelow(const std::string& path, const std::string& root) {
  return path == root || absl::StartsWith(path, absl::StrCat(absl::StripSuffix(root, "/"), "/"));
}

absl::Status Refuse(absl::string_view field, const std::string& value, absl::string_view problem) {
  return FailureError("INVALID_SPEC", absl::StrCat(field, ": \"", value, "\" ", problem));
}

}  // namespace

absl::StatusOr<std::string> ResolveModelPath(absl::string_view field, const std::string& value,
                                             const ModelRoots& roots) {
  if (value.empty() || value[0] != '/') {
    if (value.empty() || value == "." || value == ".." || value.find('/') != std::string::npos ||
        value.find('\0') != std::string::npos) {
      return Refuse(
          field, value,
          "is neither the name of a model in the worker's model directory nor an absolute path");
    }
    const std::string path = absl::StrCat(roots.model_dir, "/", value);
    if (!IsDirectory(path))
      return Refuse(field, value, "is not in the model directory of this worker");
    return path;
  }
  const std::optional<std::string> real = RealPath(value);
  for (const std::string& root : roots.allowed_roots) {
    const std::optional<std::string> real_root = RealPath(root);
    if (!real.has_value() || !real_root.has_value() || !LiesBelow(*real, *real_root)) continue;
    if (!IsDirectory(*real)) return Refuse(field, value, "is not a directory");
    return *real;
  }
  // The same words for a missing path and a forbidden one: a job must not find out what exists.
  return Refuse(field, value,
                roots.allowed_roots.empty()
                    ? std::string("is a path, and this worker allows none (its --allow-root)")
                    : absl::StrCat("does not exist below the roots this worker allows: ",
                                   absl::StrJoin(roots.allowed_roots, ", ")));
}

std::vector<std::string> ListModels(const std::string& model_dir) {
  std::vector<std::string> models;
  std::error_code error;
  for (fs::directory_iterator it(model_dir, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (fs::exists(it->path() / "config.json", ignored))
      models.push_back(it->path().filename().string());
    if (models.size() == kModelsMax) break;
  }
  std::sort(models.begin(), models.end());
  return models;
}

std::vector<std::pair<std::string, std::string>> ReadModelConfigs(
    const std::string& model_dir, const std::vector<std::string>& models) {
  std::vector<std::pair<std::string, std::string>> configs;
  int64_t left = kConfigBytesInAll;
  for (const std::string& model : models) {
    absl::StatusOr<std::string> text =
        common::ReadFile(absl::StrCat(model_dir, "/", model, "/config.json"), kConfigBytes);
    if (!text.ok()) continue;
    left -= static_cast<int64_t>(text->size());
    if (left < 0) break;
    configs.emplace_back(model, *std::move(text));
  }
  return configs;
}

}  // namespace longlora::worker
