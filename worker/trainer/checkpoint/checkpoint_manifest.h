// manifest.json of a checkpoint: what it is and which files, of which size and SHA-256, make it
// whole. Pure text form; CheckpointStore reads and writes the file.
#ifndef LONGLORA_WORKER_TRAINER_CHECKPOINT_CHECKPOINT_MANIFEST_H_
#define LONGLORA_WORKER_TRAINER_CHECKPOINT_CHECKPOINT_MANIFEST_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::trainer {

struct CheckpointManifest {
  struct File {
    int64_t bytes = 0;
    std::string sha256;  // lower-case hexadecimal
  };
  int64_t step = 0;
  int64_t world_size = 1;
  std::string spec_digest;
  std::string torch_version;
  nlohmann::json state = nlohmann::json::object();
  std::map<std::string, File> files;  // by path inside the checkpoint
};

// JSON that carries a SHA-256 of itself.
std::string FormatManifest(const CheckpointManifest& manifest);

// DATA_LOSS if `text` is not what FormatManifest made: any changed byte that matters shows.
// FAILED_PRECONDITION if a newer version of the program wrote it.
absl::StatusOr<CheckpointManifest> ParseManifest(absl::string_view text);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_CHECKPOINT_CHECKPOINT_MANIFEST_H_
