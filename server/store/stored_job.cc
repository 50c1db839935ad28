#include "server/store/stored_job.h"

#include "absl/strings/str_cat.h"

namespace longlora::server {

bool IsFinal(v1::FineTuneJob::State state) {
  return state == v1::FineTuneJob::SUCCEEDED || state == v1::FineTuneJob::FAILED ||
         state == v1::FineTuneJob::CANCELLED;
}

std::string EtagOf(int64_t revision) { return absl::StrCat(revision); }

v1::FineTuneJob ToFineTuneJob(const StoredJob& job) {
  v1::FineTuneJob view = job.record.job();
  if (job.cursor.progress.step() > 0) *view.mutable_progress() = job.cursor.progress;
  view.set_etag(EtagOf(job.revision));
  view.set_last_event_sequence(job.cursor.last_event_sequence);
  return view;
}

}  // namespace longlora::server
