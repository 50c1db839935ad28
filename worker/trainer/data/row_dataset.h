// A dataset file as numbered rows. Called by the training loop. Immutable after Load, safe from any
// thread. The tokens lie in the token cache, or in memory without one. Does not choose the order:
// see row_sampler.h.
#ifndef LONGLORA_WORKER_TRAINER_DATA_ROW_DATASET_H_
#define LONGLORA_WORKER_TRAINER_DATA_ROW_DATASET_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/trainer/data/packing.h"
#include "worker/trainer/data/read_documents.h"
#include "worker/trainer/data/row.h"

namespace longlora::trainer {

struct DatasetStats {
  std::string sha256;  // of the file
  int64_t num_documents = 0;
  int64_t num_rows = 0;
  int64_t num_tokens = 0;   // in rows
  int64_t num_targets = 0;  // labels that are not -100, in rows
  double fill_ratio = 0.0;  // num_tokens / (num_rows * max_sequence_length), (0, 1]
  // What was left out and why, and what is wrong with the cache, a sentence each; does not name the
  // file.
  std::vector<std::string> warnings;
};

class RowDataset {
 public:
  // Reads and plans rows. INVALID_ARGUMENT for what ReadDocuments and PlanRows refuse and when no
  // row comes out; the message then names max_sequence_length and the tokens found.
  // `packing.whole_examples` is set by the format.
  static absl::StatusOr<RowDataset> Load(const DocumentsOptions& documents, PackingOptions packing);

  const DatasetStats& stats() const { return stats_; }
  int64_t num_rows() const { return stats_.num_rows; }

  // `index` in [0, num_rows).
  Row GetRow(int64_t index) const;

 private:
  Documents documents_;
  RowPlan plan_;
  DatasetStats stats_;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_ROW_DATASET_H_
