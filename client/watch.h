// Follows a job to its end over a connection that may break any number of times: every event is
// given once, in order. Used by `watch`, `submit --wait`, `logs --follow` and `cancel --wait`.
#ifndef LONGLORA_CLIENT_WATCH_H_
#define LONGLORA_CLIENT_WATCH_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/fine_tune_client.h"

namespace longlora::client {

// What WatchJob tells, on the calling thread.
class WatchObserver {
 public:
  virtual ~WatchObserver() = default;
  // The job as it was when a stream began; comes again after every reconnection.
  virtual void OnJob(const v1::FineTuneJob& job) = 0;
  // The next event.
  virtual void OnEvent(const v1::JobEvent& event) = 0;
  // The server cannot be reached; tells once until OnReconnected. The job goes on.
  virtual void OnDisconnected(const absl::Status& reason) {}
  virtual void OnReconnected() {}
  // Events `first` to `last` never came, though the server promises a sequence without a gap.
  virtual void OnGap(int64_t first, int64_t last) {}
};

struct WatchOptions {
  int64_t after_sequence = 0;
  // How long to try to reconnect, from the moment the stream broke. Before the first message
  // arrives the client's own retry policy holds instead, so that a wrong address is noticed soon.
  absl::Duration reconnect_timeout = absl::Minutes(10);
  common::BackoffPolicy backoff = {.initial = absl::Milliseconds(200), .maximum = absl::Seconds(3)};
};

// Returns the final job after its last event. Errors: NOT_FOUND; OUT_OF_RANGE (after_sequence is
// beyond the last event); UNAVAILABLE after reconnect_timeout; CANCELLED by the client's
// Cancellation.
absl::StatusOr<v1::FineTuneJob> WatchJob(FineTuneClient& client, const std::string& name,
                                         const WatchOptions& options, WatchObserver& observer);

// Whether no further event can follow. States this program does not know are not final.
bool IsFinal(v1::FineTuneJob::State state);

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_WATCH_H_
