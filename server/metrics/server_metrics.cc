#include "server/metrics/server_metrics.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "server/store/stored_job.h"

namespace longlora::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Watch streams last as long as jobs, commits as long as a disk takes: each has the range it needs.
const prometheus::Histogram::BucketBoundaries kCallSeconds = {
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600};
const prometheus::Histogram::BucketBoundaries kCommitSeconds = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5};

// One family that is filled sample by sample.
class FamilyBuilder {
 public:
  FamilyBuilder(std::string name, std::string help, MetricType type) {
    family_.name = std::move(name);
    family_.help = std::move(help);
    family_.type = type;
  }
  FamilyBuilder& Add(double value) {
    family_.metric.push_back(Sample(value));
    return *this;
  }
  FamilyBuilder& Add(std::vector<ClientMetric::Label> labels, double value) {
    ClientMetric sample = Sample(value);
    sample.label = std::move(labels);
    family_.metric.push_back(std::move(sample));
    return *this;
  }
  FamilyBuilder& Add(std::string label, std::string label_value, double value) {
    return Add({{std::move(label), std::move(label_value)}}, value);
  }
  MetricFamily Build() { return std::move(family_); }

 private:
  ClientMetric Sample(double value) const {
    ClientMetric sample;
    if (family_.type == MetricType::Counter) {
      sample.counter.value = value;
    } else {
      sample.gauge.value = value;
    }
    return sample;
  }
  MetricFamily family_;
};

FamilyBuilder Gauge(std::string name, std::string help) {
  return FamilyBuilder(std::move(name), std::move(help), MetricType::Gauge);
}
FamilyBuilder Counter(std::string name, std::string help) {
  return FamilyBuilder(std::move(name), std::move(help), MetricType::Counter);
}

double ToDouble(int64_t value) { return static_cast<double>(value); }

void AddServiceFamilies(const SchedulerSnapshot& snapshot, std::vector<MetricFamily>& families) {
  FamilyBuilder jobs = Gauge("longlora_jobs", "Stored jobs by state.");
  for (const auto& [state, count] : snapshot.jobs_by_state) {
    jobs.Add("state", absl::AsciiStrToLower(v1::FineTuneJob::State_Name(state)), ToDouble(count));
  }
  const auto queued = snapshot.jobs_by_state.find(v1::FineTuneJob::QUEUED);
  FamilyBuilder queue = Gauge("longlora_queue_length", "Jobs that wait for devices.");
  queue.Add(queued == snapshot.jobs_by_state.end() ? 0.0 : ToDouble(queued->second));
  FamilyBuilder workers = Gauge("longlora_workers", "Known workers by state of their lease.");
  workers.Add("state", "connected", ToDouble(snapshot.workers_connected));
  workers.Add("state", "lost", ToDouble(snapshot.workers_lost));
  int64_t used = 0;
  int64_t total = 0;
  for (const auto& [kind, count] : snapshot.devices) {
    used += count.used;
    total += count.total;
  }
  FamilyBuilder devices = Gauge("longlora_devices", "Devices of connected workers by use.");
  devices.Add("state", "busy", ToDouble(used));
  devices.Add("state", "free", ToDouble(total - used));
  families.push_back(jobs.Build());
  families.push_back(queue.Build());
  families.push_back(workers.Build());
  families.push_back(devices.Build());
}

void AddCounterFamilies(const SchedulerCounters& counters, std::vector<MetricFamily>& families) {
  FamilyBuilder attempts = Counter(
      "longlora_attempts_total",
      "Attempts that ended, by outcome: succeeded, cancelled, or the reason of the failure.");
  for (const auto& [outcome, count] : counters.attempts_ended) {
    attempts.Add("outcome", absl::AsciiStrToLower(outcome), ToDouble(count));
  }
  FamilyBuilder events = Counter("longlora_events_total", "Events that became durable, by type.");
  for (const auto& [type, count] : counters.events_recorded) {
    events.Add("type", type, ToDouble(count));
  }
  FamilyBuilder tokens = Counter("longlora_tokens_total", "Tokens trained by all jobs.");
  tokens.Add(ToDouble(counters.tokens_trained));
  families.push_back(attempts.Build());
  families.push_back(events.Build());
  families.push_back(tokens.Build());
}

void AddQueueFamilies(const SchedulerSnapshot& snapshot, std::vector<MetricFamily>& families) {
  FamilyBuilder used = Gauge("longlora_queue_devices_used", "Devices that a queue's jobs have.");
  FamilyBuilder nominal =
      Gauge("longlora_queue_devices_nominal", "Devices that a queue can always have.");
  FamilyBuilder usage = Gauge("longlora_queue_weighted_usage_seconds",
                              "Decayed device-seconds of a queue over its weight.");
  FamilyBuilder running = Gauge("longlora_queue_running_jobs", "Jobs of a queue with devices.");
  FamilyBuilder waiting = Gauge("longlora_queue_waiting_jobs", "Jobs of a queue that wait.");
  FamilyBuilder seconds =
      Counter("longlora_device_seconds_total",
              "Device-seconds of ended attempts, by queue and by what the devices did.");
  for (const v1::Queue& queue : snapshot.queues) {
    const std::string name(absl::StripPrefix(queue.name(), "queues/"));
    usage.Add("queue", name, queue.weighted_usage());
    running.Add("queue", name, queue.running_job_count());
    waiting.Add("queue", name, queue.queued_job_count());
    for (const v1::DeviceQuota& quota : queue.quotas()) {
      used.Add({{"queue", name}, {"kind", quota.kind()}}, quota.used());
      nominal.Add({{"queue", name}, {"kind", quota.kind()}}, quota.nominal());
    }
  }
  for (const auto& [queue, ledger] : snapshot.counters.ledgers) {
    for (const auto& [what, amount] : UsesOf(ledger)) {
      seconds.Add({{"queue", queue}, {"use", what}}, amount);
    }
  }
  FamilyBuilder preempted =
      Counter("longlora_preemptions_total", "Jobs that had to make room for another.");
  preempted.Add(ToDouble(snapshot.counters.jobs_preempted));
  for (FamilyBuilder* family :
       {&used, &nominal, &usage, &running, &waiting, &seconds, &preempted}) {
    families.push_back(family->Build());
  }
}

void AddJobFamilies(const std::vector<LiveJobSnapshot>& jobs, std::vector<MetricFamily>& families) {
  FamilyBuilder step = Gauge("longlora_job_step", "Optimizer steps done by a live job.");
  FamilyBuilder total = Gauge("longlora_job_total_steps", "Optimizer steps of the whole job.");
  FamilyBuilder loss = Gauge("longlora_job_loss", "Training loss of the last step, in nats.");
  FamilyBuilder validation =
      Gauge("longlora_job_validation_loss", "Loss of the last evaluation, in nats.");
  FamilyBuilder gap =
      Gauge("longlora_job_fidelity_gap",
            "Validation loss with the training pattern less that with dense attention, in nats.");
  FamilyBuilder skipped = Gauge("longlora_job_skipped_steps",
                                "Steps without an update, for want of a finite loss or gradient.");
  FamilyBuilder rate = Gauge("longlora_job_learning_rate", "Learning rate of the last step.");
  FamilyBuilder speed =
      Gauge("longlora_job_tokens_per_second", "Tokens trained a second in the last step.");
  FamilyBuilder memory =
      Gauge("longlora_job_memory_peak_bytes", "Peak memory of the job's first rank.");
  FamilyBuilder checkpoint = Gauge("longlora_job_last_checkpoint_timestamp_seconds",
                                   "When the newest checkpoint was stored, Unix time.");
  for (const LiveJobSnapshot& job : jobs) {
    const v1::Progress& progress = job.progress;
    step.Add("job", job.id, ToDouble(progress.step()));
    total.Add("job", job.id, ToDouble(progress.total_steps()));
    // Before the first step there is no loss; 0 would read as a perfect one.
    if (progress.step() > 0) {
      loss.Add("job", job.id, progress.loss());
      rate.Add("job", job.id, progress.learning_rate());
      speed.Add("job", job.id, progress.tokens_per_second());
      memory.Add("job", job.id, ToDouble(progress.memory_peak_bytes()));
    }
    skipped.Add("job", job.id, ToDouble(progress.skipped_steps()));
    if (progress.has_fidelity_gap()) gap.Add("job", job.id, progress.fidelity_gap());
    if (progress.has_validation_loss()) validation.Add("job", job.id, progress.validation_loss());
    if (job.last_checkpoint_time.has_value()) {
      checkpoint.Add("job", job.id,
                     absl::ToDoubleSeconds(*job.last_checkpoint_time - absl::UnixEpoch()));
    }
  }
  for (FamilyBuilder* family :
       {&step, &total, &loss, &validation, &gap, &skipped, &rate, &speed, &memory, &checkpoint}) {
    families.push_back(family->Build());
  }
}

}  // namespace

ServerMetrics::ServerMetrics(absl::string_view version, std::function<SchedulerSnapshot()> snapshot)
    : version_(version),
      snapshot_(std::move(snapshot)),
      call_seconds_(prometheus::BuildHistogram()
                        .Name("longlora_grpc_server_call_duration_seconds")
                        .Help("Time from a call's arrival to its status, by method and code.")
                        .Register(registry_)),
      commit_seconds_(prometheus::BuildHistogram()
                          .Name("longlora_store_commit_duration_seconds")
                          .Help("Time that one commit of the job store took.")
                          .Register(registry_)
                          .Add({}, kCommitSeconds)) {}

void ServerMetrics::ObserveCall(absl::string_view method, absl::string_view code,
                                absl::Duration duration) {
  call_seconds_.Add({{"method", std::string(method)}, {"code", std::string(code)}}, kCallSeconds)
      .Observe(absl::ToDoubleSeconds(duration));
}

void ServerMetrics::ObserveCommit(absl::Duration duration) {
  commit_seconds_.Observe(absl::ToDoubleSeconds(duration));
}

std::vector<prometheus::MetricFamily> ServerMetrics::Collect() const {
  std::vector<MetricFamily> families = registry_.Collect();
  families.push_back(Gauge("longlora_build_info", "The server that answers; always 1.")
                         .Add("version", version_, 1.0)
                         .Build());
  const SchedulerSnapshot snapshot = snapshot_();
  AddServiceFamilies(snapshot, families);
  AddCounterFamilies(snapshot.counters, families);
  AddQueueFamilies(snapshot, families);
  AddJobFamilies(snapshot.live_jobs, families);
  return families;
}

}  // namespace longlora::server
