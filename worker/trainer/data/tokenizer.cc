#include "worker/trainer/data/tokenizer.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/io/sha256.h"
#include "common/status/status_macros.h"
#include "text/longlora_text.h"
#include "worker/trainer/data/text_error.h"
#include "worker/trainer/data/tokenizer_files.h"

namespace longlora::trainer {
namespace {

using Json = nlohmann::json;

constexpr int64_t kTokenizerBytesMax = int64_t{256} << 20;

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

int64_t FindToken(const LongloraTokenizer* tokenizer, const std::string& text) {
  return longlora_tokenizer_token_to_id(tokenizer, TextBytes(text), text.size());
}

absl::StatusOr<int64_t> FindEos(const std::string& directory, const std::optional<Json>& config,
                                const LongloraTokenizer* tokenizer) {
  if (const auto text = config ? SpecialToken(*config, "eos_token") : std::nullopt) {
    const int64_t id = FindToken(tokenizer, *text);
    if (id >= 0) return id;
    return absl::InvalidArgumentError(
        absl::StrCat(directory, "/tokenizer_config.json: eos_token \"", *text,
                     "\" is not in the vocabulary of tokenizer.json"));
  }
  for (const char* name : {"generation_config.json", "config.json"}) {
    LONGLORA_ASSIGN_OR_RETURN(const std::optional<Json> json,
                              ReadJsonFile(absl::StrCat(directory, "/", name)));
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
  result.tokenizer_.reset(longlora_tokenizer_new(TextBytes(json), json.size(), &error));
  if (result.tokenizer_ == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", TakeTextError(error)));
  }
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<Json> config,
                            ReadJsonFile(absl::StrCat(model_directory, "/tokenizer_config.json")));
  LONGLORA_ASSIGN_OR_RETURN(const int64_t eos,
                            FindEos(model_directory, config, result.tokenizer_.get()));
  if (eos < 0 || eos > INT32_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat(model_directory, ": eos_token_id ", eos, " is no token id"));
  }
  result.eos_token_id_ = static_cast<int32_t>(eos);
  if (const auto text = config ? SpecialToken(*config, "bos_token") : std::nullopt) {
    const int64_t bos = FindToken(result.tokenizer_.get(), *text);
    if (bos >= 0 && bos <= INT32_MAX) result.bos_token_id_ = static_cast<int32_t>(bos);
  }
  result.digest_ = common::Sha256Hex(absl::StrCat(longlora_text_digest(), " ", eos, " ",
                                                  result.bos_token_id_.value_or(-1), " ",
                                                  common::Sha256Hex(json)));
  return result;
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::Encode(absl::string_view text) const {
  LongloraEncoding encoding;
  char* error = nullptr;
  if (!longlora_tokenizer_encode(tokenizer_.get(), TextBytes(text), text.size(), false, false,
                                 &encoding, &error)) {
    return absl::InvalidArgumentError(absl::StrCat("cannot tokenize: ", TakeTextError(error)));
  }
  std::vector<int32_t> result(encoding.ids, encoding.ids + encoding.num_ids);
  longlora_encoding_free(&encoding);
  return result;
}

absl::StatusOr<Encoding> Tokenizer::EncodeWithSpans(absl::string_view text,
                                                    bool add_special_tokens) const {
  LongloraEncoding encoding;
  char* error = nullptr;
  if (!longlora_tokenizer_encode(tokenizer_.get(), TextBytes(text), text.size(), add_special_tokens,
                                 true, &encoding, &error)) {
    return absl::InvalidArgumentError(absl::StrCat("cannot tokenize: ", TakeTextError(error)));
  }
  Encoding result;
  result.ids.assign(encoding.ids, encoding.ids + encoding.num_ids);
  result.spans.reserve(encoding.num_ids);
  for (size_t i = 0; i < encoding.num_ids; ++i) {
    result.spans.emplace_back(encoding.spans[2 * i], encoding.spans[2 * i + 1]);
  }
  longlora_encoding_free(&encoding);
  return result;
}

int64_t Tokenizer::vocab_size() const {
  return static_cast<int64_t>(longlora_tokenizer_vocab_size(tokenizer_.get()));
}

}  // namespace longlora::trainer
