#include "worker/trainer/lora/lora.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace longlora::trainer {
namespace {

using torch::Tensor;

std::string LastName(const std::string& module) { return module.substr(module.rfind('.') + 1); }

}  // namespace

double LoraScale(int64_t rank, double alpha, bool use_rslora) {
  const auto columns = static_cast<double>(rank);
  return alpha / (use_rslora ? std::sqrt(columns) : columns);
}

LoraModule::LoraModule(std::string module_name, Tensor a, Tensor b, double scale)
    : module_name_(std::move(module_name)), a_(std::move(a)), b_(std::move(b)), scale_(scale) {}

Tensor LoraModule::Delta() const {
  const torch::NoGradGuard no_grad;
  return b_.matmul(a_).mul_(scale_);
}

Tensor LoraModule::AddTo(const Tensor& y, const Tensor& x) const {
  const Tensor input = dropout_ == nullptr ? x : dropout_->Apply(x, index_);
  const Tensor low = at::linear(input, a_.to(x.scalar_type())).flatten(0, -2);
  return torch::addmm(y.flatten(0, -2), low, b_.to(x.scalar_type()).t(), 1.0, scale_)
      .view(y.sizes());
}

absl::StatusOr<std::vector<std::shared_ptr<LoraModule>>> InjectLora(LlamaModel& model,
                                                                    const LoraOptions& options) {
  std::set<std::string> known;
  for (const Linear* linear : model.linears()) known.insert(LastName(linear->name));
  const bool all = options.target_modules == std::vector<std::string>{kAllLinear};
  for (const std::string& target : options.target_modules) {
    if (!all && known.count(target) == 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "method.lora.target_modules: \"", target,
          "\" names no linear layer of this model; it has ", absl::StrJoin(known, ", ")));
    }
  }
  const std::set<std::string> targets(options.target_modules.begin(), options.target_modules.end());
  auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(options.seed));
  const torch::ScalarType master =
      model.options().dtype == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  const torch::TensorOptions on_device = torch::TensorOptions(model.options().device).dtype(master);
  std::vector<std::shared_ptr<LoraModule>> modules;
  for (Linear* linear : model.linears()) {
    if (!all && targets.count(LastName(linear->name)) == 0) continue;
    const int64_t out = linear->weight.size(0), in = linear->weight.size(1);
    const double bound = 1.0 / std::sqrt(static_cast<double>(in));
    // Drawn in fp32 on the CPU, so that every device and precision starts from the same values.
    const Tensor a = torch::empty({options.rank, in}).uniform_(-bound, bound, generator);
    modules.push_back(
        std::make_shared<LoraModule>(linear->name, a.to(on_device).requires_grad_(),
                                     torch::zeros({out, options.rank}, on_device).requires_grad_(),
                                     LoraScale(options.rank, options.alpha, options.use_rslora)));
    linear->adapter = modules.back();
  }
  return modules;
}

std::shared_ptr<LoraDropout> AddDropout(const std::vector<std::shared_ptr<LoraModule>>& modules,
                                        const LoraOptions& options) {
  if (options.dropout == 0.0) return nullptr;
  auto dropout = std::make_shared<LoraDropout>(options.dropout, options.seed);
  for (size_t i = 0; i < modules.size(); ++i) {
    modules[i]->set_dropout(dropout, static_cast<int64_t>(i));
  }
  return dropout;
}

std::vector<Parameter> TrainedParameters(const LlamaModel& model,
                                         const std::vector<std::shared_ptr<LoraModule>>& modules) {
  std::vector<Parameter> all = model.trained_parameters();
  for (const std::shared_ptr<LoraModule>& module : modules) {
    all.push_back({module->module_name() + ".lora_A.weight", module->a()});
    all.push_back({module->module_name() + ".lora_B.weight", module->b()});
  }
  return all;
}

}  // namespace longlora::trainer
