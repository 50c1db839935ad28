// A tokenizer.json small enough to compute by hand, for tests.
#ifndef LONGLORA_TESTS_WORKER_TRAINER_DATA_WORD_TOKENIZER_H_
#define LONGLORA_TESTS_WORKER_TRAINER_DATA_WORD_TOKENIZER_H_

#include <string>

namespace longlora::trainer {

// Writes tokenizer.json and tokenizer_config.json: words split at blanks, "<end>" = 0, "one" = 1,
// ... "five" = 5, anything else "<unk>" = 6. Its saved settings ask to truncate to 2 tokens and to
// pad to 8, and to add "<end>" in front of every text: none of that may reach training data.
void WriteWordTokenizer(const std::string& directory);

}  // namespace longlora::trainer

#endif  // LONGLORA_TESTS_WORKER_TRAINER_DATA_WORD_TOKENIZER_H_
