#include "client/download.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <set>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "common/io/files.h"
#include "common/io/sha256.h"
#include "common/io/unique_fd.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"

namespace longlora::client {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kPartial = ".partial";
constexpr int64_t kSlowestBytesPerSecond = 64 << 10;  // slower than this counts as hanging

// Faults of the local disk must not look like a server that is away.
absl::Status LocalError(int error, absl::string_view what, const std::string& path) {
  const absl::Status status = common::ErrnoStatus(error, what, path);
  if (absl::IsResourceExhausted(status) || absl::IsPermissionDenied(status)) return status;
  return absl::UnknownError(status.message());
}

absl::Status CheckPaths(const std::vector<v1::Artifact>& artifacts) {
  std::set<std::string> seen;
  for (const v1::Artifact& artifact : artifacts) {
    if (!common::IsSafeRelativePath(artifact.path()) || absl::EndsWith(artifact.path(), kPartial)) {
      return absl::InvalidArgumentError(
          absl::StrCat("the server names an artifact \"", artifact.path(),
                       "\", which is not a safe path; nothing was written"));
    }
    if (!seen.insert(artifact.path()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("the server names the artifact ", artifact.path(), " twice"));
    }
  }
  return absl::OkStatus();
}

// A file that grows at its end while its digest is kept.
class PartialFile {
 public:
  // Goes on from what lies at `path`; from nothing when that is longer than `limit`.
  absl::Status Open(const std::string& path, int64_t limit) {
    path_ = path;
    // The directory is the user's, but a link in it must not lead the download elsewhere.
    fd_ = common::UniqueFd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
    if (!fd_.ok()) return LocalError(errno, "create", path);
    struct stat info;
    if (fstat(fd_.get(), &info) != 0) return LocalError(errno, "inspect", path);
    if (info.st_size > limit) return Truncate();
    return DigestPresent();
  }

  absl::Status Truncate() {
    if (ftruncate(fd_.get(), 0) != 0) return LocalError(errno, "truncate", path_);
    if (lseek(fd_.get(), 0, SEEK_SET) != 0) return LocalError(errno, "rewind", path_);
    size_ = 0;
    digest_ = common::Sha256();
    return absl::OkStatus();
  }

  absl::Status Append(absl::string_view data) {
    digest_.Update(data);
    size_ += static_cast<int64_t>(data.size());
    while (!data.empty()) {
      const ssize_t written = write(fd_.get(), data.data(), data.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return LocalError(errno, "write", path_);
      data.remove_prefix(static_cast<size_t>(written));
    }
    return absl::OkStatus();
  }

  int64_t size() const { return size_; }
  // Spends the digest: only Truncate() or Publish() may follow.
  std::string HexDigest() { return digest_.HexDigest(); }

  // Gives the file its name, durably.
  absl::Status Publish(const std::string& target) {
    if (fsync(fd_.get()) != 0) return LocalError(errno, "fsync", path_);
    if (close(fd_.Release()) != 0) return LocalError(errno, "close", path_);
    if (rename(path_.c_str(), target.c_str()) != 0) return LocalError(errno, "rename to", target);
    return common::FsyncDirectory(fs::path(target).parent_path().string());
  }

 private:
  absl::Status DigestPresent() {
    std::string buffer(1 << 20, '\0');
    while (true) {
      const ssize_t count = read(fd_.get(), buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return LocalError(errno, "read", path_);
      if (count == 0) return absl::OkStatus();
      digest_.Update(absl::string_view(buffer.data(), static_cast<size_t>(count)));
      size_ += count;
    }
  }

  std::string path_;
  common::UniqueFd fd_;
  common::Sha256 digest_;
  int64_t size_ = 0;
};

// One artifact of one job.
class ArtifactDownload {
 public:
  ArtifactDownload(FineTuneClient& client, const std::string& job, const v1::Artifact& artifact,
                   const DownloadProgress& progress, DownloadSummary& summary)
      : client_(client), job_(job), artifact_(artifact), progress_(progress), summary_(summary) {}

  absl::Status Run(const std::string& target) {
    if (IsPresent(target)) {
      ++summary_.files_present;
      Report(artifact_.size_bytes());
      return absl::OkStatus();
    }
    std::error_code error;
    const fs::path parent = fs::path(target).parent_path();
    fs::create_directories(parent, error);
    if (error) return LocalError(error.value(), "create directory", parent.string());
    LONGLORA_RETURN_IF_ERROR(file_.Open(absl::StrCat(target, kPartial), artifact_.size_bytes()));
    LONGLORA_RETURN_IF_ERROR(FetchVerified());
    return file_.Publish(target);
  }

 private:
  bool IsPresent(const std::string& target) const {
    const absl::StatusOr<int64_t> size = common::FileSize(target);
    if (!size.ok() || *size != artifact_.size_bytes()) return false;
    const absl::StatusOr<std::string> digest = common::Sha256File(target);
    return digest.ok() && *digest == artifact_.sha256();
  }

  // A partial file may be of another job or broken; one download from the start tells.
  absl::Status FetchVerified() {
    for (int round = 0; round < 2; ++round) {
      LONGLORA_RETURN_IF_ERROR(Fetch());
      if (file_.HexDigest() == artifact_.sha256()) return absl::OkStatus();
      LONGLORA_RETURN_IF_ERROR(file_.Truncate());
    }
    return absl::DataLossError(absl::StrCat("the SHA-256 of ", artifact_.path(),
                                            " is not the announced one, twice: the artifact is "
                                            "damaged at the server or on the way"));
  }

  // Streams until the announced size is there.
  absl::Status Fetch() {
    int failures = 0;
    Report(file_.size());
    while (file_.size() < artifact_.size_bytes()) {
      const int64_t before = file_.size();
      const absl::Status status = ReadStream();
      if (file_.size() > before) failures = 0;
      if (status.ok() && file_.size() == artifact_.size_bytes()) return absl::OkStatus();
      // An orderly end before the announced size is as good as a break.
      const bool again = status.ok() || MayTryAgain(status);
      if (!again) return status;
      if (++failures >= client_.options().retry.attempts) {
        return status.ok()
                   ? absl::DataLossError(absl::StrCat(artifact_.path(), " ends at byte ",
                                                      file_.size(), " of ", artifact_.size_bytes()))
                   : status;
      }
      if (!WaitToRetry(client_.options().retry.backoff, failures, status, client_.cancellation())) {
        return absl::CancelledError("interrupted");
      }
      client_.Reconnect();
    }
    return absl::OkStatus();
  }

  absl::Status ReadStream() {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(
        absl::Now() + client_.options().call_deadline +
        absl::Seconds((artifact_.size_bytes() - file_.size()) / kSlowestBytesPerSecond)));
    CancellableCall call(client_.cancellation(), &context);
    v1::DownloadArtifactRequest request;
    request.set_parent(job_);
    request.set_path(artifact_.path());
    request.set_offset(file_.size());
    auto stream = client_.jobs().DownloadArtifact(&context, request);
    v1::DownloadArtifactResponse response;
    while (stream->Read(&response)) {
      const auto bytes = static_cast<int64_t>(response.data().size());
      absl::Status status = absl::OkStatus();
      if (file_.size() + bytes > artifact_.size_bytes()) {
        status = absl::DataLossError(absl::StrCat(
            artifact_.path(), " is longer than the announced ", artifact_.size_bytes(), " bytes"));
      } else {
        status = file_.Append(response.data());
      }
      if (!status.ok()) {
        context.TryCancel();
        (void)stream->Finish();
        return status;
      }
      summary_.received_bytes += bytes;
      Report(file_.size());
    }
    return client_.ToStatus(stream->Finish());
  }

  void Report(int64_t received) {
    if (progress_) progress_(artifact_, received);
  }

  FineTuneClient& client_;
  const std::string& job_;
  const v1::Artifact& artifact_;
  const DownloadProgress& progress_;
  DownloadSummary& summary_;
  PartialFile file_;
};

}  // namespace

absl::StatusOr<DownloadSummary> Download(FineTuneClient& client, const std::string& job,
                                         const std::vector<v1::Artifact>& artifacts,
                                         const std::string& directory,
                                         const DownloadProgress& progress) {
  LONGLORA_RETURN_IF_ERROR(CheckPaths(artifacts));
  DownloadSummary summary;
  for (const v1::Artifact& artifact : artifacts) {
    ArtifactDownload download(client, job, artifact, progress, summary);
    const std::string target = (fs::path(directory) / artifact.path()).string();
    if (absl::Status status = download.Run(target); !status.ok()) {
      return common::Annotate(status, absl::StrCat("download of ", artifact.path()));
    }
    ++summary.files;
  }
  return summary;
}

}  // namespace longlora::client
