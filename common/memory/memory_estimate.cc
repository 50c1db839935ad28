#include "common/memory/memory_estimate.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/memory/layer_memory.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"

namespace longlora::common {
namespace {

constexpr int64_t kFloat = 4;
// kDefaultLossChunk of loss/chunked_cross_entropy.h.
constexpr int64_t kLossChunk = 1024;
// kStripe there.
constexpr int64_t kHeadStripe = 8192;
// The process on CPU before any tensor of the job: LibTorch's code and tables, the libraries'
// compiled kernels and buffers. Measured; see docs/TRAINING.md.
constexpr int64_t kRuntimeBytes = int64_t{164} << 20;

enum Part {
  kRuntime,
  kBaseWeights,
  kTrainedWeights,
  kOptimizerState,
  kGradients,
  kCheckpointCopy,
  kLayerInputs,
  kLayer,
  kKvCache,
  kLoss,
  kExport,
  kNumParts
};

constexpr std::pair<const char*, const char*> kPartNames[kNumParts] = {
    {"runtime", "program, libraries and their buffers"},
    {"base_weights", "frozen weights in the compute type"},
    {"trained_weights", "fp32 masters of what trains"},
    {"optimizer_state", "AdamW's two running means"},
    {"gradients", "fp32 gradients of what trains"},
    {"checkpoint_copy", "the state that is written beside the training"},
    {"layer_inputs", "inputs of the layers, kept for the backward pass"},
    {"layer", "what one layer has alive while it runs"},
    {"kv_cache", "keys and values of a passkey prompt"},
    {"loss", "logits of a chunk of tokens, with their gradients"},
    {"export", "results read back as proof"}};

struct Moment {
  const char* name;
  int64_t bytes[kNumParts] = {};

  int64_t total() const {
    int64_t sum = 0;
    for (const int64_t part : bytes) sum += part;
    return sum;
  }
};

// What the moments of a run are made of.
struct Sizes {
  bool cuda = false;
  bool embedding_trains = false;
  bool head_trains = false;    // the embedding is the head, too
  int64_t width = 0;           // bytes of an element of the compute type
  int64_t parameters = 0;      // of the base model
  int64_t trained_base = 0;    // of them, those that train
  int64_t adapters = 0;        // parameters of A and B
  int64_t largest_tensor = 0;  // elements of embedding or head
  int64_t row_tokens = 0;
  int64_t tokens = 0;  // of a micro-batch
  LayerMemory layer;

  int64_t trained() const { return trained_base + adapters; }
};

bool Trains(const TrainSpec& spec, const char* what) {
  const std::vector<std::string>& names = spec.method.trainable;
  return std::find(names.begin(), names.end(), what) != names.end();
}

int64_t Elements(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t side : shape) count *= side;
  return count;
}

absl::StatusOr<Sizes> Measure(const TrainSpec& spec, const ModelConfig& model, bool bf16_products) {
  LONGLORA_ASSIGN_OR_RETURN(const LayerAdapters adapters, FindAdapters(spec, model));
  Sizes sizes;
  sizes.cuda = spec.resources.device == Device::kCuda;
  sizes.embedding_trains = Trains(spec, "embed");
  sizes.head_trains = sizes.embedding_trains && model.tie_word_embeddings;
  const bool bf16 = spec.training.precision == Precision::kBf16 && (bf16_products || sizes.cuda);
  sizes.width = bf16 ? 2 : kFloat;
  for (const auto& [name, shape] : ParameterShapes(model)) {
    const int64_t count = Elements(shape);
    sizes.parameters += count;
    const bool trains = shape.size() == 1
                            ? Trains(spec, "norm") && absl::EndsWith(name, "norm.weight")
                            : sizes.embedding_trains && name == "model.embed_tokens.weight";
    if (trains) sizes.trained_base += count;
  }
  sizes.adapters = model.num_layers * adapters.parameters;
  sizes.largest_tensor = model.vocab_size * model.hidden_size;
  sizes.row_tokens = spec.max_sequence_length;
  sizes.tokens = spec.training.micro_batch_size * spec.max_sequence_length;
  sizes.layer = CountLayer(model, adapters, spec.method.lora.dropout > 0.0, sizes.width);
  return sizes;
}

// What is there at every moment.
Moment AtRest(const Sizes& sizes) {
  Moment moment = {"rest"};
  // CUDA counts allocated tensors only.
  moment.bytes[kRuntime] = sizes.cuda ? 0 : kRuntimeBytes;
  moment.bytes[kBaseWeights] = (sizes.parameters - sizes.trained_base) * sizes.width;
  moment.bytes[kTrainedWeights] = sizes.trained() * kFloat;
  moment.bytes[kOptimizerState] = 2 * sizes.trained() * kFloat;
  return moment;
}

// Tables of cosines and sines, kept by the layers' second runs.
int64_t RotaryBytes(const ModelConfig& model, int64_t tokens) {
  return tokens * RotaryDim(model.head_dim, model.rope) * kFloat;
}

// A chunk of logits, and the head where it has to be cast; with gradients those of the chunk, which
// on the CPU take the place of the logits.
int64_t LossBytes(const Sizes& sizes, const ModelConfig& model, int64_t tokens, bool gradients) {
  const int64_t chunk = std::min(tokens, kLossChunk);
  const int64_t logits = chunk * model.vocab_size;
  int64_t bytes = logits * sizes.width + 2 * chunk * model.hidden_size * sizes.width;
  if (sizes.cuda) bytes += logits * (kFloat + (gradients ? sizes.width : 0));
  if (sizes.head_trains && sizes.width != kFloat) bytes += sizes.largest_tensor * sizes.width;
  return bytes;
}

int64_t HeadStripeBytes(const Sizes& sizes, const ModelConfig& model) {
  const int64_t elements = std::min(model.vocab_size, kHeadStripe) * model.hidden_size;
  return elements * (sizes.width == kFloat ? kFloat : sizes.width + kFloat);
}

// The moments of a training step.
void AddStep(const TrainSpec& spec, const ModelConfig& model, const Sizes& sizes,
             std::vector<Moment>& moments) {
  Moment base = AtRest(sizes);
  // On CUDA it lies in the host's memory.
  if (!sizes.cuda && CheckpointsWhileTraining(spec, spec.training.max_steps)) {
    base.bytes[kCheckpointCopy] = 3 * sizes.trained() * kFloat;
  }
  const int64_t gradients = sizes.trained() * kFloat;
  const int64_t head = sizes.head_trains ? sizes.largest_tensor * kFloat : 0;
  const int64_t hidden = sizes.tokens * model.hidden_size * sizes.width;
  const int64_t earlier = spec.training.gradient_accumulation_steps > 1 ? gradients : 0;
  const int64_t inputs = model.num_layers * hidden + RotaryBytes(model, sizes.tokens);

  Moment forward = base;
  forward.name = "the forward pass of a training step";
  forward.bytes[kGradients] = earlier;
  forward.bytes[kLayerInputs] = inputs;
  forward.bytes[kLayer] = sizes.tokens * sizes.layer.forward;
  moments.push_back(forward);

  // The last layer's output, the last norm's and its gradient; the head's gradient, and a stripe of
  // a chunk's part of it in the compute type and, to be added, in fp32.
  Moment loss = base;
  loss.name = "the loss of a training step";
  loss.bytes[kGradients] = earlier + head;
  loss.bytes[kLayerInputs] = inputs + hidden;
  loss.bytes[kLoss] = LossBytes(sizes, model, sizes.tokens, /*gradients=*/true) + 2 * hidden +
                      (sizes.head_trains ? HeadStripeBytes(sizes, model) : 0);
  moments.push_back(loss);

  // The last layer's: every input is still there, and the head's gradient waits for the
  // embedding's.
  Moment backward = base;
  backward.name = "the backward pass of a training step";
  backward.bytes[kGradients] = earlier + head;
  backward.bytes[kLayerInputs] = inputs;
  backward.bytes[kLayer] = sizes.tokens * sizes.layer.backward;
  moments.push_back(backward);

  // All gradients, and those of the two uses of a tied embedding before they are added up.
  Moment embedding = base;
  embedding.name = "the embedding's gradient in a training step";
  embedding.bytes[kGradients] = earlier + gradients + head;
  if (sizes.embedding_trains)
    embedding.bytes[kLayer] = sizes.tokens * model.hidden_size * (kFloat + sizes.width);
  moments.push_back(embedding);
}

// A forward pass over one row of `tokens`, of which nothing is kept.
Moment Reading(const char* name, const ModelConfig& model, const Sizes& sizes, int64_t tokens) {
  Moment moment = AtRest(sizes);
  moment.name = name;
  moment.bytes[kLayerInputs] =
      tokens * model.hidden_size * sizes.width + RotaryBytes(model, tokens);
  moment.bytes[kLayer] = tokens * sizes.layer.forward;
  return moment;
}

void AddEvaluation(const TrainSpec& spec, const ModelConfig& model, const Sizes& sizes,
                   std::vector<Moment>& moments) {
  if (spec.dataset.validation.empty()) return;
  Moment evaluation = Reading("an evaluation", model, sizes, sizes.row_tokens);
  const int64_t hidden = sizes.row_tokens * model.hidden_size * sizes.width;
  const int64_t layer = std::exchange(evaluation.bytes[kLayer], 0);
  const int64_t loss = hidden + LossBytes(sizes, model, sizes.row_tokens, /*gradients=*/false);
  evaluation.bytes[layer > loss ? kLayer : kLoss] = std::max(layer, loss);
  moments.push_back(evaluation);
}

// The longest prompt is read at once, like a row of an evaluation, but every layer's keys and
// values stay, and a trained head is cast to decode with.
void AddPasskey(const TrainSpec& spec, const ModelConfig& model, const Sizes& sizes,
                std::vector<Moment>& moments) {
  const std::vector<int64_t>& lengths = spec.evaluation.passkey.lengths;
  if (spec.dataset.validation.empty() || lengths.empty()) return;
  const int64_t tokens = *std::max_element(lengths.begin(), lengths.end());
  Moment passkey = Reading("a passkey prompt", model, sizes, tokens);
  passkey.bytes[kKvCache] =
      2 * model.num_layers * model.num_kv_heads * model.head_dim * tokens * sizes.width;
  if (sizes.head_trains && sizes.width != kFloat) {
    passkey.bytes[kLoss] = sizes.largest_tensor * sizes.width;
  }
  moments.push_back(passkey);
}

// adapter/ and merged/ are read back and compared by fp32 logits of a short row.
void AddExport(const TrainSpec& spec, const Sizes& sizes, std::vector<Moment>& moments) {
  const int64_t cast_head = sizes.width == kFloat ? 0 : sizes.largest_tensor * kFloat;
  Moment adapter = AtRest(sizes);
  adapter.name = "the proof of the adapter";
  adapter.bytes[kExport] =
      std::max(sizes.trained() * kFloat + (sizes.head_trains ? sizes.largest_tensor * kFloat : 0),
               sizes.head_trains ? 0 : cast_head);
  moments.push_back(adapter);
  if (!spec.export_options.merged) return;
  Moment merged = AtRest(sizes);
  merged.name = "the proof of the merged model";
  merged.bytes[kOptimizerState] = 0;
  // Beside it the pages of a tensor that is being read, later the cast head: as large in fp32.
  merged.bytes[kExport] = sizes.parameters * sizes.width + sizes.largest_tensor * kFloat;
  moments.push_back(merged);
}

MemoryEstimate ToEstimate(const Moment& moment) {
  MemoryEstimate estimate = {
      .moment = moment.name, .components = {}, .total_bytes = moment.total()};
  for (int part = 0; part < kNumParts; ++part) {
    if (moment.bytes[part] == 0) continue;
    estimate.components.push_back(
        {kPartNames[part].first, kPartNames[part].second, moment.bytes[part]});
  }
  std::stable_sort(
      estimate.components.begin(), estimate.components.end(),
      [](const MemoryComponent& a, const MemoryComponent& b) { return a.bytes > b.bytes; });
  return estimate;
}

}  // namespace

absl::StatusOr<MemoryEstimate> EstimateMemory(const TrainSpec& spec, const ModelConfig& model,
                                              bool bf16_products) {
  LONGLORA_RETURN_IF_ERROR(
      Annotate(CheckWindowCovers(model, spec.max_sequence_length), "max_sequence_length"));
  LONGLORA_ASSIGN_OR_RETURN(const Sizes sizes, Measure(spec, model, bf16_products));
  std::vector<Moment> moments;
  AddStep(spec, model, sizes, moments);
  AddEvaluation(spec, model, sizes, moments);
  AddPasskey(spec, model, sizes, moments);
  AddExport(spec, sizes, moments);
  return ToEstimate(
      *std::max_element(moments.begin(), moments.end(),
                        [](const Moment& a, const Moment& b) { return a.total() < b.total(); }));
}

// The copy is let go when the step after it is done; a checkpoint of the last step has none after
// it.
bool CheckpointsWhileTraining(const TrainSpec& spec, std::optional<int64_t> total_steps) {
  const int64_t interval = spec.checkpoint.interval_steps;
  const bool by_interval = interval > 0 && interval < total_steps.value_or(interval + 1);
  return by_interval || spec.checkpoint.keep_best;
}

std::string DescribeLargest(const MemoryEstimate& estimate, size_t count) {
  std::vector<std::string> parts;
  for (const MemoryComponent& component : estimate.components) {
    if (parts.size() == count) break;
    parts.push_back(absl::StrFormat("%.2f GB of %s", static_cast<double>(component.bytes) * 1e-9,
                                    component.name));
  }
  return absl::StrJoin(parts, ", ");
}

}  // namespace longlora::common
