#include "worker/trainer/checkpoint/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/io/unique_fd.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {
namespace {

constexpr std::pair<SafetensorsType, at::ScalarType> kTypes[] = {
    {SafetensorsType::kF64, at::kDouble}, {SafetensorsType::kF32, at::kFloat},
    {SafetensorsType::kF16, at::kHalf},   {SafetensorsType::kBf16, at::kBFloat16},
    {SafetensorsType::kI64, at::kLong},   {SafetensorsType::kI32, at::kInt},
    {SafetensorsType::kI16, at::kShort},  {SafetensorsType::kI8, at::kChar},
    {SafetensorsType::kU8, at::kByte},    {SafetensorsType::kBool, at::kBool}};

// Looked at together by tests of elements.
constexpr int64_t kElementsAtOnce = 1 << 20;

at::ScalarType ToTorch(SafetensorsType type) {
  for (const auto& [ours, torch] : kTypes) {
    if (ours == type) return torch;
  }
  return at::ScalarType::Undefined;
}

absl::StatusOr<SafetensorsType> FromTorch(at::ScalarType type, const std::string& name) {
  for (const auto& [ours, torch] : kTypes) {
    if (torch == type) return ours;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("tensor \"", name, "\": the type ", c10::toString(type), " cannot be written"));
}

// Places the tensors one after another, those with the largest elements first so that all are
// aligned.
absl::StatusOr<std::vector<std::pair<std::string, SafetensorsEntry>>> Layout(
    const std::vector<const TensorSource*>& sources) {
  std::vector<std::pair<std::string, SafetensorsEntry>> entries;
  std::set<std::string> names;
  int64_t next = 0;
  for (const TensorSource* source : sources) {
    if (!names.insert(source->name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor \"", source->name, "\" is there twice"));
    }
    SafetensorsEntry entry;
    LONGLORA_ASSIGN_OR_RETURN(entry.type, FromTorch(source->dtype, source->name));
    entry.shape = source->shape;
    entry.begin = next;
    entry.end = next + c10::multiply_integers(source->shape) * ElementSize(entry.type);
    next = entry.end;
    entries.emplace_back(source->name, std::move(entry));
  }
  return entries;
}

absl::Status WriteTensor(int fd, const TensorSource& source, const std::string& path) {
  LONGLORA_ASSIGN_OR_RETURN(const at::Tensor loaded, source.load());
  if (loaded.scalar_type() != source.dtype || loaded.sizes() != at::IntArrayRef(source.shape)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor \"", source.name, "\" came with another type or shape than announced"));
  }
  const at::Tensor tensor = loaded.detach().cpu().contiguous();
  const auto* const bytes = static_cast<const char*>(tensor.const_data_ptr());
  return common::WriteAll(fd, {bytes, tensor.nbytes()}, path);
}

}  // namespace

class SafetensorsFile::Mapping {
 public:
  static absl::StatusOr<std::shared_ptr<const Mapping>> Map(const std::string& path) {
    const common::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.ok()) return common::ErrnoStatus(errno, "cannot open", path);
    struct stat info;
    if (fstat(fd.get(), &info) != 0) return common::ErrnoStatus(errno, "cannot examine", path);
    if (!S_ISREG(info.st_mode)) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
    }
    const size_t size = static_cast<size_t>(info.st_size);
    if (size == 0)
      return absl::InvalidArgumentError(absl::StrCat(path, ": truncated: it is empty"));
    // Private and writable: a stray in-place operation copies a page instead of ending the process.
    void* data =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd.get(), 0);
    if (data == MAP_FAILED) return common::ErrnoStatus(errno, "cannot map", path);
    return std::shared_ptr<const Mapping>(new Mapping(static_cast<char*>(data), size));
  }
  ~Mapping() { munmap(data_, size_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  char* data() const { return data_; }
  size_t size() const { return size_; }

  // Gives the pages that lie wholly in [begin, end) back. Who looks there again reads the file.
  void Forget(const char* begin, const char* end) const {
    const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
    const uintptr_t last = reinterpret_cast<uintptr_t>(end) / page * page;
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  }

 private:
  Mapping(char* data, size_t size) : data_(data), size_(size) {}
  char* data_;
  size_t size_;
};

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  SafetensorsFile file;
  file.path_ = path;
  LONGLORA_ASSIGN_OR_RETURN(file.mapping_, Mapping::Map(path));
  absl::StatusOr<SafetensorsHeader> header =
      ParseSafetensorsHeader(absl::string_view(file.mapping_->data(), file.mapping_->size()),
                             static_cast<int64_t>(file.mapping_->size()));
  if (!header.ok()) return common::Annotate(header.status(), path);
  file.header_ = *std::move(header);
  return file;
}

absl::StatusOr<at::Tensor> SafetensorsFile::Get(const std::string& name) const {
  const auto found = header_.entries.find(name);
  if (found == header_.entries.end()) {
    return absl::NotFoundError(absl::StrCat(path_, ": no tensor \"", name, "\""));
  }
  const SafetensorsEntry& entry = found->second;
  const auto options = at::TensorOptions().dtype(ToTorch(entry.type));
  if (entry.begin == entry.end) return at::empty(entry.shape, options);
  char* data = mapping_->data() + header_.data_offset + entry.begin;
  if (reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(ElementSize(entry.type)) != 0) {
    at::Tensor copy = at::empty(entry.shape, options);
    std::copy(data, data + (entry.end - entry.begin), static_cast<char*>(copy.mutable_data_ptr()));
    return copy;
  }
  char* const end = mapping_->data() + header_.data_offset + entry.end;
  return at::from_blob(
      data, entry.shape, [mapping = mapping_, data, end](void*) { mapping->Forget(data, end); },
      options);
}

absl::Status WriteSafetensors(const std::string& path, const std::vector<TensorSource>& sources,
                              const std::map<std::string, std::string>& metadata) {
  std::vector<const TensorSource*> order;
  for (const TensorSource& source : sources) order.push_back(&source);
  std::sort(order.begin(), order.end(), [](const TensorSource* a, const TensorSource* b) {
    return std::pair(-static_cast<int64_t>(c10::elementSize(a->dtype)),
                     absl::string_view(a->name)) <
           std::pair(-static_cast<int64_t>(c10::elementSize(b->dtype)), absl::string_view(b->name));
  });
  const auto layout = Layout(order);
  if (!layout.ok()) return common::Annotate(layout.status(), path);
  const std::string header = FormatSafetensorsHeader(*layout, metadata);
  const common::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.ok()) return common::ErrnoStatus(errno, "cannot create", path);
  LONGLORA_RETURN_IF_ERROR(common::WriteAll(fd.get(), header, path));
  for (const TensorSource* source : order) {
    const absl::Status written = WriteTensor(fd.get(), *source, path);
    if (!written.ok()) return common::Annotate(written, path);
  }
  if (fsync(fd.get()) != 0) return common::ErrnoStatus(errno, "cannot fsync", path);
  return absl::OkStatus();
}

absl::Status WriteSafetensors(const std::string& path, const TensorMap& tensors,
                              const std::map<std::string, std::string>& metadata) {
  std::vector<TensorSource> sources;
  for (const auto& [name, tensor] : tensors) {
    sources.push_back({name, tensor.scalar_type(), tensor.sizes().vec(),
                       [tensor = tensor]() -> absl::StatusOr<at::Tensor> { return tensor; }});
  }
  return WriteSafetensors(path, sources, metadata);
}

absl::StatusOr<bool> SafetensorsFile::IsFinite(const std::string& name) const {
  LONGLORA_ASSIGN_OR_RETURN(const at::Tensor tensor, Get(name));
  if (!tensor.is_floating_point()) return true;
  for (const at::Tensor& part : tensor.flatten().split(kElementsAtOnce)) {
    if (!AllFinite(part)) return false;
    const auto* const data = static_cast<const char*>(part.const_data_ptr());
    mapping_->Forget(data, data + part.nbytes());
  }
  return true;
}

bool AllFinite(const at::Tensor& tensor) {
  for (const at::Tensor& part : tensor.flatten().split(kElementsAtOnce)) {
    if (!at::isfinite(part).all().item<bool>()) return false;
  }
  return true;
}

absl::Status VerifySafetensors(const std::string& path, const std::vector<std::string>& names) {
  LONGLORA_ASSIGN_OR_RETURN(const SafetensorsFile file, SafetensorsFile::Open(path));
  if (file.entries().size() != names.size()) {
    return absl::DataLossError(absl::StrCat(path, ": holds ", file.entries().size(), " tensors, ",
                                            names.size(), " were written"));
  }
  for (const std::string& name : names) {
    LONGLORA_ASSIGN_OR_RETURN(const at::Tensor tensor, file.Get(name));
    if (tensor.numel() == 0) {
      return absl::DataLossError(absl::StrCat(path, ": tensor \"", name, "\" is empty"));
    }
    LONGLORA_ASSIGN_OR_RETURN(const bool finite, file.IsFinite(name));
    if (!finite) {
      return absl::DataLossError(
          absl::StrCat(path, ": tensor \"", name, "\" holds a NaN or an infinity"));
    }
  }
  return absl::OkStatus();
}

}  // namespace longlora::trainer
