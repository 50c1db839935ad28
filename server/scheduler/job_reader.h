// What users read of jobs and workers, whoever knows it: the scheduler, which has live jobs in
// memory, or a stored_job_reader, which has the store alone. Jobs are named by resource name
// ("fineTuneJobs/{id}"); a malformed one is INVALID_ARGUMENT (NAME_INVALID). Any call may answer
// UNAVAILABLE when the store cannot be read: try again. Used by server/api. Thread-safe.
//
// What is called often has two forms: Begin... decides at once and lets the caller wait for the
// store without a thread, see Answer; the other does the waiting itself.
#ifndef LONGLORA_SERVER_SCHEDULER_JOB_READER_H_
#define LONGLORA_SERVER_SCHEDULER_JOB_READER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "longlora/v1/fine_tune_job.pb.h"
#include "longlora/v1/worker_directory_service.pb.h"
#include "server/scheduler/answer.h"
#include "server/store/job_store.h"

namespace longlora::server {

struct JobPage {
  std::vector<v1::FineTuneJob> jobs;  // newest first
  int64_t next_before_order =
      0;  // for JobQuery::before_order of the next page; 0: this was the last
};

// An artifact of a job and the attempt that wrote it: where server/artifacts keeps the content.
struct OwnedArtifact {
  int32_t attempt = 0;
  v1::Artifact artifact;
};

class JobReader {
 public:
  virtual ~JobReader() = default;

  // NOT_FOUND (JOB_NOT_FOUND).
  Answer<v1::FineTuneJob> BeginGetJob(absl::string_view job);
  absl::StatusOr<v1::FineTuneJob> GetJob(absl::string_view job) { return BeginGetJob(job).Get(); }
  virtual absl::StatusOr<JobPage> ListJobs(const JobQuery& query) = 0;
  // Committed checkpoints, oldest first. NOT_FOUND (JOB_NOT_FOUND).
  absl::StatusOr<std::vector<v1::Checkpoint>> ListCheckpoints(absl::string_view job);
  // Results of a SUCCEEDED job, sorted by path; none before. NOT_FOUND (JOB_NOT_FOUND).
  absl::StatusOr<std::vector<v1::Artifact>> ListResults(absl::string_view job);
  // A committed artifact: of a checkpoint, or of the results of a SUCCEEDED job. NOT_FOUND
  // (JOB_NOT_FOUND, ARTIFACT_NOT_FOUND).
  absl::StatusOr<OwnedArtifact> FindArtifact(absl::string_view job, absl::string_view path);
  // Every known worker, sorted by name.
  virtual absl::StatusOr<std::vector<v1::Worker>> ListWorkers() = 0;

 protected:
  // A job as it is stored, and as its users see it.
  struct Sight {
    StoredJob job;
    v1::FineTuneJob view;
  };
  struct StoredPage {
    std::vector<StoredJob> jobs;
    int64_t next_before_order = 0;  // as JobPage
  };

  // The job once everything seen in it is durable. NOT_FOUND (JOB_NOT_FOUND).
  virtual Answer<Sight> BeginLook(absl::string_view job) = 0;
  absl::StatusOr<Sight> Look(absl::string_view job) { return BeginLook(job).Get(); }

  // Of the store alone.
  static absl::StatusOr<Sight> LookInto(JobStoreReader& store, absl::string_view id);
  static absl::StatusOr<StoredPage> ReadPage(JobStoreReader& store, JobQuery query);
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_JOB_READER_H_
