// The server: the real scheduler on the real store, with the real seam and artifacts, in a process
// that can be killed anywhere and started again.
#ifndef LONGLORA_TESTS_SIMULATION_SIMULATED_SERVER_H_
#define LONGLORA_TESTS_SIMULATION_SIMULATED_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "common/ids/id_generator.h"
#include "longlora/worker/v1/worker_service.pb.h"
#include "server/api/worker_service.h"
#include "server/artifacts/artifact_store.h"
#include "server/artifacts/file_store.h"
#include "server/events/event_hub.h"
#include "server/events/event_log.h"
#include "server/scheduler/scheduler.h"
#include "server/store/sql_readers.h"
#include "tests/simulation/observed_store.h"
#include "tests/simulation/world.h"

namespace longlora::simulation {

class SimulatedServer {
 public:
  explicit SimulatedServer(World* world);
  ~SimulatedServer();

  // For events.
  void Start();
  // Dies, and comes back after `absence`.
  void Crash(absl::Duration absence);
  Process* process();  // nullptr: down
  MachineClock& clock() { return clock_; }

  // For what runs in the server's process, in answer to a call.
  server::Scheduler& scheduler() { return *life_->scheduler; }
  server::EventLog& events() { return *life_->events; }
  absl::Status RemoveArtifacts(const std::string& job_id) { return artifacts_->RemoveJob(job_id); }
  grpc::Status Handle(const worker::v1::SynchronizeRequest& request,
                      worker::v1::SynchronizeResponse* response);
  grpc::Status Handle(const worker::v1::ReportEventsRequest& request,
                      worker::v1::ReportEventsResponse* response);
  grpc::Status Handle(const worker::v1::GetArtifactStatusRequest& request,
                      worker::v1::GetArtifactStatusResponse* response);
  grpc::Status Handle(const worker::v1::CommitArtifactsRequest& request,
                      worker::v1::CommitArtifactsResponse* response);
  // What WorkerService does with streams: `cut`: the stream breaks off after `data`.
  grpc::Status Upload(const worker::v1::ArtifactRef& ref, int64_t offset, const std::string& data,
                      bool cut, worker::v1::UploadArtifactResponse* response);
  grpc::Status Read(const worker::v1::FetchFileRequest& request, std::string* content);
  grpc::Status Read(const worker::v1::FetchArtifactRequest& request, std::string* content);

  // Tells the invariants what was decided; after every step.
  void Settle();
  Invariants& audit() { return world_->invariants; }
  // Past every fault.
  server::SqlReaders& auditor() { return *auditor_; }
  const server::ArtifactStore& artifacts() const { return *artifacts_; }
  const std::string& dataset() const { return dataset_; }  // files/{sha256}

 private:
  class Ids : public common::IdGenerator {
   public:
    std::string RandomSuffix(int length) override;
    std::string Uuid() override;

   private:
    int64_t count_ = 0;
  };
  struct Life {
    Process* process = nullptr;
    std::unique_ptr<ObservedStore> store;
    server::EventHub hub;
    std::unique_ptr<server::EventLog> events;
    std::unique_ptr<server::Scheduler> scheduler;
    std::unique_ptr<server::WorkerServiceHandler> service;
  };

  std::unique_ptr<server::JobStore> OpenStore(Process* process);
  void Tick(Life* life);
  grpc::Status Send(absl::StatusOr<std::unique_ptr<server::ChunkReader>> reader,
                    std::string* content);

  World* const world_;
  Random random_;
  MachineClock clock_;
  Ids ids_;
  const std::string store_path_;
  std::unique_ptr<server::SqlReaders> auditor_;
  std::unique_ptr<server::ArtifactStore> artifacts_;
  std::unique_ptr<server::FileStore> files_;
  server::TransferLimit transfers_{16};
  std::string dataset_;
  std::unique_ptr<Life> life_;
};

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_SIMULATED_SERVER_H_
