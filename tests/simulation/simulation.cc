#include "tests/simulation/simulation.h"

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/io/sha256.h"
#include "common/threads/threads.h"
#include "tests/simulation/simulated_server.h"
#include "tests/simulation/simulated_users.h"
#include "tests/simulation/simulated_worker.h"

namespace longlora::simulation {
namespace {

// After the faults are over, everything must have come to rest within this virtual time.
constexpr absl::Duration kRestMax = absl::Seconds(400);
constexpr int32_t kEventsMax = 100'000;
constexpr int32_t kJobsMax = 1000;

class Simulation {
 public:
  explicit Simulation(World* world) : world_(*world), random_(world->random.Split()) {
    server_ = std::make_unique<SimulatedServer>(world);
    const int64_t workers = random_.Between(1, 3);
    std::vector<std::string> names;
    int devices_max = 0;
    for (int64_t i = 1; i <= workers; ++i) {
      names.push_back(absl::StrCat("w", i));
      const int devices = static_cast<int>(random_.Between(1, 4));
      devices_max = std::max(devices_max, devices);
      workers_.push_back(
          std::make_unique<SimulatedWorker>(world, server_.get(), names.back(), devices));
    }
    users_ = std::make_unique<SimulatedUsers>(world, server_.get(), names, devices_max);
  }

  Outcome Run() {
    server_->Start();
    for (const auto& worker : workers_) {
      world_.fibers.After(random_.Between(absl::ZeroDuration(), absl::Seconds(3)),
                          [&worker = *worker] { worker.Start(); });
    }
    users_->Start();
    world_.fibers.After(random_.Between(absl::Seconds(1), absl::Seconds(6)),
                        [this] { NextFault(); });
    calm_at_ = random_.Between(absl::Seconds(15), absl::Seconds(50));
    world_.fibers.At(calm_at_, [this] { CalmDown(); });
    world_.fibers.At(calm_at_ + kRestMax, [this] { DoesNotRest(); });
    world_.fibers.Run([this] {
      server_->Settle();
      return world_.invariants.violation().has_value() || IsAtRest();
    });
    if (!world_.invariants.violation().has_value()) CheckAtRest();
    Outcome outcome;
    outcome.violation = world_.invariants.violation();
    outcome.digest = world_.fibers.digest();
    outcome.coverage = coverage_;
    outcome.coverage.jobs = users_->jobs();
    outcome.coverage.calls = world_.network.calls();
    outcome.coverage.steps = world_.fibers.steps();
    outcome.coverage.time = world_.fibers.now();
    return outcome;
  }

 private:
  SimulatedWorker& AnyWorker() {
    return *workers_[static_cast<size_t>(
        random_.Between(0, static_cast<int64_t>(workers_.size()) - 1))];
  }
  absl::Duration Absence() { return random_.Between(absl::ZeroDuration(), absl::Seconds(15)); }

  void NextFault() {
    if (world_.fibers.now() >= calm_at_) return;
    std::vector<std::function<void()>> faults;
    AddDeaths(faults);
    AddDisturbances(faults);
    if (faults.empty()) return;
    faults[static_cast<size_t>(random_.Between(0, static_cast<int64_t>(faults.size()) - 1))]();
    world_.fibers.After(random_.Between(absl::Milliseconds(100), absl::Seconds(8)),
                        [this] { NextFault(); });
  }

  void AddDeaths(std::vector<std::function<void()>>& faults) {
    const Faults& wanted = world_.faults;
    if (wanted.server_crash) {
      faults.push_back([this] {
        ++coverage_.server_deaths;
        server_->Crash(Absence());
      });
    }
    if (wanted.worker_crash) {
      faults.push_back([this] {
        ++coverage_.worker_deaths;
        AnyWorker().Crash(Absence());
      });
    }
    if (wanted.worker_leave) {
      faults.push_back([this] {
        ++coverage_.other_faults;
        AnyWorker().Leave(Absence());
      });
    }
  }

  void Disturb(std::vector<std::function<void()>>& faults, bool wanted,
               std::function<void()> fault) {
    if (!wanted) return;
    faults.push_back([this, fault = std::move(fault)] {
      ++coverage_.other_faults;
      fault();
    });
  }

  void AddDisturbances(std::vector<std::function<void()>>& faults) {
    const Faults& wanted = world_.faults;
    const absl::Duration now = world_.fibers.now();
    Disturb(faults, wanted.partition, [this, now] {
      SimulatedWorker& worker = AnyWorker();
      const absl::Duration length = random_.Between(absl::Milliseconds(500), absl::Seconds(25));
      world_.trace.Add(worker.name(), " is cut off for ", absl::FormatDuration(length));
      worker.cable().down_until = now + length;
    });
    Disturb(faults, wanted.server_stall, [this, now] {
      const absl::Duration length = random_.Between(absl::Milliseconds(100), absl::Seconds(15));
      world_.trace.Add("the server stands still for ", absl::FormatDuration(length));
      if (server_->process() != nullptr) server_->process()->stopped_until = now + length;
    });
    Disturb(faults, wanted.worker_stall, [this, now] {
      SimulatedWorker& worker = AnyWorker();
      if (worker.process() != nullptr && worker.process()->stopped_until > now) return;
      const absl::Duration length = random_.Between(absl::Milliseconds(100), kWorkerStallMax);
      world_.trace.Add(worker.name(), " stands still for ", absl::FormatDuration(length));
      if (worker.process() != nullptr) worker.process()->stopped_until = now + length;
    });
    Disturb(faults, wanted.worker_freeze, [this, now] {
      SimulatedWorker& worker = AnyWorker();
      const absl::Duration end = now + random_.Between(absl::Seconds(2), absl::Seconds(30));
      world_.trace.Add(worker.name(), " freezes for ", absl::FormatDuration(end - now));
      if (worker.process() == nullptr) return;
      worker.process()->stopped_until = end;
      // Often what froze it took the network, too.
      if (random_.Chance(0.5)) {
        worker.cable().down_until = end + random_.Between(absl::ZeroDuration(), absl::Seconds(20));
      }
      // Until it has noticed, and what it kills is gone.
      const absl::Duration thawed = end + kKillDelayMax + kWorkerStallMax;
      world_.invariants.OnWorkerFrozen(worker.name(), thawed);
      world_.fibers.At(thawed, [this, name = worker.name(), thawed] {
        world_.invariants.OnWorkerThawed(name, thawed);
      });
    });
    Disturb(faults, wanted.server_disk_full, [this, now] {
      const absl::Duration length = random_.Between(absl::Milliseconds(100), absl::Seconds(8));
      world_.trace.Add("the server's disk is full for ", absl::FormatDuration(length));
      if (server_->process() != nullptr) server_->process()->disk_full_until = now + length;
    });
    Disturb(faults, wanted.worker_disk_full, [this, now] {
      SimulatedWorker& worker = AnyWorker();
      const absl::Duration length = random_.Between(absl::Milliseconds(100), absl::Seconds(8));
      world_.trace.Add("the disk of ", worker.name(), " is full for ",
                       absl::FormatDuration(length));
      if (worker.process() != nullptr) worker.process()->disk_full_until = now + length;
    });
    Disturb(faults, wanted.date_jump, [this] {
      const absl::Duration jump = random_.Between(-absl::Hours(48), absl::Hours(48));
      world_.trace.Add("a date jumps by ", absl::FormatDuration(jump));
      (random_.Chance(0.5) ? server_->clock() : AnyWorker().clock()).Jump(jump);
    });
  }

  void CalmDown() {
    world_.trace.Add("no more faults");
    calm_ = true;
    world_.faults.Stop();
    std::vector<Process*> processes = {server_->process()};
    for (const auto& worker : workers_) {
      worker->cable().down_until = absl::ZeroDuration();
      processes.push_back(worker->process());
    }
    for (Process* const process : processes) {
      if (process == nullptr) continue;
      process->disk_full_until = absl::ZeroDuration();
      process->stopped_until = std::min(process->stopped_until, world_.fibers.now());
    }
    users_->CalmDown();
  }

  bool IsAtRest() const {
    if (!calm_ || !users_->done() || !world_.invariants.AllFinal() ||
        !world_.invariants.trainers().empty() || server_->process() == nullptr) {
      return false;
    }
    for (const auto& worker : workers_) {
      if (worker->process() == nullptr || worker->HasFiles()) return false;
    }
    return true;
  }

  void DoesNotRest() {
    std::string text =
        absl::StrCat("no rest ", absl::FormatDuration(kRestMax), " after the last fault");
    for (const server::StoredJob& job : Stored()) {
      if (server::IsFinal(job.record.job().state())) continue;
      absl::StrAppend(&text, "; ", job.id, " is ",
                      v1::FineTuneJob::State_Name(job.record.job().state()));
    }
    for (const auto& worker : workers_) {
      if (worker->HasFiles()) absl::StrAppend(&text, "; files of attempts lie on ", worker->name());
    }
    if (!users_->done()) absl::StrAppend(&text, "; users wait");
    world_.trace.Add(world_.fibers.Describe());
    world_.invariants.Violate(text);
  }

  std::vector<server::StoredJob> Stored() {
    server::JobQuery all;
    all.limit = kJobsMax;
    auto stored = server_->auditor().ListJobs(all);
    if (!stored.ok())
      world_.invariants.Violate("the store cannot be read: ", stored.status().ToString());
    return stored.ok() ? *std::move(stored) : std::vector<server::StoredJob>();
  }

  void CheckAtRest() {
    const std::vector<server::StoredJob> stored = Stored();
    std::map<std::string, std::vector<v1::JobEvent>> events;
    for (const server::StoredJob& job : stored) {
      auto page = server_->auditor().ReadEvents(job.id, 0, kEventsMax);
      if (page.ok()) events[job.id] = std::move(page->events);
      coverage_.events += static_cast<int64_t>(events[job.id].size());
      coverage_.attempts += job.record.job().attempts_size();
      if (job.record.job().state() == v1::FineTuneJob::SUCCEEDED) ++coverage_.succeeded;
      for (const v1::Attempt& attempt : job.record.job().attempts()) {
        if (attempt.start_step() > 0) ++coverage_.resumed;
        ++coverage_.attempt_ends[attempt.state() == v1::Attempt::FAILED
                                     ? attempt.failure().reason()
                                     : v1::Attempt::State_Name(attempt.state())];
      }
    }
    world_.invariants.CheckAtRest(
        stored, events,
        [](const v1::FineTuneJob& job) {
          return common::Sha256Hex(WeightsAfter(job.name(), job.spec().training().max_steps()));
        },
        server_->artifacts());
  }

  World& world_;
  Random random_;
  std::unique_ptr<SimulatedServer> server_;
  std::vector<std::unique_ptr<SimulatedWorker>> workers_;
  std::unique_ptr<SimulatedUsers> users_;
  absl::Duration calm_at_;
  bool calm_ = false;
  Coverage coverage_;
};

}  // namespace

void Coverage::Add(const Coverage& other) {
  jobs += other.jobs;
  succeeded += other.succeeded;
  attempts += other.attempts;
  events += other.events;
  calls += other.calls;
  server_deaths += other.server_deaths;
  worker_deaths += other.worker_deaths;
  other_faults += other.other_faults;
  steps += other.steps;
  resumed += other.resumed;
  for (const auto& [end, count] : other.attempt_ends) attempt_ends[end] += count;
  time += other.time;
}

Outcome Simulate(uint64_t seed, const Ground& ground, bool traced) {
  const std::string directory = absl::StrCat(ground.directory, "/world");
  std::error_code error;
  std::filesystem::remove_all(directory, error);
  std::filesystem::create_directories(directory, error);
  World world(seed, traced, ground, directory);
  common::Threads::Replace(&world.fibers);
  Outcome outcome;
  {
    Simulation simulation(&world);
    outcome = simulation.Run();
  }
  common::Threads::Replace(nullptr);
  return outcome;
}

}  // namespace longlora::simulation
