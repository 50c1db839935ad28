#include "tests/simulation/simulated_server.h"

#include <cstdlib>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/io/sha256.h"
#include "rpc/grpc_status.h"
#include "server/api/edge_status.h"
#include "server/store/resource_names.h"
#include "server/store/sql_job_store.h"
#include "server/store/sqlite_connection.h"
#include "tests/simulation/faulty_connection.h"

namespace longlora::simulation {
namespace {

constexpr absl::Duration kTickInterval = absl::Milliseconds(500);
constexpr int32_t kJobsMax = 1000;  // more than a world has

// Shorter than an operator's, in the same proportions.
server::SchedulerOptions Options() {
  server::SchedulerOptions options;
  options.lease_duration = absl::Seconds(8);
  options.lease_grace = absl::Seconds(4);
  options.synchronize_interval = absl::Seconds(1);
  options.back_off = {absl::Seconds(1), absl::Seconds(8), 2.0, 0.0};
  options.queues.min_run_time = absl::Seconds(2);
  server::QueueConfig& limited = options.queues.queues[kLimitedQueue];
  limited.quotas["cpu"] = {kLimitedQueueNominal, kLimitedQueueBorrows};
  limited.preempt_lower_priority = true;
  return options;
}

void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "simulation: %s\n", status.ToString().c_str());
  std::abort();
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  Must(value.status());
  return *std::move(value);
}

// A killed process loses no page of the kernel's, so nothing need reach a disk.
absl::StatusOr<std::unique_ptr<server::SqlConnection>> Connect(const std::string& path) {
  LONGLORA_ASSIGN_OR_RETURN(std::unique_ptr<server::SqlConnection> connection,
                            server::OpenSqlite(path));
  LONGLORA_RETURN_IF_ERROR(connection->Execute("PRAGMA synchronous=OFF"));
  return connection;
}

}  // namespace

std::string SimulatedServer::Ids::RandomSuffix(int length) {
  return absl::StrFormat("%0*d", length, ++count_);
}

std::string SimulatedServer::Ids::Uuid() {
  return absl::StrFormat("00000000-0000-4000-8000-%012d", ++count_);
}

SimulatedServer::SimulatedServer(World* world)
    : world_(world),
      random_(world->random.Split()),
      clock_(&world->time),
      store_path_(absl::StrCat(world->directory, "/jobs.sqlite")) {
  std::filesystem::copy_file(world->ground.empty_store, store_path_);
  auditor_ = std::make_unique<server::SqlReaders>([this] { return Connect(store_path_); });
  artifacts_ = Must(
      server::ArtifactStore::Open(absl::StrCat(world->directory, "/artifacts"), int64_t{1} << 30));
  files_ =
      Must(server::FileStore::Open(absl::StrCat(world->directory, "/files"), int64_t{1} << 30));
  const std::string content = "{\"text\": \"some words\"}\n";
  const std::string sha256 = common::Sha256Hex(content);
  const auto upload = Must(files_->Begin(sha256, static_cast<int64_t>(content.size()), 0));
  Must(upload->Append(content));
  Must(upload->Finish());
  dataset_ = absl::StrCat("files/", sha256);
}

SimulatedServer::~SimulatedServer() {
  if (life_ == nullptr) return;
  world_->fibers.Kill(life_->process);
  world_->fibers.Inside(life_->process, [&] { life_.reset(); });
}

Process* SimulatedServer::process() { return life_ == nullptr ? nullptr : life_->process; }

std::unique_ptr<server::JobStore> SimulatedServer::OpenStore(Process* process) {
  const StoreFaults faults = {.random = &random_,
                              .faults = &world_->faults,
                              .trace = &world_->trace,
                              .process = process,
                              .on_crash = [this, process] {
                                process->dead = true;
                                world_->fibers.Touch(process);
                                world_->fibers.After(absl::ZeroDuration(), [this, process] {
                                  if (this->process() != process) return;
                                  Crash(random_.Between(absl::ZeroDuration(), absl::Seconds(3)));
                                });
                              }};
  const server::SqlConnector connect =
      [this, faults]() -> absl::StatusOr<std::unique_ptr<server::SqlConnection>> {
    LONGLORA_ASSIGN_OR_RETURN(std::unique_ptr<server::SqlConnection> inner, Connect(store_path_));
    return MakeFaultyConnection(std::move(inner), faults);
  };
  server::SqlJobStore::Database database;
  database.writing = Must(connect());
  database.connect_to_write = connect;
  database.connect_to_read = connect;
  return std::make_unique<server::SqlJobStore>(std::move(database), nullptr);
}

void SimulatedServer::Start() {
  if (life_ != nullptr) return;
  world_->trace.Add("the server starts");
  server::JobQuery all;
  all.limit = kJobsMax;
  world_->invariants.OnServerStarting(Must(auditor_->ListJobs(all)));
  auto life = std::make_unique<Life>();
  life->process = world_->fibers.MakeProcess("server");
  world_->fibers.Inside(life->process, [&] {
    life->store = std::make_unique<ObservedStore>(OpenStore(life->process), auditor_.get(),
                                                  &world_->invariants);
    life->events = std::make_unique<server::EventLog>(*life->store, life->hub);
    life->scheduler =
        Must(server::Scheduler::Create(Options(), {life->store.get(), &life->hub, &clock_, &ids_}));
    life->service =
        std::make_unique<server::WorkerServiceHandler>(server::WorkerServiceHandler::Dependencies{
            life->scheduler.get(), artifacts_.get(), files_.get(), &transfers_});
  });
  life_ = std::move(life);
  world_->fibers.Spawn(life_->process, "tick", [this, life = life_.get()] { Tick(life); });
  world_->network.SetServer(life_->process);
}

// As server/scheduler/scheduler_loop.
void SimulatedServer::Tick(Life* life) {
  while (!life->process->dead) {
    life->scheduler->AwaitWork(kTickInterval);
    if (!life->process->dead) life->scheduler->Tick();
  }
}

void SimulatedServer::Crash(absl::Duration absence) {
  if (life_ == nullptr) return;
  world_->trace.Add("the server dies");
  world_->network.SetServer(nullptr);
  world_->fibers.Kill(life_->process);
  life_->store->Settle();
  world_->fibers.Inside(life_->process, [&] { life_.reset(); });
  world_->fibers.After(absence, [this] { Start(); });
}

void SimulatedServer::Settle() {
  if (life_ != nullptr) life_->store->Settle();
}

grpc::Status SimulatedServer::Handle(const worker::v1::SynchronizeRequest& request,
                                     worker::v1::SynchronizeResponse* response) {
  return server::ToReply(life_->service->Decide(request).Get(), response);
}

grpc::Status SimulatedServer::Handle(const worker::v1::ReportEventsRequest& request,
                                     worker::v1::ReportEventsResponse* response) {
  return server::ToReply(life_->service->Decide(request).Get(), response);
}

grpc::Status SimulatedServer::Handle(const worker::v1::GetArtifactStatusRequest& request,
                                     worker::v1::GetArtifactStatusResponse* response) {
  return server::ToReply(life_->service->Decide(request).Get(), response);
}

grpc::Status SimulatedServer::Handle(const worker::v1::CommitArtifactsRequest& request,
                                     worker::v1::CommitArtifactsResponse* response) {
  return server::ToReply(life_->service->Decide(request).Get(), response);
}

grpc::Status SimulatedServer::Upload(const worker::v1::ArtifactRef& ref, int64_t offset,
                                     const std::string& data, bool cut,
                                     worker::v1::UploadArtifactResponse* response) {
  const auto receive = [&]() -> absl::Status {
    server::ArtifactKey key;
    key.job_id = std::string(absl::StripPrefix(ref.job(), "fineTuneJobs/"));
    key.attempt = ref.attempt();
    key.path = ref.artifact().path();
    key.size_bytes = ref.artifact().size_bytes();
    key.sha256 = ref.artifact().sha256();
    server::Scheduler& scheduler = *life_->scheduler;
    LONGLORA_RETURN_IF_ERROR(scheduler.CheckAttempt(ref.worker(), ref.job(), ref.attempt()));
    LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<server::ResumableUpload> upload,
                              artifacts_->Begin(key, offset));
    response->set_received_bytes(key.size_bytes);
    if (upload == nullptr) return absl::OkStatus();
    LONGLORA_RETURN_IF_ERROR(upload->Append(data));
    // A file takes a while; anything may happen meanwhile.
    world_->fibers.Sleep(random_.Between(absl::ZeroDuration(), absl::Milliseconds(300)));
    if (cut || Fibers::running()->dead) return absl::UnavailableError("the peer went away");
    LONGLORA_RETURN_IF_ERROR(scheduler.CheckAttempt(ref.worker(), ref.job(), ref.attempt()));
    return upload->Finish();
  };
  return server::ToReply(receive());
}

grpc::Status SimulatedServer::Send(absl::StatusOr<std::unique_ptr<server::ChunkReader>> reader,
                                   std::string* content) {
  if (!reader.ok()) return server::ToReply(reader.status());
  return server::ToReply((*reader)->Next(content).status());
}

grpc::Status SimulatedServer::Read(const worker::v1::FetchFileRequest& request,
                                   std::string* content) {
  return Send(
      files_->Read(std::string(absl::StripPrefix(request.name(), "files/")), request.offset()),
      content);
}

grpc::Status SimulatedServer::Read(const worker::v1::FetchArtifactRequest& request,
                                   std::string* content) {
  const auto find = [&]() -> absl::StatusOr<std::unique_ptr<server::ChunkReader>> {
    server::Scheduler& scheduler = *life_->scheduler;
    LONGLORA_RETURN_IF_ERROR(
        scheduler.CheckAttempt(request.worker(), request.job(), request.attempt()));
    LONGLORA_ASSIGN_OR_RETURN(const server::OwnedArtifact found,
                              scheduler.FindArtifact(request.job(), request.path()));
    return artifacts_->Read(
        {.job_id = std::string(absl::StripPrefix(request.job(), "fineTuneJobs/")),
         .attempt = found.attempt,
         .path = found.artifact.path(),
         .size_bytes = found.artifact.size_bytes(),
         .sha256 = found.artifact.sha256()},
        request.offset());
  };
  return Send(find(), content);
}

}  // namespace longlora::simulation
