// What the names that people give may look like, once for client, server and worker. Pure
// functions.
#ifndef LONGLORA_COMMON_IDS_NAMES_H_
#define LONGLORA_COMMON_IDS_NAMES_H_

#include "absl/strings/string_view.h"

namespace longlora::common {

// The id of a job: [a-z][a-z0-9-]{2,61}[a-z0-9] (AIP-122).
bool IsJobId(absl::string_view text);

// The id of a worker, its --name: [a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?
bool IsWorkerId(absl::string_view text);

// The name of a queue: [a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?
bool IsQueueName(absl::string_view text);

// What a worker says of itself and a job may ask for: KEY=VALUE, each of 1 to 63 characters of
// A-Z, a-z, 0-9 and "._/-".
bool IsWorkerLabel(absl::string_view text);

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_IDS_NAMES_H_
