#include "server/scheduler/job_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"
#include "server/events/job_errors.h"

namespace longlora::server {

Answer<v1::FineTuneJob> JobReader::BeginGetJob(absl::string_view job) {
  return BeginLook(job).Then([](absl::StatusOr<Sight> sight) -> absl::StatusOr<v1::FineTuneJob> {
    if (!sight.ok()) return sight.status();
    return std::move(sight->view);
  });
}

absl::StatusOr<std::vector<v1::Checkpoint>> JobReader::ListCheckpoints(absl::string_view job) {
  LONGLORA_ASSIGN_OR_RETURN(const Sight sight, Look(job));
  const auto& checkpoints = sight.job.record.checkpoints();
  return std::vector<v1::Checkpoint>(checkpoints.begin(), checkpoints.end());
}

absl::StatusOr<std::vector<v1::Artifact>> JobReader::ListResults(absl::string_view job) {
  LONGLORA_ASSIGN_OR_RETURN(const Sight sight, Look(job));
  if (sight.view.state() != v1::FineTuneJob::SUCCEEDED) return std::vector<v1::Artifact>();
  const auto& results = sight.job.record.results();
  return std::vector<v1::Artifact>(results.begin(), results.end());
}

absl::StatusOr<OwnedArtifact> JobReader::FindArtifact(absl::string_view job,
                                                      absl::string_view path) {
  LONGLORA_ASSIGN_OR_RETURN(const Sight sight, Look(job));
  for (const v1::Checkpoint& checkpoint : sight.job.record.checkpoints()) {
    for (const v1::Artifact& artifact : checkpoint.artifacts()) {
      if (artifact.path() == path) return OwnedArtifact{checkpoint.attempt(), artifact};
    }
  }
  if (sight.view.state() == v1::FineTuneJob::SUCCEEDED) {
    for (const v1::Artifact& artifact : sight.job.record.results()) {
      if (artifact.path() == path)
        return OwnedArtifact{sight.job.record.results_attempt(), artifact};
    }
  }
  return rpc::MakeError(
      absl::StatusCode::kNotFound,
      absl::StrCat(job, " has no artifact \"", path, "\": list its artifacts and checkpoints"),
      {"ARTIFACT_NOT_FOUND", {{"job", std::string(job)}, {"path", std::string(path)}}, {}});
}

absl::StatusOr<JobReader::Sight> JobReader::LookInto(JobStoreReader& store, absl::string_view id) {
  absl::StatusOr<StoredJob> stored = store.ReadJob(id);
  if (!stored.ok()) return WithJobReason(stored.status(), id);
  v1::FineTuneJob view = ToFineTuneJob(*stored);
  return Sight{*std::move(stored), std::move(view)};
}

absl::StatusOr<JobReader::StoredPage> JobReader::ReadPage(JobStoreReader& store, JobQuery query) {
  StoredPage page;
  const auto size = static_cast<size_t>(query.limit);
  ++query.limit;  // one more than wanted tells whether another page follows
  LONGLORA_ASSIGN_OR_RETURN(page.jobs, store.ListJobs(query));
  if (page.jobs.size() > size) {
    page.jobs.pop_back();
    page.next_before_order = page.jobs.back().order;
  }
  return page;
}

}  // namespace longlora::server
