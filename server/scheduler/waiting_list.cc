#include "server/scheduler/waiting_list.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

#include "server/scheduler/device_pools.h"
#include "server/scheduler/start_estimate.h"

namespace longlora::server {
namespace {

// How many of those that wait are told when they will start.
constexpr size_t kEstimatesMax = 200;

// How long the devices of each worker and kind will still be in use.
struct BusyWorkers {
  std::vector<BusyDevices> pools;
  std::map<std::pair<absl::string_view, absl::string_view>, size_t> indices;  // worker, kind

  void Add(absl::string_view worker, absl::string_view kind, absl::Duration left) {
    const auto [index, is_new] = indices.try_emplace({worker, kind}, pools.size());
    if (is_new) pools.emplace_back();
    pools[index->second].push_back(left);
  }
};

BusyWorkers DescribeBusy(const PlacementInput& input) {
  BusyWorkers busy;
  for (const PlacementWorker& worker : input.workers) {
    for (const PlacementWorker::DeviceState& device : worker.devices) {
      if (!device.used) busy.Add(worker.id, device.kind, absl::ZeroDuration());
    }
  }
  for (const RunningJob& job : input.running) {
    const absl::Duration left = job.leaving ? absl::ZeroDuration() : job.remaining;
    for (int32_t i = 0; i < job.device_count; ++i) busy.Add(job.worker, job.device_kind, left);
  }
  return busy;
}

}  // namespace

WaitingList::WaitingList(const PlacementInput& input, const PlacementPlan& plan, absl::Time now) {
  entries_.reserve(plan.waiting.size());
  std::vector<uint32_t>* of_queue = nullptr;
  absl::string_view queue;
  for (const WaitingJob& waiting : plan.waiting) {
    const PlacementRequest& request = input.jobs[waiting.request];
    if (of_queue == nullptr || request.queue != queue) {
      queue = request.queue;
      of_queue = &by_queue_[std::string(queue)];
    }
    of_queue->push_back(static_cast<uint32_t>(entries_.size()));
    entries_.push_back(
        {request.order, request.stay, absl::InfiniteFuture(), waiting.reason, waiting.jobs_ahead});
  }
  by_order_.resize(entries_.size());
  std::iota(by_order_.begin(), by_order_.end(), 0);
  std::sort(by_order_.begin(), by_order_.end(),
            [&](uint32_t a, uint32_t b) { return entries_[a].order < entries_[b].order; });
  EstimateStarts(input, plan, now);
}

const std::vector<uint32_t>& WaitingList::OfQueue(absl::string_view queue) const {
  static const std::vector<uint32_t>* const kNone = new std::vector<uint32_t>;
  const auto found = by_queue_.find(queue);
  return found == by_queue_.end() ? *kNone : found->second;
}

const WaitingList::Entry* WaitingList::Find(int64_t order, int64_t stay) const {
  const auto found =
      std::lower_bound(by_order_.begin(), by_order_.end(), order,
                       [&](uint32_t i, int64_t wanted) { return entries_[i].order < wanted; });
  if (found == by_order_.end()) return nullptr;
  const Entry& entry = entries_[*found];
  return entry.order == order && entry.stay == stay ? &entry : nullptr;
}

std::map<WaitReason, int64_t> WaitingList::CountByReason() const {
  std::map<WaitReason, int64_t> counts;
  for (const Entry& entry : entries_) ++counts[entry.reason];
  return counts;
}

void WaitingList::EstimateStarts(const PlacementInput& input, const PlacementPlan& plan,
                                 absl::Time now) {
  BusyWorkers busy = DescribeBusy(input);
  // Many jobs ask for the same; each wish is compared with the workers once.
  std::map<std::tuple<absl::string_view, absl::string_view, absl::string_view,
                      std::vector<absl::string_view>>,
           std::vector<size_t>>
      pools_by_wish;
  std::vector<size_t> places;  // in entries_
  std::vector<EstimatedJob> wanted;
  for (size_t i = 0; i < entries_.size() && places.size() < kEstimatesMax; ++i) {
    if (entries_[i].reason != WaitReason::kWaitingForDevices) continue;
    const PlacementRequest& request = input.jobs[plan.waiting[i].request];
    const auto [wish, is_new] = pools_by_wish.try_emplace(
        {request.base_model, request.initial_adapter, request.device_kind, request.worker_labels});
    if (is_new) {
      for (const PlacementWorker& worker : input.workers) {
        const auto pool = busy.indices.find({worker.id, request.device_kind});
        if (pool != busy.indices.end() && Suits(worker, request)) {
          wish->second.push_back(pool->second);
        }
      }
    }
    places.push_back(i);
    wanted.push_back({&wish->second, request.device_count, absl::InfiniteDuration()});
  }
  if (places.empty()) return;
  const std::vector<absl::Duration> starts = server::EstimateStarts(std::move(busy.pools), wanted);
  for (size_t i = 0; i < places.size(); ++i) entries_[places[i]].estimated_start = now + starts[i];
}

}  // namespace longlora::server
