#include "worker/trainer/checkpoint/checkpoint_manifest.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/io/sha256.h"

namespace longlora::trainer {
namespace {

using Json = nlohmann::json;

constexpr int64_t kFormatVersion = 1;
constexpr char kDigestKey[] = "manifest_sha256";

// Keys are sorted and numbers printed one way, so a parsed manifest dumps to the same bytes.
std::string DigestOf(const Json& without_digest) {
  return common::Sha256Hex(without_digest.dump());
}

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("manifest.json is damaged: ", what));
}

template <typename T>
bool Take(const Json& json, const char* key, T& value) {
  const auto found = json.find(key);
  if (found == json.end()) return false;
  if constexpr (std::is_same_v<T, std::string>) {
    if (!found->is_string()) return false;
  } else {
    if (!found->is_number_integer()) return false;
  }
  value = found->get<T>();
  return true;
}

}  // namespace

std::string FormatManifest(const CheckpointManifest& manifest) {
  Json files = Json::object();
  for (const auto& [path, file] : manifest.files) {
    files[path] = {{"bytes", file.bytes}, {"sha256", file.sha256}};
  }
  Json json = {{"format_version", kFormatVersion},
               {"step", manifest.step},
               {"world_size", manifest.world_size},
               {"spec_digest", manifest.spec_digest},
               {"torch_version", manifest.torch_version},
               {"state", manifest.state},
               {"files", std::move(files)}};
  json[kDigestKey] = DigestOf(json);
  return json.dump(2) + "\n";
}

absl::StatusOr<CheckpointManifest> ParseManifest(absl::string_view text) {
  Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Damaged("it is not a JSON object");
  std::string digest;
  if (!Take(json, kDigestKey, digest)) return Damaged("it has no checksum");
  json.erase(kDigestKey);
  if (DigestOf(json) != digest) return Damaged("its checksum does not match");
  int64_t version = 0;
  if (!Take(json, "format_version", version)) return Damaged("format_version");
  if (version > kFormatVersion) {
    return absl::FailedPreconditionError(absl::StrCat("the checkpoint has format ", version,
                                                      ", this program reads up to ", kFormatVersion,
                                                      ": resume with the program that wrote it"));
  }
  CheckpointManifest manifest;
  if (!Take(json, "step", manifest.step) || !Take(json, "world_size", manifest.world_size) ||
      !Take(json, "spec_digest", manifest.spec_digest) ||
      !Take(json, "torch_version", manifest.torch_version) || !json["state"].is_object() ||
      !json["files"].is_object()) {
    return Damaged("a key is missing or has another type");
  }
  manifest.state = json["state"];
  for (const auto& [path, entry] : json["files"].items()) {
    CheckpointManifest::File file;
    if (!common::IsSafeRelativePath(path) || !entry.is_object() ||
        !Take(entry, "bytes", file.bytes) || !Take(entry, "sha256", file.sha256) ||
        !common::IsSha256Hex(file.sha256)) {
      return Damaged(absl::StrCat("its entry for the file \"", path, "\""));
    }
    manifest.files[path] = std::move(file);
  }
  return manifest;
}

}  // namespace longlora::trainer
