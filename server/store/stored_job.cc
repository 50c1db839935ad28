#include "server/store/stored_job.h"

#include "absl/strings/str_cat.h"

namespace longlora::server {

bool IsFinal(v1::FineTuneJob::State state) {
  return state == v1::FineTuneJob::SUCCEEDED || state == v1::FineTuneJob::FAILED ||
         state == v1::FineTuneJob::CANCELLED;
}

std::string EtagOf(int64_t revision) { return absl::StrCat(revision); }

void AddLedger(const v1::DeviceLedger& part, v1::DeviceLedger& sum) {
  sum.set_preparing(sum.preparing() + part.preparing());
  sum.set_training(sum.training() + part.training());
  sum.set_recomputed(sum.recomputed() + part.recomputed());
  sum.set_evaluating(sum.evaluating() + part.evaluating());
  sum.set_checkpointing(sum.checkpointing() + part.checkpointing());
  sum.set_stalled(sum.stalled() + part.stalled());
  sum.set_finishing(sum.finishing() + part.finishing());
  sum.set_stopping(sum.stopping() + part.stopping());
}

v1::FineTuneJob ToFineTuneJob(const StoredJob& job) {
  v1::FineTuneJob view = job.record.job();
  if (job.cursor.progress.step() > 0) *view.mutable_progress() = job.cursor.progress;
  // Of ended attempts, the record has it.
  if (job.cursor.progress.has_ledger()) {
    AddLedger(job.cursor.progress.ledger(), *view.mutable_ledger());
  }
  view.set_etag(EtagOf(job.revision));
  view.set_last_event_sequence(job.cursor.last_event_sequence);
  return view;
}

}  // namespace longlora::server
