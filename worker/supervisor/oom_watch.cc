#include "worker/supervisor/oom_watch.h"

#include <fstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace longlora::worker {

OomWatch::OomWatch(std::vector<std::string> files)
    : files_(std::move(files)), count_at_start_(Count()) {}

bool OomWatch::Rose() const { return Count() > count_at_start_; }

std::vector<std::string> OomWatch::DefaultFiles() {
  std::vector<std::string> files;
  // "0::/path" is the group in the unified hierarchy (cgroups(7)); inside a container it is the
  // root.
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    absl::string_view path = line;
    if (absl::ConsumePrefix(&path, "0::")) {
      files.push_back(absl::StrCat("/sys/fs/cgroup", path == "/" ? "" : path, "/memory.events"));
    }
  }
  files.push_back("/proc/vmstat");
  return files;
}

int64_t OomWatch::Count() const {
  for (const std::string& file : files_) {
    std::ifstream stream(file);
    for (std::string line; std::getline(stream, line);) {
      absl::string_view rest = line;
      int64_t count = 0;
      if (absl::ConsumePrefix(&rest, "oom_kill ") && absl::SimpleAtoi(rest, &count)) return count;
    }
  }
  return 0;
}

}  // namespace longlora::worker
