// Dropout on the input of LoRA's A (Hu et al. 2021; as peft, each module draws its own mask). The
// mask is a pure function of (job seed, step, micro-batch, rank, module): a generator is seeded
// with their hash for every call. So nothing has to be saved for a resume, and a layer that runs
// again in backward (layer_checkpoint.h) sees the mask it saw in forward. Not thread-safe.
#ifndef LONGLORA_WORKER_TRAINER_LORA_DROPOUT_H_
#define LONGLORA_WORKER_TRAINER_LORA_DROPOUT_H_

#include <cstdint>

#include "worker/trainer/torch.h"

namespace longlora::trainer {

// Where in a job a mask is drawn.
struct DropoutPlace {
  int64_t step = 0;
  int64_t micro_batch = 0;  // of this rank in this step
  int64_t rank = 0;
};

class LoraDropout {
 public:
  // `probability` in [0, 1) that an element is dropped.
  LoraDropout(double probability, int64_t job_seed)
      : probability_(probability), job_seed_(job_seed) {}

  // Masks of `place` from here on: until the backward of that micro-batch is done.
  void Begin(const DropoutPlace& place);
  // Back to no dropout, as at evaluation and inference.
  void End() { active_ = false; }

  // x with a share of its elements zeroed and the others divided by the share kept; x itself when
  // not active. `module` numbers the modules of a model.
  torch::Tensor Apply(const torch::Tensor& x, int64_t module) const;

 private:
  const double probability_;
  const int64_t job_seed_;
  DropoutPlace place_;
  bool active_ = false;
};

// Dropout of one micro-batch for as long as this lives.
class DropoutScope {
 public:
  // `dropout` may be null: none.
  DropoutScope(LoraDropout* dropout, const DropoutPlace& place) : dropout_(dropout) {
    if (dropout_ != nullptr) dropout_->Begin(place);
  }
  ~DropoutScope() {
    if (dropout_ != nullptr) dropout_->End();
  }
  DropoutScope(const DropoutScope&) = delete;
  DropoutScope& operator=(const DropoutScope&) = delete;

 private:
  LoraDropout* const dropout_;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_LORA_DROPOUT_H_
