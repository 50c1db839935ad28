#include "bench/scheduler_load/watchers.h"

#include <atomic>
#include <memory>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/time/clock.h"
#include "bench/scheduler_load/preparation.h"
#include "common/status/status_macros.h"
#include "longlora/v1/fine_tune_service.grpc.pb.h"
#include "rpc/grpc_status.h"

namespace longlora::bench {
namespace {

constexpr int kConnections = 16;

class Watcher : public grpc::ClientReadReactor<v1::WatchFineTuneJobResponse> {
 public:
  Watcher(v1::FineTuneService::Stub& stub, const std::string& job, absl::BlockingCounter& opened,
          absl::BlockingCounter& ended, std::atomic<int>& failures)
      : opened_(opened), ended_(ended), failures_(failures) {
    request_.set_name(job);
    stub.async()->WatchFineTuneJob(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (!is_open_) {
      is_open_ = true;
      opened_.DecrementCount();
    }
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override {
    if (!status.ok()) ++failures_;
    if (!is_open_) opened_.DecrementCount();
    ended_.DecrementCount();
  }

 private:
  absl::BlockingCounter& opened_;
  absl::BlockingCounter& ended_;
  std::atomic<int>& failures_;
  grpc::ClientContext context_;
  v1::WatchFineTuneJobRequest request_;
  v1::WatchFineTuneJobResponse response_;
  bool is_open_ = false;
};

}  // namespace

absl::StatusOr<nlohmann::json> RunWatchers(const std::string& server, int count) {
  LONGLORA_ASSIGN_OR_RETURN(const auto channels, Connect(server, kConnections));
  v1::CreateFineTuneJobRequest create;
  LONGLORA_ASSIGN_OR_RETURN(*create.mutable_spec(), Prepare(server, channels[0]));
  create.mutable_spec()->mutable_resources()->set_device("cuda");  // which nobody has: it waits
  std::vector<std::unique_ptr<v1::FineTuneService::Stub>> stubs;
  for (const auto& channel : channels) stubs.push_back(v1::FineTuneService::NewStub(channel));
  v1::FineTuneJob job;
  grpc::ClientContext create_context;
  LONGLORA_RETURN_IF_ERROR(
      rpc::FromGrpcStatus(stubs[0]->CreateFineTuneJob(&create_context, create, &job)));

  absl::BlockingCounter opened(count);
  absl::BlockingCounter ended(count);
  std::atomic<int> failures = 0;
  std::vector<std::unique_ptr<Watcher>> watchers;
  const absl::Time start = absl::Now();
  for (int i = 0; i < count; ++i) {
    watchers.push_back(std::make_unique<Watcher>(*stubs[static_cast<size_t>(i % kConnections)],
                                                 job.name(), opened, ended, failures));
  }
  opened.Wait();
  const absl::Time all_open = absl::Now();
  v1::CancelFineTuneJobRequest cancel;
  cancel.set_name(job.name());
  grpc::ClientContext cancel_context;
  LONGLORA_RETURN_IF_ERROR(
      rpc::FromGrpcStatus(stubs[0]->CancelFineTuneJob(&cancel_context, cancel, &job)));
  ended.Wait();
  return nlohmann::json{{"open_seconds", absl::ToDoubleSeconds(all_open - start)},
                        {"deliver_seconds", absl::ToDoubleSeconds(absl::Now() - all_open)},
                        {"failures", failures.load()}};
}

}  // namespace longlora::bench
