#include "bench/scheduler_load/submits.h"

#include <memory>
#include <vector>

#include "absl/time/clock.h"
#include "bench/scheduler_load/call_window.h"
#include "bench/scheduler_load/preparation.h"
#include "common/status/status_macros.h"
#include "longlora/v1/fine_tune_service.grpc.pb.h"

namespace longlora::bench {
namespace {

constexpr int kConnections = 8;

struct Call {
  grpc::ClientContext context;
  v1::CreateFineTuneJobRequest request;
  v1::FineTuneJob response;
};

}  // namespace

absl::StatusOr<nlohmann::json> RunSubmits(const std::string& server, const SubmitLoad& load) {
  LONGLORA_ASSIGN_OR_RETURN(const auto channels, Connect(server, kConnections));
  LONGLORA_ASSIGN_OR_RETURN(const v1::FineTuneSpec spec, Prepare(server, channels[0]));
  std::vector<std::unique_ptr<v1::FineTuneService::Stub>> stubs;
  for (const auto& channel : channels) stubs.push_back(v1::FineTuneService::NewStub(channel));
  CallWindow window(load.in_flight);
  const absl::Time start = absl::Now();
  for (int i = 0; i < load.count; ++i) {
    absl::Time due = absl::Now();
    if (load.per_second > 0) {
      due = start + absl::Seconds(i / load.per_second);
      absl::SleepFor(due - absl::Now());
    }
    window.Enter();
    const auto call = std::make_shared<Call>();
    *call->request.mutable_spec() = spec;
    stubs[static_cast<size_t>(i) % stubs.size()]->async()->CreateFineTuneJob(
        &call->context, &call->request, &call->response, [call, due, &window](grpc::Status status) {
          window.Leave(absl::Now() - due, status.ok() ? "" : status.error_message());
        });
  }
  window.WaitUntilEmpty();
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  const auto succeeded = static_cast<double>(load.count - window.failures());
  return nlohmann::json{{"per_second", succeeded / seconds},
                        {"p50_ms", absl::ToDoubleMilliseconds(window.Percentile(0.5))},
                        {"p99_ms", absl::ToDoubleMilliseconds(window.Percentile(0.99))},
                        {"failures", window.failures()},
                        {"first_error", window.first_error()}};
}

}  // namespace longlora::bench
