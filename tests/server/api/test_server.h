// A whole server in this process, on port 0, with a client's stubs and a worker that is only
// messages. For tests of server/api. Not thread-safe.
#ifndef LONGLORA_TESTS_SERVER_API_TEST_SERVER_H_
#define LONGLORA_TESTS_SERVER_API_TEST_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "longlora/v1/file_service.grpc.pb.h"
#include "longlora/v1/fine_tune_service.grpc.pb.h"
#include "longlora/v1/worker_directory_service.grpc.pb.h"
#include "longlora/worker/v1/worker_service.grpc.pb.h"
#include "rpc/channel.h"
#include "server/server.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {

// The reason in an error's google.rpc.ErrorInfo.
std::string ReasonOf(const grpc::Status& status);
// The fields of its google.rpc.BadRequest.
std::vector<std::string> FieldsOf(const grpc::Status& status);

class TestServer {
 public:
  // `configure` may change anything but the directory and the ports.
  explicit TestServer(const std::function<void(ServerConfig&)>& configure = {},
                      const rpc::ClientSecurity& client = {});

  // Ends the server and starts one on the same directory, at another port.
  void Restart();
  // Ends it in a thread of its own; streams that are open get to know.
  void Stop() { server_.reset(); }

  std::string address() const { return "localhost:" + std::to_string(server_->port()); }
  const ServerConfig& config() const { return config_; }

  v1::FineTuneService::Stub& jobs() { return *jobs_; }
  v1::FileService::Stub& files() { return *files_; }
  v1::WorkerDirectoryService::Stub& directory() { return *directory_; }
  worker::v1::WorkerService::Stub& workers() { return *workers_; }

  // Uploads `content` in messages of `chunk` bytes from `offset`.
  grpc::Status Upload(const std::string& name, int64_t size_bytes, const std::string& content,
                      int64_t offset = 0, size_t chunk = 1 << 20);
  // A small dataset of the format `text`, stored; its name.
  std::string StoredDataset();
  // A spec that is fine and trains on StoredDataset().
  v1::FineTuneSpec Spec();
  // Registers "w1" with `device_count` CPUs and the model "tiny", or reports `attempts` of it.
  worker::v1::SynchronizeResponse Synchronize(
      const std::vector<worker::v1::AttemptStatus>& attempts = {}, int device_count = 1);
  // Synchronizes until the worker is given an attempt.
  worker::v1::Assignment AwaitAssignment();
  // Creates a job from Spec(); a worker must be registered.
  v1::FineTuneJob Create();
  // Reports events of an attempt, numbered from `first`.
  grpc::Status Report(const worker::v1::Assignment& assignment, int64_t first,
                      const std::vector<v1::JobEvent>& events);
  grpc::Status UploadArtifact(const worker::v1::ArtifactRef& artifact, const std::string& content);
  // Runs an assigned job to SUCCEEDED with one adapter file of `content`.
  void Succeed(const worker::v1::Assignment& assignment, const std::string& content);

 private:
  void Connect(const rpc::ClientSecurity& client);

  longlora::testing::TemporaryDirectory data_;
  ServerConfig config_;
  rpc::ClientSecurity client_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::FineTuneService::Stub> jobs_;
  std::unique_ptr<v1::FileService::Stub> files_;
  std::unique_ptr<v1::WorkerDirectoryService::Stub> directory_;
  std::unique_ptr<worker::v1::WorkerService::Stub> workers_;
};

}  // namespace longlora::server

#endif  // LONGLORA_TESTS_SERVER_API_TEST_SERVER_H_
