// Reads and writes safetensors files, single or sharded. Called by the model loader, checkpoints,
// adapter and merged exports. A reader is immutable after Open and safe from any thread. Files are
// hostile input: nothing of a file is used before its whole header has been checked. Does not
// convert types.
#ifndef LONGLORA_WORKER_TRAINER_CHECKPOINT_SAFETENSORS_H_
#define LONGLORA_WORKER_TRAINER_CHECKPOINT_SAFETENSORS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/trainer/checkpoint/safetensors_header.h"

namespace longlora::trainer {

using TensorMap = std::map<std::string, at::Tensor>;

// One file, mapped into memory. A file that is cut short while it is mapped ends the process
// (SIGBUS).
class SafetensorsFile {
 public:
  // NOT_FOUND if there is no such file; INVALID_ARGUMENT naming the file (and the tensor) if it is
  // truncated or its header lies.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const std::map<std::string, SafetensorsEntry>& entries() const { return header_.entries; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  // A CPU tensor that looks into the mapping (no copy) and keeps it alive. The mapping is private:
  // what is written to it never reaches the file. When the tensor goes, so do its pages: a file
  // that is read tensor by tensor takes the memory of one, and what was written to it is forgotten.
  // A tensor whose bytes are not aligned for its type is copied. NOT_FOUND names the file and the
  // tensor.
  absl::StatusOr<at::Tensor> Get(const std::string& name) const;

  // Whether no element of `name` is a NaN or an infinity. Takes a few megabytes, however large the
  // tensor. Errors as Get.
  absl::StatusOr<bool> IsFinite(const std::string& name) const;

 private:
  class Mapping;
  SafetensorsFile() = default;

  std::string path_;
  SafetensorsHeader header_;
  std::shared_ptr<const Mapping> mapping_;
};

// The tensors of a Hugging Face model directory: model.safetensors, or the shards that
// model.safetensors.index.json names.
class SafetensorsDirectory {
 public:
  // NOT_FOUND if the directory holds neither file. INVALID_ARGUMENT if a shard is missing or
  // broken, the index names a path outside the directory, or index and shards disagree about where
  // a tensor is.
  static absl::StatusOr<SafetensorsDirectory> Open(const std::string& directory);

  bool Contains(const std::string& name) const { return file_of_.count(name) != 0; }
  std::vector<std::string> names() const;  // sorted
  int64_t total_bytes() const;             // of tensor data

  // Shape, type and place of one tensor, without touching its data.
  absl::StatusOr<SafetensorsEntry> Find(const std::string& name) const;
  // See SafetensorsFile::Get.
  absl::StatusOr<at::Tensor> Get(const std::string& name) const;

 private:
  std::string directory_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, size_t> file_of_;  // tensor -> index into files_
};

// One tensor to write whose data is made only when its turn comes, so that a model larger than
// memory can be written.
struct TensorSource {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  std::function<absl::StatusOr<at::Tensor>()>
      load;  // any device and strides; dtype and shape as announced
};

// Writes `sources` to `path` and fsyncs the file (not its directory). Same input, same bytes:
// tensors lie in order of falling element size, then of name. INVALID_ARGUMENT for a doubled name,
// an unsupported type or a source that does not give what it announced; else as in
// common/io/files.h. On error a part of the file may be left behind.
absl::Status WriteSafetensors(const std::string& path, const std::vector<TensorSource>& sources,
                              const std::map<std::string, std::string>& metadata);

// The same for tensors at hand.
absl::Status WriteSafetensors(const std::string& path, const TensorMap& tensors,
                              const std::map<std::string, std::string>& metadata);

// Whether no element of a floating `tensor` is a NaN or an infinity. Takes a few megabytes, where
// ATen's tests of elements make tensors as large as what they test.
bool AllFinite(const at::Tensor& tensor);

// Opens `path` again and checks that it holds exactly the tensors `names`, none of them empty and
// none with a NaN or an infinity. DATA_LOSS names the first at fault.
absl::Status VerifySafetensors(const std::string& path, const std::vector<std::string>& names);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_CHECKPOINT_SAFETENSORS_H_
