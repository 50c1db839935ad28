// Reads a PEFT LoRA adapter, our own or one that peft wrote, to go on training from it
// (method.initial_adapter). Stateless. Checks every tensor against what the job trains.
#ifndef LONGLORA_WORKER_TRAINER_CHECKPOINT_ADAPTER_IMPORT_H_
#define LONGLORA_WORKER_TRAINER_CHECKPOINT_ADAPTER_IMPORT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/trainer/checkpoint/lora_weights.h"

namespace longlora::trainer {

// What the job is going to train: the adapter must fit it exactly.
struct AdapterShape {
  struct Module {
    int64_t in_features = 0;
    int64_t out_features = 0;
  };
  std::map<std::string, Module> lora;                   // module path -> sizes
  std::map<std::string, std::vector<int64_t>> trained;  // parameter name -> shape
  int64_t rank = 0;
  double alpha = 0.0;
  bool use_rslora = false;
  bool tie_word_embeddings = false;
};

struct ImportedAdapter {
  LoraWeights weights;  // fp32, own memory
  // Parameters the job trains and the adapter never did: they start from the base model.
  std::vector<std::string> left_to_base;
};

// INVALID_ARGUMENT lists every unexpected, missing and mis-shaped tensor, and settings we cannot go
// on from (another rank, alpha or rsLoRA; DoRA, patterns, bias), each with the way out. NOT_FOUND:
// no adapter there.
absl::StatusOr<ImportedAdapter> ImportAdapter(const std::string& directory,
                                              const AdapterShape& expected);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_CHECKPOINT_ADAPTER_IMPORT_H_
