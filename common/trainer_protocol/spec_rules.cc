#include "common/trainer_protocol/spec_rules.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/ids/names.h"
#include "common/trainer_protocol/spec_names.h"

namespace longlora::common {
namespace {

constexpr int64_t kMaxSequenceLength = 1 << 20;
constexpr int64_t kMaxSteps = 100'000'000;
constexpr int64_t kMinDurationSeconds = 60;
constexpr int64_t kMaxDurationSeconds = 10LL * 366 * 86'400;

// Collects what is wrong; one method a kind of rule.
class Rules {
 public:
  std::vector<SpecViolation> Take() { return std::move(violations_); }

  void Add(absl::string_view field, absl::string_view description) {
    violations_.push_back({std::string(field), std::string(description)});
  }
  void NotEmpty(absl::string_view field, const std::string& value, absl::string_view what) {
    if (value.empty()) Add(field, absl::StrCat("is required: ", what));
  }
  // NaN fails every comparison, hence the negations.
  template <typename T>
  void AtLeast(absl::string_view field, T value, T least) {
    if (!(value >= least)) Add(field, absl::StrCat("must be at least ", least, ", is ", value));
  }
  template <typename T>
  void Between(absl::string_view field, T value, T least, T most) {
    if (!(value >= least && value <= most)) {
      Add(field, absl::StrCat("must be from ", least, " to ", most, ", is ", value));
    }
  }
  void Positive(absl::string_view field, double value) {
    if (!(value > 0.0 && std::isfinite(value))) {
      Add(field, absl::StrCat("must be greater than 0, is ", value));
    }
  }
  void Fraction(absl::string_view field, double value) {
    if (!(value >= 0.0 && value < 1.0)) {
      Add(field, absl::StrCat("must be at least 0 and less than 1, is ", value));
    }
  }
  void NoDuplicates(absl::string_view field, const std::vector<std::string>& names) {
    std::set<std::string> seen;
    for (const std::string& name : names) {
      if (!seen.insert(name).second) Add(field, absl::StrCat("names ", name, " twice"));
    }
  }
  void NeedsValidation(absl::string_view field, const TrainSpec& spec) {
    if (spec.dataset.validation.empty()) Add(field, "needs a validation set: dataset.validation");
  }
  void NotYet(absl::string_view field, bool used, absl::string_view alternative) {
    if (used) Add(field, absl::StrCat("is not supported by this version: ", alternative));
  }

 private:
  std::vector<SpecViolation> violations_;
};

void CheckDataset(const TrainSpec& spec, Rules& rules) {
  rules.NotEmpty("dataset.training", spec.dataset.training, "name a JSON-lines file");
  const bool examples = spec.dataset.format == DatasetFormat::kInstruction ||
                        spec.dataset.format == DatasetFormat::kChat;
  if (spec.dataset.length_policy != LengthPolicy::kTruncatePrompt && !examples) {
    rules.Add("dataset.length_policy",
              "is for the formats instruction and chat: text and tokens are cut into rows");
  }
  if (spec.dataset.train_on_prompt && !examples) {
    rules.Add("dataset.train_on_prompt",
              "is for the formats instruction and chat: text and tokens have no prompt");
  }
}

void CheckLora(const LoraSpec& lora, Rules& rules) {
  rules.Between<int32_t>("method.lora.rank", lora.rank, 1, 1024);
  rules.Positive("method.lora.alpha", lora.alpha);
  rules.Fraction("method.lora.dropout", lora.dropout);
  if (lora.target_modules.empty()) {
    rules.Add("method.lora.target_modules",
              "must name at least one linear, or be left out for q_proj, k_proj, v_proj, o_proj");
  }
  rules.NoDuplicates("method.lora.target_modules", lora.target_modules);
  if (lora.target_modules.size() > 1 &&
      std::count(lora.target_modules.begin(), lora.target_modules.end(), "all-linear") > 0) {
    rules.Add("method.lora.target_modules", "all-linear stands for every linear: name it alone");
  }
}

void CheckAttention(const TrainSpec& spec, Rules& rules) {
  const AttentionSpec& attention = spec.method.attention;
  if (attention.group_ratio.has_value() && attention.group_size.has_value()) {
    rules.Add("method.attention.group_size", "give group_size or group_ratio, not both");
  }
  if (attention.pattern == AttentionPattern::kDense &&
      (attention.group_ratio.has_value() || attention.group_size.has_value())) {
    rules.Add("method.attention.pattern",
              "dense attention has no groups: leave out group_ratio "
              "and group_size, or use shifted_sparse");
  }
  if (attention.group_ratio.has_value() &&
      !(*attention.group_ratio > 0.0 && *attention.group_ratio <= 1.0)) {
    rules.Add("method.attention.group_ratio",
              absl::StrCat("must be greater than 0 and at most 1, is ", *attention.group_ratio));
  }
  if (attention.group_size.has_value()) {
    rules.Between<int64_t>("method.attention.group_size", *attention.group_size, 2,
                           std::max<int64_t>(2, spec.max_sequence_length));
    if (*attention.group_size % 2 != 0) {
      rules.Add("method.attention.group_size",
                absl::StrCat("must be even, since half the heads are shifted by half a group, is ",
                             *attention.group_size));
    }
  }
}

void CheckDenseFinalFraction(const AttentionSpec& attention, Rules& rules) {
  constexpr char kField[] = "method.attention.dense_final_fraction";
  const double fraction = attention.dense_final_fraction;
  if (!(fraction >= 0.0 && fraction <= 1.0)) {
    rules.Add(kField, absl::StrCat("must be from 0 to 1, is ", fraction));
  } else if (fraction > 0.0 && attention.pattern == AttentionPattern::kDense) {
    rules.Add(kField, "has no meaning with pattern dense, where every step is dense");
  }
}

void CheckMethod(const TrainSpec& spec, Rules& rules) {
  CheckLora(spec.method.lora, rules);
  for (const std::string& name : spec.method.trainable) {
    if (name != "embed" && name != "norm") {
      rules.Add("method.trainable", absl::StrCat("may name embed and norm, names ", name));
    }
  }
  rules.NoDuplicates("method.trainable", spec.method.trainable);
  CheckAttention(spec, rules);
  CheckDenseFinalFraction(spec.method.attention, rules);
  const RopeScalingSpec& rope = spec.method.rope_scaling;
  if (rope.type == RopeType::kLlama3) {
    rules.Add("method.rope_scaling.type",
              "llama3 is a scaling that models bring with them: use default to keep it, or linear, "
              "dynamic or yarn to replace it");
  }
  if (rope.factor.has_value()) {
    if (!(*rope.factor >= 1.0 && *rope.factor <= 1e6)) {
      rules.Add("method.rope_scaling.factor",
                absl::StrCat("must be from 1 to 1000000, is ", *rope.factor));
    } else if (rope.type == RopeType::kDefault && *rope.factor != 1.0) {
      rules.Add("method.rope_scaling.factor",
                "has no meaning with type default: use linear, dynamic or yarn");
    }
  }
}

void CheckOptimizer(const TrainSpec& spec, Rules& rules) {
  const OptimizerSpec& optimizer = spec.optimizer;
  rules.Positive("optimizer.learning_rate", optimizer.learning_rate);
  rules.Fraction("optimizer.beta1", optimizer.beta1);
  rules.Fraction("optimizer.beta2", optimizer.beta2);
  rules.Positive("optimizer.epsilon", optimizer.epsilon);
  rules.AtLeast<double>("optimizer.weight_decay", optimizer.weight_decay, 0.0);
  rules.Between<int64_t>("optimizer.warmup_steps", optimizer.warmup_steps, 0, kMaxSteps);
  rules.AtLeast<double>("optimizer.max_grad_norm", optimizer.max_grad_norm, 0.0);
  rules.Positive("optimizer.lora_plus_ratio", optimizer.lora_plus_ratio);
  if (optimizer.trainable_learning_rate.has_value()) {
    rules.Positive("optimizer.trainable_learning_rate", *optimizer.trainable_learning_rate);
    if (spec.method.trainable.empty()) {
      rules.Add("optimizer.trainable_learning_rate",
                "has no meaning when method.trainable is empty: leave it out");
    }
  }
}

void CheckTraining(const TrainSpec& spec, Rules& rules) {
  const TrainingSpec& training = spec.training;
  if (training.max_steps.has_value() == training.epochs.has_value()) {
    rules.Add("training.max_steps", training.epochs.has_value()
                                        ? "give max_steps or epochs, not both"
                                        : "is required: give max_steps or epochs");
  }
  if (training.max_steps.has_value()) {
    rules.Between<int64_t>("training.max_steps", *training.max_steps, 1, kMaxSteps);
  }
  if (training.epochs.has_value()) rules.Positive("training.epochs", *training.epochs);
  rules.Between<int64_t>("training.micro_batch_size", training.micro_batch_size, 1, 65536);
  rules.Between<int64_t>("training.gradient_accumulation_steps",
                         training.gradient_accumulation_steps, 1, 1'000'000);
  rules.AtLeast<int64_t>("training.seed", training.seed, 0);
  rules.Between<int64_t>("training.max_skipped_steps", training.max_skipped_steps, 1, 1'000'000);
}

void CheckEvaluation(const TrainSpec& spec, Rules& rules) {
  const EvaluationSpec& evaluation = spec.evaluation;
  rules.Between<int64_t>("evaluation.interval_steps", evaluation.interval_steps, 0, kMaxSteps);
  rules.Between<int64_t>("evaluation.patience", evaluation.patience, 0, 1'000'000);
  if (evaluation.patience > 0) {
    rules.NeedsValidation("evaluation.patience", spec);
    if (evaluation.interval_steps == 0) {
      rules.Add("evaluation.patience",
                "counts evaluations between steps: set evaluation.interval_steps");
    }
  }
  const PasskeySpec& passkey = evaluation.passkey;
  if (!passkey.lengths.empty()) rules.NeedsValidation("evaluation.passkey.lengths", spec);
  if (passkey.lengths.size() > 16) {
    rules.Add("evaluation.passkey.lengths",
              absl::StrCat("may hold 16 lengths, holds ", passkey.lengths.size()));
  }
  for (const int64_t length : passkey.lengths) {
    rules.Between<int64_t>("evaluation.passkey.lengths", length, 128,
                           std::max<int64_t>(128, spec.max_sequence_length));
  }
  rules.Between<int64_t>("evaluation.passkey.trials", passkey.trials, 1, 100);
}

void CheckResults(const TrainSpec& spec, Rules& rules) {
  rules.Between<int64_t>("checkpoint.interval_steps", spec.checkpoint.interval_steps, 0, kMaxSteps);
  rules.Between<int64_t>("checkpoint.keep_last", spec.checkpoint.keep_last, 1, 1000);
  if (spec.checkpoint.keep_best) rules.NeedsValidation("checkpoint.keep_best", spec);
  if (spec.export_options.weights == ExportWeights::kBest && !spec.checkpoint.keep_best) {
    rules.Add("export.weights", "best needs checkpoint.keep_best: true");
  }
}

void CheckResources(const ResourceSpec& resources, Rules& rules) {
  rules.AtLeast<int32_t>("resources.nodes", resources.nodes, 1);
  rules.NotYet("resources.nodes", resources.nodes > 1, "use 1 and more devices_per_node");
  rules.Between<int32_t>("resources.devices_per_node", resources.devices_per_node, 1, 1024);
  rules.AtLeast<int32_t>("resources.context_parallel", resources.context_parallel, 1);
  rules.NotYet("resources.context_parallel", resources.context_parallel > 1, "use 1");
  rules.NotYet("resources.shard_base", resources.shard_base, "use false");
  for (const std::string& label : resources.worker_labels) {
    if (IsWorkerLabel(label)) continue;
    rules.Add("resources.worker_labels",
              absl::StrCat("\"", label, "\" is no label: expected key=value"));
  }
  if (resources.max_duration_seconds != 0) {
    rules.Between<int64_t>("resources.max_duration_seconds", resources.max_duration_seconds,
                           kMinDurationSeconds, kMaxDurationSeconds);
  }
}

}  // namespace

std::vector<SpecViolation> FindViolations(const TrainSpec& spec) {
  Rules rules;
  if (spec.display_name.size() > 63) {
    rules.Add("display_name",
              absl::StrCat("may have 63 characters, has ", spec.display_name.size()));
  }
  rules.NotEmpty("base_model", spec.base_model,
                 "name a model of the workers' model directory, or an absolute path");
  CheckDataset(spec, rules);
  rules.Between<int64_t>("max_sequence_length", spec.max_sequence_length, 2, kMaxSequenceLength);
  CheckMethod(spec, rules);
  CheckOptimizer(spec, rules);
  CheckTraining(spec, rules);
  CheckEvaluation(spec, rules);
  CheckResults(spec, rules);
  CheckResources(spec.resources, rules);
  rules.Between<int32_t>("priority", spec.priority, -1000, 1000);
  if (!IsQueueName(spec.queue)) {
    rules.Add("queue", "must be 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends");
  }
  return rules.Take();
}

absl::Status CheckTrainSpec(const TrainSpec& spec) {
  const std::vector<SpecViolation> violations = FindViolations(spec);
  if (violations.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrJoin(violations, "\n", [](std::string* out, const SpecViolation& violation) {
        absl::StrAppend(out, violation.field, ": ", violation.description);
      }));
}

int64_t GroupSize(const TrainSpec& spec) {
  const AttentionSpec& attention = spec.method.attention;
  if (attention.group_size.has_value()) return *attention.group_size;
  const double ratio = attention.group_ratio.value_or(0.25);
  const auto size =
      static_cast<int64_t>(std::floor(ratio * static_cast<double>(spec.max_sequence_length)));
  return std::max<int64_t>(2, size - size % 2);
}

}  // namespace longlora::common
