// What every load needs first: connections, a dataset at the server and a worker that has the
// model.
#ifndef LONGLORA_BENCH_SCHEDULER_LOAD_PREPARATION_H_
#define LONGLORA_BENCH_SCHEDULER_LOAD_PREPARATION_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "longlora/v1/fine_tune_spec.pb.h"
#include "longlora/worker/v1/worker_service.grpc.pb.h"

namespace longlora::bench {

inline constexpr char kModel[] = "tiny";

// `count` connections of their own to HOST:PORT.
absl::StatusOr<std::vector<std::shared_ptr<grpc::Channel>>> Connect(const std::string& server,
                                                                    int count);

// What worker `name` reports, with so many devices.
worker::v1::SynchronizeRequest MakeReport(const std::string& name, int devices);

// Uploads a dataset and makes the model known by a worker without devices; returns a job for it.
absl::StatusOr<v1::FineTuneSpec> Prepare(const std::string& server,
                                         std::shared_ptr<grpc::Channel> channel);

}  // namespace longlora::bench

#endif  // LONGLORA_BENCH_SCHEDULER_LOAD_PREPARATION_H_
