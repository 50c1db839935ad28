// Goal: no line of a dataset, however broken, ends the trainer or gives a document that the model
// cannot take. Method: each format reads the bytes as its line; what comes out is held against what
// Document promises.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/fuzz/require.h"
#include "worker/trainer/data/example_maker.h"

using longlora::fuzz::Require;
using namespace longlora;
using namespace longlora::trainer;

namespace {

constexpr int64_t kVocabSize = 7;

constexpr char kTokenizer[] = R"({
  "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null,
  "added_tokens": [{"id": 0, "content": "<end>", "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": true}],
  "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null,
  "model": {"type": "WordLevel", "unk_token": "<unk>",
            "vocab": {"<end>": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "<unk>": 6}}
})";

constexpr char kTemplate[] = R"({%- for m in messages %}
{%- if loop.first and tools %}{{ tools | tojson(indent=1) }}{% endif %}
{{ m.role | upper }} {% if m.role == 'assistant' %}{% generation %}{{ m.content.strip() }} <end>{% endgeneration %}
{% else %}{{ m.content }} {{ m | tojson }} {{ m.name }}{% endif %}{% endfor %})";

struct Tools {
  Tools() {
    std::string path = std::filesystem::temp_directory_path() / "longlora-fuzz-XXXXXX";
    Require(mkdtemp(path.data()) != nullptr, "a folder can be made");
    std::ofstream(path + "/tokenizer.json") << kTokenizer;
    std::ofstream(path + "/tokenizer_config.json") << R"({"eos_token": "<end>"})";
    std::ofstream(path + "/chat_template.jinja") << kTemplate;
    tokenizer = Tokenizer::Load(path);
    chat_template = ChatTemplate::Load(path);
    std::filesystem::remove_all(path);
    Require(tokenizer.ok() && chat_template.ok(), "the files are fine");
  }
  absl::StatusOr<Tokenizer> tokenizer = absl::UnknownError("");
  absl::StatusOr<ChatTemplate> chat_template = absl::UnknownError("");
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Tools tools;
  const std::string line(reinterpret_cast<const char*>(data), size);
  for (const auto format : {common::DatasetFormat::kText, common::DatasetFormat::kTokens,
                            common::DatasetFormat::kInstruction, common::DatasetFormat::kChat}) {
    const ExampleMaker maker({.format = format,
                              .vocab_size = kVocabSize,
                              .tokenizer = &*tools.tokenizer,
                              .chat_template = &*tools.chat_template});
    const auto made = maker.Make(line);
    if (!made.ok()) {
      Require(made.status().code() == absl::StatusCode::kInvalidArgument, "the line is blamed");
      continue;
    }
    if (!made->has_value()) continue;
    const Document& document = **made;
    const auto length = static_cast<int32_t>(document.ids.size());
    Require(length > 0, "a document has tokens");
    Require(std::all_of(document.ids.begin(), document.ids.end(),
                        [](int32_t id) { return id >= 0 && id < kVocabSize; }),
            "ids lie in the vocabulary");
    Require(document.labels.empty() || document.labels.size() == document.ids.size(),
            "labels belong to ids");
    Require(0 <= document.num_bos && document.num_bos <= document.num_head &&
                document.num_head <= document.answer_begin && document.answer_begin <= length,
            "head, prompt and answer follow one another");
  }
  return 0;
}
