#include "worker/supervisor/rank_log.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace longlora::worker {
namespace {

constexpr size_t kTailLines = 12;
constexpr size_t kTailLineBytes = 400;

}  // namespace

RankLog::RankLog(int32_t rank, std::string path, RankLogLimits limits, common::Clock* clock)
    : rank_(rank),
      path_(std::move(path)),
      limits_(limits),
      clock_(clock),
      file_(open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)),
      tokens_(limits.events_burst),
      refilled_(clock->MonotonicNow()) {}

std::vector<common::TrainerEvent> RankLog::Take(absl::string_view line, bool cut) {
  std::vector<common::TrainerEvent> events;
  if (line.empty()) return events;
  Write(line);
  tail_.emplace_back(line.substr(0, kTailLineBytes));
  if (tail_.size() > kTailLines) tail_.pop_front();

  const common::MonotonicTime now = clock_->MonotonicNow();
  tokens_ = std::min(limits_.events_burst,
                     tokens_ + absl::ToDoubleSeconds(now - refilled_) * limits_.events_per_second);
  refilled_ = now;
  if (tokens_ < 1.0) {
    ++left_out_count_;
    return events;
  }
  tokens_ -= 1.0;
  if (left_out_count_ > 0) {
    events.push_back(
        {NowSeconds(), common::WarningEvent{absl::StrCat(
                           left_out_count_, " lines of rank ", rank_,
                           " came too fast and stand only in the worker's log file")}});
    left_out_count_ = 0;
  }
  events.push_back(
      {NowSeconds(), common::LogEvent{absl::StrCat(line, cut ? " [line cut]" : ""), rank_}});
  return events;
}

void RankLog::Write(absl::string_view line) {
  if (file_bytes_ + static_cast<int64_t>(line.size()) + 1 > limits_.file_bytes) {
    rename(path_.c_str(), absl::StrCat(path_, ".1").c_str());
    file_ = common::UniqueFd(open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    file_bytes_ = 0;
  }
  if (!file_.ok()) return;
  const std::string text = absl::StrCat(line, "\n");
  // The log is a convenience: when it cannot be written, training goes on.
  if (write(file_.get(), text.data(), text.size()) > 0) {
    file_bytes_ += static_cast<int64_t>(text.size());
  }
}

std::string RankLog::Tail() const { return absl::StrJoin(tail_, "\n"); }

double RankLog::NowSeconds() const {
  return absl::ToDoubleSeconds(clock_->Now() - absl::UnixEpoch());
}

}  // namespace longlora::worker
