#include "worker/supervisor/rank_group.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"
#include "common/trainer_protocol/exit_code.h"
#include "worker/supervisor/free_port.h"
#include "worker/supervisor/process_record.h"
#include "worker/supervisor/process_sweep.h"
#include "worker/supervisor/process_table.h"
#include "worker/supervisor/rank_environment.h"

namespace longlora::worker {
namespace {

// The longest that the loop sleeps, also when no deadline is near.
constexpr absl::Duration kPollSlice = absl::Seconds(5);
// For processes to vanish after SIGKILL; longer only when the kernel holds them.
constexpr absl::Duration kSweepTimeout = absl::Seconds(30);

RankFailure FailureOf(const absl::Status& status) {
  const bool full = absl::IsResourceExhausted(status);
  return {full ? "DISK_FULL" : "TRAINER_ERROR", std::string(status.message()), Fault::kSystem};
}

}  // namespace

RankGroup::RankGroup(RankGroupSpec spec, ProcessLauncher* launcher, EventSink* sink,
                     common::Clock* clock)
    : spec_(std::move(spec)),
      launcher_(launcher),
      sink_(sink),
      clock_(clock),
      wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      last_event_time_(clock->MonotonicNow()) {}

void RankGroup::Stop(absl::Duration grace) {
  absl::MutexLock lock(&mutex_);
  stop_grace_ = std::min(grace, stop_grace_.value_or(absl::InfiniteDuration()));
  Wake();
}

void RankGroup::Kill() {
  absl::MutexLock lock(&mutex_);
  stop_grace_ = absl::ZeroDuration();
  kill_requested_ = true;
  Wake();
}

void RankGroup::Wake() {
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the loop wakes anyway.
  [[maybe_unused]] const ssize_t written = write(wake_fd_.get(), &one, sizeof(one));
}

RankGroupResult RankGroup::Run() {
  HandleRequests();
  if (!granted_grace_.has_value()) {
    if (const absl::Status started = StartRanks(); !started.ok()) {
      Fail(FailureOf(started));
      KillAll();
    }
  }
  while (AnyAlive()) PollOnce();
  EndStragglers();
  return Conclude();
}

absl::Status RankGroup::StartRanks() {
  LONGLORA_RETURN_IF_ERROR(LaunchRanks());
  // From here on a restarted worker can find them; only now may they do something.
  ProcessRecord record{.boot_id = BootId(), .processes = {}};
  for (const auto& rank : ranks_) {
    const auto entry = ReadProcess(rank->process().pid());
    record.processes.push_back(
        {.pid = rank->process().pid(), .start_ticks = entry.has_value() ? entry->start_ticks : 0});
  }
  LONGLORA_RETURN_IF_ERROR(WriteProcessRecord(spec_.record_path, record));
  for (const auto& rank : ranks_) LONGLORA_RETURN_IF_ERROR(rank->process().Start());
  return absl::OkStatus();
}

absl::Status RankGroup::LaunchRanks() {
  LONGLORA_ASSIGN_OR_RETURN(const int32_t port, FindFreePort());
  ProcessSpec process;
  process.arguments = {spec_.trainer};
  process.arguments.insert(process.arguments.end(), spec_.arguments.begin(), spec_.arguments.end());
  process.arguments.push_back("--events-fd");
  process.arguments.push_back(absl::StrCat(kChildEventsFd));
  process.directory = spec_.directory;
  for (int32_t number = 0; number < static_cast<int32_t>(spec_.devices.size()); ++number) {
    process.environment = RankEnvironment(
        spec_.environment,
        {.rank = number, .devices = spec_.devices, .master_port = port, .mark = spec_.mark});
    LONGLORA_ASSIGN_OR_RETURN(auto child, launcher_->Launch(process));
    ranks_.push_back(std::make_unique<Rank>(
        number, std::move(child), absl::StrCat(spec_.log_directory, "/rank-", number, ".log"),
        spec_.log_limits, clock_));
  }
  return absl::OkStatus();
}

bool RankGroup::AnyAlive() const {
  return std::any_of(ranks_.begin(), ranks_.end(),
                     [](const auto& rank) { return !rank->exit().has_value(); });
}

void RankGroup::PollOnce() {
  std::vector<pollfd> items = {{.fd = wake_fd_.get(), .events = POLLIN, .revents = 0}};
  for (const auto& rank : ranks_) {
    const bool alive = !rank->exit().has_value();
    // A negative descriptor is skipped by poll, which keeps the positions regular.
    items.push_back({.fd = alive ? rank->process().exit_fd() : -1, .events = POLLIN, .revents = 0});
    items.push_back({.fd = rank->events_open() ? rank->process().events_fd() : -1,
                     .events = POLLIN,
                     .revents = 0});
    items.push_back(
        {.fd = rank->log_open() ? rank->process().log_fd() : -1, .events = POLLIN, .revents = 0});
  }
  const int64_t timeout_ms =
      absl::ToInt64Milliseconds(absl::Ceil(TimeToNextDeadline(), absl::Milliseconds(1)));
  poll(items.data(), items.size(), static_cast<int>(timeout_ms));

  if (items[0].revents != 0) {
    uint64_t count;
    [[maybe_unused]] const ssize_t got = read(wake_fd_.get(), &count, sizeof(count));
  }
  // First, so that a rank that dies after the group was asked to stop does so as one of a stopped
  // group.
  HandleRequests();
  const auto on_event = [this](const common::TrainerEvent& event) { HandleEvent(event); };
  for (size_t i = 0; i < ranks_.size(); ++i) {
    Rank& rank = *ranks_[i];
    if (items[1 + 3 * i + 1].revents != 0) rank.ReadEvents(on_event);
    if (items[1 + 3 * i + 2].revents != 0) rank.ReadLog(on_event);
    if (items[1 + 3 * i].revents != 0 && rank.Reap(on_event)) HandleExit(rank);
  }
  CheckDeadlines();
}

absl::Duration RankGroup::TimeToNextDeadline() {
  const common::MonotonicTime now = clock_->MonotonicNow();
  absl::Duration left = kPollSlice;
  if (kill_time_.has_value() && !killed_) left = std::min(left, *kill_time_ - now);
  if (prepared_) left = std::min(left, last_event_time_ + spec_.hang_timeout - now);
  return std::max(left, absl::ZeroDuration());
}

void RankGroup::HandleEvent(const common::TrainerEvent& event) {
  if (!std::holds_alternative<common::LogEvent>(event.body))
    last_event_time_ = clock_->MonotonicNow();
  if (std::holds_alternative<common::PreparedEvent>(event.body)) prepared_ = true;
  if (const auto* finished = std::get_if<common::FinishedEvent>(&event.body)) {
    finished_ = !finished->stopped;
  }
  if (const absl::Status taken = sink_->OnEvent(event); !taken.ok()) Fail(FailureOf(taken));
}

void RankGroup::HandleExit(Rank& rank) {
  // What a rank does after SIGKILL was sent to all is our doing.
  if (killed_ && rank.exit()->signal == SIGKILL) return;
  std::optional<RankFailure> failure = JudgeRank({.rank = rank.number(),
                                                  .exit = *rank.exit(),
                                                  .error = rank.error(),
                                                  .last_lines = rank.last_lines(),
                                                  .oom_kills_rose = oom_watch_.Rose()});
  const bool stopped_by_itself =
      rank.exit()->signal == 0 &&
      rank.exit()->code == static_cast<int>(common::ExitCode::kStopped) &&
      !granted_grace_.has_value() && !failure_.has_value();
  if (stopped_by_itself) {
    failure = RankFailure{
        "TRAINER_ERROR",
        absl::StrCat("rank ", rank.number(), " stopped on a SIGTERM that this worker did not send"),
        Fault::kSystem};
  }
  const bool ended_by_sigterm = kill_time_.has_value() && rank.exit()->signal == SIGTERM;
  if (failure.has_value() && !ended_by_sigterm) Fail(*std::move(failure));
}

void RankGroup::Fail(RankFailure failure) {
  if (!granted_grace_.has_value() && (!failure_.has_value() || Supersedes(failure, *failure_))) {
    failure_ = std::move(failure);
  }
  EndWithin(spec_.failure_grace);
}

void RankGroup::HandleRequests() {
  std::optional<absl::Duration> grace;
  bool kill = false;
  {
    absl::MutexLock lock(&mutex_);
    grace = stop_grace_;
    kill = kill_requested_;
  }
  if (grace.has_value() && grace != granted_grace_) {
    granted_grace_ = grace;
    EndWithin(*grace);
  }
  if (kill && !killed_) KillAll();
}

void RankGroup::CheckDeadlines() {
  const common::MonotonicTime now = clock_->MonotonicNow();
  if (kill_time_.has_value() && !killed_ && now >= *kill_time_) KillAll();
  if (prepared_ && !kill_time_.has_value() && now >= last_event_time_ + spec_.hang_timeout) {
    Fail({"TRAINER_HUNG",
          absl::StrCat(
              "the trainer reported nothing for ", absl::FormatDuration(spec_.hang_timeout),
              ": a collective operation or a file system hangs, or a step takes longer than the "
              "worker's --hang-timeout"),
          Fault::kSystem});
  }
}

void RankGroup::EndWithin(absl::Duration grace) {
  const common::MonotonicTime end = clock_->MonotonicNow() + grace;
  if (kill_time_.has_value()) {
    kill_time_ = std::min(*kill_time_, end);
    return;
  }
  kill_time_ = end;
  for (const auto& rank : ranks_) {
    if (!rank->exit().has_value()) rank->process().SignalGroup(SIGTERM);
  }
}

void RankGroup::KillAll() {
  killed_ = true;
  if (!kill_time_.has_value()) kill_time_ = clock_->MonotonicNow();
  for (const auto& rank : ranks_) {
    if (!rank->exit().has_value()) rank->process().SignalGroup(SIGKILL);
  }
}

void RankGroup::EndStragglers() {
  const auto swept = SweepProcesses({.mark_prefix = spec_.mark, .records = {}}, kSweepTimeout);
  if (!swept.ok() && !failure_.has_value()) {
    failure_ =
        RankFailure{"DEVICE_UNAVAILABLE", std::string(swept.status().message()), Fault::kSystem};
  }
  unlink(spec_.record_path.c_str());
}

RankGroupResult RankGroup::Conclude() {
  using End = RankGroupResult::End;
  const bool all_succeeded =
      !ranks_.empty() && std::all_of(ranks_.begin(), ranks_.end(), [](const auto& rank) {
        return rank->exit()->signal == 0 && rank->exit()->code == 0;
      });
  if (failure_.has_value()) return {End::kFailed, *failure_};
  if (finished_ && all_succeeded) return {End::kSucceeded, {}};
  if (granted_grace_.has_value()) return {End::kStopped, {}};
  return {End::kFailed,
          {"TRAINER_ERROR", "the trainer exited with status 0 without reporting that it finished",
           Fault::kSystem}};
}

}  // namespace longlora::worker
