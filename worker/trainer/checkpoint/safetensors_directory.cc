// SafetensorsDirectory: the sharded form of safetensors.h.
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "worker/trainer/checkpoint/safetensors.h"

namespace longlora::trainer {
namespace {

using Json = nlohmann::json;

constexpr char kSingleName[] = "model.safetensors";
constexpr char kIndexName[] = "model.safetensors.index.json";
constexpr int64_t kIndexBytesMax = int64_t{100} << 20;

// tensor -> shard file name.
absl::StatusOr<std::map<std::string, std::string>> ParseIndex(const std::string& text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("not a JSON object");
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object() || map->empty()) {
    return absl::InvalidArgumentError("\"weight_map\" is missing, empty or not an object");
  }
  std::map<std::string, std::string> file_of;
  for (const auto& [name, file] : map->items()) {
    if (!file.is_string() || !common::IsSafeRelativePath(file.get_ref<const std::string&>())) {
      return absl::InvalidArgumentError(absl::StrCat("tensor \"", name, "\" is said to be in ",
                                                     file.dump(),
                                                     ", which is no file inside the directory"));
    }
    file_of[name] = file.get<std::string>();
  }
  return file_of;
}

}  // namespace

absl::StatusOr<SafetensorsDirectory> SafetensorsDirectory::Open(const std::string& directory) {
  SafetensorsDirectory result;
  result.directory_ = directory;
  const std::string index_path = absl::StrCat(directory, "/", kIndexName);
  const absl::StatusOr<std::string> index = common::ReadFile(index_path, kIndexBytesMax);
  if (!index.ok()) {
    if (!absl::IsNotFound(index.status())) return index.status();
    auto file = SafetensorsFile::Open(absl::StrCat(directory, "/", kSingleName));
    if (absl::IsNotFound(file.status())) {
      return absl::NotFoundError(
          absl::StrCat(directory, " holds neither ", kSingleName, " nor ", kIndexName));
    }
    LONGLORA_RETURN_IF_ERROR(file.status());
    for (const auto& [name, entry] : file->entries()) result.file_of_[name] = 0;
    result.files_.push_back(*std::move(file));
    return result;
  }
  const auto file_of = ParseIndex(*index);
  if (!file_of.ok()) return common::Annotate(file_of.status(), index_path);
  std::map<std::string, size_t> number_of;  // shard file name -> index into files_
  for (const auto& [name, file_name] : *file_of) {
    const auto [place, is_new] = number_of.emplace(file_name, result.files_.size());
    if (is_new) {
      auto file = SafetensorsFile::Open(absl::StrCat(directory, "/", file_name));
      if (absl::IsNotFound(file.status())) {
        return absl::InvalidArgumentError(
            absl::StrCat(index_path, ": names the shard ", file_name, ", which is not there"));
      }
      LONGLORA_RETURN_IF_ERROR(file.status());
      result.files_.push_back(*std::move(file));
    }
    if (result.files_[place->second].entries().count(name) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(index_path, ": tensor \"", name, "\" is not in ", file_name, " as it says"));
    }
    result.file_of_[name] = place->second;
  }
  for (const SafetensorsFile& file : result.files_) {
    for (const auto& [name, entry] : file.entries()) {
      if (file_of->count(name) == 0 || result.files_[result.file_of_[name]].path() != file.path()) {
        return absl::InvalidArgumentError(absl::StrCat(
            file.path(), ": tensor \"", name, "\" is not in the index, or elsewhere in it"));
      }
    }
  }
  return result;
}

std::vector<std::string> SafetensorsDirectory::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : file_of_) names.push_back(name);
  return names;
}

int64_t SafetensorsDirectory::total_bytes() const {
  int64_t total = 0;
  for (const auto& [name, file] : file_of_) {
    const SafetensorsEntry& entry = files_[file].entries().at(name);
    total += entry.end - entry.begin;
  }
  return total;
}

absl::StatusOr<SafetensorsEntry> SafetensorsDirectory::Find(const std::string& name) const {
  const auto found = file_of_.find(name);
  if (found == file_of_.end()) {
    return absl::NotFoundError(absl::StrCat(directory_, ": no tensor \"", name, "\""));
  }
  return files_[found->second].entries().at(name);
}

absl::StatusOr<at::Tensor> SafetensorsDirectory::Get(const std::string& name) const {
  const auto found = file_of_.find(name);
  if (found == file_of_.end()) {
    return absl::NotFoundError(absl::StrCat(directory_, ": no tensor \"", name, "\""));
  }
  return files_[found->second].Get(name);
}

}  // namespace longlora::trainer
