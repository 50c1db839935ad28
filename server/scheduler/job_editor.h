// One change of one job: starts from the job as it is, is told what happened, and gives the job as
// it will be together with the transaction that makes it so. Every change of a job's state,
// attempts, checkpoints and events goes through here; state changes obey job_state_machine. Holds
// no lock and reads no clock: one moment is given for the whole change. Used by the scheduler only.
#ifndef LONGLORA_SERVER_SCHEDULER_JOB_EDITOR_H_
#define LONGLORA_SERVER_SCHEDULER_JOB_EDITOR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "longlora/v1/fine_tune_job.pb.h"
#include "longlora/v1/fine_tune_spec.pb.h"
#include "server/scheduler/failure_policy.h"
#include "server/scheduler/job_state_machine.h"
#include "server/store/stored_job.h"

namespace longlora::server {

// What a new job is made of.
struct NewJob {
  std::string id;
  int64_t order = 0;
  v1::FineTuneSpec spec;
  std::string request_id;
  std::string request_digest;
};

class JobEditor {
 public:
  // Begins a change of `job` at `now`.
  JobEditor(StoredJob job, absl::Time now);
  // The change that creates a job, QUEUED.
  static JobEditor Create(NewJob job, absl::Time now);

  // The job as it will be.
  const StoredJob& job() const { return job_; }
  v1::FineTuneJob::State state() const { return job_.record.job().state(); }

  // Each returns FAILED_PRECONDITION, and the editor is to be thrown away, when the state does not
  // allow it.

  // A new attempt on devices of a worker; goes on from the newest committed checkpoint.
  absl::Status Assign(absl::string_view worker, absl::string_view incarnation,
                      const std::vector<std::string>& device_ids);
  // What users may ask for: kPause, kResume or kCancel.
  absl::Status Ask(JobTrigger trigger);
  // Asks the active attempt to end with a checkpoint, so that the job goes on elsewhere. Changes
  // nothing when it was asked already, or ends anyway.
  void Evict(absl::string_view reason, absl::string_view message);
  // Ends the active attempt. `retry_time` is not before which a job that failed may be
  // placed again.
  absl::Status EndAttempt(const Verdict& verdict, absl::Time retry_time);
  // Takes in events of the active attempt whose numbers follow the acknowledged one. The first
  // `prepared` makes a PREPARING job RUNNING.
  absl::Status RecordEvents(const std::vector<v1::JobEvent>& events);
  // Adds a checkpoint of the active attempt and drops those that retention no longer keeps; returns
  // the dropped. The same checkpoint again changes nothing; one that retention would drop at once
  // is returned.
  std::vector<v1::Checkpoint> CommitCheckpoint(v1::Checkpoint checkpoint);
  // The active attempt's results, whole. Repeating replaces them.
  void CommitResults(std::vector<v1::Artifact> results);

  // Whether anything happened; a change that did nothing need not be stored.
  bool changed() const;
  // What makes the job as job() shows it. Call once, last.
  JobTransaction TakeTransaction();

 private:
  absl::Status Transition(JobTrigger trigger, const v1::Failure* failure);
  void Append(v1::JobEvent event);
  void AppendAttempt();  // the event that tells the present attempt as it is now
  v1::Attempt& present_attempt();

  const absl::Time now_;
  StoredJob job_;
  JobTransaction transaction_;
  bool record_changed_ = false;
};

// Facts about a job with an active attempt, for JudgeAttempt.
AttemptFacts FactsOf(const StoredJob& job, int32_t failed_attempts_max);

// The number of the job's newest attempt; 0: none yet.
int32_t PresentAttempt(const StoredJob& job);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_JOB_EDITOR_H_
