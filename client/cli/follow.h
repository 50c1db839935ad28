// Follows a job on the console to its end: lines, a bar on a terminal, or JSON lines; detaches on
// Ctrl-C. Used by `watch`, `submit --wait` and `cancel --wait`.
#ifndef LONGLORA_CLIENT_CLI_FOLLOW_H_
#define LONGLORA_CLIENT_CLI_FOLLOW_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/cli/command.h"
#include "client/watch.h"

namespace longlora::client {

// The final job; CANCELLED when a signal detached us (see FollowExitCode), else as WatchJob.
absl::StatusOr<v1::FineTuneJob> FollowJob(Environment& environment, FineTuneClient& client,
                                          const std::string& name, const WatchOptions& options);

// The exit code after FollowJob: of the final job's state; after a signal 128 plus its number,
// having told how to watch or cancel; else the error.
absl::StatusOr<int> FollowExitCode(Environment& environment, const std::string& name,
                                   const absl::StatusOr<v1::FineTuneJob>& job);

// Adds --reconnect-timeout to `command`.
void AddReconnectOption(CLI::App& command, WatchOptions& options);

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_CLI_FOLLOW_H_
