#include "worker/trainer/validation_record.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace longlora::trainer {
namespace {

bool IsLower(double loss, const std::optional<double>& than) {
  return std::isfinite(loss) && (!than.has_value() || loss < *than);
}

}  // namespace

nlohmann::json ToJson(const std::optional<double>& value) {
  return value.has_value() ? nlohmann::json(*value) : nlohmann::json();
}

std::optional<double> NumberFromJson(const nlohmann::json& json) {
  return json.is_null() ? std::nullopt : std::optional<double>(json.get<double>());
}

bool TakeEvaluation(int64_t step, double loss, ValidationRecord& record) {
  const std::optional<double> told = std::isfinite(loss) ? std::optional(loss) : std::nullopt;
  if (step == 0) record.first_loss = told;
  record.last_loss = told;
  record.last_step = step;
  if (IsLower(loss, record.lowest_loss)) {
    record.lowest_loss = loss;
    record.lowest_step = step;
    record.evaluations_without_gain = 0;
  } else if (step > 0) {
    ++record.evaluations_without_gain;
  }
  if (step == 0 || !IsLower(loss, record.best_loss)) return false;
  record.best_loss = loss;
  record.best_step = step;
  return true;
}

nlohmann::json ToJson(const ValidationRecord& record) {
  return {{"first_loss", ToJson(record.first_loss)},
          {"last_loss", ToJson(record.last_loss)},
          {"last_step", record.last_step},
          {"lowest_loss", ToJson(record.lowest_loss)},
          {"lowest_step", record.lowest_step},
          {"evaluations_without_gain", record.evaluations_without_gain},
          {"best_loss", ToJson(record.best_loss)},
          {"best_step", record.best_step}};
}

absl::StatusOr<ValidationRecord> ValidationRecordFromJson(const nlohmann::json& json) {
  try {
    ValidationRecord record;
    record.first_loss = NumberFromJson(json.at("first_loss"));
    record.last_loss = NumberFromJson(json.at("last_loss"));
    record.last_step = json.at("last_step").get<int64_t>();
    record.lowest_loss = NumberFromJson(json.at("lowest_loss"));
    record.lowest_step = json.at("lowest_step").get<int64_t>();
    record.evaluations_without_gain = json.at("evaluations_without_gain").get<int64_t>();
    record.best_loss = NumberFromJson(json.at("best_loss"));
    record.best_step = json.at("best_step").get<int64_t>();
    return record;
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("validation record: ", error.what()));
  }
}

}  // namespace longlora::trainer
