#include "tests/simulation/simulated_users.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "rpc/grpc_status.h"

namespace longlora::simulation {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(5);

bool IsPassing(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
}

}  // namespace

SimulatedUsers::SimulatedUsers(World* world, SimulatedServer* server,
                               std::vector<std::string> workers, int devices_max)
    : world_(world),
      server_(server),
      workers_(std::move(workers)),
      devices_max_(devices_max),
      random_(world->random.Split()),
      process_(world->fibers.MakeProcess("users")),
      jobs_(static_cast<int>(random_.Between(1, 6))) {}

SimulatedUsers::~SimulatedUsers() { world_->fibers.Kill(process_); }

void SimulatedUsers::Spawn(std::string name, std::function<void()> body) {
  ++busy_;
  world_->fibers.Spawn(process_, std::move(name), [this, body = std::move(body)] {
    body();
    --busy_;
  });
}

void SimulatedUsers::Sleep(absl::Duration low, absl::Duration high) {
  world_->fibers.Sleep(random_.Between(low, high));
}

void SimulatedUsers::CalmDown() {
  calm_ = true;
  world_->fibers.Touch(process_);
}

void SimulatedUsers::Start() {
  for (int number = 1; number <= jobs_; ++number) {
    Spawn(absl::StrCat("owner ", number), [this, number] { OwnJob(number); });
  }
  if (world_->faults.operators) Spawn("operator", [this] { Operate(); });
}

grpc::Status SimulatedUsers::Try(const std::string& what,
                                 const std::function<absl::StatusOr<Job>(server::Scheduler&)>& ask,
                                 Job* job) {
  const auto handle = [server = server_, ask](Job* answer) {
    absl::StatusOr<Job> made = ask(server->scheduler());
    if (!made.ok()) return rpc::ToGrpcStatus(made.status());
    *answer = *std::move(made);
    return grpc::Status::OK;
  };
  const grpc::Status status = world_->network.Call<Job>(
      {process_, &cable_}, {.what = what, .timeout = kCallTimeout}, handle, job);
  if (world_->trace.on()) {
    world_->trace.Add("user: ", what, " ",
                      status.ok() ? Job::State_Name(job->state()) : status.error_message());
  }
  return status;
}

grpc::Status SimulatedUsers::Insist(
    const std::string& what, const std::function<absl::StatusOr<Job>(server::Scheduler&)>& ask,
    Job* job) {
  while (true) {
    const grpc::Status status = Try(what, ask, job);
    if (!IsPassing(status) || process_->dead) return status;
    Sleep(absl::Milliseconds(200), absl::Seconds(2));
  }
}

v1::FineTuneSpec SimulatedUsers::MakeSpec(int number) {
  v1::FineTuneSpec spec;
  spec.set_display_name(absl::StrCat("job ", number));
  spec.set_base_model("tiny");
  spec.mutable_dataset()->set_training(server_->dataset());
  spec.set_max_sequence_length(16);
  spec.mutable_training()->set_max_steps(random_.Between(1, 10));
  spec.mutable_checkpoint()->set_interval_steps(random_.Between(0, 4));
  spec.mutable_checkpoint()->set_keep_last(random_.Between(1, 2));
  spec.mutable_resources()->set_device("cpu");
  spec.mutable_resources()->set_devices_per_node(
      static_cast<int32_t>(random_.Between(1, devices_max_)));
  if (random_.Chance(0.3)) spec.set_priority(static_cast<int32_t>(random_.Between(-5, 5)));
  if (spec.resources().devices_per_node() <= kLimitedQueueNominal + kLimitedQueueBorrows &&
      random_.Chance(0.4)) {
    spec.set_queue(kLimitedQueue);
  }
  return spec;
}

std::string SimulatedUsers::Submit(const v1::FineTuneSpec& spec, const std::string& request_id) {
  Job job;
  while (!process_->dead) {
    const grpc::Status status = Insist(
        absl::StrCat("submit ", request_id),
        [spec, request_id](server::Scheduler& scheduler) {
          return scheduler.Submit({spec, request_id, false});
        },
        &job);
    if (status.ok()) {
      world_->invariants.OnSubmitted(request_id, job.name());
      return job.name();
    }
    // Before the first worker came nobody has the model.
    Sleep(absl::Seconds(1), absl::Seconds(2));
  }
  return "";
}

void SimulatedUsers::OwnJob(int number) {
  Sleep(absl::ZeroDuration(), absl::Seconds(15));
  const v1::FineTuneSpec spec = MakeSpec(number);
  const std::string request_id = absl::StrCat("request-", number);
  const std::string job = Submit(spec, request_id);
  if (process_->dead) return;
  Spawn(absl::StrCat("watcher ", number), [this, job] { Watch(job); });
  if (random_.Chance(0.3)) {
    Sleep(absl::ZeroDuration(), absl::Seconds(10));
    Submit(spec, request_id);
  }
  const int64_t wishes = random_.Chance(0.5) ? 0 : random_.Between(1, 4);
  for (int64_t i = 0; i < wishes && !process_->dead; ++i) {
    Sleep(absl::Milliseconds(100), absl::Seconds(12));
    Meddle(job);
  }
  world_->fibers.WaitFor([this] { return calm_ || process_->dead; }, absl::InfiniteDuration());
  SeeThrough(job);
  if (random_.Chance(0.2)) Delete(job);
}

void SimulatedUsers::Meddle(const std::string& job) {
  static constexpr server::JobTrigger kWishes[] = {
      server::JobTrigger::kPause, server::JobTrigger::kPause, server::JobTrigger::kResume,
      server::JobTrigger::kResume, server::JobTrigger::kCancel};
  const server::JobTrigger trigger = kWishes[random_.Between(0, std::size(kWishes) - 1)];
  Job seen;
  const auto ask = [job, trigger](server::Scheduler& scheduler) {
    return scheduler.Ask(trigger, job, "");
  };
  const std::string what = absl::StrCat(server::JobTriggerName(trigger), " ", job);
  // Some give up.
  if (random_.Chance(0.5)) {
    Try(what, ask, &seen);
  } else {
    Insist(what, ask, &seen);
  }
}

// Until the job is final.
void SimulatedUsers::SeeThrough(const std::string& job) {
  while (!process_->dead) {
    Job seen;
    const grpc::Status status = Insist(
        absl::StrCat("get ", job),
        [job](server::Scheduler& scheduler) { return scheduler.GetJob(job); }, &seen);
    if (!status.ok() || server::IsFinal(seen.state())) return;
    if (seen.state() == Job::PAUSED) {
      Insist(
          absl::StrCat("resume ", job),
          [job](server::Scheduler& scheduler) {
            return scheduler.Ask(server::JobTrigger::kResume, job, "");
          },
          &seen);
    }
    Sleep(absl::Seconds(1), absl::Seconds(5));
  }
}

// As FineTuneService does: the job, then its files.
void SimulatedUsers::Delete(const std::string& job) {
  world_->invariants.OnDeleteAsked(job);
  Job none;
  Insist(
      absl::StrCat("delete ", job),
      [server = server_, job](server::Scheduler& scheduler) -> absl::StatusOr<Job> {
        const absl::Status deleted = scheduler.Delete(job, "", /*force=*/true);
        if (!deleted.ok()) return deleted;
        const absl::Status removed =
            server->RemoveArtifacts(std::string(absl::StripPrefix(job, "fineTuneJobs/")));
        if (!removed.ok()) return removed;
        return Job();
      },
      &none);
}

void SimulatedUsers::Watch(std::string job) {
  int64_t seen = 0;
  while (!process_->dead) {
    const int64_t after = seen;
    const auto limit = static_cast<int32_t>(random_.Between(1, 40));
    server::EventPage page;
    const grpc::Status status = world_->network.Call<server::EventPage>(
        {process_, &cable_}, {.what = "watch", .timeout = kCallTimeout},
        [server = server_, job, after, limit](server::EventPage* answer) {
          auto read = server->events().Read(job, after, limit);
          if (!read.ok()) return rpc::ToGrpcStatus(read.status());
          *answer = *std::move(read);
          return grpc::Status::OK;
        },
        &page);
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) return;
    if (status.ok()) {
      world_->invariants.OnWatched(job, after, page);
      seen += static_cast<int64_t>(page.events.size());
      if (page.job_is_final && seen == page.last_event_sequence) return;
      if (!page.events.empty() && seen < page.last_event_sequence) continue;
    } else if (!IsPassing(status) && !process_->dead) {
      world_->invariants.Violate("a watcher of ", job, " after ", after,
                                 " is refused: ", status.error_message());
      return;
    }
    Sleep(absl::Seconds(1), absl::Seconds(5));
  }
}

void SimulatedUsers::Operate() {
  const auto set = [this](const std::string& worker, v1::Worker::Scheduling scheduling) {
    Job none;
    return Insist(
        absl::StrCat(v1::Worker::Scheduling_Name(scheduling), " ", worker),
        [worker, scheduling](server::Scheduler& scheduler) -> absl::StatusOr<Job> {
          const auto made = scheduler.SetScheduling(absl::StrCat("workers/", worker), scheduling);
          if (!made.ok()) return made.status();
          return Job();
        },
        &none);
  };
  while (!calm_ && !process_->dead) {
    world_->fibers.WaitFor([this] { return calm_ || process_->dead; },
                           random_.Between(absl::Seconds(2), absl::Seconds(15)));
    static constexpr v1::Worker::Scheduling kWishes[] = {
        v1::Worker::OPEN, v1::Worker::OPEN, v1::Worker::CORDONED, v1::Worker::DRAINING};
    set(workers_[static_cast<size_t>(
            random_.Between(0, static_cast<int64_t>(workers_.size()) - 1))],
        kWishes[random_.Between(0, std::size(kWishes) - 1)]);
  }
  // What was sent before may come as late as this.
  world_->fibers.Sleep(kLateMax);
  for (const std::string& worker : workers_) set(worker, v1::Worker::OPEN);
}

}  // namespace longlora::simulation
