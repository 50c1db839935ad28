#include "worker/supervisor/process_table.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/io/unique_fd.h"

namespace longlora::worker {
namespace {

// Files of /proc have no size that could be asked for. An environment is at most a few hundred KiB.
constexpr size_t kFileBytesMax = 4 << 20;

std::optional<std::string> ReadSmallFile(const std::string& path) {
  const common::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) return std::nullopt;
  std::string content;
  char buffer[4096];
  ssize_t got;
  while (content.size() < kFileBytesMax && (got = read(fd.get(), buffer, sizeof(buffer))) > 0) {
    content.append(buffer, static_cast<size_t>(got));
  }
  return content;
}

}  // namespace

std::optional<ProcessEntry> ReadProcess(pid_t pid) {
  const std::optional<std::string> stat = ReadSmallFile(absl::StrCat("/proc/", pid, "/stat"));
  if (!stat.has_value()) return std::nullopt;
  // Field 2 is the program's name in parentheses and may itself hold spaces and parentheses.
  const size_t name_end = stat->rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::string_view(*stat).substr(name_end + 1), ' ', absl::SkipEmpty());
  constexpr size_t kState = 0, kParent = 1, kGroup = 2, kStart = 19;  // fields 3, 4, 5, 22
  ProcessEntry entry{.pid = pid};
  if (fields.size() <= kStart || !absl::SimpleAtoi(fields[kParent], &entry.parent) ||
      !absl::SimpleAtoi(fields[kGroup], &entry.group) ||
      !absl::SimpleAtoi(fields[kStart], &entry.start_ticks)) {
    return std::nullopt;
  }
  entry.state = fields[kState][0];
  return entry;
}

std::vector<ProcessEntry> ListProcesses() {
  std::vector<ProcessEntry> entries;
  DIR* directory = opendir("/proc");
  if (directory == nullptr) return entries;
  while (const dirent* item = readdir(directory)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(item->d_name, &pid)) continue;
    if (const auto entry = ReadProcess(pid); entry.has_value()) entries.push_back(*entry);
  }
  closedir(directory);
  return entries;
}

std::optional<std::string> ReadEnvironment(pid_t pid, absl::string_view name) {
  const std::optional<std::string> environment =
      ReadSmallFile(absl::StrCat("/proc/", pid, "/environ"));
  if (!environment.has_value()) return std::nullopt;
  const std::string prefix = absl::StrCat(name, "=");
  for (absl::string_view variable : absl::StrSplit(*environment, '\0')) {
    if (absl::ConsumePrefix(&variable, prefix)) return std::string(variable);
  }
  return std::nullopt;
}

std::string BootId() {
  const auto id = ReadSmallFile("/proc/sys/kernel/random/boot_id");
  return id.has_value() ? std::string(absl::StripSuffix(*id, "\n")) : std::string();
}

}  // namespace longlora::worker
