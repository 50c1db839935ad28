#include "common/base_model/config_fields.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"

namespace longlora::common {

using Json = nlohmann::json;

namespace {

absl::StatusOr<double> Bounded(const Json& value, const char* key, double min, double max) {
  if (!value.is_number()) {
    return BadField(key, absl::StrCat("expected a number, found ", ShowField(value)));
  }
  const double number = value.get<double>();
  if (!(number >= min && number <= max)) {
    return BadField(key,
                    absl::StrCat("must be between ", min, " and ", max, ", is ", ShowField(value)));
  }
  return number;
}

}  // namespace

absl::Status BadField(absl::string_view key, absl::string_view reason) {
  return absl::InvalidArgumentError(absl::StrCat(key, ": ", reason));
}

std::string ShowField(const Json& value) {
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= 40 ? text : absl::StrCat(text.substr(0, 40), "...");
}

const Json* FindField(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

absl::StatusOr<std::optional<int64_t>> OptionalIntegerField(const Json& object, const char* key,
                                                            int64_t min, int64_t max) {
  const Json* value = FindField(object, key);
  if (value == nullptr) return std::optional<int64_t>();
  if (!value->is_number_integer()) {
    return BadField(key, absl::StrCat("expected an integer, found ", ShowField(*value)));
  }
  const bool huge = value->is_number_unsigned() &&
                    value->get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()};
  if (huge || value->get<int64_t>() < min || value->get<int64_t>() > max) {
    return BadField(
        key, absl::StrCat("must be between ", min, " and ", max, ", is ", ShowField(*value)));
  }
  return std::optional<int64_t>(value->get<int64_t>());
}

absl::StatusOr<int64_t> IntegerField(const Json& object, const char* key, int64_t max) {
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<int64_t> value,
                            OptionalIntegerField(object, key, 1, max));
  if (!value) return BadField(key, "is missing");
  return *value;
}

absl::StatusOr<std::optional<double>> OptionalNumberField(const Json& object, const char* key,
                                                          double min, double max) {
  const Json* value = FindField(object, key);
  if (value == nullptr) return std::optional<double>();
  LONGLORA_ASSIGN_OR_RETURN(const double number, Bounded(*value, key, min, max));
  return std::optional<double>(number);
}

absl::StatusOr<double> NumberField(const Json& object, const char* key, double min, double max) {
  LONGLORA_ASSIGN_OR_RETURN(const std::optional<double> value,
                            OptionalNumberField(object, key, min, max));
  if (!value) return BadField(key, "is missing");
  return *value;
}

absl::StatusOr<bool> BooleanField(const Json& object, const char* key, bool otherwise) {
  const Json* value = FindField(object, key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) {
    return BadField(key, absl::StrCat("expected true or false, found ", ShowField(*value)));
  }
  return value->get<bool>();
}

absl::StatusOr<std::vector<double>> NumbersField(const Json& object, const char* key, int64_t count,
                                                 double min, double max) {
  const Json* value = FindField(object, key);
  if (value == nullptr) return BadField(key, "is missing");
  if (!value->is_array() || static_cast<int64_t>(value->size()) != count) {
    return BadField(
        key, absl::StrCat("expected a list of ", count, " numbers, found ", ShowField(*value)));
  }
  std::vector<double> numbers;
  for (const Json& element : *value) {
    LONGLORA_ASSIGN_OR_RETURN(const double number, Bounded(element, key, min, max));
    numbers.push_back(number);
  }
  return numbers;
}

}  // namespace longlora::common
