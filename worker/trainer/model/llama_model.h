// A decoder of Llama's kind (the families of model_family.h) for fine-tuning: frozen weights in the
// compute dtype, trained ones (embedding, norms, adapters) as fp32 masters that are cast where they
// are used. Built from tensors named as in Hugging Face files; the output head is applied by loss/,
// in chunks. Not thread-safe; one per trainer process. Shapes: B rows, T tokens a row, E hidden
// size, H query heads, K key/value heads, D head size.
#ifndef LONGLORA_WORKER_TRAINER_MODEL_LLAMA_MODEL_H_
#define LONGLORA_WORKER_TRAINER_MODEL_LLAMA_MODEL_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base_model/model_config.h"
#include "worker/trainer/attention/segments.h"
#include "worker/trainer/model/linear.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {

class KvCache;
struct RotaryTables;

struct ModelOptions {
  torch::ScalarType dtype = torch::kBFloat16;  // compute dtype
  torch::Device device = torch::kCPU;
  common::RotaryConfig rope;     // see JobRope()
  bool train_embedding = false;  // model.embed_tokens.weight; moves a tied output head with it
  bool train_norms = false;      // every norm's weight
};

// One tensor under its Hugging Face name ("model.norm.weight"). Trained: an fp32 leaf that requires
// a gradient; frozen: compute dtype.
struct Parameter {
  std::string name;
  torch::Tensor value;
};

// Rows to run at once.
struct ModelInput {
  torch::Tensor input_ids;     // [B, T] int64, each in [0, vocab_size)
  torch::Tensor position_ids;  // [B, T] int64, the row's own positions, restarting per document
  std::vector<RowSegments> segments;  // B entries, or one for all rows
};

class LlamaModel {
 public:
  // Takes `weights` (any floating dtype, any device): copies each and lets it go, so that weights
  // of a mapped file are not in memory twice. A missing, an unexpected or a wrongly shaped tensor
  // is INVALID_ARGUMENT and names it. Accepted besides the parameters: a redundant lm_head.weight
  // of a tied model, and old files' rotary_emb.inv_freq.
  static absl::StatusOr<std::unique_ptr<LlamaModel>> Create(
      const common::ModelConfig& config, std::map<std::string, torch::Tensor> weights,
      const ModelOptions& options);

  LlamaModel(const LlamaModel&) = delete;
  LlamaModel& operator=(const LlamaModel&) = delete;

  const common::ModelConfig& config() const { return config_; }
  const ModelOptions& options() const { return options_; }

  // Final hidden states after the last norm, [B, T, E] in the compute dtype. With gradients enabled
  // and `checkpoint_activations`, only the input of each layer is kept and the layer is run again
  // in backward.
  torch::Tensor Forward(const ModelInput& input, bool checkpoint_activations) const;

  // Reads the tokens that follow those in `cache`, [1, T] int64, with dense attention: all of a
  // prompt at once, then one at a time. Returns the final hidden state of the last, [1, E]. For
  // inference, without gradients.
  torch::Tensor Extend(const torch::Tensor& input_ids, KvCache& cache) const;

  // [V, E]: the weight of the output head (the embedding itself when tied): argument of
  // ChunkedCrossEntropy.
  const torch::Tensor& lm_head() const;

  // Every parameter of the base model in the order of ParameterShapes(), adapters not included.
  std::vector<Parameter> parameters() const;

  // Those of parameters() that train, without adapters: see lora/ for all trained tensors of a job.
  std::vector<Parameter> trained_parameters() const;

  // Every linear map inside the layers, in order: LayerLinears() of layer 0, then layer 1...
  std::vector<Linear*> linears();
  std::vector<const Linear*> linears() const;

 private:
  struct Layer;

  LlamaModel(const common::ModelConfig& config, const ModelOptions& options);

  torch::Tensor Embed(const torch::Tensor& input_ids) const;
  RotaryTables Turns(const torch::Tensor& position_ids) const;

  common::ModelConfig config_;
  ModelOptions options_;
  torch::Tensor embedding_;
  std::vector<std::shared_ptr<Layer>> layers_;
  torch::Tensor norm_;
  torch::Tensor lm_head_;              // undefined when tied
  torch::Tensor inverse_frequencies_;  // [RotaryDim / 2] fp32
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_MODEL_LLAMA_MODEL_H_
