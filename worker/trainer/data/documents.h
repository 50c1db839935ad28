// Reads a JSON-lines dataset file into token ids. Called by RowDataset. Pure but for reading the
// file; whatever is wrong is an INVALID_ARGUMENT that starts "FILE line N: ". Does not cut rows:
// see packing.h.
#ifndef LONGLORA_WORKER_TRAINER_DATA_DOCUMENTS_H_
#define LONGLORA_WORKER_TRAINER_DATA_DOCUMENTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/trainer_protocol/train_spec.h"
#include "worker/trainer/data/tokenizer.h"

namespace longlora::trainer {

inline constexpr int32_t kIgnoredLabel = -100;  // not a target, as in transformers

// All documents one after another. labels[i] belongs to ids[i] (it is the target of the token
// before it).
struct Documents {
  std::vector<int32_t> ids;
  std::vector<int32_t> labels;  // same size as ids, or empty: every token is its own label
  std::vector<int64_t> begins;  // first token of each document; ascending, the first is 0
  int64_t num_skipped = 0;      // documents without text, left out
  int64_t first_skipped_line = 0;

  int64_t num_documents() const { return static_cast<int64_t>(begins.size()); }
  int64_t num_tokens() const { return static_cast<int64_t>(ids.size()); }
};

struct DocumentsOptions {
  std::string path;
  common::DatasetFormat format = common::DatasetFormat::kText;  // kText or kTokens
  int64_t vocab_size = 0;                // of the model: ids lie in [0, vocab_size)
  const Tokenizer* tokenizer = nullptr;  // needed for kText
  int64_t line_bytes_max = int64_t{256} << 20;
};

// kText: {"text": string}, tokenized, the end-of-text token appended. kTokens: {"input_ids": [...],
// "labels": [...]?} as they are. Further keys are ignored, blank lines skipped. NOT_FOUND: no such
// file. An empty dataset, and an example in which nothing is a target, are errors.
absl::StatusOr<Documents> ReadDocuments(const DocumentsOptions& options);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_DOCUMENTS_H_
