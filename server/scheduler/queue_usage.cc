#include "server/scheduler/queue_usage.h"

#include <algorithm>
#include <cmath>

#include "server/scheduler/queue_shares.h"
#include "server/store/timestamps.h"

namespace longlora::server {
namespace {

// What a device-second of `age` ago is worth.
double WorthOf(absl::Duration age, absl::Duration half_life) {
  return std::exp2(-absl::FDivDuration(std::max(age, absl::ZeroDuration()), half_life));
}

}  // namespace

double DecayedUse(int devices, absl::Time begin, absl::Time end, absl::Time now,
                  absl::Duration half_life) {
  end = std::max(begin, std::min(end, now));
  // The integral of the worth from `begin` to `end`.
  const double scale = absl::ToDoubleSeconds(half_life) / std::log(2.0);
  const double integral = scale * (WorthOf(now - end, half_life) - WorthOf(now - begin, half_life));
  const double least = kUsageSecondsMin * WorthOf(now - begin, half_life);
  return devices * std::max(integral, least);
}

void QueueUsage::AddEnded(const v1::FineTuneJob& job, const v1::Attempt& attempt) {
  const absl::Time end = FromTimestamp(attempt.end_time());
  // What is known is brought forward to the newest end, so that it never has to grow again.
  if (end > at_) {
    used_ = At(end);
    at_ = end;
  }
  used_[std::string(QueueOf(job.spec()))] += DecayedUse(
      DeviceCountOf(job.spec()), FromTimestamp(attempt.start_time()), end, at_, half_life_);
}

std::map<std::string, double, std::less<>> QueueUsage::At(absl::Time now) const {
  std::map<std::string, double, std::less<>> used = used_;
  const double worth = WorthOf(now - at_, half_life_);
  for (auto& [queue, seconds] : used) seconds *= worth;
  return used;
}

std::map<std::string, double, std::less<>> UsageAt(absl::Time now, const QueueUsage& ended,
                                                   const std::vector<RunningJob>& running) {
  std::map<std::string, double, std::less<>> usage = ended.At(now);
  for (const RunningJob& job : running) {
    usage[job.queue] +=
        DecayedUse(job.device_count, now - job.run_time, now, now, ended.half_life());
  }
  return usage;
}

}  // namespace longlora::server
