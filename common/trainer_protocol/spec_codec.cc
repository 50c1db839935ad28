#include "common/trainer_protocol/spec_codec.h"

#include <cmath>
#include <limits>
#include <set>
#include <type_traits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/trainer_protocol/spec_names.h"
#include "nlohmann/json.hpp"

namespace longlora::common {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxSpecBytes = 1 << 20;

// The fields of each message, in the order of the job file, once for reading and writing.
template <typename Archive>
void Visit(Archive& a, DatasetSpec& s) {
  a.Field("training", s.training);
  a.Field("validation", s.validation);
  a.Field("format", s.format);
  a.Field("packing", s.packing);
  a.Field("shuffle", s.shuffle);
  a.Field("length_policy", s.length_policy);
  a.Field("train_on_prompt", s.train_on_prompt);
}
template <typename Archive>
void Visit(Archive& a, LoraSpec& s) {
  a.Field("rank", s.rank);
  a.Field("alpha", s.alpha);
  a.Field("dropout", s.dropout);
  a.Field("target_modules", s.target_modules);
  a.Field("use_rslora", s.use_rslora);
}
template <typename Archive>
void Visit(Archive& a, AttentionSpec& s) {
  a.Field("pattern", s.pattern);
  a.Field("group_ratio", s.group_ratio);
  a.Field("group_size", s.group_size);
  a.Field("dense_final_fraction", s.dense_final_fraction);
}
template <typename Archive>
void Visit(Archive& a, RopeScalingSpec& s) {
  a.Field("type", s.type);
  a.Field("factor", s.factor);
}
template <typename Archive>
void Visit(Archive& a, MethodSpec& s) {
  a.Field("lora", s.lora);
  a.Field("trainable", s.trainable);
  a.Field("attention", s.attention);
  a.Field("rope_scaling", s.rope_scaling);
  a.Field("initial_adapter", s.initial_adapter);
}
template <typename Archive>
void Visit(Archive& a, OptimizerSpec& s) {
  a.Field("learning_rate", s.learning_rate);
  a.Field("beta1", s.beta1);
  a.Field("beta2", s.beta2);
  a.Field("epsilon", s.epsilon);
  a.Field("weight_decay", s.weight_decay);
  a.Field("schedule", s.schedule);
  a.Field("warmup_steps", s.warmup_steps);
  a.Field("max_grad_norm", s.max_grad_norm);
  a.Field("lora_plus_ratio", s.lora_plus_ratio);
  a.Field("trainable_learning_rate", s.trainable_learning_rate);
}
template <typename Archive>
void Visit(Archive& a, TrainingSpec& s) {
  a.Field("max_steps", s.max_steps);
  a.Field("epochs", s.epochs);
  a.Field("micro_batch_size", s.micro_batch_size);
  a.Field("gradient_accumulation_steps", s.gradient_accumulation_steps);
  a.Field("seed", s.seed);
  a.Field("precision", s.precision);
  a.Field("max_skipped_steps", s.max_skipped_steps);
}
template <typename Archive>
void Visit(Archive& a, PasskeySpec& s) {
  a.Field("lengths", s.lengths);
  a.Field("trials", s.trials);
}
template <typename Archive>
void Visit(Archive& a, EvaluationSpec& s) {
  a.Field("interval_steps", s.interval_steps);
  a.Field("patience", s.patience);
  a.Field("passkey", s.passkey);
}
template <typename Archive>
void Visit(Archive& a, CheckpointSpec& s) {
  a.Field("interval_steps", s.interval_steps);
  a.Field("keep_last", s.keep_last);
  a.Field("keep_best", s.keep_best);
}
template <typename Archive>
void Visit(Archive& a, ExportSpec& s) {
  a.Field("merged", s.merged);
  a.Field("weights", s.weights);
}
template <typename Archive>
void Visit(Archive& a, ResourceSpec& s) {
  a.Field("device", s.device);
  a.Field("nodes", s.nodes);
  a.Field("devices_per_node", s.devices_per_node);
  a.Field("context_parallel", s.context_parallel);
  a.Field("shard_base", s.shard_base);
  a.Field("worker_labels", s.worker_labels);
  a.Field("max_duration_seconds", s.max_duration_seconds);
}
template <typename Archive>
void Visit(Archive& a, TrainSpec& s) {
  a.Field("display_name", s.display_name);
  a.Field("base_model", s.base_model);
  a.Field("dataset", s.dataset);
  a.Field("max_sequence_length", s.max_sequence_length);
  a.Field("method", s.method);
  a.Field("optimizer", s.optimizer);
  a.Field("training", s.training);
  a.Field("evaluation", s.evaluation);
  a.Field("checkpoint", s.checkpoint);
  a.Field("export", s.export_options);
  a.Field("resources", s.resources);
  a.Field("priority", s.priority);
  a.Field("queue", s.queue);
}

template <typename T>
concept Message = std::is_class_v<T> && std::is_aggregate_v<T>;

// Reads an object; collects every error with its path and goes on.
class Reader {
 public:
  Reader(const Json& object, std::string path, std::vector<std::string>& errors)
      : object_(object), path_(std::move(path)), errors_(errors) {}

  // To be called after the last Field: whatever is left is unknown.
  void Finish() {
    for (const auto& [key, value] : object_.items()) {
      if (known_.count(key) == 0) {
        errors_.push_back(
            absl::StrCat(Path(key), ": unknown key; known here are ", absl::StrJoin(known_, ", ")));
      }
    }
  }

  template <Message T>
  void Field(const char* key, T& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_object()) return Fail(key, "an object", *found);
    Reader reader(*found, Path(key), errors_);
    Visit(reader, value);
    reader.Finish();
  }
  template <typename T>
  void Field(const char* key, std::optional<T>& value) {
    if (object_.contains(key)) Field(key, value.emplace());
    known_.insert(key);
  }
  template <typename T>
    requires std::is_enum_v<T>
  void Field(const char* key, T& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    const std::string choices = absl::StrCat("one of ", absl::StrJoin(NamesOf(value), ", "));
    if (!found->is_string()) return Fail(key, choices, *found);
    if (!FromName(found->get<std::string>(), value)) Fail(key, choices, *found);
  }
  void Field(const char* key, bool& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_boolean()) return Fail(key, "true or false", *found);
    value = found->get<bool>();
  }
  void Field(const char* key, double& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_number() || !std::isfinite(found->get<double>())) {
      return Fail(key, "a finite number", *found);
    }
    value = found->get<double>();
  }
  void Field(const char* key, int32_t& value) {
    if (const Json* found = Find(key); found != nullptr) Integer(key, *found, value);
  }
  void Field(const char* key, int64_t& value) {
    if (const Json* found = Find(key); found != nullptr) Integer(key, *found, value);
  }
  void Field(const char* key, std::string& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_string()) return Fail(key, "a string", *found);
    value = found->get<std::string>();
  }
  void Field(const char* key, std::vector<std::string>& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_array()) return Fail(key, "a list of strings", *found);
    value.clear();
    for (const Json& element : *found) {
      if (!element.is_string()) return Fail(key, "a list of strings", *found);
      value.push_back(element.get<std::string>());
    }
  }
  void Field(const char* key, std::vector<int64_t>& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_array()) return Fail(key, "a list of integers", *found);
    value.clear();
    for (const Json& element : *found) Integer(key, element, value.emplace_back());
  }

 private:
  template <typename T>
  void Integer(const char* key, const Json& found, T& value) {
    int64_t wide = 0;
    if (found.is_number_unsigned()) {
      if (found.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return Fail(key, "a smaller integer", found);
      }
      wide = found.get<int64_t>();
    } else if (found.is_number_integer()) {
      wide = found.get<int64_t>();
    } else if (found.is_number_float()) {
      const double number = found.get<double>();
      // 2^53: beyond it a double no longer tells neighbours apart.
      if (number != std::floor(number) || std::abs(number) > 9007199254740992.0) {
        return Fail(key, "an integer", found);
      }
      wide = static_cast<int64_t>(number);
    } else if (!(found.is_string() && std::is_same_v<T, int64_t> &&
                 absl::SimpleAtoi(found.get<std::string>(), &wide))) {
      return Fail(key, "an integer", found);
    }
    if (wide < std::numeric_limits<T>::min() || wide > std::numeric_limits<T>::max()) {
      return Fail(key, "an integer of 32 bits", found);
    }
    value = static_cast<T>(wide);
  }

  const Json* Find(const char* key) {
    known_.insert(key);
    const auto it = object_.find(key);
    return it == object_.end() ? nullptr : &*it;
  }
  std::string Path(absl::string_view key) const {
    return path_.empty() ? std::string(key) : absl::StrCat(path_, ".", key);
  }
  void Fail(const char* key, absl::string_view expected, const Json& found) {
    std::string text = found.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (text.size() > 60) text = absl::StrCat(text.substr(0, 57), "...");
    errors_.push_back(absl::StrCat(Path(key), ": expected ", expected, ", found ", text));
  }

  const Json& object_;
  const std::string path_;
  std::vector<std::string>& errors_;
  std::set<std::string> known_;
};

class Writer {
 public:
  explicit Writer(Json& object) : object_(object) {}

  template <Message T>
  void Field(const char* key, T& value) {
    Writer writer(object_[key] = Json::object());
    Visit(writer, value);
  }
  template <typename T>
  void Field(const char* key, std::optional<T>& value) {
    if (value.has_value()) Field(key, *value);
  }
  template <typename T>
    requires std::is_enum_v<T>
  void Field(const char* key, T& value) {
    object_[key] = ToName(value);
  }
  template <typename T>
    requires std::is_arithmetic_v<T> || std::is_same_v<T, std::string> ||
             std::is_same_v<T, std::vector<std::string>> || std::is_same_v<T, std::vector<int64_t>>
  void Field(const char* key, T& value) {
    object_[key] = value;
  }

 private:
  Json& object_;
};

// nlohmann keeps the last of two equal keys; a job file with both is a mistake worth telling.
absl::StatusOr<Json> ParseStrictly(absl::string_view text) {
  if (text.size() > kMaxSpecBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("spec is larger than ", kMaxSpecBytes, " bytes"));
  }
  std::vector<std::set<std::string>> keys;
  std::string duplicate;
  const auto callback = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key &&
        !keys.back().insert(parsed.get<std::string>()).second) {
      duplicate = parsed.get<std::string>();
    }
    return true;
  };
  Json json = Json::parse(text.begin(), text.end(), callback, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::InvalidArgumentError("spec is not valid JSON");
  if (!duplicate.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("spec has the key \"", duplicate, "\" twice"));
  }
  if (!json.is_object()) return absl::InvalidArgumentError("spec is not a JSON object");
  return json;
}

}  // namespace

absl::StatusOr<TrainSpec> ParseTrainSpec(absl::string_view json) {
  absl::StatusOr<Json> object = ParseStrictly(json);
  if (!object.ok()) return object.status();
  TrainSpec spec;
  std::vector<std::string> errors;
  Reader reader(*object, "", errors);
  Visit(reader, spec);
  reader.Finish();
  if (!errors.empty()) return absl::InvalidArgumentError(absl::StrJoin(errors, "\n"));
  return spec;
}

std::string FormatTrainSpec(const TrainSpec& spec) {
  Json object = Json::object();
  Writer writer(object);
  TrainSpec copy = spec;  // the visitor serves reading too, so it takes a mutable spec
  Visit(writer, copy);
  return object.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace longlora::common
