#include "worker/supervisor/process_sweep.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/io/unique_fd.h"
#include "common/time/clock.h"
#include "worker/supervisor/pidfd.h"
#include "worker/supervisor/process_table.h"

namespace longlora::worker {
namespace {

// Between two looks while the kernel takes a process apart.
constexpr absl::Duration kWaitSlice = absl::Milliseconds(200);

bool IsRecorded(const ProcessEntry& entry, const SweepTarget& target, const std::string& boot_id) {
  for (const ProcessRecord& record : target.records) {
    if (record.boot_id != boot_id) continue;
    for (const RecordedProcess& process : record.processes) {
      if (process.pid == entry.pid && process.start_ticks == entry.start_ticks) return true;
    }
  }
  return false;
}

bool IsMarked(const ProcessEntry& entry, const SweepTarget& target) {
  if (target.mark_prefix.empty()) return false;
  const auto mark = ReadEnvironment(entry.pid, kAttemptVariable);
  return mark.has_value() && absl::StartsWith(*mark, target.mark_prefix);
}

std::vector<ProcessEntry> FindVictims(const SweepTarget& target, const std::string& boot_id) {
  std::vector<ProcessEntry> victims;
  for (const ProcessEntry& entry : ListProcesses()) {
    if (entry.pid == getpid() || entry.state == 'Z' || entry.state == 'X') continue;
    if (IsRecorded(entry, target, boot_id) || IsMarked(entry, target)) victims.push_back(entry);
  }
  return victims;
}

// Returns a descriptor that becomes readable when the victim is gone; none when it already is.
common::UniqueFd Kill(const ProcessEntry& victim) {
  common::UniqueFd handle(pidfd_open(victim.pid, 0));
  if (!handle.ok()) return handle;
  // The handle now holds on to one process; only here it is certain which.
  const auto now = ReadProcess(victim.pid);
  if (!now.has_value() || now->start_ticks != victim.start_ticks) return {};
  pidfd_send_signal(handle.get(), SIGKILL, nullptr, 0);
  return handle;
}

void WaitForEnd(const std::vector<common::UniqueFd>& handles, absl::Duration timeout) {
  const auto deadline = common::Clock::Real().MonotonicNow() + timeout;
  for (const common::UniqueFd& handle : handles) {
    const absl::Duration left = deadline - common::Clock::Real().MonotonicNow();
    pollfd item = {.fd = handle.get(), .events = POLLIN, .revents = 0};
    poll(&item, 1, static_cast<int>(std::max<int64_t>(0, absl::ToInt64Milliseconds(left))));
  }
}

}  // namespace

absl::StatusOr<int> SweepProcesses(const SweepTarget& target, absl::Duration timeout) {
  const std::string boot_id = BootId();
  const auto deadline = common::Clock::Real().MonotonicNow() + timeout;
  std::set<pid_t> killed;
  while (true) {
    const std::vector<ProcessEntry> victims = FindVictims(target, boot_id);
    if (victims.empty()) return static_cast<int>(killed.size());
    if (common::Clock::Real().MonotonicNow() >= deadline) {
      std::vector<pid_t> pids;
      for (const ProcessEntry& victim : victims) pids.push_back(victim.pid);
      return absl::DeadlineExceededError(absl::StrCat(
          "processes that do not die after SIGKILL (a driver or file system holds them): ",
          absl::StrJoin(pids, ", ")));
    }
    std::vector<common::UniqueFd> handles;
    for (const ProcessEntry& victim : victims) {
      common::UniqueFd handle = Kill(victim);
      if (!handle.ok()) continue;
      killed.insert(victim.pid);
      handles.push_back(std::move(handle));
    }
    WaitForEnd(handles, kWaitSlice);
    // Only our own orphans can be waited for; for others this fails and does no harm.
    for (const ProcessEntry& victim : victims) waitpid(victim.pid, nullptr, WNOHANG);
  }
}

}  // namespace longlora::worker
