#include "worker/trainer/checkpoint/model_card.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace longlora::trainer {
namespace {

// A string of YAML and of Python.
std::string Quoted(const std::string& text) { return nlohmann::json(text).dump(); }

// `library`: the one that loads it; `tags`: besides those all have.
std::string Begin(const ModelCard& card, absl::string_view library, absl::string_view tags,
                  absl::string_view title, absl::string_view what) {
  std::string text =
      absl::StrCat("---\nbase_model: ", Quoted(card.base_model), "\nlibrary_name: ", library,
                   "\ntags:\n", tags, "- longlora\n- long-context\n---\n\n# ", title, "\n\n", what,
                   " ", Quoted(card.base_model), ".\n\n| | |\n|---|---|\n");
  for (const auto& [name, value] : card.facts) {
    absl::StrAppend(&text, "| ", name, " | ", value, " |\n");
  }
  return text;
}

std::string Job(const ModelCard& card) {
  return absl::StrCat(
      "\n## The job\n\nAs it was asked for, defaults written out; files without their folders.\n\n"
      "```json\n",
      card.spec, "\n```\n");
}

}  // namespace

std::string AdapterCard(const ModelCard& card, const HuggingFaceRope& rope) {
  const std::string base = Quoted(card.base_model);
  return absl::StrCat(
      Begin(card, "peft", "- lora\n", "LongLoRA adapter",
            "LoRA weights, and the embedding and norms where they were trained, for"),
      "\n## Loading\n\nThe adapter was trained with the RoPE scaling below, which a PEFT adapter "
      "cannot carry. The base model must be loaded with it (also in `rope_scaling.json`):\n\n"
      "```python\n"
      "import json\n"
      "from transformers import AutoConfig, AutoModelForCausalLM\n"
      "from peft import PeftModel\n\n"
      "adapter = \"...\"  # this folder\n"
      "rope = json.load(open(adapter + \"/rope_scaling.json\"))\n"
      "config = AutoConfig.from_pretrained(",
      base,
      ")\n"
      "config.rope_parameters = rope[\"rope_parameters\"]  # transformers 4: config.rope_scaling = "
      "rope[\"rope_scaling\"]\n"
      "config.max_position_embeddings = rope[\"max_position_embeddings\"]\n"
      "model = AutoModelForCausalLM.from_pretrained(",
      base,
      ", config=config)\n"
      "model = PeftModel.from_pretrained(model, adapter)\n"
      "```\n\n```json\n",
      RopeNote(rope).dump(2), "\n```\n", Job(card));
}

std::string MergedCard(const ModelCard& card) {
  return absl::StrCat(Begin(card, "transformers", "", "LongLoRA model",
                            "All weights, with what was trained merged in. The base model is"),
                      "\n## Loading\n\n"
                      "```python\n"
                      "from transformers import AutoModelForCausalLM\n\n"
                      "model = AutoModelForCausalLM.from_pretrained(\"...\")  # this folder\n"
                      "```\n",
                      Job(card));
}

}  // namespace longlora::trainer
