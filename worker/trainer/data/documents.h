// The documents of a dataset as token ids: in memory, or in a file of the token cache that is
// mapped into memory. Made by read_documents.h; cut into rows by packing.h. Immutable, safe from
// any thread.
#ifndef LONGLORA_WORKER_TRAINER_DATA_DOCUMENTS_H_
#define LONGLORA_WORKER_TRAINER_DATA_DOCUMENTS_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace longlora::trainer {

inline constexpr int32_t kIgnoredLabel = -100;  // not a target, as in transformers

// One document on its way into Documents.
struct Document {
  std::vector<int32_t> ids;
  // labels[i] belongs to ids[i] (it is the target of the token before it). Same size as ids, or
  // empty: every token is its own label.
  std::vector<int32_t> labels;
  int64_t line = 0;  // of the file, from 1
  // What is kept when the prompt of an example must be cut (packing.h). Zero for text and tokens.
  int32_t num_bos = 0;       // begin-of-text tokens at its start, 0 or 1
  int32_t num_head = 0;      // those and the system message or the fixed start of the prompt
  int32_t answer_begin = 0;  // first token of the last answer
};

// One document in Documents. Fixed layout: token caches hold it as it is.
struct DocumentRecord {
  int64_t offset = 0;  // of its first id in the payload
  int64_t line = 0;
  int32_t length = 0;      // tokens
  int32_t has_labels = 0;  // 1: as many labels follow the ids in the payload
  int32_t num_bos = 0;
  int32_t num_head = 0;
  int32_t answer_begin = 0;
  int32_t reserved = 0;
};
static_assert(sizeof(DocumentRecord) == 40);

// What reading left out.
struct SkippedDocuments {
  int64_t count = 0;
  int64_t first_line = 0;
};

class Documents {
 public:
  Documents() = default;
  // `owner` keeps payload and records alive.
  Documents(std::shared_ptr<const void> owner, absl::Span<const int32_t> payload,
            absl::Span<const DocumentRecord> records, const SkippedDocuments& skipped);

  int64_t num_documents() const { return static_cast<int64_t>(records_.size()); }
  int64_t num_tokens() const { return num_tokens_; }
  const SkippedDocuments& skipped() const { return skipped_; }

  // `document` in [0, num_documents).
  const DocumentRecord& record(int64_t document) const {
    return records_[static_cast<size_t>(document)];
  }
  absl::Span<const int32_t> ids(int64_t document) const;
  absl::Span<const int32_t> labels(int64_t document) const;  // the ids themselves if it has none

 private:
  std::shared_ptr<const void> owner_;
  absl::Span<const int32_t> payload_;
  absl::Span<const DocumentRecord> records_;
  int64_t num_tokens_ = 0;
  SkippedDocuments skipped_;
};

// Takes documents in their order.
class DocumentSink {
 public:
  virtual ~DocumentSink() = default;
  virtual absl::Status Add(const Document& document) = 0;
};

// Keeps them in memory: 4 bytes a token, 8 with labels. Not thread-safe.
class DocumentsBuilder : public DocumentSink {
 public:
  absl::Status Add(const Document& document) override;
  // The builder is empty afterwards.
  Documents Build(const SkippedDocuments& skipped = {});

 private:
  std::vector<int32_t> payload_;
  std::vector<DocumentRecord> records_;
};

// Where `document` comes to lie when the payload has `offset` numbers so far.
DocumentRecord RecordOf(const Document& document, int64_t offset);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_DOCUMENTS_H_
