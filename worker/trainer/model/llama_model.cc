#include "worker/trainer/model/llama_model.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/status_macros.h"
#include "worker/trainer/attention/segment_attention.h"
#include "worker/trainer/model/layer_checkpoint.h"
#include "worker/trainer/model/rms_norm.h"
#include "worker/trainer/model/rope.h"
#include "worker/trainer/model/swiglu.h"

namespace longlora::trainer {

using torch::Tensor;

struct LlamaModel::Layer {
  Parameter input_norm;
  Linear q, k, v, o;
  Parameter post_attention_norm;
  Linear gate, up, down;

  std::vector<Linear*> linears() { return {&q, &k, &v, &o, &gate, &up, &down}; }

  // Leaves that train.
  std::vector<Tensor> trained() {
    std::vector<Tensor> tensors;
    for (const Parameter* norm : {&input_norm, &post_attention_norm}) {
      if (norm->value.requires_grad()) tensors.push_back(norm->value);
    }
    for (const Linear* linear : linears()) {
      if (linear->adapter == nullptr) continue;
      for (const Tensor& t : linear->adapter->parameters()) tensors.push_back(t);
    }
    return tensors;
  }

  // x: [B, T, E] -> the same.
  Tensor Forward(const ModelConfig& config, const Tensor& x, const RotaryTables& rotary,
                 const std::vector<RowSegments>& segments) const {
    const Tensor attended =
        Attention(config, RmsNorm(x, input_norm.value, config.rms_norm_eps), rotary, segments);
    const Tensor h = x + attended;
    const Tensor n = RmsNorm(h, post_attention_norm.value, config.rms_norm_eps);
    return h + down.Forward(SwiGlu(gate.Forward(n), up.Forward(n)));
  }

  Tensor Attention(const ModelConfig& config, const Tensor& x, const RotaryTables& rotary,
                   const std::vector<RowSegments>& segments) const {
    const int64_t rows = x.size(0), tokens = x.size(1);
    const auto heads = [&](const Tensor& t) { return t.view({rows, tokens, -1, config.head_dim}); };
    const Tensor q_heads = ApplyRotary(heads(q.Forward(x)), rotary);
    const Tensor k_heads = ApplyRotary(heads(k.Forward(x)), rotary);
    const Tensor v_heads = heads(v.Forward(x));
    const Tensor out = SegmentAttention(q_heads.transpose(1, 2), k_heads.transpose(1, 2),
                                        v_heads.transpose(1, 2), segments);
    return o.Forward(out.transpose(1, 2).reshape({rows, tokens, -1}));
  }
};

namespace {

// Present in some files although the model does not need them.
bool IsRedundant(const ModelConfig& config, const std::string& name) {
  return (config.tie_word_embeddings && name == "lm_head.weight") ||
         absl::EndsWith(name, "rotary_emb.inv_freq");
}

absl::Status CheckNamesAndShapes(const ModelConfig& config,
                                 const std::map<std::string, Tensor>& weights) {
  std::map<std::string, std::vector<int64_t>> wanted;
  for (auto& [name, shape] : ParameterShapes(config)) wanted[name] = shape;
  for (const auto& [name, tensor] : weights) {
    const auto it = wanted.find(name);
    if (it == wanted.end()) {
      if (IsRedundant(config, name)) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor ", name, " is not one of this model's: config.json and weights do not fit"));
    }
    if (tensor.sizes() != at::IntArrayRef(it->second)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", name, " has shape [", absl::StrJoin(tensor.sizes(), ", "),
                       "], config.json asks for [", absl::StrJoin(it->second, ", "), "]"));
    }
    if (!tensor.is_floating_point()) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " does not hold floats"));
    }
    wanted.erase(it);
  }
  if (!wanted.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", wanted.begin()->first, " is missing",
                     wanted.size() == 1 ? "" : absl::StrCat(", and ", wanted.size() - 1, " more")));
  }
  return absl::OkStatus();
}

bool IsNorm(const std::string& name) { return absl::EndsWith(name, "norm.weight"); }

}  // namespace

LlamaModel::LlamaModel(const ModelConfig& config, const ModelOptions& options)
    : config_(config),
      options_(options),
      inverse_frequencies_(InverseFrequencies(config.head_dim, options.rope).to(options.device)) {}

absl::StatusOr<std::unique_ptr<LlamaModel>> LlamaModel::Create(
    const ModelConfig& config, const std::map<std::string, Tensor>& weights,
    const ModelOptions& options) {
  LONGLORA_RETURN_IF_ERROR(CheckNamesAndShapes(config, weights));
  // fp64 models (tests) keep their masters in fp64 too.
  const torch::ScalarType master =
      options.dtype == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  const auto take = [&](const std::string& name) {
    const bool trained = name == "model.embed_tokens.weight" ? options.train_embedding
                                                             : IsNorm(name) && options.train_norms;
    Tensor copy =
        torch::empty(weights.at(name).sizes(),
                     torch::TensorOptions(options.device).dtype(trained ? master : options.dtype));
    copy.copy_(weights.at(name));
    return copy.requires_grad_(trained);
  };
  const auto linear = [&](std::string name) {
    Tensor weight = take(name + ".weight");
    return Linear{std::move(name), std::move(weight), nullptr};
  };
  const auto norm = [&](std::string name) {
    Tensor value = take(name);
    return Parameter{std::move(name), std::move(value)};
  };
  const torch::NoGradGuard no_grad;
  auto model = std::unique_ptr<LlamaModel>(new LlamaModel(config, options));
  model->embedding_ = take("model.embed_tokens.weight");
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string prefix = absl::StrCat("model.layers.", i, ".");
    model->layers_.push_back(std::make_shared<Layer>(
        Layer{norm(prefix + "input_layernorm.weight"), linear(prefix + "self_attn.q_proj"),
              linear(prefix + "self_attn.k_proj"), linear(prefix + "self_attn.v_proj"),
              linear(prefix + "self_attn.o_proj"), norm(prefix + "post_attention_layernorm.weight"),
              linear(prefix + "mlp.gate_proj"), linear(prefix + "mlp.up_proj"),
              linear(prefix + "mlp.down_proj")}));
  }
  model->norm_ = take("model.norm.weight");
  if (!config.tie_word_embeddings) model->lm_head_ = take("lm_head.weight");
  return model;
}

Tensor LlamaModel::Forward(const ModelInput& input, bool checkpoint_activations) const {
  const RotaryTables rotary = MakeRotaryTables(input.position_ids, inverse_frequencies_);
  Tensor x = torch::embedding(embedding_, input.input_ids, config_.pad_token_id).to(options_.dtype);
  for (const std::shared_ptr<Layer>& layer : layers_) {
    // By value: the closure outlives this call when it runs again in backward.
    auto run = [config = config_, layer, rotary, segments = input.segments](const Tensor& hidden) {
      return layer->Forward(config, hidden, rotary, segments);
    };
    x = checkpoint_activations && torch::GradMode::is_enabled()
            ? Checkpointed(std::move(run), x, layer->trained())
            : run(x);
  }
  return RmsNorm(x, norm_, config_.rms_norm_eps);
}

const Tensor& LlamaModel::lm_head() const {
  return config_.tie_word_embeddings ? embedding_ : lm_head_;
}

std::vector<Parameter> LlamaModel::parameters() const {
  std::vector<Parameter> all = {{"model.embed_tokens.weight", embedding_}};
  for (const std::shared_ptr<Layer>& layer : layers_) {
    all.push_back(layer->input_norm);
    for (const Linear* linear : layer->linears()) {
      if (linear == &layer->gate) all.push_back(layer->post_attention_norm);
      all.push_back({linear->name + ".weight", linear->weight});
    }
  }
  all.push_back({"model.norm.weight", norm_});
  if (!config_.tie_word_embeddings) all.push_back({"lm_head.weight", lm_head_});
  return all;
}

std::vector<Parameter> LlamaModel::trained_parameters() const {
  std::vector<Parameter> trained;
  for (Parameter& parameter : parameters()) {
    if (parameter.value.requires_grad()) trained.push_back(std::move(parameter));
  }
  return trained;
}

std::vector<Linear*> LlamaModel::linears() {
  std::vector<Linear*> all;
  for (const std::shared_ptr<Layer>& layer : layers_) {
    for (Linear* linear : layer->linears()) all.push_back(linear);
  }
  return all;
}

std::vector<const Linear*> LlamaModel::linears() const {
  std::vector<const Linear*> all;
  for (const std::shared_ptr<Layer>& layer : layers_) {
    for (const Linear* linear : layer->linears()) all.push_back(linear);
  }
  return all;
}

}  // namespace longlora::trainer
