// Whether the kernel killed something for lack of memory lately: the only hint there is when a
// process died of SIGKILL. It counts kills of this control group (or, without one, of the whole
// machine), not of one process, so it is a likely cause and no proof. Not thread-safe.
#ifndef LONGLORA_WORKER_SUPERVISOR_OOM_WATCH_H_
#define LONGLORA_WORKER_SUPERVISOR_OOM_WATCH_H_

#include <cstdint>
#include <string>
#include <vector>

namespace longlora::worker {

class OomWatch {
 public:
  // `files`: where to look for a line "oom_kill N"; the first that has one is used.
  explicit OomWatch(std::vector<std::string> files = DefaultFiles());

  // Whether the count rose since this object was made.
  bool Rose() const;

 private:
  static std::vector<std::string> DefaultFiles();
  int64_t Count() const;

  const std::vector<std::string> files_;
  const int64_t count_at_start_;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_OOM_WATCH_H_
