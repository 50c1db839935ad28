#include "tests/worker/trainer/data/word_tokenizer.h"

#include "common/io/files.h"
#include "tests/testing/status_matchers.h"

namespace longlora::trainer {

void WriteWordTokenizer(const std::string& directory) {
  constexpr char kTokenizer[] = R"({
    "version": "1.0",
    "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
    "padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                "pad_type_id": 0, "pad_token": "<end>"},
    "added_tokens": [{"id": 0, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true}],
    "normalizer": null,
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": {"type": "TemplateProcessing",
                       "single": [{"SpecialToken": {"id": "<end>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                       "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                       "special_tokens": {"<end>": {"id": "<end>", "ids": [0], "tokens": ["<end>"]}}},
    "decoder": null,
    "model": {"type": "WordLevel", "unk_token": "<unk>",
              "vocab": {"<end>": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "<unk>": 6}}
  })";
  EXPECT_OK(common::AtomicWriteFile(directory + "/tokenizer.json", kTokenizer));
  EXPECT_OK(
      common::AtomicWriteFile(directory + "/tokenizer_config.json", R"({"eos_token": "<end>"})"));
}

}  // namespace longlora::trainer
