#include "common/trainer_protocol/trainer_event.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace longlora::common {
namespace {

using Json = nlohmann::ordered_json;

template <typename Archive, typename Event>
void Visit(Archive& archive, Event& event)
  requires std::is_same_v<std::remove_const_t<Event>, PositionBucket>
{
  archive.Field("begin", event.begin);
  archive.Field("end", event.end);
  archive.Field("loss", event.loss);
  archive.Field("tokens", event.tokens);
}

template <typename Archive, typename Event>
void Visit(Archive& archive, Event& event)
  requires std::is_same_v<std::remove_const_t<Event>, PasskeyResult>
{
  archive.Field("length", event.length);
  archive.Field("trials", event.trials);
  archive.Field("correct", event.correct);
}

// Writes the fields of an event into a JSON object. One `Visit` a type names the fields for both
// ways.
class Writer {
 public:
  explicit Writer(Json& object) : object_(object) {}
  void Field(const char* key, const double& value) {
    if (std::isfinite(value)) {
      object_[key] = value;
    } else {
      object_[key] = std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
    }
  }
  template <typename T>
  void Field(const char* key, const T& value) {
    object_[key] = value;
  }
  // Left out where it says nothing.
  template <typename T>
  void Optional(const char* key, const std::optional<T>& value) {
    if (value.has_value()) Field(key, *value);
  }
  template <typename T>
  void Optional(const char* key, const T& value) {
    if (value != T()) Field(key, value);
  }
  template <typename T>
  void Optional(const char* key, const std::vector<T>& values) {
    for (const T& value : values) {
      Writer element(object_[key].emplace_back(Json::object()));
      Visit(element, value);
    }
  }

 private:
  Json& object_;
};

// Reads them back; keeps the first error.
class Reader {
 public:
  explicit Reader(const Json& object) : object_(object) {}
  const absl::Status& status() const { return status_; }

  void Field(const char* key, double& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (found->is_number()) {
      value = found->get<double>();
    } else if (*found == "NaN") {
      value = std::numeric_limits<double>::quiet_NaN();
    } else if (*found == "Infinity") {
      value = std::numeric_limits<double>::infinity();
    } else if (*found == "-Infinity") {
      value = -std::numeric_limits<double>::infinity();
    } else {
      Fail(key, "a number");
    }
  }
  void Field(const char* key, int64_t& value) { Integer(key, value); }
  void Field(const char* key, int32_t& value) { Integer(key, value); }
  void Field(const char* key, bool& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_boolean()) return Fail(key, "true or false");
    value = found->get<bool>();
  }
  void Field(const char* key, std::string& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_string()) return Fail(key, "a string");
    value = found->get<std::string>();
  }
  // What Writer::Optional may have left out.
  template <typename T>
  void Optional(const char* key, std::optional<T>& value) {
    if (object_.contains(key)) Field(key, value.emplace());
  }
  template <typename T>
  void Optional(const char* key, T& value) {
    if (object_.contains(key)) Field(key, value);
  }
  template <typename T>
  void Optional(const char* key, std::vector<T>& values) {
    if (!object_.contains(key)) return;
    const Json& found = object_[key];
    if (!found.is_array()) return Fail(key, "a list");
    for (const Json& element : found) {
      if (!element.is_object()) return Fail(key, "a list of objects");
      Reader reader(element);
      Visit(reader, values.emplace_back());
      if (status_.ok()) status_ = reader.status();
    }
  }

 private:
  template <typename T>
  void Integer(const char* key, T& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_number_integer()) return Fail(key, "an integer");
    // Unsigned values beyond int64 would wrap around.
    if (found->is_number_unsigned() &&
        found->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<T>::max())) {
      return Fail(key, "a smaller integer");
    }
    const int64_t wide = found->get<int64_t>();
    if (wide < std::numeric_limits<T>::min()) return Fail(key, "a larger integer");
    value = static_cast<T>(wide);
  }
  const Json* Find(const char* key) {
    const auto it = object_.find(key);
    if (it != object_.end()) return &*it;
    if (status_.ok())
      status_ = absl::InvalidArgumentError(absl::StrCat("event has no \"", key, "\""));
    return nullptr;
  }
  void Fail(const char* key, const char* expected) {
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError(
          absl::StrCat("event field \"", key, "\": expected ", expected));
    }
  }

  const Json& object_;
  absl::Status status_;
};

template <typename Archive, typename Event>
void Visit(Archive& archive, Event& event)
  requires std::is_same_v<std::remove_const_t<Event>, PreparedEvent>
{
  archive.Field("total_steps", event.total_steps);
  archive.Field("start_step", event.start_step);
  archive.Field("parameters", event.parameters);
  archive.Field("trainable_parameters", event.trainable_parameters);
  archive.Field("training_rows", event.training_rows);
  archive.Field("training_tokens", event.training_tokens);
  archive.Field("validation_tokens", event.validation_tokens);
  archive.Field("fill_ratio", event.fill_ratio);
  archive.Optional("memory_bytes", event.memory_bytes);
  archive.Optional("dense_start_step", event.dense_start_step);
  archive.Optional("estimated_memory_bytes", event.estimated_memory_bytes);
}

template <typename Archive, typename Event>
void Visit(Archive& archive, Event& event)
  requires std::is_same_v<std::remove_const_t<Event>, StepEvent>
{
  archive.Field("step", event.step);
  archive.Field("loss", event.loss);
  archive.Field("learning_rate", event.learning_rate);
  archive.Field("grad_norm", event.grad_norm);
  archive.Field("tokens", event.tokens);
  archive.Field("tokens_per_second", event.tokens_per_second);
  archive.Field("memory_bytes", event.memory_bytes);
  archive.Optional("skipped", event.skipped);
  archive.Optional("skipped_steps", event.skipped_steps);
  archive.Optional("checkpoint_seconds", event.checkpoint_seconds);
}

template <typename Archive, typename Event>
void Visit(Archive& archive, Event& event)
  requires std::is_same_v<std::remove_const_t<Event>, EvaluationEvent>
{
  archive.Field("step", event.step);
  archive.Field("loss", event.loss);
  archive.Field("perplexity", event.perplexity);
  archive.Field("tokens", event.tokens);
  archive.Optional("training_pattern_loss", event.training_pattern_loss);
  archive.Optional("buckets", event.buckets);
  archive.Optional("passkey", event.passkey);
}

template <typename Archive, typename Event>
void Visit(Archive& archive, Event& event)
  requires std::is_same_v<std::remove_const_t<Event>, CheckpointEvent>
{
  archive.Field("step", event.step);
  archive.Field("path", event.path);
  archive.Field("bytes", event.bytes);
  archive.Optional("best", event.best);
}

template <typename Archive, typename Event>
void Visit(Archive& archive, Event& event)
  requires std::is_same_v<std::remove_const_t<Event>, WarningEvent>
{
  archive.Field("message", event.message);
}

template <typename Archive, typename Event>
void Visit(Archive& archive, Event& event)
  requires std::is_same_v<std::remove_const_t<Event>, LogEvent>
{
  archive.Field("message", event.message);
  archive.Field("rank", event.rank);
}

template <typename Archive, typename Event>
void Visit(Archive& archive, Event& event)
  requires std::is_same_v<std::remove_const_t<Event>, ErrorEvent>
{
  archive.Field("reason", event.reason);
  archive.Field("message", event.message);
}

template <typename Archive, typename Event>
void Visit(Archive& archive, Event& event)
  requires std::is_same_v<std::remove_const_t<Event>, FinishedEvent>
{
  archive.Field("step", event.step);
  archive.Field("stopped", event.stopped);
  archive.Field("adapter", event.adapter);
  archive.Field("merged", event.merged);
  archive.Optional("weights_step", event.weights_step);
  archive.Optional("early_stop", event.early_stop);
}

// In the order of TrainerEvent::body.
constexpr const char* kTypes[] = {"prepared", "step", "evaluation", "checkpoint",
                                  "warning",  "log",  "error",      "finished"};

template <size_t index>
absl::StatusOr<TrainerEvent> Read(const Json& object, size_t wanted) {
  if constexpr (index < std::variant_size_v<decltype(TrainerEvent::body)>) {
    if (index != wanted) return Read<index + 1>(object, wanted);
    TrainerEvent event;
    Reader reader(object);
    reader.Field("time", event.time);
    Visit(reader, event.body.emplace<index>());
    if (!reader.status().ok()) return reader.status();
    return event;
  } else {
    return absl::InternalError("no such event type");
  }
}

}  // namespace

std::string FormatTrainerEvent(const TrainerEvent& event) {
  Json object;
  object["type"] = kTypes[event.body.index()];
  Writer writer(object);
  writer.Field("time", event.time);
  std::visit([&](const auto& body) { Visit(writer, body); }, event.body);
  // Text of a library may not be UTF-8; a replaced character is better than a lost event.
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<TrainerEvent> ParseTrainerEvent(absl::string_view line) {
  const Json object = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return absl::InvalidArgumentError("event is not a JSON object");
  const auto type = object.find("type");
  if (type == object.end() || !type->is_string()) {
    return absl::InvalidArgumentError("event has no \"type\"");
  }
  for (size_t i = 0; i < std::size(kTypes); ++i) {
    if (*type == kTypes[i]) return Read<0>(object, i);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("event of unknown type \"", type->get<std::string>(), "\""));
}

}  // namespace longlora::common
