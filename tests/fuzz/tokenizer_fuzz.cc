// Goal: no tokenizer.json and no chat template, however broken, ends the trainer: neither by a
// panic of the Rust library nor by tokens without end. Method: the bytes are taken for each of the
// two files, and what was accepted is used once.
#include <cstdint>
#include <string>

#include "tests/fuzz/require.h"
#include "text/longlora_text.h"

using longlora::fuzz::Require;

namespace {

const uint8_t* Bytes(const std::string& text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

void UseTokenizer(const uint8_t* data, size_t size) {
  char* error = nullptr;
  LongloraTokenizer* const tokenizer = longlora_tokenizer_new(data, size, &error);
  Require((tokenizer == nullptr) == (error != nullptr), "either a tokenizer or a reason");
  if (tokenizer == nullptr) return longlora_string_free(error);
  const std::string text = "one two <end> naïve \n 日本";
  LongloraEncoding encoding;
  if (longlora_tokenizer_encode(tokenizer, Bytes(text), text.size(), true, true, &encoding,
                                &error)) {
    for (size_t i = 0; i < encoding.num_ids; ++i) {
      Require(encoding.spans[2 * i] <= encoding.spans[2 * i + 1], "spans run forward");
    }
    longlora_encoding_free(&encoding);
  } else {
    Require(error != nullptr, "a failure has a reason");
    longlora_string_free(error);
  }
  longlora_tokenizer_free(tokenizer);
}

void UseTemplate(const uint8_t* data, size_t size) {
  const std::string tokens = R"({"eos_token": "<end>"})";
  const std::string example =
      R"({"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "é"}]})";
  char* error = nullptr;
  LongloraTemplate* const chat_template =
      longlora_template_new(data, size, Bytes(tokens), tokens.size(), 0, &error);
  Require((chat_template == nullptr) == (error != nullptr), "either a template or a reason");
  if (chat_template == nullptr) return longlora_string_free(error);
  LongloraChat chat;
  if (longlora_template_render(chat_template, Bytes(example), example.size(),
                               LONGLORA_ANSWERS_REQUIRED, &chat, &error)) {
    for (size_t i = 0; i < chat.num_answers; ++i) {
      Require(chat.answers[2 * i] <= chat.answers[2 * i + 1] &&
                  chat.answers[2 * i + 1] <= chat.text_size,
              "answers lie in the text");
    }
    Require(chat.head_size <= chat.text_size, "so does the head");
    longlora_chat_free(&chat);
  } else {
    Require(error != nullptr, "a failure has a reason");
    longlora_string_free(error);
  }
  longlora_template_free(chat_template);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  UseTokenizer(data, size);
  UseTemplate(data, size);
  return 0;
}
