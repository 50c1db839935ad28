// Goal: what people read is complete, aligned and harmless to their terminal. Method: pure
// functions over fixed messages, golden text.
#include <cmath>

#include "client/cli/command.h"
#include "client/cli/event_lines.h"
#include "client/cli/exit_code.h"
#include "client/cli/format.h"
#include "client/cli/json_output.h"
#include "client/cli/table.h"
#include "client/cli/views.h"
#include "gmock/gmock.h"
#include "longlora/v1/fine_tune_service.pb.h"
#include "rpc/grpc_status.h"

namespace longlora::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kStart = 1'700'000'000;  // 2023-11-14 22:13:20 UTC

absl::Time Now() { return absl::FromUnixSeconds(kStart + 3600); }

v1::JobEvent Event() {
  v1::JobEvent event;
  event.set_attempt(1);
  event.mutable_event_time()->set_seconds(kStart);
  return event;
}

std::string LineOf(const v1::JobEvent& event, const Progress& progress = {}) {
  return EventLine(event, progress, absl::UTCTimeZone()).value_or("(none)");
}

TEST(FormatTest, DurationsShowTheTwoLargestUnits) {
  EXPECT_EQ(ShortDuration(absl::Seconds(-3)), "0s");
  EXPECT_EQ(ShortDuration(absl::Seconds(59)), "59s");
  EXPECT_EQ(ShortDuration(absl::Seconds(192)), "3m12s");
  EXPECT_EQ(ShortDuration(absl::Minutes(125)), "2h05m");
  EXPECT_EQ(ShortDuration(absl::Hours(99)), "4d03h");
}

TEST(FormatTest, NumbersKeepThreeFigures) {
  EXPECT_EQ(FormatInteger(0), "0");
  EXPECT_EQ(FormatInteger(-1234), "-1,234");
  EXPECT_EQ(FormatInteger(1234567), "1,234,567");
  EXPECT_EQ(FormatQuantity(950), "950");
  EXPECT_EQ(FormatQuantity(999.6), "1.00k");
  EXPECT_EQ(FormatQuantity(12'345), "12.3k");
  EXPECT_EQ(FormatQuantity(134'515'008), "135M");
  EXPECT_EQ(FormatQuantity(0.5), "0.50");
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1'100'000'000), "1.10 GB");
  EXPECT_EQ(FormatLoss(std::nan("")), "nan");
}

TEST(FormatTest, ForeignTextCannotReachTheTerminalAsCommands) {
  EXPECT_EQ(Printable("a\x1b[2Jb\rc\td\x7f\xc3\xa4"), "a?[2Jb?c d?\xc3\xa4");
}

TEST(TableTest, ColumnsAlignWithoutTrailingBlanks) {
  EXPECT_EQ(RenderTable({"NAME", "STATE"}, {{"a-long-name", "X"}, {"\xc3\xa4", "RUNNING"}}),
            "NAME         STATE\n"
            "a-long-name  X\n"
            "\xc3\xa4            RUNNING\n");
  EXPECT_EQ(RenderTable({"NAME"}, {}), "NAME\n");
}

TEST(EventLineTest, EveryKindOfEventHasItsLine) {
  Progress progress;
  v1::FineTuneJob job;
  job.mutable_spec()->mutable_training()->set_max_steps(1000);
  progress.Apply(job);

  v1::JobEvent event = Event();
  event.mutable_state_changed()->set_state(v1::FineTuneJob::PREPARING);
  EXPECT_EQ(LineOf(event), "22:13:20  PREPARING");

  event = Event();
  v1::Attempt* attempt = event.mutable_attempt_changed();
  attempt->set_number(2);
  attempt->set_worker("workers/w1");
  attempt->set_state(v1::Attempt::ACTIVE);
  attempt->set_start_step(100);
  EXPECT_EQ(LineOf(event),
            "22:13:20  attempt 2 on workers/w1, going on from the checkpoint of step 100");
  attempt->set_state(v1::Attempt::FAILED);
  attempt->mutable_failure()->set_reason("WORKER_LOST");
  attempt->mutable_failure()->set_message("not heard of for 30 s");
  attempt->mutable_failure()->set_fault(v1::Failure::SYSTEM);
  attempt->mutable_failure()->set_retried(true);
  EXPECT_EQ(LineOf(event),
            "22:13:20  attempt 2 on workers/w1 failed: WORKER_LOST: not heard of for 30 s (the "
            "system's fault; tried again)");

  event = Event();
  v1::Prepared* prepared = event.mutable_prepared();
  prepared->set_total_steps(1000);
  prepared->set_parameter_count(134'515'008);
  prepared->set_trainable_parameter_count(29'000'000);
  prepared->set_training_row_count(60);
  prepared->set_training_token_count(983'040);
  prepared->set_fill_ratio(0.998);
  EXPECT_EQ(
      LineOf(event),
      "22:13:20  prepared: 135M parameters, 29.0M of them and of the adapters train; 60 rows, "
      "983,040 tokens (99.8% filled); 1,000 steps");
  prepared->set_dense_start_step(901);
  prepared->set_memory_bytes(12'300'000);
  EXPECT_EQ(
      LineOf(event),
      "22:13:20  prepared: 135M parameters, 29.0M of them and of the adapters train; 60 rows, "
      "983,040 tokens (99.8% filled); 1,000 steps, dense attention from step 901; needs 12.3 MB a "
      "rank");
  prepared->set_estimated_memory_bytes(11'900'000);
  EXPECT_THAT(LineOf(event), HasSubstr("; needs 12.3 MB a rank (estimated: 11.9 MB)"));

  event = Event();
  event.mutable_step()->set_step(10);
  event.mutable_step()->set_loss(2.98123);
  event.mutable_step()->set_learning_rate(2e-5);
  event.mutable_step()->set_grad_norm(0.51234);
  event.mutable_step()->set_tokens_per_second(1234.5);
  EXPECT_EQ(LineOf(event, progress),
            "22:13:20  step 10/1,000  loss 2.9812  lr 2.00e-05  grad 0.512  1.23k tokens/s");
  event.mutable_step()->set_loss(std::nan(""));
  event.mutable_step()->set_skipped(true);
  EXPECT_EQ(LineOf(event, progress),
            "22:13:20  step 10/1,000  loss nan  lr 2.00e-05  grad 0.512  1.23k tokens/s  update "
            "skipped");

  event = Event();
  event.mutable_evaluation()->set_step(100);
  event.mutable_evaluation()->set_loss(2.5);
  event.mutable_evaluation()->set_perplexity(12.1825);
  event.mutable_evaluation()->set_tokens(8192);
  EXPECT_EQ(LineOf(event),
            "22:13:20  validation at step 100: loss 2.5000, perplexity 12.18 (8,192 tokens)");
  event.mutable_evaluation()->set_training_pattern_loss(2.5625);
  for (const int64_t length : {512, 1024}) {
    v1::PasskeyResult* result = event.mutable_evaluation()->add_passkey();
    result->set_length(length);
    result->set_trials(5);
    result->set_correct(4);
  }
  EXPECT_EQ(LineOf(event),
            "22:13:20  validation at step 100: loss 2.5000, perplexity 12.18, fidelity gap +0.0625 "
            "(8,192 tokens); passkey 4/5 at 512, 4/5 at 1,024");

  event = Event();
  event.mutable_finished()->set_step(300);
  EXPECT_EQ(LineOf(event), "(none)");
  event.mutable_finished()->set_early_stop("no lower loss");
  event.mutable_finished()->set_weights_step(200);
  EXPECT_EQ(LineOf(event),
            "22:13:20  ended early after step 300: no lower loss; the results have the weights of "
            "step 200");

  event = Event();
  event.mutable_checkpoint()->set_step(100);
  event.mutable_checkpoint()->set_size_bytes(12'300'000);
  EXPECT_EQ(LineOf(event), "22:13:20  checkpoint of step 100 stored (12.3 MB)");

  event = Event();
  event.mutable_warning()->set_message("rows\x1b[31m cut");
  EXPECT_EQ(LineOf(event), "22:13:20  warning: rows?[31m cut");

  event = Event();
  event.mutable_error()->set_reason("OUT_OF_MEMORY");
  event.mutable_error()->set_message("80 GB are not enough");
  EXPECT_EQ(LineOf(event), "22:13:20  error: OUT_OF_MEMORY: 80 GB are not enough");

  event = Event();
  event.mutable_log()->set_message("noise");
  EXPECT_EQ(LineOf(event), "(none)");
  EXPECT_EQ(LogText(event, absl::UTCTimeZone()), "22:13:20  rank 0  noise");
}

v1::FineTuneJob FailedJob() {
  v1::FineTuneJob job;
  job.set_name("fineTuneJobs/books-a1b2");
  job.set_state(v1::FineTuneJob::FAILED);
  job.mutable_spec()->set_display_name("books");
  job.mutable_spec()->mutable_training()->set_max_steps(100);
  job.mutable_create_time()->set_seconds(kStart);
  job.mutable_start_time()->set_seconds(kStart + 10);
  job.mutable_end_time()->set_seconds(kStart + 130);
  job.mutable_failure()->set_reason("NON_FINITE");
  job.mutable_failure()->set_message("the loss of step 40 is NaN; lower the learning rate");
  job.mutable_failure()->set_fault(v1::Failure::JOB);
  job.mutable_progress()->set_step(39);
  job.mutable_progress()->set_loss(2.5);
  for (const int number : {1, 2}) {
    v1::Attempt* attempt = job.add_attempts();
    attempt->set_number(number);
    attempt->set_worker("workers/w1");
    attempt->set_state(v1::Attempt::FAILED);
    attempt->mutable_start_time()->set_seconds(kStart + 10 * number);
    attempt->mutable_end_time()->set_seconds(kStart + 100);
  }
  job.mutable_attempts(0)->mutable_failure()->set_reason("WORKER_LOST");
  job.mutable_attempts(0)->mutable_failure()->set_message("not heard of");
  job.mutable_attempts(0)->mutable_failure()->set_fault(v1::Failure::SYSTEM);
  job.mutable_attempts(0)->mutable_failure()->set_retried(true);
  *job.mutable_attempts(1)->mutable_failure() = job.failure();
  return job;
}

TEST(ViewsTest, JobTellsStateFailureAttemptsAndSpec) {
  EXPECT_EQ(RenderJob(FailedJob(), Now(), absl::UTCTimeZone()),
            "Name        fineTuneJobs/books-a1b2\n"
            "Label       books\n"
            "State       FAILED\n"
            "Failure     NON_FINITE: the loss of step 40 is NaN; lower the learning rate (the "
            "job's fault; not "
            "tried again)\n"
            "Created     2023-11-14 22:13:20 (1h00m ago)\n"
            "Started     2023-11-14 22:13:30 (59m50s ago)\n"
            "Ended       2023-11-14 22:15:30 (took 2m00s)\n"
            "Step        39/100\n"
            "Loss        2.5000, gradient norm 0, learning rate 0\n"
            "Speed       0 tokens/s, 0 tokens so far\n"
            "\nAttempts\n"
            "  NUMBER  STATE   WORKER      FROM STEP  TOOK   WHY IT ENDED\n"
            "  1       FAILED  workers/w1  0          1m30s  WORKER_LOST: not heard of (the "
            "system's fault; tried "
            "again)\n"
            "  2       FAILED  workers/w1  0          1m20s  NON_FINITE: the loss of step 40 is "
            "NaN; lower the "
            "learning rate (the job's fault; not tried again)\n"
            "\nSpec\n"
            "  display_name: books\n"
            "  training:\n"
            "    max_steps: 100\n");
}

TEST(ViewsTest, ListTellsWhatAJobWaitsFor) {
  v1::FineTuneJob waiting;
  waiting.set_name("fineTuneJobs/next-c3d4");
  waiting.set_state(v1::FineTuneJob::QUEUED);
  waiting.mutable_create_time()->set_seconds(kStart + 3590);
  waiting.mutable_schedule_reason()->set_code("NO_MODEL");
  waiting.mutable_schedule_reason()->set_message("no connected worker has smollm2");
  waiting.mutable_schedule_reason()->set_jobs_ahead(1);
  EXPECT_EQ(
      RenderJobs({waiting, FailedJob()}, Now()),
      "NAME        STATE   STEP    LOSS    AGE    WAITS FOR\n"
      "next-c3d4   QUEUED  -       -       10s    no connected worker has smollm2; 1 job ahead\n"
      "books-a1b2  FAILED  39/100  2.5000  1h00m  -\n");
}

TEST(ViewsTest, WorkersTellFreeDevicesJobsAndModels) {
  v1::ListWorkersResponse workers;
  v1::Worker* worker = workers.add_workers();
  worker->set_name("workers/w1");
  worker->set_state(v1::Worker::CONNECTED);
  for (const char* id : {"cpu:0", "cpu:1"}) {
    worker->add_devices()->set_id(id);
    worker->mutable_devices()->rbegin()->set_kind("cpu");
  }
  worker->mutable_devices(0)->set_job("fineTuneJobs/books-a1b2");
  worker->add_models("smollm2-135m");
  worker->set_version("0.1.0");
  worker->mutable_last_contact_time()->set_seconds(kStart + 3598);
  EXPECT_EQ(RenderWorkers(workers, Now()),
            "NAME        STATE      FREE DEVICES  JOBS        MODELS        VERSION  LAST CONTACT\n"
            "workers/w1  CONNECTED  1/2 cpu       books-a1b2  smollm2-135m  0.1.0    2s\n");
}

TEST(ViewsTest, AnEstimateTellsEveryPartTheSumAndWhereItFits) {
  v1::EstimateFineTuneJobResponse estimate;
  estimate.set_moment("the loss of a training step");
  const auto add = [&](const char* name, int64_t bytes, const char* description) {
    v1::MemoryComponent& component = *estimate.add_components();
    component.set_name(name);
    component.set_bytes(bytes);
    component.set_description(description);
  };
  add("layer_inputs", 12'000'000'000, "inputs of the layers");
  add("loss", 300'000'000, "logits of a chunk");
  estimate.set_total_bytes(12'300'000'000);
  estimate.set_rank_count(1);
  const std::string one =
      "MEMORY        SIZE     WHAT\n"
      "layer_inputs  12.0 GB  inputs of the layers\n"
      "loss          300 MB   logits of a chunk\n"
      "a rank        12.3 GB  the sum, in the loss of a training step\n";
  EXPECT_EQ(RenderEstimate(estimate), one);

  estimate.set_rank_count(2);
  v1::WorkerFit* fit = estimate.add_workers();
  fit->set_worker("workers/w1");
  fit->set_verdict(v1::WorkerFit::TOO_LITTLE_MEMORY);
  fit->set_device_count(2);
  fit->set_device_memory_bytes(8'000'000'000);
  fit = estimate.add_workers();
  fit->set_worker("workers/w2");
  fit->set_verdict(v1::WorkerFit::TOO_FEW_DEVICES);
  EXPECT_EQ(RenderEstimate(estimate),
            one +
                "all ranks     24.6 GB  2 of them, at most\n\n"
                "WORKER      FITS                              DEVICES  MEMORY EACH\n"
                "workers/w1  no, too little memory             2        8.00 GB\n"
                "workers/w2  no, the job asks for 2 device(s)  0        -\n");
}

TEST(ViewsTest, CheckpointsTellStepLossAndSize) {
  v1::ListCheckpointsResponse list;
  v1::Checkpoint* checkpoint = list.add_checkpoints();
  checkpoint->set_step(100);
  checkpoint->set_attempt(1);
  checkpoint->set_loss(2.5);
  checkpoint->set_size_bytes(12'300'000);
  checkpoint->add_artifacts();
  checkpoint->mutable_create_time()->set_seconds(kStart);
  EXPECT_EQ(RenderCheckpoints(list, Now()),
            "STEP  LOSS    SIZE     FILES  ATTEMPT  AGE\n"
            "100   2.5000  12.3 MB  1      1        1h00m\n");
}

TEST(JsonOutputTest, NamesAreThoseOfTheProtoFiles) {
  v1::FineTuneJob job;
  job.set_name("fineTuneJobs/abcd");
  job.set_last_event_sequence(7);
  EXPECT_EQ(JsonLine(job), "{\"name\":\"fineTuneJobs/abcd\",\"last_event_sequence\":\"7\"}\n");
}

TEST(JsonOutputTest, EmptyListsAreShown) {
  EXPECT_EQ(JsonDocument(v1::ListFineTuneJobsResponse()), "{\"jobs\": []}\n");
  EXPECT_EQ(JsonDocument(v1::ListWorkersResponse()), "{\"workers\": []}\n");
  EXPECT_EQ(JsonDocument(v1::FineTuneJob()), "{}\n");
}

TEST(DescribeEndTest, TellsPerplexityBeforeAndAfterAndTheNextCommand) {
  v1::FineTuneJob job;
  job.set_name("fineTuneJobs/books-a1b2");
  job.set_state(v1::FineTuneJob::SUCCEEDED);
  job.mutable_start_time()->set_seconds(kStart);
  job.mutable_end_time()->set_seconds(kStart + 192);
  job.mutable_progress()->set_step(100);
  job.mutable_progress()->set_loss(2.5);
  Progress progress;
  for (const double perplexity : {22.2, 20.0, 18.53}) {
    v1::JobEvent event = Event();
    event.mutable_evaluation()->set_perplexity(perplexity);
    progress.Apply(event);
  }
  EXPECT_EQ(DescribeEnd(job, progress),
            "SUCCEEDED  fineTuneJobs/books-a1b2 after 3m12s: 100 steps, training loss 2.5000\n"
            "validation perplexity 22.20 -> 18.53");
  EXPECT_EQ(NextCommand(job), "Next: longlora download books-a1b2 --to books-a1b2");
}

TEST(ExitCodeTest, EveryStatusHasTheCodeOfTheInterface) {
  const std::map<absl::StatusCode, int> kCodes = {
      {absl::StatusCode::kOk, 0},
      {absl::StatusCode::kInvalidArgument, 2},
      {absl::StatusCode::kFailedPrecondition, 2},
      {absl::StatusCode::kOutOfRange, 2},
      {absl::StatusCode::kAlreadyExists, 2},
      {absl::StatusCode::kAborted, 2},
      {absl::StatusCode::kNotFound, 3},
      {absl::StatusCode::kUnavailable, 4},
      {absl::StatusCode::kDeadlineExceeded, 4},
      {absl::StatusCode::kUnauthenticated, 5},
      {absl::StatusCode::kPermissionDenied, 5},
      {absl::StatusCode::kResourceExhausted, 6},
      {absl::StatusCode::kDataLoss, 6},
      {absl::StatusCode::kInternal, 6},
      {absl::StatusCode::kUnknown, 6},
      {absl::StatusCode::kUnimplemented, 6},
  };
  for (const auto& [code, expected] : kCodes) {
    EXPECT_EQ(ExitCodeOf(absl::Status(code, "x")), expected) << static_cast<int>(code);
  }
  EXPECT_EQ(
      ExitCodeOf(rpc::MakeError(absl::StatusCode::kResourceExhausted, "x",
                                {.reason = "FILE_TOO_LARGE", .metadata = {}, .violations = {}})),
      2);
  EXPECT_EQ(ExitCodeOf(v1::FineTuneJob::SUCCEEDED), 0);
  EXPECT_EQ(ExitCodeOf(v1::FineTuneJob::FAILED), 1);
  EXPECT_EQ(ExitCodeOf(v1::FineTuneJob::CANCELLED), 1);
}

TEST(DescribeErrorTest, AddsViolationsThatTheMessageLeftOutAndAWayOut) {
  const absl::Status status =
      rpc::MakeError(absl::StatusCode::kInvalidArgument, "the spec is invalid\nname: too long",
                     {.reason = "SPEC_INVALID",
                      .metadata = {},
                      .violations = {{"name", "too long"}, {"priority", "too high\x1b"}}});
  EXPECT_EQ(DescribeError(status), "the spec is invalid\nname: too long\n  priority: too high?");
  EXPECT_THAT(DescribeError(absl::UnavailableError("x")),
              AllOf(HasSubstr("--server HOST:PORT"), HasSubstr("--tls-ca FILE")));
  EXPECT_THAT(DescribeError(absl::UnauthenticatedError("x")), HasSubstr("--token-file"));
}

}  // namespace
}  // namespace longlora::client
