#include "server/store/stored_job.h"

#include "absl/strings/str_cat.h"

namespace longlora::server {

bool IsFinal(v1::FineTuneJob::State state) {
  return state == v1::FineTuneJob::SUCCEEDED || state == v1::FineTuneJob::FAILED ||
         state == v1::FineTuneJob::CANCELLED;
}

std::string EtagOf(int64_t revision) { return absl::StrCat(revision); }

std::map<std::string, double> UsesOf(const v1::DeviceLedger& ledger) {
  std::map<std::string, double> uses;
  const google::protobuf::Descriptor& classes = *v1::DeviceLedger::descriptor();
  for (int i = 0; i < classes.field_count(); ++i) {
    uses[classes.field(i)->name()] = ledger.GetReflection()->GetDouble(ledger, classes.field(i));
  }
  return uses;
}

void AddLedger(const v1::DeviceLedger& part, v1::DeviceLedger& sum) {
  const google::protobuf::Descriptor& classes = *v1::DeviceLedger::descriptor();
  const google::protobuf::Reflection& fields = *sum.GetReflection();
  for (int i = 0; i < classes.field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = classes.field(i);
    fields.SetDouble(&sum, field, fields.GetDouble(sum, field) + fields.GetDouble(part, field));
  }
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
