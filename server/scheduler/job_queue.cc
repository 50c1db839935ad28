#include "server/scheduler/job_queue.h"

#include <utility>

namespace longlora::server {

QueueEntry ToQueueEntry(const StoredJob& job, int64_t stay, common::MonotonicTime retry_at) {
  const v1::FineTuneSpec& spec = job.record.job().spec();
  QueueEntry entry;
  entry.job = job.id;
  entry.stay = stay;
  entry.priority = spec.priority();
  entry.retry_at = retry_at;
  entry.demand.queue = std::string(QueueOf(spec));
  entry.demand.base_model = spec.base_model();
  entry.demand.initial_adapter = spec.method().initial_adapter();
  entry.demand.worker_labels.assign(spec.resources().worker_labels().begin(),
                                    spec.resources().worker_labels().end());
  entry.demand.device_kind = std::string(DeviceKindOf(spec));
  entry.demand.device_count = DeviceCountOf(spec);
  return entry;
}

void JobQueue::Take(std::vector<QueueChange> changes) {
  for (QueueChange& change : changes) {
    Remove(change.order);
    if (change.entry.has_value()) Add(change.order, *std::move(change.entry));
  }
}

void JobQueue::Add(int64_t order, QueueEntry entry) {
  const auto demand = demands_.try_emplace(std::move(entry.demand)).first;
  ++demand->second;
  waiting_.emplace(
      order, Waiting{std::move(entry.job), entry.stay, entry.priority, entry.retry_at, demand});
}

void JobQueue::Remove(int64_t order) {
  const auto found = waiting_.find(order);
  if (found == waiting_.end()) return;
  const auto demand = found->second.demand;
  if (--demand->second == 0) demands_.erase(demand);
  waiting_.erase(found);
}

std::vector<PlacementRequest> JobQueue::Requests(common::MonotonicTime now) const {
  std::vector<PlacementRequest> requests;
  requests.reserve(waiting_.size());
  for (const auto& [order, waiting] : waiting_) {
    const Demand& demand = waiting.demand->first;
    PlacementRequest& request = requests.emplace_back();
    request.id = waiting.job;
    request.queue = demand.queue;
    request.priority = waiting.priority;
    request.order = order;
    request.stay = waiting.stay;
    request.base_model = demand.base_model;
    request.initial_adapter = demand.initial_adapter;
    request.worker_labels.assign(demand.worker_labels.begin(), demand.worker_labels.end());
    request.device_kind = demand.device_kind;
    request.device_count = demand.device_count;
    request.backing_off = now < waiting.retry_at;
  }
  return requests;
}

}  // namespace longlora::server
