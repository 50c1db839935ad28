// Reads single keys of a config.json with bounds. Errors are INVALID_ARGUMENT and name the key. A
// null counts as absent, as transformers writes null for "not set". Pure functions; called by
// model_config and rotary_config.
#ifndef LONGLORA_COMMON_BASE_MODEL_CONFIG_FIELDS_H_
#define LONGLORA_COMMON_BASE_MODEL_CONFIG_FIELDS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::common {

absl::Status BadField(absl::string_view key, absl::string_view reason);

// The value as text for a message, cut when long.
std::string ShowField(const nlohmann::json& value);

// Null when absent.
const nlohmann::json* FindField(const nlohmann::json& object, const char* key);

absl::StatusOr<std::optional<int64_t>> OptionalIntegerField(const nlohmann::json& object,
                                                            const char* key, int64_t min,
                                                            int64_t max);

// In [1, max]; must be there.
absl::StatusOr<int64_t> IntegerField(const nlohmann::json& object, const char* key, int64_t max);

absl::StatusOr<std::optional<double>> OptionalNumberField(const nlohmann::json& object,
                                                          const char* key, double min, double max);

// In [min, max]; must be there.
absl::StatusOr<double> NumberField(const nlohmann::json& object, const char* key, double min,
                                   double max);

absl::StatusOr<bool> BooleanField(const nlohmann::json& object, const char* key, bool otherwise);

// `count` numbers in [min, max]; must be there.
absl::StatusOr<std::vector<double>> NumbersField(const nlohmann::json& object, const char* key,
                                                 int64_t count, double min, double max);

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_BASE_MODEL_CONFIG_FIELDS_H_
