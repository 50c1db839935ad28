#include "worker/trainer/distributed/peer_processes.h"

#include <unistd.h>

#include <array>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

namespace longlora::trainer {
namespace {

// Start time in clock ticks since boot: field 22 of /proc/PID/stat. Empty when the process is gone
// or a zombie.
std::string StartTime(const std::string& process_id) {
  std::ifstream file(absl::StrCat("/proc/", process_id, "/stat"));
  std::ostringstream text;
  text << file.rdbuf();
  const std::string stat = text.str();
  // The name in field 2 may hold spaces and parentheses; the fields after it may not.
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return "";
  const std::vector<std::string> fields =
      absl::StrSplit(stat.substr(name_end + 1), ' ', absl::SkipEmpty());
  constexpr size_t kState = 0;       // field 3
  constexpr size_t kStartTime = 19;  // field 22
  if (fields.size() <= kStartTime || fields[kState] == "Z" || fields[kState] == "X") return "";
  return fields[kStartTime];
}

// Machine (since its boot) and process namespace.
std::string DescribePlace() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  std::array<char, 64> name{};
  const ssize_t length = readlink("/proc/self/ns/pid", name.data(), name.size());
  return absl::StrCat(boot, ",", std::string(name.data(), length > 0 ? length : 0));
}

}  // namespace

std::string DescribeThisProcess() {
  const std::string process_id = absl::StrCat(getpid());
  return absl::StrCat(DescribePlace(), " ", process_id, " ", StartTime(process_id));
}

std::vector<int> FindEndedProcesses(const std::vector<std::string>& descriptions,
                                    absl::Duration patience) {
  const std::string here = DescribePlace();
  const absl::Time deadline = absl::Now() + patience;
  std::vector<int> ended;
  while (true) {
    for (size_t i = 0; i < descriptions.size(); ++i) {
      const std::vector<std::string> parts = absl::StrSplit(descriptions[i], ' ');
      if (parts.size() != 3 || parts[0] != here) continue;
      if (StartTime(parts[1]) != parts[2]) ended.push_back(static_cast<int>(i));
    }
    if (!ended.empty() || absl::Now() >= deadline) return ended;
    absl::SleepFor(absl::Milliseconds(10));
  }
}

}  // namespace longlora::trainer
