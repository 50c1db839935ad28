// One line of a dataset as a document of token ids, by the dataset's format. Called by
// read_documents.h. Immutable, safe from any thread.
//
// tokens       {"input_ids": [...], "labels"?: [...]} as they are.
// text         {"text"}, tokenized, then the end-of-text token.
// instruction  {"instruction", "input"?, "output"} in the prompt that LongLoRA's
//              supervised-fine-tune.py uses (prompt_llama2, prompt_input_llama2), then the output
//              and the end-of-text token, with the special tokens the tokenizer adds by default.
// chat         {"messages": [{"role", "content"}], "tools"?} through the model's chat template.
//
// In the last two only answers are targets, unless train_on_prompt. A token is part of an answer if
// it holds a character of it.
#ifndef LONGLORA_WORKER_TRAINER_DATA_EXAMPLE_MAKER_H_
#define LONGLORA_WORKER_TRAINER_DATA_EXAMPLE_MAKER_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/trainer_protocol/train_spec.h"
#include "worker/trainer/data/chat_template.h"
#include "worker/trainer/data/documents.h"
#include "worker/trainer/data/tokenizer.h"

namespace longlora::trainer {

struct ExampleOptions {
  common::DatasetFormat format = common::DatasetFormat::kText;
  int64_t vocab_size = 0;                       // of the model: ids lie in [0, vocab_size)
  const Tokenizer* tokenizer = nullptr;         // needed for all formats but kTokens
  const ChatTemplate* chat_template = nullptr;  // needed for kChat
  bool train_on_prompt = false;
};

class ExampleMaker {
 public:
  // Keeps the pointers of `options`.
  explicit ExampleMaker(const ExampleOptions& options) : options_(options) {}

  // `line`: one JSON object; keys that the format does not know are ignored. nullopt: there is
  // nothing to learn in it (text without text, chat without an answer). INVALID_ARGUMENT, without
  // the place in the file, when it is not what the format needs.
  absl::StatusOr<std::optional<Document>> Make(const std::string& line) const;

 private:
  using Json = nlohmann::json;
  absl::StatusOr<std::optional<Document>> FromText(const Json& json) const;
  absl::StatusOr<std::optional<Document>> FromTokens(const Json& json) const;
  absl::StatusOr<std::optional<Document>> FromInstruction(const Json& json) const;
  absl::StatusOr<std::optional<Document>> FromChat(const Json& json, const std::string& line) const;
  absl::StatusOr<Document> FromAnswers(const RenderedChat& chat, Encoding encoding) const;

  const ExampleOptions options_;
};

// What comes before the output of an instruction example, and how many bytes of it are before the
// instruction. `input` may be empty.
struct InstructionPrompt {
  std::string text;
  size_t head_size = 0;
};
InstructionPrompt MakeInstructionPrompt(const std::string& instruction, const std::string& input);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_EXAMPLE_MAKER_H_
