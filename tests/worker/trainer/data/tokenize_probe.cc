// Prints, for each line of standard input (a JSON string), the token ids our tokenizer gives it, as
// JSON: the C++ side of tokenizer_parity_test.py. The first line printed is {"eos", "vocab_size"}.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "worker/trainer/data/tokenizer.h"

int main(int argc, char** argv) {
  using longlora::trainer::Tokenizer;
  if (argc != 2) return 2;
  const absl::StatusOr<Tokenizer> tokenizer = Tokenizer::Load(argv[1]);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << "\n";
    return 1;
  }
  std::cout << nlohmann::json{{"eos", tokenizer->eos_token_id()},
                              {"vocab_size", tokenizer->vocab_size()}}
            << "\n";
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto ids = tokenizer->Encode(nlohmann::json::parse(line).get<std::string>());
    if (!ids.ok()) {
      std::cerr << ids.status() << "\n";
      return 1;
    }
    std::cout << nlohmann::json(*ids) << "\n";
  }
  return 0;
}
