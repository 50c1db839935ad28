// Small changes for tests of stores: enough of a job to tell one from another.
#ifndef LONGLORA_TESTS_SERVER_STORE_JOB_TRANSACTIONS_H_
#define LONGLORA_TESTS_SERVER_STORE_JOB_TRANSACTIONS_H_

#include <cstdint>
#include <string>

#include "server/store/resource_names.h"
#include "server/store/stored_job.h"

namespace longlora::server {

inline v1::JobEvent LogEvent(int64_t sequence, const std::string& message) {
  v1::JobEvent event;
  event.set_sequence(sequence);
  event.mutable_log()->set_message(message);
  return event;
}

// Creates a QUEUED job with one event.
inline JobTransaction CreateJob(const std::string& id, int64_t order,
                                const std::string& request_id = "") {
  JobTransaction transaction;
  transaction.id = id;
  transaction.order = order;
  transaction.record.emplace();
  transaction.record->mutable_job()->set_name(JobName(id));
  transaction.record->mutable_job()->set_state(v1::FineTuneJob::QUEUED);
  transaction.record->set_request_id(request_id);
  transaction.events.push_back(LogEvent(1, "created"));
  transaction.cursor.last_event_sequence = 1;
  return transaction;
}

// Moves `job` to `state`, with one event.
inline JobTransaction ChangeState(const StoredJob& job, v1::FineTuneJob::State state) {
  JobTransaction transaction;
  transaction.id = job.id;
  transaction.expected_revision = job.revision;
  transaction.expected_last_event_sequence = job.cursor.last_event_sequence;
  transaction.record = job.record;
  transaction.record->mutable_job()->set_state(state);
  transaction.cursor = job.cursor;
  ++transaction.cursor.last_event_sequence;
  transaction.events.push_back(LogEvent(transaction.cursor.last_event_sequence, "changed"));
  return transaction;
}

// Appends `count` events and nothing else; the attempt's numbering moves as far.
inline JobTransaction AppendLog(const StoredJob& job, int count,
                                const std::string& message = "line") {
  JobTransaction transaction;
  transaction.id = job.id;
  transaction.expected_revision = job.revision;
  transaction.expected_last_event_sequence = job.cursor.last_event_sequence;
  transaction.cursor = job.cursor;
  for (int i = 0; i < count; ++i) {
    transaction.events.push_back(LogEvent(++transaction.cursor.last_event_sequence, message));
  }
  transaction.cursor.acknowledged_sequence += count;
  return transaction;
}

}  // namespace longlora::server

#endif  // LONGLORA_TESTS_SERVER_STORE_JOB_TRANSACTIONS_H_
