#include "bench/scheduler_load/workers.h"

#include <atomic>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bench/scheduler_load/preparation.h"
#include "common/status/status_macros.h"
#include "longlora/v1/fine_tune_service.grpc.pb.h"
#include "longlora/worker/v1/worker_service.grpc.pb.h"
#include "rpc/grpc_status.h"

namespace longlora::bench {
namespace {

using worker::v1::AttemptStatus;
using worker::v1::WorkerService;

constexpr int kThreads = 8;
constexpr absl::Duration kInterval = absl::Seconds(1);  // of Synchronize, as the server asks for it
constexpr absl::Duration kPatience = absl::Minutes(2);

// One worker of the fleet: ends every attempt in the report after the one that brought it.
class FailingWorker {
 public:
  FailingWorker(const std::string& name, int devices) : report_(MakeReport(name, devices)) {}

  absl::Time due() const { return due_; }

  // Returns the number of attempts that it got.
  absl::StatusOr<int> Synchronize(WorkerService::Stub& stub) {
    grpc::ClientContext context;
    worker::v1::SynchronizeResponse response;
    LONGLORA_RETURN_IF_ERROR(rpc::FromGrpcStatus(stub.Synchronize(&context, report_, &response)));
    std::set<std::pair<std::string, int32_t>> reported;
    for (const AttemptStatus& attempt : report_.attempts()) {
      reported.emplace(attempt.job(), attempt.attempt());
    }
    report_.clear_attempts();
    int taken = 0;
    for (const worker::v1::Assignment& assignment : response.assignments()) {
      if (!reported.contains({assignment.job(), assignment.attempt()})) ++taken;
      AttemptStatus& attempt = *report_.add_attempts();
      attempt.set_job(assignment.job());
      attempt.set_attempt(assignment.attempt());
      attempt.set_state(AttemptStatus::FAILED);
      attempt.mutable_failure()->set_reason("INVALID_SPEC");
    }
    due_ = absl::Now() + (taken > 0 ? absl::ZeroDuration() : kInterval);
    return taken;
  }

 private:
  worker::v1::SynchronizeRequest report_;
  absl::Time due_ = absl::InfinitePast();
};

struct FleetTotals {
  std::atomic<int> calls = 0;
  std::atomic<int> failures = 0;
  std::atomic<int> taken = 0;
};

// Lets them speak until `count` jobs were taken, or until `deadline`.
void DriveWorkers(std::vector<FailingWorker> workers, std::shared_ptr<grpc::Channel> channel,
                  int count, absl::Time deadline, FleetTotals& totals) {
  const auto stub = WorkerService::NewStub(channel);
  while (totals.taken < count && absl::Now() < deadline) {
    absl::Time next = absl::InfiniteFuture();
    for (FailingWorker& worker : workers) {
      if (worker.due() <= absl::Now()) {
        const absl::StatusOr<int> taken = worker.Synchronize(*stub);
        ++totals.calls;
        taken.ok() ? (void)(totals.taken += *taken) : (void)++totals.failures;
      }
      next = std::min(next, worker.due());
    }
    absl::SleepFor(std::min(next - absl::Now(), absl::Milliseconds(50)));
  }
}

// A fleet of workers, shared among threads with a connection each. Seconds that it took.
absl::StatusOr<double> RunFleet(const std::string& server, const FleetLoad& fleet, int count,
                                absl::Duration duration, FleetTotals& totals) {
  LONGLORA_ASSIGN_OR_RETURN(const auto channels, Connect(server, kThreads));
  std::vector<std::vector<FailingWorker>> shares(kThreads);
  for (int i = 0; i < fleet.workers; ++i) {
    shares[static_cast<size_t>(i % kThreads)].emplace_back(absl::StrCat("fleet-", i),
                                                           fleet.devices);
  }
  const absl::Time start = absl::Now();
  std::vector<std::thread> threads;
  for (size_t i = 0; i < shares.size(); ++i) {
    threads.emplace_back(DriveWorkers, std::move(shares[i]), channels[i], count, start + duration,
                         std::ref(totals));
  }
  for (std::thread& thread : threads) thread.join();
  return absl::ToDoubleSeconds(absl::Now() - start);
}

// Sends steps of one attempt, one call after the other.
absl::StatusOr<int64_t> SendSteps(WorkerService::Stub& stub, const std::string& worker,
                                  const worker::v1::Assignment& assignment, int batch,
                                  absl::Time end) {
  worker::v1::ReportEventsRequest request;
  request.set_worker(worker);
  request.set_job(assignment.job());
  request.set_attempt(assignment.attempt());
  int64_t sequence = assignment.acknowledged_sequence();
  int64_t sent = 0;
  while (absl::Now() < end) {
    request.clear_events();
    for (int i = 0; i < batch; ++i) {
      worker::v1::AttemptEvent& event = *request.add_events();
      event.set_sequence(++sequence);
      v1::Step& step = *event.mutable_event()->mutable_step();
      step.set_step(sequence);
      step.set_loss(2.5);
      step.set_learning_rate(1e-4);
      step.set_grad_norm(0.7);
      step.set_tokens(8192);
      step.set_tokens_per_second(1e5);
      step.set_memory_bytes(int64_t{40} << 30);
    }
    grpc::ClientContext context;
    worker::v1::ReportEventsResponse response;
    LONGLORA_RETURN_IF_ERROR(rpc::FromGrpcStatus(stub.ReportEvents(&context, request, &response)));
    sent += batch;
  }
  return sent;
}

}  // namespace

absl::StatusOr<nlohmann::json> RunDispatch(const std::string& server, const FleetLoad& fleet,
                                           int count) {
  FleetTotals totals;
  LONGLORA_ASSIGN_OR_RETURN(const double seconds,
                            RunFleet(server, fleet, count, kPatience, totals));
  return nlohmann::json{{"per_second", totals.taken / seconds},
                        {"taken", totals.taken.load()},
                        {"failures", totals.failures.load()}};
}

absl::StatusOr<nlohmann::json> RunIdle(const std::string& server, int workers,
                                       absl::Duration duration) {
  FleetTotals totals;
  LONGLORA_ASSIGN_OR_RETURN(
      const double seconds,
      RunFleet(server, {workers, 0}, std::numeric_limits<int>::max(), duration, totals));
  return nlohmann::json{{"calls_per_second", totals.calls / seconds},
                        {"failures", totals.failures.load()}};
}

absl::StatusOr<nlohmann::json> RunEvents(const std::string& server, int jobs, int batch,
                                         absl::Duration duration) {
  LONGLORA_ASSIGN_OR_RETURN(const auto channels, Connect(server, kThreads));
  LONGLORA_ASSIGN_OR_RETURN(const v1::FineTuneSpec spec, Prepare(server, channels[0]));
  const std::string name = "sender";
  const auto stub = WorkerService::NewStub(channels[0]);
  worker::v1::SynchronizeResponse response;
  const absl::Time deadline = absl::Now() + kPatience;
  while (response.assignments_size() < jobs) {
    if (absl::Now() > deadline) {
      return absl::FailedPreconditionError("there are not enough queued jobs to send events of");
    }
    grpc::ClientContext context;
    LONGLORA_RETURN_IF_ERROR(
        rpc::FromGrpcStatus(stub->Synchronize(&context, MakeReport(name, jobs), &response)));
    absl::SleepFor(absl::Milliseconds(100));
  }
  std::atomic<int64_t> sent = 0;
  std::atomic<int> failures = 0;
  const absl::Time start = absl::Now();
  std::vector<std::thread> threads;
  for (int i = 0; i < jobs; ++i) {
    threads.emplace_back([&, i] {
      const auto own = WorkerService::NewStub(channels[static_cast<size_t>(i % kThreads)]);
      const absl::StatusOr<int64_t> mine =
          SendSteps(*own, name, response.assignments(i), batch, start + duration);
      mine.ok() ? (void)(sent += *mine) : (void)++failures;
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  return nlohmann::json{{"events_per_second", static_cast<double>(sent) / seconds},
                        {"failures", failures.load()}};
}

}  // namespace longlora::bench
