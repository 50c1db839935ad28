// The Hugging Face tokenizer of a model directory, over the Rust library in text/. Called by the
// dataset reader. Immutable after Load; the rest is safe from any thread. Chat templates:
// chat_template.h.
#ifndef LONGLORA_WORKER_TRAINER_DATA_TOKENIZER_H_
#define LONGLORA_WORKER_TRAINER_DATA_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct LongloraTokenizer;

namespace longlora::trainer {

// Token ids with the bytes [begin, end) of the text that each stands for. A character in several
// tokens belongs to each of them; a special token that was added stands for nothing, begin == end.
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<std::pair<uint32_t, uint32_t>> spans;  // same size
};

class Tokenizer {
 public:
  // Reads tokenizer.json, and the end-of-text token from tokenizer_config.json,
  // generation_config.json or config.json, in that order. NOT_FOUND if there is no tokenizer.json;
  // INVALID_ARGUMENT, naming the file, if it cannot be read or no file names an end-of-text token.
  static absl::StatusOr<Tokenizer> Load(const std::string& model_directory);

  // Token ids of `text` (UTF-8) without special tokens added, neither truncated nor padded whatever
  // tokenizer.json says. INVALID_ARGUMENT for broken UTF-8 or a text over 1 GiB.
  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text) const;

  // The same with spans. `add_special_tokens`: those of the tokenizer's post-processor, as when
  // transformers tokenizes a text by default.
  absl::StatusOr<Encoding> EncodeWithSpans(absl::string_view text, bool add_special_tokens) const;

  int32_t eos_token_id() const { return eos_token_id_; }
  // Of tokenizer_config.json; nullopt: it names none, or one that is not in the vocabulary.
  std::optional<int32_t> bos_token_id() const { return bos_token_id_; }
  int64_t vocab_size() const;  // with added tokens
  // SHA-256 of everything that decides which ids come out.
  const std::string& digest() const { return digest_; }

 private:
  struct Free {
    void operator()(LongloraTokenizer* tokenizer) const;
  };
  std::unique_ptr<LongloraTokenizer, Free> tokenizer_;
  int32_t eos_token_id_ = 0;
  std::optional<int32_t> bos_token_id_;
  std::string digest_;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_TOKENIZER_H_
