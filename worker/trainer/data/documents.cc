#include "worker/trainer/data/documents.h"

namespace longlora::trainer {

Documents::Documents(std::shared_ptr<const void> owner, absl::Span<const int32_t> payload,
                     absl::Span<const DocumentRecord> records, const SkippedDocuments& skipped)
    : owner_(std::move(owner)), payload_(payload), records_(records), skipped_(skipped) {
  for (const DocumentRecord& record : records) num_tokens_ += record.length;
}

absl::Span<const int32_t> Documents::ids(int64_t document) const {
  const DocumentRecord& record = this->record(document);
  return payload_.subspan(static_cast<size_t>(record.offset), static_cast<size_t>(record.length));
}

absl::Span<const int32_t> Documents::labels(int64_t document) const {
  const DocumentRecord& record = this->record(document);
  if (record.has_labels == 0) return ids(document);
  return payload_.subspan(static_cast<size_t>(record.offset) + static_cast<size_t>(record.length),
                          static_cast<size_t>(record.length));
}

DocumentRecord RecordOf(const Document& document, int64_t offset) {
  return {.offset = offset,
          .line = document.line,
          .length = static_cast<int32_t>(document.ids.size()),
          .has_labels = document.labels.empty() ? 0 : 1,
          .num_bos = document.num_bos,
          .num_head = document.num_head,
          .answer_begin = document.answer_begin};
}

absl::Status DocumentsBuilder::Add(const Document& document) {
  records_.push_back(RecordOf(document, static_cast<int64_t>(payload_.size())));
  payload_.insert(payload_.end(), document.ids.begin(), document.ids.end());
  payload_.insert(payload_.end(), document.labels.begin(), document.labels.end());
  return absl::OkStatus();
}

Documents DocumentsBuilder::Build(const SkippedDocuments& skipped) {
  struct Owner {
    std::vector<int32_t> payload;
    std::vector<DocumentRecord> records;
  };
  auto owner =
      std::make_shared<Owner>(Owner{std::exchange(payload_, {}), std::exchange(records_, {})});
  return Documents(owner, owner->payload, owner->records, skipped);
}

}  // namespace longlora::trainer
