#include "worker/trainer/lora/dropout.h"

#include <ATen/CPUGeneratorImpl.h>

namespace longlora::trainer {
namespace {

// SplitMix64 (Steele et al. 2014): one step of a walk over all 64-bit numbers, well mixed.
uint64_t Mix(uint64_t state, int64_t value) {
  uint64_t z = state + 0x9e3779b97f4a7c15u * (static_cast<uint64_t>(value) + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

at::Generator MakeGenerator(torch::Device device, uint64_t seed) {
  if (device.is_cpu()) return at::make_generator<at::CPUGeneratorImpl>(seed);
  at::Generator generator = at::globalContext()
                                .getAcceleratorHooksInterface(device.type())
                                .getNewGenerator(device.index());
  generator.set_current_seed(seed);
  return generator;
}

}  // namespace

void LoraDropout::Begin(const DropoutPlace& place) {
  place_ = place;
  active_ = probability_ > 0.0;
}

torch::Tensor LoraDropout::Apply(const torch::Tensor& x, int64_t module) const {
  if (!active_) return x;
  uint64_t seed = 0;
  for (const int64_t part : {job_seed_, place_.step, place_.micro_batch, place_.rank, module}) {
    seed = Mix(seed, part);
  }
  const double kept = 1.0 - probability_;
  const torch::Tensor mask =
      torch::empty_like(x).bernoulli_(kept, MakeGenerator(x.device(), seed)).div_(kept);
  return x * mask;
}

}  // namespace longlora::trainer
