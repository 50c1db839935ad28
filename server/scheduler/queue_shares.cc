#include "server/scheduler/queue_shares.h"

namespace longlora::server {

QuotaUse& QueueShare::UseOf(absl::string_view kind) {
  if (const auto found = uses.find(kind); found != uses.end()) return found->second;
  QuotaUse use;
  if (config != nullptr) {
    use.nominal = config->QuotaOf(kind).nominal;
    use.limit = config->LimitOf(kind);
  }
  return uses.emplace(std::string(kind), use).first->second;
}

void QueueShare::Charge(int32_t count) {
  weighted_usage += kUsageSecondsMin * count / (config == nullptr ? 1.0 : config->weight);
}

QueueShares::QueueShares(const PlacementInput& input) : input_(input) {
  for (const RunningJob& job : input.running) {
    QuotaUse& use = Find(job.queue).UseOf(job.device_kind);
    use.used += job.device_count;
    if (!job.leaving) use.staying += job.device_count;
  }
}

QueueShare& QueueShares::Find(absl::string_view name) {
  const auto found = shares_.find(name);
  return found == shares_.end() ? Make(name, input_) : found->second;
}

QueueShare& QueueShares::Make(absl::string_view name, const PlacementInput& input) {
  QueueShare share;
  share.name = std::string(name);
  share.config = input.queues->Find(name);
  const auto usage = input.usage.find(name);
  if (usage != input.usage.end()) {
    share.weighted_usage = usage->second / (share.config == nullptr ? 1.0 : share.config->weight);
  }
  return shares_.emplace(share.name, share).first->second;
}

Turn TurnOf(QueueShare& queue, const PlacementRequest& next) {
  return {!queue.UseOf(next.device_kind).Entitled(next.device_count), queue.weighted_usage,
          queue.name};
}

}  // namespace longlora::server
