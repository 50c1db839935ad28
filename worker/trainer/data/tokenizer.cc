#include "worker/trainer/data/tokenizer.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"
#include "text/longlora_text.h"

namespace longlora::trainer {
namespace {

using Json = nlohmann::json;

constexpr int64_t kTokenizerBytesMax = int64_t{256} << 20;
constexpr int64_t kConfigBytesMax = int64_t{16} << 20;

const uint8_t* Bytes(absl::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

std::string TakeMessage(char* error) {
  std::string message = error == nullptr ? "unknown cause" : error;
  longlora_string_free(error);
  return message;
}

// nullopt: there is no such file.
absl::StatusOr<std::optional<Json>> ReadJson(const std::string& path) {
  const absl::StatusOr<std::string> text = common::ReadFile(path, kConfigBytesMax);
  if (absl::IsNotFound(text.status())) return std::nullopt;
  LONGLORA_RETURN_IF_ERROR(text.status());
  Json json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object())
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a JSON object"));
  return std::optional<Json>(std::move(json));
}

// tokenizer_config.json writes the token itself, as text or as an object.
std::optional<std::string> EosText(const Json& config) {
  const auto found = config.find("eos_token");
  if (found == config.end()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (found->is_object() && found->contains("content") && (*found)["content"].is_string()) {
    return (*found)["content"].get<std::string>();
  }
  return std::nullopt;
}

// The model's files write its id, or a list of ids of which the first is the main one.
std::optional<int64_t> EosId(const Json& config) {
  const auto found = config.find("eos_token_id");
  if (found == config.end()) return std::nullopt;
  if (found->is_number_integer()) return found->get<int64_t>();
  if (found->is_array() && !found->empty() && found->front().is_number_integer()) {
    return found->front().get<int64_t>();
  }
  return std::nullopt;
}

absl::StatusOr<int64_t> FindEos(const std::string& directory, const LongloraTokenizer* tokenizer) {
  const std::string tokenizer_config = absl::StrCat(directory, "/tokenizer_config.json");
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<Json> config, ReadJson(tokenizer_config));
  if (const auto text = config ? EosText(*config) : std::nullopt) {
    const int64_t id = longlora_tokenizer_token_to_id(tokenizer, Bytes(*text), text->size());
    if (id >= 0) return id;
    return absl::InvalidArgumentError(
        absl::StrCat(tokenizer_config, ": eos_token \"", *text,
                     "\" is not in the vocabulary of tokenizer.json"));
  }
  for (const char* name : {"generation_config.json", "config.json"}) {
    LONGLORA_ASSIGN_OR_RETURN(const std::optional<Json> json,
                              ReadJson(absl::StrCat(directory, "/", name)));
    if (const auto id = json ? EosId(*json) : std::nullopt) return *id;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      directory,
      ": neither tokenizer_config.json (eos_token) nor generation_config.json or config.json "
      "(eos_token_id) names an end-of-text token"));
}

}  // namespace

void Tokenizer::Free::operator()(LongloraTokenizer* tokenizer) const {
  longlora_tokenizer_free(tokenizer);
}

absl::StatusOr<Tokenizer> Tokenizer::Load(const std::string& model_directory) {
  const std::string path = absl::StrCat(model_directory, "/tokenizer.json");
  LONGLORA_ASSIGN_OR_RETURN(const std::string json, common::ReadFile(path, kTokenizerBytesMax));
  Tokenizer result;
  char* error = nullptr;
  result.tokenizer_.reset(longlora_tokenizer_new(Bytes(json), json.size(), &error));
  if (result.tokenizer_ == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", TakeMessage(error)));
  }
  LONGLORA_ASSIGN_OR_RETURN(const int64_t eos, FindEos(model_directory, result.tokenizer_.get()));
  if (eos < 0 || eos > INT32_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat(model_directory, ": eos_token_id ", eos, " is no token id"));
  }
  result.eos_token_id_ = static_cast<int32_t>(eos);
  return result;
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(absl::string_view text) const {
  uint32_t* ids = nullptr;
  size_t num_ids = 0;
  char* error = nullptr;
  if (!longlora_tokenizer_encode(tokenizer_.get(), Bytes(text), text.size(), &ids, &num_ids,
                                 &error)) {
    return absl::InvalidArgumentError(absl::StrCat("cannot tokenize: ", TakeMessage(error)));
  }
  std::vector<int32_t> result(ids, ids + num_ids);
  longlora_ids_free(ids, num_ids);
  return result;
}

int64_t Tokenizer::vocab_size() const {
  return static_cast<int64_t>(longlora_tokenizer_vocab_size(tokenizer_.get()));
}

}  // namespace longlora::trainer
