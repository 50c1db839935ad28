// Durable training checkpoints of one job: DIR/step-N/ with a manifest that is written last. Called
// by the training loop of rank 0 (Save) and by every rank at resume (Load*). One writer at a time;
// not thread-safe. Knows nothing of optimizers or models: a checkpoint is named tensors and a JSON
// object.
#ifndef LONGLORA_WORKER_TRAINER_CHECKPOINT_CHECKPOINT_STORE_H_
#define LONGLORA_WORKER_TRAINER_CHECKPOINT_CHECKPOINT_STORE_H_

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/trainer/checkpoint/safetensors.h"

namespace longlora::trainer {

struct Checkpoint {
  int64_t step = 0;         // optimizer updates done
  int64_t world_size = 1;   // ranks that wrote it
  std::string spec_digest;  // SHA-256 of the job's canonical spec; whoever resumes compares it
  nlohmann::json state = nlohmann::json::object();  // sampler position, witness loss, ...: small
  // Trainables (fp32), AdamW moments, per-parameter steps, RNG states. Loaded ones look into the
  // file.
  TensorMap tensors;
};

struct SavedCheckpoint {
  std::string path;   // DIR/step-N
  int64_t bytes = 0;  // of all files
};

struct LoadedCheckpoint {
  Checkpoint checkpoint;
  std::string path;
  // One message for each newer checkpoint that had to be passed over and why. Never drop them
  // silently.
  std::vector<std::string> warnings;
};

class CheckpointStore {
 public:
  // Writes more files into the checkpoint being made (a PEFT adapter, say), below the directory
  // given.
  using WriteExtra = std::function<absl::Status(const std::string& directory)>;

  // `directory` (".../checkpoints") is made on the first Save. keep_last >= 1 complete ones are
  // kept, and besides them that of `best_step`, if there is one.
  CheckpointStore(std::string directory, int64_t keep_last,
                  std::optional<int64_t> best_step = std::nullopt);

  // Writes .step-N.partial: tensors, state, extra files, fsync of each, manifest.json last (sizes
  // and SHA-256); then renames it to step-N, fsyncs the directory and removes what retention no
  // longer keeps. When it returns OK the checkpoint survives a power loss. On error the older ones
  // are untouched. An existing step-N is replaced, and steps after N, which a run that was given up
  // left, are removed.
  absl::StatusOr<SavedCheckpoint> Save(const Checkpoint& checkpoint,
                                       const WriteExtra& write_extra = {});

  // The newest checkpoint whose manifest is complete and whose files all have the size and SHA-256
  // it states; damaged ones are passed over with a warning. nullopt: there is none at all (never
  // saved). DATA_LOSS: there are some, and none is whole; the message lists why.
  absl::StatusOr<std::optional<LoadedCheckpoint>> LoadNewest() const;

  // Exactly that step. NOT_FOUND, or DATA_LOSS with the file at fault.
  absl::StatusOr<LoadedCheckpoint> Load(int64_t step) const;

  // Steps that have a directory with a manifest, oldest first; the files are not verified.
  std::vector<int64_t> ListSteps() const;

 private:
  std::string StepPath(int64_t step) const;
  absl::Status ApplyRetention(int64_t newest) const;

  std::string directory_;
  int64_t keep_last_;
  std::optional<int64_t> best_step_;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_CHECKPOINT_CHECKPOINT_STORE_H_
