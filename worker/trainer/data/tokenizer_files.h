// The JSON files beside a tokenizer.json. Used by Tokenizer and ChatTemplate.
#ifndef LONGLORA_WORKER_TRAINER_DATA_TOKENIZER_FILES_H_
#define LONGLORA_WORKER_TRAINER_DATA_TOKENIZER_FILES_H_

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace longlora::trainer {

// nullopt: there is no such file. INVALID_ARGUMENT, naming it: it holds no JSON object.
absl::StatusOr<std::optional<nlohmann::json>> ReadJsonFile(const std::string& path);

// Files write a special token as its text or as an object with "content". nullopt: `config` has no
// `key`.
std::optional<std::string> SpecialToken(const nlohmann::json& config, const char* key);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_TOKENIZER_FILES_H_
