// The tensors of one decoder layer while it runs, counted. Follows LlamaModel::Layer line by line
// (worker/trainer/model/llama_model.cc): what changes there changes here. Pure; called by
// memory_estimate.
#ifndef LONGLORA_COMMON_MEMORY_LAYER_MEMORY_H_
#define LONGLORA_COMMON_MEMORY_LAYER_MEMORY_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "common/base_model/model_config.h"
#include "common/trainer_protocol/train_spec.h"

namespace longlora::common {

// Most that is alive at once for a token of a layer, in bytes, its input not included.
struct LayerMemory {
  int64_t forward = 0;   // without gradients: intermediates go as soon as they are used
  int64_t backward = 0;  // run again with gradients and then differentiated
};

// Which linears of a layer have an adapter, and what the adapters hold.
struct LayerAdapters {
  bool query_key_value = false;  // any of q, k, v, or the one that gives all three
  bool gate_up = false;
  bool down = false;
  int64_t parameters = 0;      // of A and B
  int64_t dropped_inputs = 0;  // elements a token of all adapters' inputs
  int64_t low_ranks = 0;       // elements a token of all x A^T
};

// INVALID_ARGUMENT when a name of method.lora.target_modules is no linear of the model.
absl::StatusOr<LayerAdapters> FindAdapters(const TrainSpec& spec, const ModelConfig& model);

// `width`: bytes of an element of the compute type.
LayerMemory CountLayer(const ModelConfig& model, const LayerAdapters& adapters, bool dropout,
                       int64_t width);

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_MEMORY_LAYER_MEMORY_H_
