// A job's results as files others load: the PEFT adapter and the merged model. Called by the loop
// at the end, and for the adapter inside a checkpoint. Rank 0 only.
#ifndef LONGLORA_WORKER_TRAINER_EXPORT_RESULTS_H_
#define LONGLORA_WORKER_TRAINER_EXPORT_RESULTS_H_

#include <string>

#include "absl/status/status.h"
#include "worker/trainer/checkpoint/adapter_export.h"
#include "worker/trainer/training_job.h"

namespace longlora::trainer {

inline constexpr char kAdapterFolder[] = "adapter";
inline constexpr char kMergedFolder[] = "merged";

// What is trained as a PEFT adapter, with the values in `trained`: at least those of job.trained,
// by name, on the CPU.
AdapterExport DescribeAdapter(const TrainingJob& job, const TensorMap& trained);

// Writes what is trained as a PEFT adapter into `directory`, replacing it.
absl::Status WriteAdapter(const TrainingJob& job, const std::string& directory);

// Writes the base model with everything merged in into `directory`, replacing it.
absl::Status WriteMerged(const TrainingJob& job, const std::string& directory);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_EXPORT_RESULTS_H_
