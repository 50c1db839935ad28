// The work a trainer is given: the job file as plain structs. One definition for everybody: the
// client checks a job file with it before sending, the server at submit, the trainer when it
// starts. Built from JSON by spec_codec.h; checked by spec_rules.h. No protobuf here: see the
// ARCHITECTURE page.
#ifndef LONGLORA_COMMON_TRAINER_PROTOCOL_TRAIN_SPEC_H_
#define LONGLORA_COMMON_TRAINER_PROTOCOL_TRAIN_SPEC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace longlora::common {

enum class DatasetFormat { kText, kInstruction, kChat, kTokens };
enum class AttentionPattern { kDense, kShiftedSparse };
enum class RopeType { kDefault, kLinear, kDynamic, kYarn, kLlama3 };
enum class Schedule { kConstant, kLinear, kCosine };
enum class Precision { kBf16, kFp32 };
enum class Device { kCpu, kCuda };
enum class LengthPolicy { kTruncatePrompt, kDrop, kError };
enum class ExportWeights { kLast, kBest };

struct DatasetSpec {
  std::string
      training;  // path of a JSON-lines file, or files/{id} before the worker has fetched it
  std::string validation;  // same; empty: no evaluation
  DatasetFormat format = DatasetFormat::kText;
  bool packing =
      true;  // rows of exactly max_sequence_length; document borders are attention borders
  bool shuffle = true;  // row order by training.seed, new in each epoch
  // Of examples (instruction, chat) longer than max_sequence_length.
  LengthPolicy length_policy = LengthPolicy::kTruncatePrompt;
  bool train_on_prompt = false;  // loss on the prompts of examples too
};

struct LoraSpec {
  int32_t rank = 8;      // columns of A, >= 1
  double alpha = 16.0;   // scale is alpha / rank, > 0
  double dropout = 0.0;  // [0, 1)
  // Or the one word all-linear.
  std::vector<std::string> target_modules = {"q_proj", "k_proj", "v_proj", "o_proj"};
  bool use_rslora = false;  // scale is alpha / sqrt(rank)
};

struct AttentionSpec {
  AttentionPattern pattern = AttentionPattern::kShiftedSparse;
  // Exactly one of the two counts for kShiftedSparse; neither for kDense.
  std::optional<double> group_ratio;  // group size / max_sequence_length, (0, 1]; default 0.25
  std::optional<int64_t> group_size;  // tokens, even, [2, max_sequence_length]
  double dense_final_fraction = 0.0;  // share of the steps, the last ones, that train dense, [0, 1]
};

struct RopeScalingSpec {
  RopeType type = RopeType::kLinear;
  std::optional<double>
      factor;  // >= 1; default max(1, max_sequence_length / the model's original length)
};

struct MethodSpec {
  LoraSpec lora;
  std::vector<std::string> trainable = {"embed", "norm"};  // of embed, norm; empty: plain LoRA
  AttentionSpec attention;
  RopeScalingSpec rope_scaling;
  std::string initial_adapter;  // directory of a PEFT adapter to go on from; empty: fresh
};

struct OptimizerSpec {
  double learning_rate = 2.0e-5;  // peak, > 0
  double beta1 = 0.9;             // [0, 1)
  double beta2 = 0.95;            // [0, 1)
  double epsilon = 1.0e-8;        // > 0
  double weight_decay = 0.0;      // decoupled (AdamW), >= 0
  Schedule schedule = Schedule::kConstant;
  int64_t warmup_steps = 20;     // linear from 0, >= 0
  double max_grad_norm = 1.0;    // global L2 norm to clip at; 0: no clipping
  double lora_plus_ratio = 1.0;  // learning rate of B over that of A, > 0
  std::optional<double>
      trainable_learning_rate;  // of embedding and norms, > 0; default learning_rate
};

struct TrainingSpec {
  // Exactly one of the two.
  std::optional<int64_t> max_steps;  // optimizer updates, >= 1
  std::optional<double> epochs;      // passes over the rows, > 0
  int64_t micro_batch_size = 1;      // rows a rank runs at once
  int64_t gradient_accumulation_steps = 1;
  int64_t seed = 0;
  Precision precision = Precision::kBf16;
  int64_t max_skipped_steps = 5;  // in a row, for want of a finite loss or gradient, >= 1
};

struct PasskeySpec {
  std::vector<int64_t> lengths;  // tokens of a prompt, each >= 128; empty: no probe
  int64_t trials = 5;            // prompts a length
};

struct EvaluationSpec {
  int64_t interval_steps = 0;  // 0: only before the first and after the last step
  int64_t patience = 0;        // evaluations without a lower loss that end the run; 0: never
  PasskeySpec passkey;
};

struct CheckpointSpec {
  int64_t interval_steps = 0;  // 0: only when asked or stopped
  int64_t keep_last = 2;       // complete checkpoints kept, >= 1
  bool keep_best = false;      // besides, that of the lowest validation loss
};

struct ExportSpec {
  bool merged = false;  // also write the merged model
  ExportWeights weights = ExportWeights::kLast;
};

struct ResourceSpec {
  Device device = Device::kCuda;
  int32_t nodes = 1;
  int32_t devices_per_node = 1;
  int32_t context_parallel = 1;            // ranks that share one row
  bool shard_base = false;                 // frozen layers stored once across ranks
  std::vector<std::string> worker_labels;  // key=value, that the worker must have
  int64_t max_duration_seconds = 0;        // of all attempts together; 0: no bound
};

struct TrainSpec {
  std::string display_name;
  std::string base_model;  // name in the worker's model directory, or a path
  DatasetSpec dataset;
  int64_t max_sequence_length = 0;  // tokens a row, >= 2
  MethodSpec method;
  OptimizerSpec optimizer;
  TrainingSpec training;
  EvaluationSpec evaluation;
  CheckpointSpec checkpoint;
  ExportSpec export_options;  // key "export"
  ResourceSpec resources;
  int32_t priority = 0;
  std::string queue = "default";
};

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_TRAINER_PROTOCOL_TRAIN_SPEC_H_
