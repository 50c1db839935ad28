#include "common/memory/layer_memory.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace longlora::common {
namespace {

constexpr int64_t kFloat = 4;

std::string LastName(const std::string& module) { return module.substr(module.rfind('.') + 1); }

}  // namespace

absl::StatusOr<LayerAdapters> FindAdapters(const TrainSpec& spec, const ModelConfig& model) {
  const std::vector<std::string>& targets = spec.method.lora.target_modules;
  const bool all = targets == std::vector<std::string>{"all-linear"};
  std::set<std::string> known;
  LayerAdapters adapters;
  for (const LinearShape& linear : LayerLinears(model)) {
    const std::string name = LastName(linear.name);
    known.insert(name);
    if (!all && std::find(targets.begin(), targets.end(), name) == targets.end()) continue;
    adapters.query_key_value |= absl::StartsWith(linear.name, "self_attn.") && name != "o_proj";
    adapters.gate_up |= absl::StartsWith(linear.name, "mlp.") && name != "down_proj";
    adapters.down |= name == "down_proj";
    adapters.parameters += spec.method.lora.rank * (linear.in_features + linear.out_features);
    adapters.dropped_inputs += linear.in_features;
    adapters.low_ranks += spec.method.lora.rank;
  }
  for (const std::string& target : targets) {
    if (all || known.count(target) != 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "method.lora.target_modules: \"", target, "\" names no linear layer of this model; it has ",
        absl::StrJoin(known, ", ")));
  }
  return adapters;
}

LayerMemory CountLayer(const ModelConfig& model, const LayerAdapters& adapters, bool dropout,
                       int64_t width) {
  const int64_t e = model.hidden_size, i = model.intermediate_size;
  const int64_t q = model.num_heads * model.head_dim, kv = model.num_kv_heads * model.head_dim;
  const int64_t qkv = q + 2 * kv;
  // y + adapter is a second tensor beside y.
  const int64_t down_out = adapters.down ? 2 * e : e;

  // Forward: projections, turned queries and keys, attention's result and a copy of it by the
  // kernel; or, later, the residual sum and what attention added to it, the norm's result and the
  // MLP.
  const int64_t attending = e + qkv + (q + kv) + 2 * q + (width < kFloat ? 2 * kv : 0);
  const int64_t multiplying = 3 * e + std::max(4 * i, 3 * i + down_out);

  // What the graph keeps for the layer's backward. Frozen linears keep nothing; a dropped input is
  // kept with its mask in the place of the input.
  const int64_t norm_in = adapters.query_key_value && !dropout ? e : 0;
  const int64_t attention = (model.head_norms ? q + kv : 0) + qkv + q;
  const int64_t mlp_in = adapters.gate_up && !dropout ? e : 0;
  const int64_t product = adapters.down && !dropout ? i : 0;
  const int64_t dropped = (dropout ? 2 * adapters.dropped_inputs : 0) + adapters.low_ranks;
  const int64_t kept = norm_in + attention + e + mlp_in + dropped;

  // The peaks on the way: at the end of the second forward; where the MLP's product is
  // differentiated, beside the gradient that came in and the layer's output; in the attention
  // kernel, whose gradients are made call by call and added up.
  const int64_t again = kept + 3 * i + e + (e - mlp_in) + i + down_out;
  const int64_t mlp_back = kept + product + 3 * i + 2 * e + 3 * i;
  const int64_t attention_back = kept + 2 * e + q + 2 * qkv;

  // fp32: log-sums of the attention and scales of the norms.
  const int64_t head_scales = model.head_norms ? model.num_heads + model.num_kv_heads : 0;
  const int64_t scales = kFloat * (model.num_heads + head_scales + 2);
  return {.forward = width * std::max(attending, multiplying) + scales,
          .backward = width * std::max({again, mlp_back, attention_back}) + scales};
}

}  // namespace longlora::common
