// What an attempt has on this node's disk, all below one directory that goes away with it. Plain
// paths; no state.
#ifndef LONGLORA_WORKER_AGENT_ATTEMPT_DIRECTORY_H_
#define LONGLORA_WORKER_AGENT_ATTEMPT_DIRECTORY_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "worker/agent/attempt_id.h"

namespace longlora::worker {

class AttemptDirectory {
 public:
  // Below `attempts`, the folder of all.
  AttemptDirectory(const std::string& attempts, const AttemptId& id);

  // Makes it anew, empty, with a durable note of whose it is.
  absl::Status Create() const;
  // Removes all of it.
  absl::Status Remove() const;

  const std::string& path() const { return path_; }
  std::string spec() const { return absl::StrCat(path_, "/spec.json"); }
  std::string data() const { return absl::StrCat(path_, "/data"); }
  std::string output() const { return absl::StrCat(path_, "/output"); }
  std::string logs() const { return absl::StrCat(path_, "/logs"); }
  std::string uploads() const { return absl::StrCat(path_, "/uploads"); }
  std::string spool() const { return absl::StrCat(path_, "/events.spool"); }
  std::string process_record() const { return absl::StrCat(path_, "/processes.json"); }

 private:
  const AttemptId id_;
  const std::string path_;
};

// The attempts that have a directory below `attempts`; directories that are not understood are
// left out.
std::vector<AttemptId> ListAttemptDirectories(const std::string& attempts);

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_ATTEMPT_DIRECTORY_H_
