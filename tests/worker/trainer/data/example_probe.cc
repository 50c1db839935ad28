// Prints, for each line of standard input (an example), the document our dataset reader makes of
// it:
// {"ids", "labels", "answer_begin", "num_head"}, null where there is nothing to learn, or
// {"error"}. The C++ side of chat_parity_test.py and instruction_parity_test.py. Arguments:
// MODEL_DIRECTORY chat|instruction [train_on_prompt]
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "worker/trainer/data/example_maker.h"

int main(int argc, char** argv) {
  using namespace longlora;
  using namespace longlora::trainer;
  if (argc < 3) return 2;
  const bool is_chat = std::string(argv[2]) == "chat";
  const absl::StatusOr<Tokenizer> tokenizer = Tokenizer::Load(argv[1]);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << "\n";
    return 1;
  }
  ExampleOptions options = {
      .format = is_chat ? common::DatasetFormat::kChat : common::DatasetFormat::kInstruction,
      .vocab_size = tokenizer->vocab_size(),
      .tokenizer = &*tokenizer,
      .train_on_prompt = argc > 3};
  absl::StatusOr<ChatTemplate> chat_template = absl::NotFoundError("not needed");
  if (is_chat) {
    chat_template = ChatTemplate::Load(argv[1]);
    if (!chat_template.ok()) {
      std::cerr << chat_template.status() << "\n";
      return 1;
    }
    options.chat_template = &*chat_template;
  }
  const ExampleMaker maker(options);
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto document = maker.Make(line);
    if (!document.ok()) {
      std::cout << nlohmann::json{{"error", std::string(document.status().message())}} << "\n";
    } else if (!document->has_value()) {
      std::cout << "null\n";
    } else {
      const Document& made = **document;
      std::cout << nlohmann::json{{"ids", made.ids},
                                  {"labels", made.labels},
                                  {"answer_begin", made.answer_begin},
                                  {"num_head", made.num_head}}
                << "\n";
    }
  }
  return 0;
}
