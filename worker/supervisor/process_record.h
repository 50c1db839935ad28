// Remembers on disk which processes an attempt has, before any of them may do something: what a
// restarted worker needs to find the trainers of its former life. Free functions.
#ifndef LONGLORA_WORKER_SUPERVISOR_PROCESS_RECORD_H_
#define LONGLORA_WORKER_SUPERVISOR_PROCESS_RECORD_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace longlora::worker {

struct RecordedProcess {
  pid_t pid = 0;             // also its session and process group
  uint64_t start_ticks = 0;  // clock ticks after boot
};

struct ProcessRecord {
  std::string boot_id;  // of the machine's run that the numbers belong to
  std::vector<RecordedProcess> processes;
};

// Durable when OK.
absl::Status WriteProcessRecord(const std::string& path, const ProcessRecord& record);

// NOT_FOUND when there is none, DATA_LOSS when it cannot be understood.
absl::StatusOr<ProcessRecord> ReadProcessRecord(const std::string& path);

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_PROCESS_RECORD_H_
