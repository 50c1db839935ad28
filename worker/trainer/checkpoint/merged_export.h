// Writes the base model with the trained weights merged in, as a Hugging Face directory that
// transformers loads by itself. Called at the end of a job with export.merged. Stateless; holds one
// tensor at a time.
#ifndef LONGLORA_WORKER_TRAINER_CHECKPOINT_MERGED_EXPORT_H_
#define LONGLORA_WORKER_TRAINER_CHECKPOINT_MERGED_EXPORT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "worker/trainer/checkpoint/lora_weights.h"
#include "worker/trainer/checkpoint/model_card.h"
#include "worker/trainer/checkpoint/rope_config.h"

namespace longlora::trainer {

struct MergedExport {
  std::string base_directory;  // config.json, safetensors, tokenizer files
  LoraWeights weights;
  double scale = 1.0;  // alpha / rank
  bool tie_word_embeddings = false;
  HuggingFaceRope rope;
  ModelCard card;
  int64_t shard_bytes_max = 5'000'000'000;  // tensor data of one file; a larger tensor gets its own
};

// W' = W + scale * B A in fp32, cast back to the base's type; trained parameters replace theirs.
// Writes config.json with the RoPE scaling, the weights (sharded when large), README.md and the
// tokenizer's files into `directory`, replaced as a whole by one rename; reads the tensors back
// first. INVALID_ARGUMENT if a module is not in the base, has another shape, or a result is not
// finite.
absl::Status ExportMerged(const MergedExport& merged, const std::string& directory);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_CHECKPOINT_MERGED_EXPORT_H_
