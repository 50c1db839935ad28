// A scheduler on a real SQLite store with a clock, ids and workers that the test moves by hand. A
// FakeWorker is the protocol and nothing else: it reports what the test says it has.
#ifndef LONGLORA_TESTS_SERVER_SCHEDULER_SCHEDULER_FIXTURE_H_
#define LONGLORA_TESTS_SERVER_SCHEDULER_SCHEDULER_FIXTURE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/time/fake_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rpc/grpc_status.h"
#include "server/scheduler/scheduler.h"
#include "server/store/sqlite_job_store.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {

using ::longlora::testing::IsOk;
using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using worker::v1::Assignment;
using worker::v1::AttemptStatus;
using Job = v1::FineTuneJob;

inline std::string ReasonOf(const absl::Status& status) {
  return rpc::GetErrorDetails(status).reason;
}
template <typename T>
std::string ReasonOf(const absl::StatusOr<T>& status) {
  return ReasonOf(status.status());
}

// Thread-safe, as every generator.
class CountingIds : public common::IdGenerator {
 public:
  std::string RandomSuffix(int length) override {
    return absl::StrFormat("%0*d", length, int{++count_});
  }
  std::string Uuid() override {
    return absl::StrFormat("00000000-0000-4000-8000-%012d", int{++count_});
  }

 private:
  std::atomic<int> count_ = 0;
};

inline v1::FineTuneSpec MakeSpec(int devices = 1, const std::string& name = "job") {
  v1::FineTuneSpec spec;
  spec.set_display_name(name);
  spec.set_base_model("tiny");
  spec.mutable_resources()->set_device("cpu");
  spec.mutable_resources()->set_devices_per_node(devices);
  return spec;
}

class FakeWorker {
 public:
  FakeWorker(std::string name, int devices, std::vector<std::string> models = {"tiny"}) {
    report_.set_worker(std::move(name));
    report_.set_incarnation("first");
    for (int i = 0; i < devices; ++i) {
      v1::Device& device = *report_.add_devices();
      device.set_id(absl::StrCat("cpu:", i));
      device.set_kind("cpu");
    }
    for (std::string& model : models) report_.add_models(std::move(model));
  }

  // What the next report says.
  worker::v1::SynchronizeRequest& report() { return report_; }
  const std::string& name() const { return report_.worker(); }
  void Restart(const std::string& incarnation) {
    report_.set_incarnation(incarnation);
    report_.clear_attempts();
  }
  // Puts an attempt into every report from now on.
  void Has(const std::string& job, int32_t attempt, AttemptStatus::State state,
           const std::string& reason = "") {
    Forget(job);
    AttemptStatus& status = *report_.add_attempts();
    status.set_job(job);
    status.set_attempt(attempt);
    status.set_state(state);
    if (!reason.empty()) {
      status.mutable_failure()->set_reason(reason);
      status.mutable_failure()->set_message("as the worker tells it");
    }
  }
  void Forget(const std::string& job) {
    auto& attempts = *report_.mutable_attempts();
    for (int i = attempts.size() - 1; i >= 0; --i) {
      if (attempts[i].job() == job) attempts.DeleteSubrange(i, 1);
    }
  }

 private:
  worker::v1::SynchronizeRequest report_;
};

inline worker::v1::ReportEventsRequest MakeEvents(const std::string& worker, const std::string& job,
                                                  int32_t attempt) {
  worker::v1::ReportEventsRequest request;
  request.set_worker(worker);
  request.set_job(job);
  request.set_attempt(attempt);
  return request;
}

inline void AddPrepared(worker::v1::ReportEventsRequest& request, int64_t sequence,
                        int64_t total_steps = 10) {
  worker::v1::AttemptEvent& event = *request.add_events();
  event.set_sequence(sequence);
  event.mutable_event()->mutable_prepared()->set_total_steps(total_steps);
}

inline void AddStep(worker::v1::ReportEventsRequest& request, int64_t sequence, int64_t step) {
  worker::v1::AttemptEvent& event = *request.add_events();
  event.set_sequence(sequence);
  v1::Step& body = *event.mutable_event()->mutable_step();
  body.set_step(step);
  body.set_loss(2.0 / static_cast<double>(step));
  body.set_tokens(1000);
  body.set_tokens_per_second(500.0);
}

inline v1::Artifact MakeArtifact(const std::string& path) {
  v1::Artifact artifact;
  artifact.set_path(path);
  artifact.set_size_bytes(10);
  artifact.set_sha256(std::string(64, 'a'));
  return artifact;
}

class SchedulerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.failed_attempts_max = 3;
    Start();
  }

  // Ends the server, as by a kill, and starts another on the same store. Nothing of the old one is
  // asked to be saved: everything it answered was durable.
  void Restart() {
    scheduler_.reset();
    store_.reset();
    Start();
  }
  void Start() {
    ASSERT_OK_AND_ASSIGN(store_, OpenSqliteJobStore(folder_ / "jobs.db"));
    ASSERT_OK_AND_ASSIGN(scheduler_,
                         Scheduler::Create(options_, {store_.get(), &hub_, &clock_, &ids_}));
  }

  std::string Submit(const v1::FineTuneSpec& spec = MakeSpec(),
                     const std::string& request_id = "") {
    const absl::StatusOr<Job> job = scheduler_->Submit({spec, request_id, false});
    EXPECT_THAT(job, IsOk());
    return job.ok() ? job->name() : "";
  }
  Job Get(const std::string& job) {
    absl::StatusOr<Job> found = scheduler_->GetJob(job);
    EXPECT_THAT(found, IsOk());
    return found.ok() ? *found : Job();
  }
  Job::State StateOf(const std::string& job) { return Get(job).state(); }
  std::vector<Assignment> Sync(FakeWorker& worker) {
    const auto response = scheduler_->Synchronize(worker.report());
    EXPECT_THAT(response, IsOk());
    if (!response.ok()) return {};
    return {response->assignments().begin(), response->assignments().end()};
  }
  // The worker takes the attempt and says so.
  void Accept(FakeWorker& worker, const std::string& job, int32_t attempt) {
    worker.Has(job, attempt, AttemptStatus::PREPARING);
    Sync(worker);
  }
  void Prepare(FakeWorker& worker, const std::string& job, int32_t attempt) {
    auto request = MakeEvents(worker.name(), job, attempt);
    AddPrepared(request, 1);
    ASSERT_OK(scheduler_->RecordEvents(request));
    worker.Has(job, attempt, AttemptStatus::RUNNING);
  }
  absl::StatusOr<std::vector<v1::Checkpoint>> CommitCheckpoint(FakeWorker& worker,
                                                               const std::string& job,
                                                               int32_t attempt, int64_t step) {
    worker::v1::CommitArtifactsRequest request;
    request.set_worker(worker.name());
    request.set_job(job);
    request.set_attempt(attempt);
    request.mutable_checkpoint()->set_step(step);
    *request.mutable_checkpoint()->add_artifacts() =
        MakeArtifact(absl::StrCat("checkpoints/step-", step, "/manifest.json"));
    return scheduler_->CommitArtifacts(request);
  }
  absl::Status CommitResults(FakeWorker& worker, const std::string& job, int32_t attempt) {
    worker::v1::CommitArtifactsRequest request;
    request.set_worker(worker.name());
    request.set_job(job);
    request.set_attempt(attempt);
    *request.mutable_results()->add_artifacts() = MakeArtifact("adapter/adapter_model.safetensors");
    return scheduler_->CommitArtifacts(request).status();
  }
  // Every event of the job; checks that there is no gap.
  std::vector<v1::JobEvent> Events(const std::string& job) {
    const auto page =
        store_->ReadEvents(job.substr(std::string("fineTuneJobs/").size()), 0, 100'000);
    EXPECT_THAT(page, IsOk());
    if (!page.ok()) return {};
    for (size_t i = 0; i < page->events.size(); ++i) {
      EXPECT_EQ(page->events[i].sequence(), static_cast<int64_t>(i) + 1);
    }
    EXPECT_EQ(static_cast<int64_t>(page->events.size()), page->last_event_sequence);
    return page->events;
  }
  std::vector<Job::State> StateHistory(const std::string& job) {
    std::vector<Job::State> states;
    for (const v1::JobEvent& event : Events(job)) {
      if (event.has_state_changed()) states.push_back(event.state_changed().state());
    }
    return states;
  }
  absl::Duration WholeLease() const { return options_.lease_duration + options_.lease_grace; }

  SchedulerOptions options_;
  testing::TemporaryDirectory folder_;
  common::FakeClock clock_;
  CountingIds ids_;
  EventHub hub_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<Scheduler> scheduler_;
};

// With a worker "a" of one device, which has said so.
class SchedulerWorkerFixture : public SchedulerTest {
 protected:
  void SetUp() override {
    SchedulerTest::SetUp();
    Sync(worker_);
  }
  // A job in its first attempt, RUNNING or else PREPARING.
  std::string StartJob(bool running = true) {
    const std::string job = Submit();
    Sync(worker_);
    Accept(worker_, job, 1);
    if (running) Prepare(worker_, job, 1);
    return job;
  }
  FakeWorker worker_{"a", 1};
};

}  // namespace longlora::server

#endif  // LONGLORA_TESTS_SERVER_SCHEDULER_SCHEDULER_FIXTURE_H_
