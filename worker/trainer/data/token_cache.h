// Documents as a file, so that a dataset is tokenized once and then mapped into memory: by every
// rank, attempt and job that has the same dataset, tokenizer, template and format. The file's name
// is the digest of all of these. Used by read_documents.cc.
#ifndef LONGLORA_WORKER_TRAINER_DATA_TOKEN_CACHE_H_
#define LONGLORA_WORKER_TRAINER_DATA_TOKEN_CACHE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/io/sha256.h"
#include "common/io/unique_fd.h"
#include "worker/trainer/data/documents.h"

namespace longlora::trainer {

// Writes a cache; what is not committed leaves no trace. Not thread-safe.
class TokenCacheWriter : public DocumentSink {
 public:
  ~TokenCacheWriter() override;
  absl::Status Add(const Document& document) override;
  // The first error of this object; OK if there was none.
  const absl::Status& status() const { return status_; }
  // Makes the file appear under its name, whole and durable. Another process may do the same at the
  // same time: the contents are equal.
  absl::Status Commit(const SkippedDocuments& skipped);

 private:
  friend class TokenCache;
  TokenCacheWriter(std::string directory, std::string key, std::string temporary_path,
                   common::UniqueFd fd);
  absl::Status Append(const void* data, size_t size);
  absl::Status Flush();

  const std::string directory_;
  const std::string key_;
  std::string temporary_path_;  // empty: it has its name
  common::UniqueFd fd_;
  absl::Status status_;
  common::Sha256 sha256_;
  std::string buffer_;
  int64_t num_payload_ = 0;  // 32-bit numbers so far
  std::vector<DocumentRecord> records_;
};

class TokenCache {
 public:
  // A lock file's descriptor, or none where the file system knows no locks.
  using Lock = common::UniqueFd;

  // `key`: 64 hexadecimal digits.
  TokenCache(std::string directory, std::string key);

  // Waits until no other process holds the turn for this key. Ranks that wait find the cache ready;
  // without the turn each of them would make it, which is harmless.
  Lock TakeTurn() const;

  // Maps the file, read-only, and checks all of it against its digest. NOT_FOUND: there is none.
  // DATA_LOSS: it is damaged. Else as in common/io/files.h.
  absl::StatusOr<Documents> Open() const;

  // Also removes caches that were not used for two weeks, and what crashed writers left.
  absl::StatusOr<std::unique_ptr<TokenCacheWriter>> Create() const;

  std::string path() const;

 private:
  const std::string directory_;
  const std::string key_;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_TOKEN_CACHE_H_
