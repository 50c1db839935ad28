// Reads a dataset file into documents: examples in the file's order, made into token ids by several
// threads at once. Called by RowDataset. Keeps what it made in the token cache (token_cache.h), if
// it is given one. Does not cut rows: see packing.h.
#ifndef LONGLORA_WORKER_TRAINER_DATA_READ_DOCUMENTS_H_
#define LONGLORA_WORKER_TRAINER_DATA_READ_DOCUMENTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/trainer/data/documents.h"
#include "worker/trainer/data/example_maker.h"

namespace longlora::trainer {

struct DocumentsOptions {
  std::string path;  // JSON lines, plain or packed with gzip or zstd, or Parquet
  ExampleOptions example;
  int64_t record_bytes_max = int64_t{256} << 20;
  int num_threads = 0;          // that make tokens; 0: one a core
  std::string cache_directory;  // made if need be; empty: no cache, the tokens stay in memory
};

// Blank lines are skipped. Whatever is wrong with the file is an INVALID_ARGUMENT that starts "FILE
// line N: " or "FILE row N: ", of the first such line; so is a file without any document.
// NOT_FOUND: no such file. `warnings`, if not null, gets a sentence when a cache is damaged or
// cannot be written: both only cost time. `sha256`, if not null, gets the digest of the file.
absl::StatusOr<Documents> ReadDocuments(const DocumentsOptions& options,
                                        std::vector<std::string>* warnings = nullptr,
                                        std::string* sha256 = nullptr);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_READ_DOCUMENTS_H_
