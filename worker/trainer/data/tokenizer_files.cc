#include "worker/trainer/data/tokenizer_files.h"

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"

namespace longlora::trainer {
namespace {

using Json = nlohmann::json;

constexpr int64_t kConfigBytesMax = int64_t{16} << 20;

}  // namespace

absl::StatusOr<std::optional<Json>> ReadJsonFile(const std::string& path) {
  const absl::StatusOr<std::string> text = common::ReadFile(path, kConfigBytesMax);
  if (absl::IsNotFound(text.status())) return std::nullopt;
  LONGLORA_RETURN_IF_ERROR(text.status());
  Json json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object())
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a JSON object"));
  return std::optional<Json>(std::move(json));
}

std::optional<std::string> SpecialToken(const Json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (found->is_object() && found->contains("content") && (*found)["content"].is_string()) {
    return (*found)["content"].get<std::string>();
  }
  return std::nullopt;
}

}  // namespace longlora::trainer
