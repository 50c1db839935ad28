#include "worker/trainer/model/llama_model.h"

#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status/status_macros.h"
#include "worker/trainer/attention/segment_attention.h"
#include "worker/trainer/model/kv_cache.h"
#include "worker/trainer/model/layer_checkpoint.h"
#include "worker/trainer/model/rms_norm.h"
#include "worker/trainer/model/rope.h"
#include "worker/trainer/model/swiglu.h"

namespace longlora::trainer {

using torch::Tensor;

namespace {

// What the queries of a layer gather. q: [B, H, T, D], turned; k, v: [B, K, T, D] -> as q.
using Attend = absl::FunctionRef<Tensor(const Tensor& q, const Tensor& k, const Tensor& v)>;

}  // namespace

struct LlamaModel::Layer {
  Parameter input_norm;
  std::vector<Linear> qkv;  // q, k, v; or one that gives all three
  Linear o;
  std::vector<Parameter> head_norms;  // of q and k; or none
  Parameter post_attention_norm;
  std::vector<Linear> gate_up;  // gate, up; or one that gives both
  Linear down;

  std::vector<Linear*> linears() {
    std::vector<Linear*> all;
    for (Linear& linear : qkv) all.push_back(&linear);
    all.push_back(&o);
    for (Linear& linear : gate_up) all.push_back(&linear);
    all.push_back(&down);
    return all;
  }

  // In the order of ParameterShapes().
  std::vector<Parameter> parameters() {
    std::vector<Parameter> all = {input_norm};
    for (const Linear* linear : linears()) {
      all.push_back({linear->name + ".weight", linear->weight});
      if (linear->bias.defined()) all.push_back({linear->name + ".bias", linear->bias});
      if (linear != &o) continue;
      all.insert(all.end(), head_norms.begin(), head_norms.end());
      all.push_back(post_attention_norm);
    }
    return all;
  }

  // Leaves that train.
  std::vector<Tensor> trained() {
    std::vector<Tensor> tensors;
    for (const Parameter& parameter : parameters()) {
      if (parameter.value.requires_grad()) tensors.push_back(parameter.value);
    }
    for (const Linear* linear : linears()) {
      if (linear->adapter == nullptr) continue;
      for (const Tensor& t : linear->adapter->parameters()) tensors.push_back(t);
    }
    return tensors;
  }

  // x: [B, T, E] -> the same.
  Tensor Forward(const common::ModelConfig& config, const Tensor& x, const RotaryTables& rotary,
                 Attend attend) const {
    const Tensor attended =
        Attention(config, RmsNorm(x, input_norm.value, config.rms_norm_eps), rotary, attend);
    const Tensor h = x + attended;
    return h + Mlp(RmsNorm(h, post_attention_norm.value, config.rms_norm_eps));
  }

  Tensor Attention(const common::ModelConfig& config, const Tensor& x, const RotaryTables& rotary,
                   Attend attend) const {
    const int64_t rows = x.size(0), tokens = x.size(1);
    const std::vector<Tensor> projected = Project(config, x);
    const auto heads = [&](size_t i) {
      return projected[i].view({rows, tokens, -1, config.head_dim});
    };
    // Of queries (0) or keys (1).
    const auto turned = [&](size_t i) {
      const Tensor plain = heads(i);
      return ApplyRotary(
          head_norms.empty() ? plain : RmsNorm(plain, head_norms[i].value, config.rms_norm_eps),
          rotary);
    };
    const Tensor q_heads = turned(0), k_heads = turned(1), v_heads = heads(2);
    const Tensor out =
        attend(q_heads.transpose(1, 2), k_heads.transpose(1, 2), v_heads.transpose(1, 2));
    return o.Forward(out.transpose(1, 2).reshape({rows, tokens, -1}));
  }

  // Queries, keys and values: [B, T, heads x D] each, contiguous.
  std::vector<Tensor> Project(const common::ModelConfig& config, const Tensor& x) const {
    if (qkv.size() == 3) return {qkv[0].Forward(x), qkv[1].Forward(x), qkv[2].Forward(x)};
    const int64_t q = config.num_heads * config.head_dim;
    const int64_t kv = config.num_kv_heads * config.head_dim;
    std::vector<Tensor> parts = qkv[0].Forward(x).split_with_sizes({q, kv, kv}, -1);
    for (Tensor& part : parts) part = part.contiguous();
    return parts;
  }

  Tensor Mlp(const Tensor& x) const {
    if (gate_up.size() == 2) {
      return down.Forward(SwiGlu(gate_up[0].Forward(x), gate_up[1].Forward(x)));
    }
    const std::vector<Tensor> halves = gate_up[0].Forward(x).chunk(2, -1);
    return down.Forward(SwiGlu(halves[0], halves[1]));
  }
};

namespace {

// Present in some files although the model does not need them.
bool IsRedundant(const common::ModelConfig& config, const std::string& name) {
  return (config.tie_word_embeddings && name == "lm_head.weight") ||
         absl::EndsWith(name, "rotary_emb.inv_freq");
}

absl::Status CheckNamesAndShapes(const common::ModelConfig& config,
                                 const std::map<std::string, Tensor>& weights) {
  std::map<std::string, std::vector<int64_t>> wanted;
  for (auto& [name, shape] : common::ParameterShapes(config)) wanted[name] = shape;
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

LlamaModel::LlamaModel(const common::ModelConfig& config, const ModelOptions& options)
    : config_(config),
      options_(options),
      inverse_frequencies_(InverseFrequencies(config.head_dim, options.rope).to(options.device)) {}

absl::StatusOr<std::unique_ptr<LlamaModel>> LlamaModel::Create(
    const common::ModelConfig& config, std::map<std::string, Tensor> weights,
    const ModelOptions& options) {
  LONGLORA_RETURN_IF_ERROR(CheckNamesAndShapes(config, weights));
  // fp64 models (tests) keep their masters in fp64 too.
  const torch::ScalarType master =
      options.dtype == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  const auto take = [&](const std::string& name) {
    const bool trained = name == "model.embed_tokens.weight" ? options.train_embedding
                                                             : IsNorm(name) && options.train_norms;
    // Is gone at the end of this call.
    const auto taken = weights.extract(name);
    const Tensor& weight = taken.mapped();
    Tensor copy =
        torch::empty(weight.sizes(),
                     torch::TensorOptions(options.device).dtype(trained ? master : options.dtype));
    copy.copy_(weight);
    return copy.requires_grad_(trained);
  };
  const auto parameter = [&](const std::string& name) { return Parameter{name, take(name)}; };
  const torch::NoGradGuard no_grad;
  auto model = std::unique_ptr<LlamaModel>(new LlamaModel(config, options));
  model->embedding_ = take("model.embed_tokens.weight");
  const std::vector<common::LinearShape> shapes = common::LayerLinears(config);
  const size_t num_qkv = config.fused ? 1 : 3;
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const std::string prefix = absl::StrCat("model.layers.", i, ".");
    std::vector<Linear> linears;
    for (const common::LinearShape& shape : shapes) {
      const std::string name = prefix + shape.name;
      linears.push_back(
          {name, take(name + ".weight"), shape.bias ? take(name + ".bias") : Tensor(), nullptr});
    }
    std::vector<Parameter> head_norms;
    if (config.head_norms) {
      head_norms = {parameter(prefix + "self_attn.q_norm.weight"),
                    parameter(prefix + "self_attn.k_norm.weight")};
    }
    const auto o = linears.begin() + static_cast<ptrdiff_t>(num_qkv);
    model->layers_.push_back(
        std::make_shared<Layer>(Layer{parameter(prefix + "input_layernorm.weight"),
                                      {linears.begin(), o},
                                      *o,
                                      std::move(head_norms),
                                      parameter(prefix + "post_attention_layernorm.weight"),
                                      {o + 1, linears.end() - 1},
                                      linears.back()}));
  }
  model->norm_ = take("model.norm.weight");
  if (!config.tie_word_embeddings) model->lm_head_ = take("lm_head.weight");
  return model;
}

Tensor LlamaModel::Embed(const Tensor& input_ids) const {
  return torch::embedding(embedding_, input_ids, config_.pad_token_id).to(options_.dtype);
}

RotaryTables LlamaModel::Turns(const Tensor& position_ids) const {
  return MakeRotaryTables(position_ids, inverse_frequencies_,
                          common::AttentionFactor(options_.rope));
}

Tensor LlamaModel::Forward(const ModelInput& input, bool checkpoint_activations) const {
  const RotaryTables rotary = Turns(input.position_ids);
  Tensor x = Embed(input.input_ids);
  for (const std::shared_ptr<Layer>& layer : layers_) {
    // By value: the closure outlives this call when it runs again in backward.
    auto run = [config = config_, layer, rotary, segments = input.segments](const Tensor& hidden) {
      const auto attend = [&](const Tensor& q, const Tensor& k, const Tensor& v) {
        return SegmentAttention(q, k, v, segments);
      };
      return layer->Forward(config, hidden, rotary, attend);
    };
    x = checkpoint_activations && torch::GradMode::is_enabled()
            ? Checkpointed(std::move(run), x, layer->trained())
            : run(x);
  }
  return RmsNorm(x, norm_, config_.rms_norm_eps);
}

Tensor LlamaModel::Extend(const Tensor& input_ids, KvCache& cache) const {
  const int64_t begin = cache.length(), tokens = input_ids.size(1);
  const RotaryTables rotary = Turns(
      torch::arange(begin, begin + tokens, input_ids.options().dtype(torch::kInt64)).unsqueeze(0));
  Tensor x = Embed(input_ids);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto attend = [&](const Tensor& q, const Tensor& k, const Tensor& v) {
      return cache.Attend(static_cast<int64_t>(i), q, k, v);
    };
    x = layers_[i]->Forward(config_, x, rotary, attend);
  }
  cache.Advance(tokens);
  return RmsNorm(x.select(1, tokens - 1), norm_, config_.rms_norm_eps);
}

const Tensor& LlamaModel::lm_head() const {
  return config_.tie_word_embeddings ? embedding_ : lm_head_;
}

std::vector<Parameter> LlamaModel::parameters() const {
  std::vector<Parameter> all = {{"model.embed_tokens.weight", embedding_}};
  for (const std::shared_ptr<Layer>& layer : layers_) {
    for (Parameter& parameter : layer->parameters()) all.push_back(std::move(parameter));
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
