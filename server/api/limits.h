// What a server takes from its callers at most; docs/OPERATING.md has the table. Plain values, set
// by flags (server_config.cc) and held by server/api.
#ifndef LONGLORA_SERVER_API_LIMITS_H_
#define LONGLORA_SERVER_API_LIMITS_H_

#include <cstdint>

#include "absl/time/time.h"

namespace longlora::server {

struct Limits {
  // Of one request, serialized. The default holds a batch of 1000 events with their longest log
  // lines.
  int64_t message_bytes = 16 << 20;
  int64_t spec_bytes = 64 << 10;  // of one job, serialized
  // Unary calls that are being answered, of users, and as many of workers.
  int calls = 2048;
  int transfers = 128;  // uploads and downloads that are running; each holds a thread
  int watches = 50'000;
  int watches_per_client = 2000;
  // A watcher that takes nothing for so long is cut off.
  absl::Duration watch_stall = absl::Minutes(1);
  // Creates of one client: so many a second (0: no limit), and so many at once after a pause.
  double creates_per_second = 100;
  int creates_burst = 1000;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_LIMITS_H_
