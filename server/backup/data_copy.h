// What `longlora-server backup` and `restore` do: a whole and verified copy of a server's data,
// which may be in use meanwhile. A backup has the layout of a --data-dir, so both are the same
// copy. Knows nothing of the scheduler and runs in a process of its own.
#ifndef LONGLORA_SERVER_BACKUP_DATA_COPY_H_
#define LONGLORA_SERVER_BACKUP_DATA_COPY_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace longlora::server {

struct DataCopyReport {
  int64_t jobs = 0;
  int64_t files = 0;  // dataset files, checkpoints and results that the jobs speak of
  int64_t copied_files = 0;
  int64_t copied_bytes = 0;
};

// Copies the job store of `from` as it is at one moment (SQLite, VACUUM INTO), then every file that
// this copy speaks of, each checked against its SHA-256; the store's copy gets its name last, so
// that `to` holds either the former backup or the new one, and never half of one. Files that `to`
// has already are not copied again. Uploads that have not ended are left out: workers send them
// again. NOT_FOUND: `from` has no store. FAILED_PRECONDITION: `to` belongs to a server. DATA_LOSS:
// a file is missing or damaged. RESOURCE_EXHAUSTED: the disk is full. Else UNAVAILABLE.
absl::StatusOr<DataCopyReport> BackUp(const std::string& from, const std::string& to);

// The same from a backup to a --data-dir for a server to start on. FAILED_PRECONDITION when that
// has a store already.
absl::StatusOr<DataCopyReport> Restore(const std::string& from, const std::string& to);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_BACKUP_DATA_COPY_H_
