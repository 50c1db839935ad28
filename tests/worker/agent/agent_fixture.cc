#include "tests/worker/agent/agent_fixture.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "worker/agent/attempt_directory.h"
#include "worker/supervisor/device_inventory.h"
#include "worker/supervisor/process_sweep.h"
#include "worker/supervisor/process_table.h"

namespace longlora::worker {

AgentFixture::AgentFixture() {
  EXPECT_TRUE(common::CreateDirectories(directory_ / "models/tiny").ok());
  EXPECT_TRUE(common::AtomicWriteFile(directory_ / "models/tiny/config.json", "{}").ok());
  link_ = std::make_unique<ServerLink>(seam::WorkerService::NewStub(service_.Channel()), "w1");
  cache_ = *FileCache::Open(directory_ / "cache", 1 << 20, link_.get());
  environment_.link = link_.get();
  environment_.cache = cache_.get();
  environment_.device_locks = &device_locks_;
  environment_.make_ranks = [this](RankGroupSpec spec, EventSink* sink) {
    return std::make_unique<RankGroup>(std::move(spec), &launcher_, sink, environment_.clock);
  };
  environment_.metrics = &metrics_;
  environment_.clock = &common::Clock::Real();
  environment_.devices = *FindDevices("cpu:2");
  environment_.roots = {.model_dir = directory_ / "models", .allowed_roots = {}};
  environment_.trainer = FakeTrainerPath();
  environment_.attempts_directory = directory_ / "attempts";
  // The directory's name is unlike that of any other test at the same time.
  environment_.mark_prefix = absl::StrCat("agent-test", directory_.path(), "/");
  environment_.environment = {"PATH=/usr/bin:/bin"};
  environment_.grace = absl::Seconds(20);
  SyncOptions options;
  options.incarnation = "incarnation-1";
  options.version = "test";
  options.retry = {.initial = absl::Milliseconds(20), .maximum = absl::Milliseconds(50)};
  loop_ = std::make_unique<SyncLoop>(options, environment_);
}

AgentFixture::~AgentFixture() {
  if (thread_.joinable()) {
    loop_->Leave();
    thread_.join();
  }
  // A test that failed must not leave trainers behind.
  loop_.reset();
}

seam::Assignment AgentFixture::MakeAssignment(const std::string& job, int32_t attempt,
                                              const std::string& script) {
  seam::Assignment assignment;
  assignment.set_job("fineTuneJobs/" + job);
  assignment.set_attempt(attempt);
  assignment.set_desired(seam::Assignment::RUN);
  assignment.add_device_ids("cpu:0");
  api::FineTuneSpec* spec = assignment.mutable_spec();
  spec->set_display_name(script);
  spec->set_base_model("tiny");
  spec->mutable_dataset()->set_training(service_.AddFile("{\"text\": \"some words\"}\n"));
  spec->set_max_sequence_length(16);
  spec->mutable_training()->set_max_steps(5);
  spec->mutable_resources()->set_device("cpu");
  return assignment;
}

AttemptId AgentFixture::Assign(const seam::Assignment& assignment) {
  service_.Assign(assignment);
  return {assignment.job(), assignment.attempt()};
}

void AgentFixture::StartLoop() {
  thread_ = std::thread([this] { result_ = loop_->Run(); });
}

absl::Status AgentFixture::JoinLoop() {
  thread_.join();
  return result_;
}

bool AgentFixture::WaitForState(const AttemptId& id, seam::AttemptStatus::State state) {
  const bool seen = Eventually([&] {
    const auto status = service_.ReportedStatus(id);
    return status.has_value() && status->state() == state;
  });
  const auto status = service_.ReportedStatus(id);
  if (!seen && status.has_value()) ADD_FAILURE() << "last reported: " << status->DebugString();
  return seen;
}

std::vector<pid_t> AgentFixture::Processes() const {
  std::vector<pid_t> pids;
  for (const ProcessEntry& entry : ListProcesses()) {
    const auto mark = ReadEnvironment(entry.pid, kAttemptVariable);
    if (entry.state != 'Z' && mark.has_value() &&
        absl::StartsWith(*mark, environment_.mark_prefix)) {
      pids.push_back(entry.pid);
    }
  }
  return pids;
}

std::string AgentFixture::AttemptPath(const AttemptId& id) const {
  return AttemptDirectory(environment_.attempts_directory, id).path();
}

}  // namespace longlora::worker
