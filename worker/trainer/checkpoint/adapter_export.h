// Writes what a job trained as a PEFT adapter that peft.PeftModel.from_pretrained loads without
// missing or unexpected keys. Called at the end of a job and into checkpoints. Stateless.
#ifndef LONGLORA_WORKER_TRAINER_CHECKPOINT_ADAPTER_EXPORT_H_
#define LONGLORA_WORKER_TRAINER_CHECKPOINT_ADAPTER_EXPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/trainer/checkpoint/lora_weights.h"
#include "worker/trainer/checkpoint/model_card.h"
#include "worker/trainer/checkpoint/rope_config.h"

namespace longlora::trainer {

// A file that goes into the adapter's folder as it is.
struct Attachment {
  std::string name;    // path below the folder
  std::string source;  // where it lies
  int64_t bytes = 0;   // how much of it, from its begin: it may grow meanwhile
};

struct AdapterExport {
  LoraWeights weights;  // written in the types they come in
  int64_t rank = 0;
  double alpha = 0.0;
  double dropout = 0.0;
  bool use_rslora = false;
  std::vector<std::string> target_modules;  // last names: q_proj, ...
  bool tie_word_embeddings = false;
  HuggingFaceRope rope;
  ModelCard card;
  std::vector<Attachment> attachments;
};

// Writes adapter_config.json, adapter_model.safetensors, rope_scaling.json, README.md and the
// attachments into `directory`, which is replaced as a whole by one rename; then reads the tensors
// back. INVALID_ARGUMENT for a weight that is empty or not finite (nothing is replaced);
// UNAVAILABLE for a failed write.
absl::Status ExportAdapter(const AdapterExport& adapter, const std::string& directory);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_CHECKPOINT_ADAPTER_EXPORT_H_
