#include "worker/trainer/job_facts.h"

#include <torch/version.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/trainer_protocol/spec_codec.h"
#include "common/trainer_protocol/spec_rules.h"
#include "worker/trainer/checkpointing.h"

namespace longlora::trainer {
namespace {

// Where the files lay is nobody's business, and another place after a resume elsewhere.
std::string SpecText(common::TrainSpec spec) {
  for (std::string* path : {&spec.dataset.training, &spec.dataset.validation}) {
    *path = std::filesystem::path(*path).filename().string();
  }
  return nlohmann::ordered_json::parse(common::FormatTrainSpec(spec)).dump(2);
}

std::string Attention(const common::TrainSpec& spec) {
  if (spec.method.attention.pattern == common::AttentionPattern::kDense) return "dense";
  return absl::StrCat("shifted sparse, groups of ", common::GroupSize(spec), " tokens");
}

}  // namespace

ModelCard DescribeJob(const TrainingJob& job) {
  const common::TrainSpec& spec = job.spec();
  const common::ModelConfig& config = job.model->config();
  ModelCard card = {.base_model = spec.base_model, .facts = {}, .spec = SpecText(spec)};
  const auto tell = [&](const char* name, const auto&... words) {
    card.facts.emplace_back(name, absl::StrCat(words...));
  };
  tell("Base model type", config.model_type);
  tell("LoRA rank, alpha", spec.method.lora.rank, ", ", spec.method.lora.alpha);
  tell("Context length", std::max(config.max_position_embeddings, spec.max_sequence_length));
  tell("Tokens a row", spec.max_sequence_length);
  tell("Attention in training", Attention(spec));
  tell("Learning rate", spec.optimizer.learning_rate);
  tell("Training steps", job.exported_step.value_or(job.step), " of ", job.total_steps);
  if (job.first_loss.has_value()) {
    tell("Training loss, first and last step", *job.first_loss, ", ", job.last_loss);
  }
  const ValidationRecord& record = job.validation_record;
  if (record.first_loss.has_value()) tell("Validation loss before training", *record.first_loss);
  if (record.last_loss.has_value()) {
    tell("Validation loss, last", *record.last_loss, " (step ", record.last_step, ")");
  }
  if (record.best_loss.has_value()) {
    tell("Validation loss, lowest", *record.best_loss, " (step ", record.best_step, ")");
  }
  tell("Training data, SHA-256", job.training->stats().sha256);
  if (job.validation != nullptr) tell("Validation data, SHA-256", job.validation->stats().sha256);
  tell("Spec digest (what decides the training)", ResumeDigest(spec));
  tell("Made with", "longlora " LONGLORA_VERSION ", LibTorch " TORCH_VERSION);
  return card;
}

}  // namespace longlora::trainer
