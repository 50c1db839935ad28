// The job store in one SQLite file (WAL, synchronous=FULL).
#ifndef LONGLORA_SERVER_STORE_SQLITE_JOB_STORE_H_
#define LONGLORA_SERVER_STORE_SQLITE_JOB_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/job_store.h"

namespace longlora::server {

// Opens or creates `path` (its directory must exist) and migrates an older schema.
// FAILED_PRECONDITION when another process has it open, or when its schema is newer than this
// program; UNAVAILABLE when the file cannot be used.
absl::StatusOr<std::unique_ptr<JobStore>> OpenSqliteJobStore(const std::string& path,
                                                             CommitObserver on_commit = {});

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_SQLITE_JOB_STORE_H_
