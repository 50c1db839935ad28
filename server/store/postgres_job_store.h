// The job store in a PostgreSQL database.
//
// One server writes at a time: the one whose writing session holds an advisory lock of the database
// (pg_advisory_lock). Whoever writes thus holds the lock in that very transaction; when the session
// ends, for whatever reason, so do the lock and every write that was not committed, and another
// server may take the store over.
#ifndef LONGLORA_SERVER_STORE_POSTGRES_JOB_STORE_H_
#define LONGLORA_SERVER_STORE_POSTGRES_JOB_STORE_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/job_store.h"

namespace longlora::server {

// Told, from the writing thread, that another server has the store now: the program must end.
using StoreLostObserver = std::function<void(const absl::Status&)>;

// Opens the store in the database of `url` and brings its schema up to date. A connection that
// breaks is replaced: calls fail with UNAVAILABLE until then. ALREADY_EXISTS when another server
// has the store; FAILED_PRECONDITION when its schema is newer than this program. When another
// server takes the store over while this one has lost its session, every later write fails and
// `on_lost` hears of it.
absl::StatusOr<std::unique_ptr<JobStore>> OpenPostgresJobStore(const std::string& url,
                                                               CommitObserver on_commit = {},
                                                               StoreLostObserver on_lost = {});

// Reads the store of that database, whoever writes there, and needs no lock. Connects with the
// first call; while the database cannot be read, or has another schema than this program's, calls
// fail with UNAVAILABLE.
std::unique_ptr<JobStoreReader> OpenPostgresReader(const std::string& url);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_POSTGRES_JOB_STORE_H_
