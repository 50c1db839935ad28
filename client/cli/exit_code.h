// How `longlora` ends; part of its interface, see `longlora --help`.
#ifndef LONGLORA_CLIENT_CLI_EXIT_CODE_H_
#define LONGLORA_CLIENT_CLI_EXIT_CODE_H_

#include "absl/status/status.h"
#include "longlora/v1/fine_tune_job.pb.h"

namespace longlora::client {

enum ExitCode : int {
  kExitDone = 0,
  kExitJobFailed = 1,  // the job that was waited for FAILED or was CANCELLED
  kExitUsage = 2,  // bad command line, bad spec, or a request that the job's state does not allow
  kExitNotFound = 3,
  kExitUnreachable = 4,  // the server did not answer, or not in time
  kExitNotAllowed = 5,   // UNAUTHENTICATED, PERMISSION_DENIED
  kExitOther = 6,        // a fault of the server or of this machine's disk
  kExitSignal = 128,     // plus the number of the signal that detached us from a job
};

// kExitDone for OK.
ExitCode ExitCodeOf(const absl::Status& status);

// For commands that wait: kExitDone only for SUCCEEDED.
ExitCode ExitCodeOf(v1::FineTuneJob::State state);

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_CLI_EXIT_CODE_H_
