// Goal: the names and labels that dashboards rely on, and that series of a job go with the job.
// Method: a scheduler snapshot made by hand, rendered as Prometheus would see it. `promtool check
// metrics` runs against a live server in tests/server/api/server_binary_test.py.
#include "server/metrics/server_metrics.h"

#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <sstream>

#include "gmock/gmock.h"
#include "server/metrics/metrics_exporter.h"
#include "tests/testing/status_matchers.h"

namespace longlora::server {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Render(const ServerMetrics& metrics) {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, metrics.Collect());
  return out.str();
}

SchedulerSnapshot BusySnapshot() {
  SchedulerSnapshot snapshot;
  snapshot.jobs_by_state = {{v1::FineTuneJob::QUEUED, 3}, {v1::FineTuneJob::RUNNING, 1}};
  snapshot.workers_connected = 2;
  snapshot.workers_lost = 1;
  snapshot.devices["cuda"] = {8, 3};
  snapshot.devices["cpu"] = {2, 2};
  LiveJobSnapshot job;
  job.id = "books-abc";
  job.progress.set_step(7);
  job.progress.set_total_steps(20);
  job.progress.set_loss(2.5);
  job.progress.set_validation_loss(2.25);
  job.progress.set_fidelity_gap(0.125);
  job.progress.set_skipped_steps(3);
  job.last_checkpoint_time = absl::FromUnixSeconds(1'700'000'000);
  snapshot.live_jobs.push_back(job);
  snapshot.counters.attempts_ended = {{"SUCCEEDED", 4}, {"OUT_OF_MEMORY", 1}};
  snapshot.counters.events_recorded = {{"step", 70}};
  snapshot.counters.tokens_trained = 4096;
  snapshot.counters.jobs_preempted = 2;
  snapshot.counters.ledgers["research"].set_training(120.5);
  v1::Queue& queue = snapshot.queues.emplace_back();
  queue.set_name("queues/research");
  queue.set_weighted_usage(60.5);
  queue.set_running_job_count(1);
  queue.set_queued_job_count(3);
  v1::DeviceQuota& quota = *queue.add_quotas();
  quota.set_kind("cuda");
  quota.set_used(3);
  quota.set_nominal(8);
  return snapshot;
}

TEST(ServerMetricsTest, RendersTheSchedulersSnapshot) {
  const ServerMetrics metrics("1.2.3", BusySnapshot);
  const std::string text = Render(metrics);
  for (const char* line :
       {"longlora_build_info{version=\"1.2.3\"} 1\n",
        "longlora_jobs{state=\"queued\"} 3\n",
        "longlora_jobs{state=\"running\"} 1\n",
        "longlora_queue_length 3\n",
        "longlora_attempts_total{outcome=\"succeeded\"} 4\n",
        "longlora_queue_devices_used{queue=\"research\",kind=\"cuda\"} 3\n",
        "longlora_queue_devices_nominal{queue=\"research\",kind=\"cuda\"} 8\n",
        "longlora_queue_weighted_usage_seconds{queue=\"research\"} 60.5\n",
        "longlora_queue_running_jobs{queue=\"research\"} 1\n",
        "longlora_queue_waiting_jobs{queue=\"research\"} 3\n",
        "longlora_device_seconds_total{queue=\"research\",use=\"training\"} 120.5\n",
        "longlora_preemptions_total 2\n",
        "longlora_attempts_total{outcome=\"out_of_memory\"} 1\n",
        "longlora_workers{state=\"connected\"} 2\n",
        "longlora_workers{state=\"lost\"} 1\n",
        "longlora_devices{state=\"free\"} 5\n",
        "longlora_devices{state=\"busy\"} 5\n",
        "longlora_job_step{job=\"books-abc\"} 7\n",
        "longlora_job_total_steps{job=\"books-abc\"} 20\n",
        "longlora_job_loss{job=\"books-abc\"} 2.5\n",
        "longlora_job_validation_loss{job=\"books-abc\"} 2.25\n",
        "longlora_job_fidelity_gap{job=\"books-abc\"} 0.125\n",
        "longlora_job_skipped_steps{job=\"books-abc\"} 3\n",
        "longlora_job_last_checkpoint_timestamp_seconds{job=\"books-abc\"} 1700000000\n",
        "longlora_tokens_total 4096\n",
        "longlora_events_total{type=\"step\"} 70\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(ServerMetricsTest, SeriesOfAJobVanishWithIt) {
  SchedulerSnapshot snapshot = BusySnapshot();
  const ServerMetrics metrics("1", [&] { return snapshot; });
  ASSERT_THAT(Render(metrics), HasSubstr("books-abc"));
  snapshot.live_jobs.clear();
  EXPECT_THAT(Render(metrics), Not(HasSubstr("books-abc")));
}

TEST(ServerMetricsTest, JobWithoutAStepShowsNoLoss) {
  SchedulerSnapshot snapshot;
  snapshot.live_jobs.push_back({});
  snapshot.live_jobs[0].id = "fresh";
  const ServerMetrics metrics("1", [&] { return snapshot; });
  const std::string text = Render(metrics);
  EXPECT_THAT(text, HasSubstr("longlora_job_step{job=\"fresh\"} 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("longlora_job_loss{")));
  EXPECT_THAT(text, Not(HasSubstr("longlora_job_validation_loss{")));
  EXPECT_THAT(text, Not(HasSubstr("longlora_job_fidelity_gap{")));
}

TEST(ServerMetricsTest, CallsAndCommitsAreCountedInHistograms) {
  ServerMetrics metrics("1", [] { return SchedulerSnapshot(); });
  metrics.ObserveCall("longlora.v1.FileService/GetFile", "NOT_FOUND", absl::Milliseconds(3));
  metrics.ObserveCommit(absl::Microseconds(700));
  const std::string text = Render(metrics);
  EXPECT_THAT(text, HasSubstr("longlora_store_commit_duration_seconds_bucket{le=\"0.001\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("longlora_store_commit_duration_seconds_bucket{le=\"0.0005\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("longlora_grpc_server_call_duration_seconds_count{code=\"NOT_FOUND\","
                              "method=\"longlora.v1.FileService/GetFile\"} 1\n"));
}

TEST(MetricsExporterTest, TakenPortIsAnErrorThatNamesTheFlag) {
  auto metrics = std::make_shared<ServerMetrics>("1", [] { return SchedulerSnapshot(); });
  ASSERT_OK_AND_ASSIGN(auto first, MetricsExporter::Start("127.0.0.1:0", metrics));
  ASSERT_GT(first->port(), 0);
  EXPECT_THAT(MetricsExporter::Start("127.0.0.1:" + std::to_string(first->port()), metrics),
              StatusIs(absl::StatusCode::kUnavailable, "--metrics-listen"));
}

}  // namespace
}  // namespace longlora::server
