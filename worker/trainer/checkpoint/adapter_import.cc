#include "worker/trainer/checkpoint/adapter_import.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/io/files.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "worker/trainer/checkpoint/adapter_names.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {
namespace {

using Json = nlohmann::json;

constexpr int64_t kConfigBytesMax = int64_t{4} << 20;
constexpr size_t kProblemsShown = 20;

std::string ShapeText(at::IntArrayRef shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::StatusOr<Json> ReadConfig(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/", kAdapterConfigName);
  LONGLORA_ASSIGN_OR_RETURN(const std::string text, common::ReadFile(path, kConfigBytesMax));
  Json config = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!config.is_object())
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a JSON object"));
  return config;
}

bool IsSet(const Json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return false;
  if (found->is_boolean()) return found->get<bool>();
  return !found->empty();
}

double NumberOr(const Json& config, const char* key, double otherwise) {
  const auto found = config.find(key);
  return found != config.end() && found->is_number() ? found->get<double>() : otherwise;
}

// Settings under which the tensors would mean something else than LoRA does here.
void CheckSettings(const Json& config, const AdapterShape& expected,
                   std::vector<std::string>& problems) {
  if (config.value("peft_type", Json()) != Json("LORA")) {
    problems.push_back("peft_type is not LORA");
  }
  for (const char* key : {"use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern",
                          "layer_replication", "lora_bias"}) {
    if (IsSet(config, key))
      problems.push_back(absl::StrCat(key, " is set, which is not supported"));
  }
  if (config.contains("bias") && config["bias"] != "none") {
    problems.push_back("bias is not \"none\", which is not supported");
  }
  const double rank = NumberOr(config, "r", 0);
  if (rank != static_cast<double>(expected.rank)) {
    problems.push_back(absl::StrCat("its rank is ", rank, " and method.lora.rank is ",
                                    expected.rank, ": set method.lora.rank to ", rank));
  }
  const bool use_rslora = IsSet(config, "use_rslora");
  if (use_rslora != expected.use_rslora) {
    const char* const value = use_rslora ? "true" : "false";
    problems.push_back(
        absl::StrCat("its use_rslora is ", value, ": set method.lora.use_rslora to ", value));
  }
  const double alpha = NumberOr(config, "lora_alpha", 0);
  if (alpha != expected.alpha) {
    problems.push_back(absl::StrCat("its alpha is ", alpha, " and method.lora.alpha is ",
                                    expected.alpha, ": set method.lora.alpha to ", alpha));
  }
}

std::vector<std::string> ModulesToSave(const Json& config) {
  std::vector<std::string> modules;
  const auto found = config.find("modules_to_save");
  if (found == config.end() || !found->is_array()) return modules;
  for (const Json& module : *found) {
    if (module.is_string()) modules.push_back(module.get<std::string>());
  }
  return modules;
}

// Takes the tensors of one adapter file one by one and remembers what does not fit.
class Importer {
 public:
  Importer(const SafetensorsFile& file, std::vector<std::string>& problems)
      : file_(file), problems_(problems) {}

  bool Contains(const std::string& key) const { return file_.entries().count(key) != 0; }

  // `key` in fp32, which must be there with `shape`; looks into the file where that holds fp32.
  std::optional<at::Tensor> Take(const std::string& key, const std::vector<int64_t>& shape) {
    taken_.insert(key);
    const absl::StatusOr<at::Tensor> tensor = file_.Get(key);
    if (!tensor.ok()) {
      problems_.push_back(absl::StrCat("missing tensor \"", key, "\""));
      return std::nullopt;
    }
    if (tensor->sizes() != at::IntArrayRef(shape)) {
      problems_.push_back(absl::StrCat("tensor \"", key, "\" has shape ",
                                       ShapeText(tensor->sizes()), ", the job needs ",
                                       ShapeText(shape)));
      return std::nullopt;
    }
    if (!tensor->is_floating_point()) {
      problems_.push_back(absl::StrCat("tensor \"", key, "\" holds no floating-point numbers"));
      return std::nullopt;
    }
    const at::Tensor taken = tensor->to(at::kFloat);
    if (!AllFinite(taken)) {
      problems_.push_back(absl::StrCat("tensor \"", key, "\" holds a NaN or an infinity"));
      return std::nullopt;
    }
    return taken;
  }

  void ReportUnexpected() {
    for (const auto& [key, entry] : file_.entries()) {
      if (taken_.count(key)) continue;
      const bool is_lora = absl::StrContains(key, ".lora_");
      problems_.push_back(absl::StrCat(
          "unexpected tensor \"", key, "\": the job does not train it (",
          is_lora ? "method.lora.target_modules" : "method.trainable", " would have to name it)"));
    }
  }

 private:
  const SafetensorsFile& file_;
  std::vector<std::string>& problems_;
  std::set<std::string> taken_;
};

void TakeLora(const AdapterShape& expected, Importer& importer, ImportedAdapter& result) {
  for (const auto& [module, sizes] : expected.lora) {
    auto a = importer.Take(absl::StrCat(kAdapterPrefix, module, kLoraASuffix),
                           {expected.rank, sizes.in_features});
    auto b = importer.Take(absl::StrCat(kAdapterPrefix, module, kLoraBSuffix),
                           {sizes.out_features, expected.rank});
    if (a && b) result.weights.lora[module] = {*a, *b};
  }
}

void TakeTrained(const AdapterShape& expected, const std::vector<std::string>& modules_to_save,
                 Importer& importer, std::vector<std::string>& problems, ImportedAdapter& result) {
  for (const auto& [name, shape] : expected.trained) {
    const std::string module = ModuleOf(name);
    bool promised = false;  // peft matches by suffix: "norm" is every layer norm too
    for (const std::string& saved : modules_to_save) promised |= absl::EndsWith(module, saved);
    if (!promised && !importer.Contains(AdapterKey(name))) {
      result.left_to_base.push_back(name);
      continue;
    }
    const auto tensor = importer.Take(AdapterKey(name), shape);
    if (!tensor) continue;
    result.weights.trained[name] = *tensor;
    const std::string head = AdapterKey(absl::StrCat(kHeadModule, ".weight"));
    if (LastName(module) != kEmbeddingModule || !expected.tie_word_embeddings ||
        !importer.Contains(head)) {
      continue;
    }
    const auto head_tensor = importer.Take(head, shape);
    if (head_tensor && !at::equal(*head_tensor, *tensor)) {
      problems.push_back(absl::StrCat("tensor \"", head, "\" differs from \"", AdapterKey(name),
                                      "\", but the base model ties the two"));
    }
  }
}

}  // namespace

absl::StatusOr<ImportedAdapter> ImportAdapter(const std::string& directory,
                                              const AdapterShape& expected) {
  LONGLORA_ASSIGN_OR_RETURN(const Json config, ReadConfig(directory));
  LONGLORA_ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(absl::StrCat(
                                                            directory, "/", kAdapterTensorsName)));
  std::vector<std::string> problems;
  CheckSettings(config, expected, problems);
  ImportedAdapter result;
  Importer importer(file, problems);
  TakeLora(expected, importer, result);
  TakeTrained(expected, ModulesToSave(config), importer, problems, result);
  importer.ReportUnexpected();
  if (problems.empty()) return result;
  const size_t num_problems = problems.size();
  if (num_problems > kProblemsShown) {
    problems.resize(kProblemsShown);
    problems.push_back(absl::StrCat("and ", num_problems - kProblemsShown, " more"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("method.initial_adapter ", directory,
                   " does not fit this job: ", absl::StrJoin(problems, "; ")));
}

}  // namespace longlora::trainer
