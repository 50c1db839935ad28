#include "server/backup/data_copy.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/io/files.h"
#include "common/io/sha256.h"
#include "common/io/unique_fd.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "longlora/internal/v1/job_record.pb.h"
#include "server/artifacts/artifact_store.h"
#include "server/store/sqlite_connection.h"

namespace longlora::server {
namespace {

constexpr char kStore[] = "/jobs.sqlite";
constexpr size_t kChunkBytes = 1 << 20;
// Retention and deletion may remove files between the copy of the store and theirs; each new copy
// of the store no longer speaks of them.
constexpr int kSnapshotsMax = 10;

// A file that a job speaks of, by its path below the data directory.
struct DataFile {
  std::string path;
  int64_t size_bytes = -1;  // below 0: not known
  std::string sha256;
};

struct Contents {
  int64_t jobs = 0;
  std::vector<DataFile> files;
};

absl::Status AddArtifacts(const std::string& job, int32_t attempt,
                          const google::protobuf::RepeatedPtrField<v1::Artifact>& artifacts,
                          std::vector<DataFile>& files) {
  for (const v1::Artifact& artifact : artifacts) {
    LONGLORA_ASSIGN_OR_RETURN(
        const std::string path,
        ArtifactStore::RelativePathOf(
            {job, attempt, artifact.path(), artifact.size_bytes(), artifact.sha256()}));
    files.push_back({absl::StrCat("artifacts/", path), artifact.size_bytes(), artifact.sha256()});
  }
  return absl::OkStatus();
}

absl::Status AddFilesOf(const internal::v1::JobRecord& record, std::vector<DataFile>& files) {
  const v1::FineTuneJob& job = record.job();
  const std::string id(absl::StripPrefix(job.name(), "fineTuneJobs/"));
  for (const v1::Checkpoint& checkpoint : record.checkpoints()) {
    LONGLORA_RETURN_IF_ERROR(AddArtifacts(id, checkpoint.attempt(), checkpoint.artifacts(), files));
  }
  if (job.state() != v1::FineTuneJob::FAILED && job.state() != v1::FineTuneJob::CANCELLED) {
    LONGLORA_RETURN_IF_ERROR(AddArtifacts(id, record.results_attempt(), record.results(), files));
  }
  for (const std::string& name :
       {job.spec().dataset().training(), job.spec().dataset().validation()}) {
    absl::string_view sha256 = name;
    if (!absl::ConsumePrefix(&sha256, "files/") || !common::IsSha256Hex(sha256)) continue;
    files.push_back({name, -1, std::string(sha256)});
  }
  return absl::OkStatus();
}

// What the store in `path` speaks of. Nobody else has it open.
absl::StatusOr<Contents> ReadContents(const std::string& path) {
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<SqlConnection> connection, OpenSqlite(path));
  LONGLORA_SQL_STATEMENT(check, *connection, "PRAGMA quick_check(1)");
  LONGLORA_RETURN_IF_ERROR(check.Step().status());
  if (check.Bytes(0) != "ok") {
    return absl::DataLossError(absl::StrCat("the job store is damaged: ", check.Bytes(0)));
  }
  Contents contents;
  LONGLORA_SQL_STATEMENT(read, *connection, "SELECT record FROM jobs ORDER BY job_order");
  while (true) {
    LONGLORA_ASSIGN_OR_RETURN(const bool found, read.Step());
    if (!found) return contents;
    internal::v1::JobRecord record;
    const absl::string_view bytes = read.Bytes(0);
    if (!record.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return absl::DataLossError("the job store has a record that cannot be read");
    }
    ++contents.jobs;
    LONGLORA_RETURN_IF_ERROR(AddFilesOf(record, contents.files));
  }
}

absl::Status SnapshotStore(const std::string& from, const std::string& to) {
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) unlink((to + suffix).c_str());
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<SqlConnection> connection, OpenSqlite(from));
  LONGLORA_SQL_STATEMENT(copy, *connection, "VACUUM INTO ?");
  return copy.BindText(1, to).Run();
}

// What VACUUM INTO wrote may still be in memory alone.
absl::Status FsyncFile(const std::string& path) {
  const common::UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.ok()) return common::ErrnoStatus(errno, "open", path);
  if (fsync(file.get()) != 0) return common::ErrnoStatus(errno, "fsync", path);
  return absl::OkStatus();
}

absl::Status RenameDurably(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) != 0) return common::ErrnoStatus(errno, "rename to", to);
  return common::FsyncDirectory(std::filesystem::path(to).parent_path().string());
}

// NOT_FOUND: there is no such file. Returns its size.
absl::StatusOr<int64_t> CopyFile(const DataFile& file, const std::string& from,
                                 const std::string& to) {
  const common::UniqueFd source(open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!source.ok()) return common::ErrnoStatus(errno, "open", from);
  LONGLORA_RETURN_IF_ERROR(
      common::CreateDirectories(std::filesystem::path(to).parent_path().string()));
  const std::string partial = absl::StrCat(to, ".part");
  const common::UniqueFd target(
      open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!target.ok()) return common::ErrnoStatus(errno, "create", partial);
  common::Sha256 digest;
  std::string chunk(kChunkBytes, '\0');
  int64_t size_bytes = 0;
  while (true) {
    const ssize_t count = read(source.get(), chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return common::ErrnoStatus(errno, "read", from);
    if (count == 0) break;
    const absl::string_view data(chunk.data(), static_cast<size_t>(count));
    digest.Update(data);
    size_bytes += count;
    LONGLORA_RETURN_IF_ERROR(common::WriteAll(target.get(), data, partial));
  }
  if (digest.HexDigest() != file.sha256) {
    return absl::DataLossError(
        absl::StrCat(from, " is damaged: its content is not that of its digest"));
  }
  if (fsync(target.get()) != 0) return common::ErrnoStatus(errno, "fsync", partial);
  LONGLORA_RETURN_IF_ERROR(RenameDurably(partial, to));
  return size_bytes;
}

// OK: `to` has every file of `contents`. NOT_FOUND: one is no longer there.
absl::Status CopyFiles(const Contents& contents, const std::string& from, const std::string& to,
                       DataCopyReport& report) {
  for (const DataFile& file : contents.files) {
    const std::string target = absl::StrCat(to, "/", file.path);
    const absl::StatusOr<int64_t> there = common::FileSize(target);
    // A file's name is its digest and it is renamed when it is whole.
    if (there.ok() && (file.size_bytes < 0 || *there == file.size_bytes)) continue;
    LONGLORA_ASSIGN_OR_RETURN(const int64_t size_bytes,
                              CopyFile(file, absl::StrCat(from, "/", file.path), target));
    ++report.copied_files;
    report.copied_bytes += size_bytes;
  }
  return absl::OkStatus();
}

absl::StatusOr<DataCopyReport> CopyData(const std::string& from, const std::string& to) {
  if (const auto store = common::FileSize(from + kStore); !store.ok()) {
    return common::Annotate(store.status(), "there is no job store to copy");
  }
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(to));
  const std::string snapshot = absl::StrCat(to, kStore, ".part");
  DataCopyReport report;
  absl::Status copied;
  for (int i = 0; i < kSnapshotsMax; ++i) {
    LONGLORA_RETURN_IF_ERROR(SnapshotStore(from + kStore, snapshot));
    LONGLORA_ASSIGN_OR_RETURN(const Contents contents, ReadContents(snapshot));
    report.jobs = contents.jobs;
    report.files = static_cast<int64_t>(contents.files.size());
    copied = CopyFiles(contents, from, to, report);
    if (!absl::IsNotFound(copied)) break;
  }
  if (absl::IsNotFound(copied)) {
    return absl::DataLossError(
        absl::StrCat("a file that a job speaks of is missing: ", copied.message()));
  }
  LONGLORA_RETURN_IF_ERROR(copied);
  LONGLORA_RETURN_IF_ERROR(FsyncFile(snapshot));
  LONGLORA_RETURN_IF_ERROR(RenameDurably(snapshot, to + kStore));
  return report;
}

}  // namespace

absl::StatusOr<DataCopyReport> BackUp(const std::string& from, const std::string& to) {
  if (common::FileSize(absl::StrCat(to, kStore, ".lock")).ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(to, " is the data directory of a server: name another one for the backup"));
  }
  return CopyData(from, to);
}

absl::StatusOr<DataCopyReport> Restore(const std::string& from, const std::string& to) {
  if (common::FileSize(to + kStore).ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(to, " has a job store already: restore into an empty directory"));
  }
  return CopyData(from, to);
}

}  // namespace longlora::server
