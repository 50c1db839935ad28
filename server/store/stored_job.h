// A job as a store keeps it, and the one kind of change a store makes to it. Plain values.
#ifndef LONGLORA_SERVER_STORE_STORED_JOB_H_
#define LONGLORA_SERVER_STORE_STORED_JOB_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "longlora/internal/v1/job_record.pb.h"
#include "longlora/v1/fine_tune_job.pb.h"

namespace longlora::server {

// What changes with every batch of events; small, so that an optimizer step does not rewrite the
// job.
struct JobCursor {
  int64_t last_event_sequence = 0;    // of the job; 0: no event yet
  int64_t acknowledged_sequence = 0;  // of the present attempt's own numbering
  v1::Progress progress;              // of the present attempt
};

struct StoredJob {
  std::string id;        // the part of FineTuneJob.name after the slash
  int64_t order = 0;     // rises with creation; given by the scheduler, from 1
  int64_t revision = 0;  // counts changes of `record`, from 1
  internal::v1::JobRecord record;
  JobCursor cursor;
};

// All of it is applied, or nothing. Compare-and-set: the store refuses it when the job is not at
// `expected_revision` with `expected_last_event_sequence`.
struct JobTransaction {
  std::string id;
  int64_t expected_revision = 0;  // 0: the job must not exist; it is created
  int64_t expected_last_event_sequence = 0;
  int64_t order = 0;  // on creation
  // Set: replaces the record and adds 1 to the revision. Required on creation.
  std::optional<internal::v1::JobRecord> record;
  JobCursor cursor;                  // replaces the stored one
  std::vector<v1::JobEvent> events;  // sequences go on from expected_last_event_sequence
  bool remove = false;               // removes the job and all its events; the rest is ignored
};

// Part of a job's events, and where the job stood when they were read: one consistent view.
struct EventPage {
  std::vector<v1::JobEvent> events;  // oldest first
  int64_t first_event_sequence = 0;  // the oldest that is kept
  int64_t last_event_sequence = 0;   // of the job
  bool job_is_final = false;         // no event will follow last_event_sequence
};

// Whether a job in `state` never changes again.
bool IsFinal(v1::FineTuneJob::State state);

// The job as its users see it: record, progress, etag and last_event_sequence; without
// schedule_reason, which only the scheduler knows.
v1::FineTuneJob ToFineTuneJob(const StoredJob& job);

// Device-seconds by class, like "training"; every class.
std::map<std::string, double> UsesOf(const v1::DeviceLedger& ledger);

// Adds each class of `part` to that of `sum`.
void AddLedger(const v1::DeviceLedger& part, v1::DeviceLedger& sum);

// The value of FineTuneJob.etag at `revision`.
std::string EtagOf(int64_t revision);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_STORE_STORED_JOB_H_
