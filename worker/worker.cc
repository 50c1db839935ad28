#include "worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/ids/id_generator.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"
#include "rpc/channel.h"
#include "worker/agent/former_life.h"
#include "worker/supervisor/device_inventory.h"

extern char** environ;

namespace longlora::worker {
namespace {

// For the trainers of a former life to vanish after SIGKILL.
constexpr absl::Duration kFormerProcessesTimeout = absl::Minutes(1);
// For the events of a former life; the server makes new attempts anyway.
constexpr absl::Duration kFormerEventsTimeout = absl::Seconds(10);
constexpr int kWorkerIdLength = 16;
constexpr int64_t kWorkerIdBytesMax = 64;

std::string Absolute(const std::string& path) {
  std::error_code error;
  return std::filesystem::absolute(path, error).lexically_normal().string();
}

absl::StatusOr<std::string> FindTrainer(const std::string& configured) {
  std::string path = configured.empty() ? "" : Absolute(configured);
  if (path.empty()) {
    std::error_code error;
    const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
    path = (self.parent_path() / "longlora-trainer").string();
  }
  if (access(path.c_str(), X_OK) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--trainer: ", path, " is not a program that can be executed"));
  }
  return path;
}

// Tells this work directory's processes from those of other workers on the machine. Made once.
absl::StatusOr<std::string> WorkerId(const std::string& work_dir) {
  const std::string path = absl::StrCat(work_dir, "/worker-id");
  auto id = common::ReadFile(path, kWorkerIdBytesMax);
  if (id.ok() && !id->empty()) return id;
  if (!id.ok() && !absl::IsNotFound(id.status())) return id.status();
  const std::string made = common::IdGenerator::Real().RandomSuffix(kWorkerIdLength);
  LONGLORA_RETURN_IF_ERROR(common::AtomicWriteFile(path, made));
  return made;
}

std::vector<std::string> InheritedEnvironment() {
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable)
    variables.emplace_back(*variable);
  return variables;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> Worker::Start(const WorkerConfig& config) {
  auto worker = absl::WrapUnique(new Worker());
  const std::string work_dir = Absolute(config.work_dir);
  LONGLORA_RETURN_IF_ERROR(worker->LockWorkDir(work_dir));
  LONGLORA_RETURN_IF_ERROR(worker->Describe(config, work_dir));
  LONGLORA_RETURN_IF_ERROR(worker->Connect(config, work_dir));
  LONGLORA_RETURN_IF_ERROR(EndFormerProcesses(worker->environment_.attempts_directory,
                                              worker->environment_.mark_prefix,
                                              kFormerProcessesTimeout));
  worker->sync_loop_ =
      std::make_unique<SyncLoop>(SyncOptions{.incarnation = common::IdGenerator::Real().Uuid(),
                                             .version = LONGLORA_VERSION,
                                             .leave_timeout = config.leave_timeout},
                                 worker->environment_);
  return worker;
}

absl::Status Worker::LockWorkDir(const std::string& work_dir) {
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(work_dir));
  const std::string path = absl::StrCat(work_dir, "/lock");
  lock_ = common::UniqueFd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock_.ok()) return common::ErrnoStatus(errno, "open", path);
  if (flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::UnavailableError(absl::StrCat(
        "--work-dir ", work_dir, ": another worker uses it; give each worker its own"));
  }
  return absl::OkStatus();
}

absl::Status Worker::Describe(const WorkerConfig& config, const std::string& work_dir) {
  LONGLORA_ASSIGN_OR_RETURN(environment_.trainer, FindTrainer(config.trainer));
  LONGLORA_ASSIGN_OR_RETURN(environment_.devices, FindDevices(config.devices));
  LONGLORA_ASSIGN_OR_RETURN(const std::string worker_id, WorkerId(work_dir));
  environment_.mark_prefix = absl::StrCat(worker_id, "/");
  environment_.roots = {.model_dir = Absolute(config.model_dir),
                        .allowed_roots = config.allowed_roots};
  environment_.labels = config.labels;
  environment_.attempts_directory = absl::StrCat(work_dir, "/attempts");
  environment_.token_cache_directory = absl::StrCat(work_dir, "/tokens");
  environment_.environment = InheritedEnvironment();
  environment_.grace = config.grace;
  environment_.pause_grace = config.pause_grace;
  environment_.hang_timeout = config.hang_timeout;
  return absl::OkStatus();
}

absl::Status Worker::Connect(const WorkerConfig& config, const std::string& work_dir) {
  std::vector<WorkerMetrics::DeviceLabels> labels;
  for (const Device& device : environment_.devices) labels.push_back({device.id, device.kind});
  metrics_ = std::make_unique<WorkerMetrics>(LONGLORA_VERSION, labels, &common::Clock::Real());
  if (!config.metrics_listen.empty()) {
    LONGLORA_ASSIGN_OR_RETURN(metrics_server_,
                              MetricsServer::Start(config.metrics_listen, *metrics_));
  }
  LONGLORA_ASSIGN_OR_RETURN(auto channel, rpc::MakeChannel(config.server, config.security));
  link_ = std::make_unique<ServerLink>(seam::WorkerService::NewStub(channel), config.name);
  LONGLORA_ASSIGN_OR_RETURN(cache_,
                            FileCache::Open(absl::StrCat(work_dir, "/cache"),
                                            static_cast<int64_t>(config.cache_bytes), link_.get()));
  environment_.link = link_.get();
  environment_.cache = cache_.get();
  environment_.device_locks = &device_locks_;
  environment_.make_ranks = [this](RankGroupSpec spec, EventSink* sink) {
    return std::make_unique<RankGroup>(std::move(spec), &launcher_, sink, environment_.clock);
  };
  environment_.metrics = metrics_.get();
  environment_.clock = &common::Clock::Real();
  return absl::OkStatus();
}

absl::Status Worker::Run() {
  LONGLORA_RETURN_IF_ERROR(DeliverFormerEvents(environment_.attempts_directory, link_.get(),
                                               metrics_.get(), kFormerEventsTimeout));
  LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(environment_.attempts_directory));
  return sync_loop_->Run();
}

}  // namespace longlora::worker
