// The server's mind: takes jobs, places them on workers, follows their attempts, ends them. One
// lock over plain state in memory; every change is a transaction of the store, handed over under
// the lock (so in order) and awaited outside it (so many share one commit). Nothing is answered
// before what the answer rests on is durable. Decisions are made elsewhere, by pure code:
// job_state_machine, failure_policy, placement, job_editor. Knows no files: server/artifacts keeps
// them. Thread-safe.
//
// A worker of the seam and a client of the API call the same object, through server/api. Jobs are
// named by resource name ("fineTuneJobs/{id}"), workers by id; a malformed name is INVALID_ARGUMENT
// (NAME_INVALID). Any call may answer UNAVAILABLE when the store fails: nothing changed, try again.
//
// What is called often has two forms: Begin... decides at once and lets the caller wait for the
// store without a thread, see Answer; the other does the waiting itself.
#ifndef LONGLORA_SERVER_SCHEDULER_SCHEDULER_H_
#define LONGLORA_SERVER_SCHEDULER_SCHEDULER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/ids/id_generator.h"
#include "common/time/clock.h"
#include "longlora/v1/fine_tune_job.pb.h"
#include "longlora/v1/fine_tune_spec.pb.h"
#include "longlora/v1/queue_service.pb.h"
#include "longlora/v1/worker_directory_service.pb.h"
#include "longlora/worker/v1/worker_service.pb.h"
#include "server/events/event_hub.h"
#include "server/scheduler/answer.h"
#include "server/scheduler/failure_policy.h"
#include "server/scheduler/job_editor.h"
#include "server/scheduler/job_queue.h"
#include "server/scheduler/job_reader.h"
#include "server/scheduler/job_state_machine.h"
#include "server/scheduler/placement.h"
#include "server/scheduler/queue_usage.h"
#include "server/scheduler/scheduler_options.h"
#include "server/scheduler/scheduler_snapshot.h"
#include "server/scheduler/waiting_list.h"
#include "server/scheduler/worker_registry.h"
#include "server/store/job_store.h"

namespace longlora::server {

struct SubmitRequest {
  v1::FineTuneSpec spec;   // checked by the caller (common::CheckTrainSpec); its files exist
  std::string request_id;  // empty: none
  bool validate_only = false;
};

// A worker that has a base model.
struct ModelHost {
  v1::Worker worker;
  std::string config_json;  // of the model; empty: the worker has not told it
};

struct QueuedJobPage {
  std::vector<v1::QueuedJob> jobs;  // in the order of placement
  int32_t next_offset = 0;          // of the next page; 0: this was the last
};

class Scheduler : public JobReader {
 public:
  struct Dependencies {
    JobStore* store = nullptr;
    EventHub* hub = nullptr;
    common::Clock* clock = nullptr;
    common::IdGenerator* ids = nullptr;
  };

  // Takes over what the store holds: live jobs go on, their workers get a fresh lease to report in.
  static absl::StatusOr<std::unique_ptr<Scheduler>> Create(SchedulerOptions options,
                                                           Dependencies dependencies);
  ~Scheduler() override;

  // --- For users (scheduler_submit.cc, scheduler_control.cc, scheduler_read.cc) ---

  // Accepts a job. OK: it is durable. A repeat with the same request_id and spec returns the first
  // job as it is now. ALREADY_EXISTS (REQUEST_ID_REUSED), FAILED_PRECONDITION (MODEL_UNAVAILABLE:
  // no known worker has the base model, or may read the initial adapter), INVALID_ARGUMENT
  // (SPEC_INVALID: there is no such queue, or it can never give what the job asks for),
  // RESOURCE_EXHAUSTED (QUEUE_FULL). Nothing is stored on an error, nor with validate_only.
  Answer<v1::FineTuneJob> BeginSubmit(SubmitRequest request) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<v1::FineTuneJob> Submit(SubmitRequest request) ABSL_LOCKS_EXCLUDED(mutex_) {
    return BeginSubmit(std::move(request)).Get();
  }
  // What a user asks of a job: kPause, kResume or kCancel. PAUSED or CANCELLED at once when nothing
  // was running, else PAUSING or CANCELLING. NOT_FOUND (JOB_NOT_FOUND), FAILED_PRECONDITION
  // (JOB_FINAL, JOB_CANCELLING, JOB_PAUSING), ABORTED (ETAG_MISMATCH). Empty etag: any.
  Answer<v1::FineTuneJob> BeginAsk(JobTrigger trigger, absl::string_view job,
                                   absl::string_view etag) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<v1::FineTuneJob> Ask(JobTrigger trigger, absl::string_view job,
                                      absl::string_view etag) ABSL_LOCKS_EXCLUDED(mutex_) {
    return BeginAsk(trigger, job, etag).Get();
  }
  // Removes the job and its events; the caller then removes its artifacts. NOT_FOUND
  // (JOB_NOT_FOUND), FAILED_PRECONDITION (JOB_NOT_FINAL, JOB_HAS_ARTIFACTS), ABORTED
  // (ETAG_MISMATCH).
  absl::Status Delete(absl::string_view job, absl::string_view etag, bool force)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<JobPage> ListJobs(const JobQuery& query) override ABSL_LOCKS_EXCLUDED(mutex_);
  // Every known worker that has the base model, sorted by name. FAILED_PRECONDITION
  // (MODEL_UNAVAILABLE) as Submit.
  absl::StatusOr<std::vector<ModelHost>> FindHosts(const v1::FineTuneSpec& spec)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // Never fails.
  absl::StatusOr<std::vector<v1::Worker>> ListWorkers() override ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether a worker gets jobs, and whether it keeps those it has (scheduler_workers.cc). NOT_FOUND
  // (WORKER_NOT_FOUND), INVALID_ARGUMENT (NAME_INVALID).
  absl::StatusOr<v1::Worker> SetScheduling(absl::string_view worker,
                                           v1::Worker::Scheduling scheduling)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Every queue, sorted by name (scheduler_queues.cc).
  std::vector<v1::Queue> ListQueues() ABSL_LOCKS_EXCLUDED(mutex_);
  // The jobs of `queue` (its id; empty: of all queues) that wait, as the last placement saw them,
  // without the first `offset`. NOT_FOUND (QUEUE_NOT_FOUND).
  absl::StatusOr<QueuedJobPage> ListQueuedJobs(absl::string_view queue, int32_t offset,
                                               int32_t limit) ABSL_LOCKS_EXCLUDED(mutex_);

  // --- For workers (scheduler_synchronize.cc, scheduler_attempts.cc) ---

  // See WorkerService.Synchronize. INVALID_ARGUMENT (WORKER_INVALID), ALREADY_EXISTS
  // (WORKER_NAME_TAKEN), ABORTED (REPORT_OUTDATED, REPORT_UNCONFIRMED).
  Answer<worker::v1::SynchronizeResponse> BeginSynchronize(
      const worker::v1::SynchronizeRequest& request) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<worker::v1::SynchronizeResponse> Synchronize(
      const worker::v1::SynchronizeRequest& request) ABSL_LOCKS_EXCLUDED(mutex_) {
    return BeginSynchronize(request).Get();
  }
  // See WorkerService.ReportEvents. Returns the acknowledged sequence. FAILED_PRECONDITION
  // (STALE_ATTEMPT), OUT_OF_RANGE (SEQUENCE_GAP), INVALID_ARGUMENT (EVENT_INVALID: too many, or a
  // kind only the server makes).
  Answer<int64_t> BeginRecordEvents(const worker::v1::ReportEventsRequest& request)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<int64_t> RecordEvents(const worker::v1::ReportEventsRequest& request)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    return BeginRecordEvents(request).Get();
  }
  // OK when the attempt is the job's present one, on this worker. For artifact calls, before each
  // file is opened and again before it counts. FAILED_PRECONDITION (STALE_ATTEMPT).
  absl::Status CheckAttempt(absl::string_view worker, absl::string_view job, int32_t attempt)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // See WorkerService.CommitArtifacts. The caller has checked that every artifact is stored whole.
  // Returns the checkpoints that are no longer the job's, for the caller to remove their files (of
  // Checkpoint.attempt). FAILED_PRECONDITION (STALE_ATTEMPT), INVALID_ARGUMENT
  // (CHECKPOINT_INVALID).
  Answer<std::vector<v1::Checkpoint>> BeginCommitArtifacts(
      const worker::v1::CommitArtifactsRequest& request) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::vector<v1::Checkpoint>> CommitArtifacts(
      const worker::v1::CommitArtifactsRequest& request) ABSL_LOCKS_EXCLUDED(mutex_) {
    return BeginCommitArtifacts(request).Get();
  }

  // --- For the server itself ---

  // Ends lapsed leases, gives lost attempts' jobs back to the queue and places what can be placed.
  // SchedulerLoop calls it in production, tests call it by hand.
  void Tick() ABSL_LOCKS_EXCLUDED(mutex_);
  // Blocks until a placement is due, at most for `timeout` of real time.
  void AwaitWork(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_);
  SchedulerSnapshot Snapshot() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct LiveJob {
    StoredJob job;
    CommitTicket pending;  // of its newest change
    int64_t epoch = 0;     // counts how often it was taken back to what the store holds
    int64_t stay = 0;      // in the queue, the newest; see QueueEntry
    int32_t attempt = 0;   // the newest, of which the next is known
    common::MonotonicTime attempt_start;  // as far as it was seen by this server
  };
  // What the jobs of a queue have and want.
  struct QueueCount {
    std::map<std::string, int32_t, std::less<>> devices;  // held, by kind
    int32_t running = 0;
    int32_t queued = 0;
  };
  // A change handed to the store, to be awaited outside the lock.
  struct Handed {
    std::string id;
    int64_t epoch = 0;
    int64_t serial = 0;  // key in in_flight_
    CommitTicket ticket;
  };
  // The clock is read once for each change.
  struct Moment {
    absl::Time date;
    common::MonotonicTime monotonic;
  };
  // What a report of a worker came to, and what the answer to it waits for.
  struct Told {
    std::vector<Handed> handed;
    std::vector<CommitTicket> tickets;
    bool goodbye = false;  // the worker has ended
  };
  // What placement is told, as it was at one moment; the queue by its changes since the one before.
  struct PlacementView {
    Moment now;
    std::vector<QueueChange> queue_changes;
    std::vector<PlacementWorker> workers;
    std::vector<RunningJob> running;
    QueueUsage usage;  // of ended attempts
  };

  Scheduler(SchedulerOptions options, Dependencies dependencies);
  Moment Now() const;

  // scheduler.cc: the state in memory and its way to the store.
  absl::Status Load() ABSL_LOCKS_EXCLUDED(mutex_);
  LiveJob* FindLive(absl::string_view id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Adds a job to the queue or to its worker's holdings, and takes it out again.
  void Index(LiveJob& live, Moment now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Unindex(LiveJob& live) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes down when a new attempt began.
  void NoteAttempt(LiveJob& live, Moment now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Makes the editor's change the job's state and hands it to the store.
  Handed Apply(LiveJob& live, JobEditor editor, Moment now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Waits for what was handed over, wakes watchers, takes back what the store refused and lets go
  // of final jobs. The first error.
  absl::Status Await(const std::vector<Handed>& handed) ABSL_LOCKS_EXCLUDED(mutex_);
  // Makes a job again what the store says that it is, after a change of it was refused: `stored` is
  // the job or NOT_FOUND.
  void TakeBack(const Handed& handed, absl::StatusOr<StoredJob> stored)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Does so with all of unread_ that the store can tell about now.
  void TakeBackUnread() ABSL_LOCKS_EXCLUDED(mutex_);
  void Forget(absl::string_view id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // scheduler_read.cc
  v1::FineTuneJob View(const LiveJob& live) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Answer<Sight> BeginLook(absl::string_view job) override ABSL_LOCKS_EXCLUDED(mutex_);

  // scheduler_submit.cc
  absl::Status CheckQueue(const v1::FineTuneSpec& spec) const;
  absl::Status CheckModel(const v1::FineTuneSpec& spec) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The job that an earlier request with this request_id made; nullopt: there was none.
  absl::StatusOr<std::optional<v1::FineTuneJob>> FindRepeat(const std::string& request_id,
                                                            absl::string_view digest)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // At most `tries` times, while the id is taken.
  Answer<v1::FineTuneJob> BeginSubmit(SubmitRequest request, int tries) ABSL_LOCKS_EXCLUDED(mutex_);

  // scheduler_attempts.cc
  // The job when `attempt` is its active one on `worker`; STALE_ATTEMPT otherwise, or UNAVAILABLE
  // while that is not certain.
  absl::StatusOr<LiveJob*> FindAttempt(absl::string_view worker, absl::string_view job,
                                       int32_t attempt) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndAttempt(LiveJob& live, const AttemptEnd& end, Moment now, std::vector<Handed>& handed)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // scheduler_synchronize.cc
  absl::Status TakeReport(const worker::v1::SynchronizeRequest& request, Told& told)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<worker::v1::SynchronizeResponse> Tell(
      const worker::v1::SynchronizeRequest& request, Told& told) ABSL_LOCKS_EXCLUDED(mutex_);
  // UNAVAILABLE while what is in memory of some jobs never was and must not be told.
  absl::Status CheckRead() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReadReport(const worker::v1::SynchronizeRequest& request, Moment now,
                  std::vector<Handed>& handed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  worker::v1::SynchronizeResponse DesiredState(absl::string_view worker)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  worker::v1::Assignment ToAssignment(const LiveJob& live) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // scheduler_workers.cc
  v1::Worker View(const KnownWorker& known) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Evicts what DRAINING workers have.
  void Drain(Moment now, std::vector<Handed>& handed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Evicts what a worker has, of jobs that would go on.
  void Evict(absl::string_view worker, absl::string_view reason, absl::string_view message,
             Moment now, std::vector<Handed>& handed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // scheduler_planning.cc
  absl::Status LoadUsage() ABSL_LOCKS_EXCLUDED(mutex_);
  // Begins a placement, after the one that may be under way; nullopt: none is due.
  std::optional<PlacementView> BeginPlacement() ABSL_LOCKS_EXCLUDED(mutex_);
  // The next comes after a rest, also when nothing changes but that `retry_after` has passed.
  void EndPlacement(common::MonotonicTime begin, absl::Duration retry_after)
      ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<RunningJob> DescribeRunning(Moment now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes in why jobs wait.
  void NoteWaiting(std::shared_ptr<const WaitingList> waiting) ABSL_LOCKS_EXCLUDED(mutex_);
  // As the last placement saw it; nullptr: none did.
  const WaitingList::Entry* FindWaiting(const LiveJob& live) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // scheduler_queues.cc
  // Counts the job in, or out of, its queue.
  void CountJob(const LiveJob& live, int32_t sign) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string WaitMessage(WaitReason reason, const v1::FineTuneSpec& spec)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  v1::Queue DescribeQueue(const std::string& name, double usage)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // scheduler_reconcile.cc
  void ExpireLeases(Moment now, std::vector<Handed>& handed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Plans without the lock, so that nobody waits for a long queue to be looked at, and then does
  // what of the plan is still possible. One at a time.
  void Place(std::vector<Handed>& handed) ABSL_LOCKS_EXCLUDED(mutex_);
  void Preempt(const PlacementPlan& plan, std::vector<Handed>& handed) ABSL_LOCKS_EXCLUDED(mutex_);
  void Assign(const PlacementInput& input, const PlacementPlan& plan, std::vector<Handed>& handed)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // False: the job waits no more, or the worker has not what was planned.
  bool AssignOne(const PlacementRequest& request, const PlacedJob& placed, Moment now,
                 std::vector<Handed>& handed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Evicts attempts that are not ready in time, and those of jobs that had their time.
  void EnforceLimits(Moment now, std::vector<Handed>& handed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetOldWorkers(Moment now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const SchedulerOptions options_;
  const Dependencies dependencies_;

  absl::Mutex mutex_;
  // By id. A final job leaves when that is durable; from then on the store alone has it.
  std::map<std::string, LiveJob, std::less<>> live_jobs_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string, std::less<>> ids_by_request_id_ ABSL_GUARDED_BY(mutex_);
  // Into live_jobs_, by order: the jobs that wait, and those that have devices.
  std::map<int64_t, LiveJob*> queued_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, LiveJob*> active_ ABSL_GUARDED_BY(mutex_);
  std::vector<QueueChange> queue_changes_ ABSL_GUARDED_BY(mutex_);  // that job_queue_ lacks
  int64_t newest_stay_ ABSL_GUARDED_BY(mutex_) = 0;
  // When back-offs end; may hold times of jobs that wait no more.
  std::multiset<absl::Duration> retry_times_ ABSL_GUARDED_BY(mutex_);
  // Changes of jobs whose outcome is not yet known or not yet acted upon, by serial.
  std::map<int64_t, CommitTicket> in_flight_ ABSL_GUARDED_BY(mutex_);
  int64_t newest_serial_ ABSL_GUARDED_BY(mutex_) = 0;
  // Refused changes that are still to be taken back, the newest of each job, by its id.
  std::map<std::string, Handed> unread_ ABSL_GUARDED_BY(mutex_);
  WorkerRegistry workers_ ABSL_GUARDED_BY(mutex_);
  int64_t newest_order_ ABSL_GUARDED_BY(mutex_) = 0;
  bool placement_due_ ABSL_GUARDED_BY(mutex_) = true;
  bool placing_ ABSL_GUARDED_BY(mutex_) = false;                  // somebody is about it
  JobQueue job_queue_;                                            // of whoever set placing_
  common::MonotonicTime next_placement_ ABSL_GUARDED_BY(mutex_);  // not before
  // What the last placement told of those that wait, and how many of them still do.
  std::shared_ptr<const WaitingList> waiting_ ABSL_GUARDED_BY(mutex_) =
      std::make_shared<WaitingList>();
  std::map<WaitReason, int64_t> waiting_by_reason_ ABSL_GUARDED_BY(mutex_);
  QueueUsage usage_ ABSL_GUARDED_BY(mutex_);  // of ended attempts
  std::map<std::string, QueueCount, std::less<>> queue_counts_ ABSL_GUARDED_BY(mutex_);
  common::MonotonicTime next_limit_check_ ABSL_GUARDED_BY(mutex_);
  std::map<v1::FineTuneJob::State, int64_t> jobs_by_state_ ABSL_GUARDED_BY(mutex_);
  SchedulerCounters counters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_SCHEDULER_H_
