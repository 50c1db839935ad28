// The Hugging Face tokenizer of a model directory, over the Rust library in text/. Called by the
// dataset reader. Immutable after Load; Encode is safe from any thread. Does not do chat templates.
#ifndef LONGLORA_WORKER_TRAINER_DATA_TOKENIZER_H_
#define LONGLORA_WORKER_TRAINER_DATA_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct LongloraTokenizer;

namespace longlora::trainer {

class Tokenizer {
 public:
  // Reads tokenizer.json, and the end-of-text token from tokenizer_config.json,
  // generation_config.json or config.json, in that order. NOT_FOUND if there is no tokenizer.json;
  // INVALID_ARGUMENT, naming the file, if it cannot be read or no file names an end-of-text token.
  static absl::StatusOr<Tokenizer> Load(const std::string& model_directory);

  // Token ids of `text` (UTF-8) without special tokens added, neither truncated nor padded whatever
  // tokenizer.json says. INVALID_ARGUMENT for broken UTF-8 or a text over 1 GiB.
  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text) const;

  int32_t eos_token_id() const { return eos_token_id_; }
  int64_t vocab_size() const;  // with added tokens

 private:
  struct Free {
    void operator()(LongloraTokenizer* tokenizer) const;
  };
  std::unique_ptr<LongloraTokenizer, Free> tokenizer_;
  int32_t eos_token_id_ = 0;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_TOKENIZER_H_
