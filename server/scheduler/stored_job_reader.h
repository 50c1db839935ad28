// Reads jobs and workers from the store alone, which another process may be writing. So it does not
// know what only a scheduler has in memory: why a job waits, and which workers are connected. For
// server/read_server. Thread-safe.
#ifndef LONGLORA_SERVER_SCHEDULER_STORED_JOB_READER_H_
#define LONGLORA_SERVER_SCHEDULER_STORED_JOB_READER_H_

#include <vector>

#include "server/scheduler/job_reader.h"

namespace longlora::server {

class StoredJobReader : public JobReader {
 public:
  // `store` outlives it.
  explicit StoredJobReader(JobStoreReader* store) : store_(*store) {}

  // Without schedule_reason.
  absl::StatusOr<JobPage> ListJobs(const JobQuery& query) override;
  // UNKNOWN, with the devices that stored jobs have.
  absl::StatusOr<std::vector<v1::Worker>> ListWorkers() override;

 protected:
  Answer<Sight> BeginLook(absl::string_view job) override;

 private:
  JobStoreReader& store_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_STORED_JOB_READER_H_
