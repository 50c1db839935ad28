#include "worker/agent/former_life.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "common/io/files.h"
#include "common/status/status_macros.h"
#include "common/threads/threads.h"
#include "worker/agent/attempt_directory.h"
#include "worker/agent/cancellation.h"
#include "worker/agent/event_spool.h"
#include "worker/agent/event_uploader.h"
#include "worker/agent/retry.h"
#include "worker/supervisor/process_record.h"
#include "worker/supervisor/process_sweep.h"

namespace longlora::worker {
namespace {

// Cancels `target` after a time, unless it is destroyed before.
class Timer {
 public:
  Timer(Cancellation* target, absl::Duration timeout)
      : thread_([this, target, timeout] {
          if (!stopped_.WaitFor(timeout)) target->Cancel();
        }) {}
  ~Timer() {
    stopped_.Cancel();
    thread_.join();
  }

 private:
  Cancellation stopped_;
  common::Thread thread_;
};

}  // namespace

absl::Status EndFormerProcesses(const std::string& attempts_directory,
                                const std::string& mark_prefix, absl::Duration timeout) {
  SweepTarget target{.mark_prefix = mark_prefix, .records = {}};
  for (const AttemptId& id : ListAttemptDirectories(attempts_directory)) {
    auto record = ReadProcessRecord(AttemptDirectory(attempts_directory, id).process_record());
    if (record.ok()) target.records.push_back(*std::move(record));
  }
  LONGLORA_ASSIGN_OR_RETURN(const int killed, SweepProcesses(target, timeout));
  if (killed > 0) spdlog::warn("ended {} process(es) that this worker's former life left", killed);
  return absl::OkStatus();
}

absl::Status DeliverFormerEvents(const std::string& attempts_directory, ServerLink* link,
                                 WorkerMetrics* metrics, absl::Duration timeout,
                                 const RetryPolicy& retry) {
  Cancellation cancellation;
  const Timer timer(&cancellation, timeout);
  for (const AttemptId& id : ListAttemptDirectories(attempts_directory)) {
    const AttemptDirectory directory(attempts_directory, id);
    auto spool = EventSpool::Open(directory.spool(), 0, {}, metrics);
    if (!spool.ok()) continue;
    const absl::Status sent = SendPendingEvents(id, spool->get(), link, retry, &cancellation);
    spdlog::info("{}: events of the former life: {}", id.ToString(),
                 sent.ok() ? "delivered" : sent.ToString());
  }
  return common::RemoveAll(attempts_directory);
}

}  // namespace longlora::worker
