// Low-rank adaptation (Hu et al. 2021): y = x W^T + scale (dropout(x) A^T) B^T, with A and B
// trained in fp32 and W frozen. Injected into a LlamaModel's linear maps by the last part of their
// name. Initial values as PEFT's; loading and saving adapters is checkpoint/'s work, through
// LoraModule's tensors.
#ifndef LONGLORA_WORKER_TRAINER_LORA_LORA_H_
#define LONGLORA_WORKER_TRAINER_LORA_LORA_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/trainer/lora/dropout.h"
#include "worker/trainer/model/llama_model.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {

// Alone in target_modules: every linear map of the layers, as peft's word; not the output head.
inline constexpr char kAllLinear[] = "all-linear";

struct LoraOptions {
  int64_t rank = 8;
  double alpha = 16.0;
  std::vector<std::string> target_modules;  // "q_proj", ...: last parts of module names
  int64_t seed = 0;                         // of the initial A, and of dropout
  bool use_rslora = false;
  double dropout = 0.0;  // [0, 1)
};

// alpha / rank; with rsLoRA (Kalajdzievski 2023) alpha / sqrt(rank).
double LoraScale(int64_t rank, double alpha, bool use_rslora);

class LoraModule : public LinearAdapter {
 public:
  // `a`: [rank, in], `b`: [out, rank], fp32 leaves that require gradients.
  LoraModule(std::string module_name, torch::Tensor a, torch::Tensor b, double scale);

  // Drops elements of the input as module number `index`.
  void set_dropout(std::shared_ptr<const LoraDropout> dropout, int64_t index) {
    dropout_ = std::move(dropout);
    index_ = index;
  }

  const std::string& module_name() const {
    return module_name_;
  }  // "model.layers.0.self_attn.q_proj"
  const torch::Tensor& a() const { return a_; }
  const torch::Tensor& b() const { return b_; }
  double scale() const { return scale_; }

  // scale B A, [out, in] fp32: what merging adds to the frozen weight.
  torch::Tensor Delta() const;

  torch::Tensor AddTo(const torch::Tensor& y, const torch::Tensor& x) const override;
  std::vector<torch::Tensor> parameters() const override { return {a_, b_}; }

 private:
  std::string module_name_;
  torch::Tensor a_;
  torch::Tensor b_;
  double scale_;
  std::shared_ptr<const LoraDropout> dropout_;  // null: none
  int64_t index_ = 0;
};

// Puts a LoraModule on every targeted linear map of `model` and returns them in the model's order.
// A is uniform in +-1/sqrt(in) (Kaiming with a = sqrt(5), as PEFT), B is zero, so the model's
// outputs do not change; the same seed gives the same A everywhere. INVALID_ARGUMENT when a target
// names no linear map.
absl::StatusOr<std::vector<std::shared_ptr<LoraModule>>> InjectLora(LlamaModel& model,
                                                                    const LoraOptions& options);

// Gives all `modules` one dropout, off until its Begin(); null and none given for probability 0.
std::shared_ptr<LoraDropout> AddDropout(const std::vector<std::shared_ptr<LoraModule>>& modules,
                                        const LoraOptions& options);

// Every tensor a job trains, in one fixed order (the same on all ranks and after a resume): the
// base model's trained parameters, then A and B of each module, named "<module>.lora_A.weight" and
// "<module>.lora_B.weight".
std::vector<Parameter> TrainedParameters(const LlamaModel& model,
                                         const std::vector<std::shared_ptr<LoraModule>>& modules);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_LORA_LORA_H_
