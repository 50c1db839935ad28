#include "tests/simulation/simulated_worker.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "tests/simulation/simulated_ranks.h"
#include "tests/simulation/simulated_stub.h"
#include "worker/agent/former_life.h"

namespace longlora::simulation {
namespace {

namespace fs = std::filesystem;

// As worker/worker.cc.
constexpr absl::Duration kFormerEventsTimeout = absl::Seconds(10);
// Chance comes from the seed alone.
constexpr common::BackoffPolicy kRetry = {absl::Milliseconds(200), absl::Seconds(3), 2.0, 0.0};

}  // namespace

SimulatedWorker::SimulatedWorker(World* world, SimulatedServer* server, std::string name,
                                 int devices)
    : world_(world),
      server_(server),
      name_(std::move(name)),
      devices_(devices),
      random_(world->random.Split()),
      clock_(&world->time) {}

SimulatedWorker::~SimulatedWorker() {
  if (life_ == nullptr) return;
  world_->fibers.Kill(life_->process);
  world_->fibers.Inside(life_->process, [&] { life_.reset(); });
}

Process* SimulatedWorker::process() { return life_ == nullptr ? nullptr : life_->process; }

std::string SimulatedWorker::Directory() const {
  return absl::StrCat(world_->directory, "/", name_, "-", directories_);
}

bool SimulatedWorker::HasFiles() const {
  std::error_code error;
  return !fs::is_empty(Directory() + "/attempts", error) && !error;
}

void SimulatedWorker::MakeEnvironment(Life& life) {
  life.link = std::make_unique<worker::ServerLink>(
      MakeSimulatedStub({life.process, &cable_}, &world_->network, server_, &clock_), name_,
      &clock_);
  auto cache = worker::FileCache::Open(Directory() + "/cache", 1 << 20, life.link.get(),
                                       {.backoff = kRetry});
  if (!cache.ok()) std::abort();
  life.cache = *std::move(cache);
  worker::AttemptEnvironment& environment = life.environment;
  environment.link = life.link.get();
  environment.cache = life.cache.get();
  environment.device_locks = &life.locks;
  environment.make_ranks = [this, process = life.process](worker::RankGroupSpec spec,
                                                          worker::EventSink* sink) {
    return MakeSimulatedRanks(world_, process, name_, std::move(spec), sink);
  };
  environment.metrics = world_->ground.metrics.get();
  environment.clock = &clock_;
  for (int i = 0; i < devices_; ++i) {
    worker::Device device;
    device.id = absl::StrCat("cpu:", i);
    device.kind = "cpu";
    environment.devices.push_back(device);
  }
  environment.roots = {.model_dir = world_->ground.model_directory, .allowed_roots = {}};
  environment.trainer = "simulated";
  environment.attempts_directory = Directory() + "/attempts";
  environment.mark_prefix = absl::StrCat(name_, "/");
  environment.grace = absl::Seconds(4);
  environment.pause_grace = absl::Seconds(8);
  environment.retry = {.backoff = kRetry};
}

void SimulatedWorker::Start() {
  if (life_ != nullptr) return;
  ++lives_;
  world_->trace.Add(name_, " starts, life ", lives_);
  life_ = std::make_unique<Life>();
  life_->process = world_->fibers.MakeProcess(name_);
  MakeEnvironment(*life_);
  life_->loop = std::make_unique<worker::SyncLoop>(
      worker::SyncOptions{.incarnation = absl::StrCat(name_, "-life-", lives_),
                          .version = "simulated",
                          .call_timeout = absl::Seconds(3),
                          .leave_timeout = absl::Seconds(15),
                          .retry = {absl::Milliseconds(200), absl::Seconds(1), 2.0, 0.0}},
      life_->environment);
  absence_ = random_.Between(absl::ZeroDuration(), absl::Seconds(5));
  world_->fibers.Spawn(life_->process, "agent", [this, life = life_.get()] { Live(*life); });
}

// As Worker::Run; the trainers of a former life died with it.
void SimulatedWorker::Live(Life& life) {
  absl::Status status = worker::DeliverFormerEvents(life.environment.attempts_directory,
                                                    life.link.get(), world_->ground.metrics.get(),
                                                    kFormerEventsTimeout, {.backoff = kRetry});
  if (status.ok()) status = common::CreateDirectories(life.environment.attempts_directory);
  if (status.ok()) status = life.loop->Run();
  if (life.process->dead) return;
  world_->trace.Add(name_, " ends: ", status.ToString());
  world_->invariants.OnWorkerEnded(name_);
  world_->fibers.After(absl::ZeroDuration(), [this, ended = &life] {
    if (life_.get() == ended) End(absence_);
  });
}

void SimulatedWorker::End(absl::Duration absence) {
  world_->fibers.Kill(life_->process);
  world_->fibers.Inside(life_->process, [&] { life_.reset(); });
  world_->fibers.After(absence, [this] { Start(); });
}

void SimulatedWorker::Crash(absl::Duration absence) {
  if (life_ == nullptr) return;
  world_->trace.Add(name_, " dies");
  world_->invariants.OnWorkerDied(name_);
  // What the dead life does on its way out must not reach the next.
  const std::string former = Directory();
  ++directories_;
  std::error_code error;
  fs::copy(former, Directory(), fs::copy_options::recursive, error);
  End(absence);
  fs::remove_all(former, error);
}

void SimulatedWorker::Leave(absl::Duration absence) {
  if (life_ == nullptr) return;
  world_->trace.Add(name_, " leaves");
  absence_ = absence;
  life_->loop->Leave();
  world_->fibers.Touch(life_->process);
}

}  // namespace longlora::simulation
