// A directory that appears as a whole or not at all: filled under a hidden name beside its target,
// then renamed. Checkpoints and exports are written through it. One owner, not thread-safe.
#ifndef LONGLORA_WORKER_TRAINER_CHECKPOINT_STAGED_DIRECTORY_H_
#define LONGLORA_WORKER_TRAINER_CHECKPOINT_STAGED_DIRECTORY_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace longlora::trainer {

class StagedDirectory {
 public:
  // Makes an empty PARENT/.NAME.partial for the target PARENT/NAME, with PARENT where it is
  // missing. What a crash left under that name is removed. Errors as in common/io/files.h.
  static absl::StatusOr<StagedDirectory> Create(const std::string& target);

  StagedDirectory(StagedDirectory&& other) noexcept;
  StagedDirectory& operator=(StagedDirectory&&) = delete;
  // Removes the staged files unless Commit succeeded.
  ~StagedDirectory();

  const std::string& path() const { return path_; }

  // Makes every staged file and folder durable.
  absl::Status Sync() const;

  // Sync(), then takes the target's place in one rename (what was there is removed) and makes that
  // durable.
  absl::Status Commit();

 private:
  StagedDirectory(std::string target, std::string path);

  std::string target_;
  std::string path_;  // empty once committed or moved from
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_CHECKPOINT_STAGED_DIRECTORY_H_
