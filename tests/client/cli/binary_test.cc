// Goal: the program as scripts and people meet it: exit codes, what goes to which stream, signals,
// a live bar. Method: the real binary as a child process against the fake server in this process.
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "client/resource_name.h"
#include "common/io/sha256.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "rpc/grpc_status.h"
#include "tests/client/cli/child.h"
#include "tests/client/fake_server.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::client {
namespace {

using ::longlora::testing::TemporaryDirectory;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class BinaryTest : public ::testing::Test {
 protected:
  // Runs `longlora ARGUMENTS` to its end against the fake server.
  int Run(std::vector<std::string> arguments, const std::string& input = "") {
    Child child(arguments, {"LONGLORA_SERVER=" + server_.address()}, input);
    const int code = child.Wait();
    out_ = child.out();
    err_ = child.err();
    return code;
  }
  std::string WriteJobFile(const std::string& training = "books.jsonl") {
    std::ofstream(directory_ / "books.jsonl") << "{\"text\": \"a\"}\n";
    std::ofstream(directory_ / "job.yaml")
        << "base_model: tiny\ndataset: {training: " << training
        << "}\nmax_sequence_length: 128\ntraining: {max_steps: 3}\n";
    return directory_ / "job.yaml";
  }
  static void RunToEnd(FakeServer& server, const std::string& id, v1::FineTuneJob::State end) {
    server.AddState(id, v1::FineTuneJob::RUNNING);
    for (int step = 1; step <= 3; ++step) server.AddStep(id, step, 3.0 / step);
    server.AddState(id, end);
  }

  TemporaryDirectory directory_;
  FakeServer server_;
  std::string out_;
  std::string err_;
};

TEST_F(BinaryTest, SubmitUploadsOnceAndPrintsOnlyTheNameOnStandardOutput) {
  const std::string job = WriteJobFile();
  EXPECT_EQ(Run({"submit", "-f", job}), 0) << err_;
  EXPECT_EQ(out_, "fineTuneJobs/made-1\n");
  EXPECT_THAT(err_, HasSubstr("Uploaded"));
  EXPECT_THAT(err_, HasSubstr("Next: longlora watch made-1"));
  const std::string file = FileName(common::Sha256Hex("{\"text\": \"a\"}\n"));
  EXPECT_EQ(server_.created().spec().dataset().training(), file);
  EXPECT_EQ(Run({"submit", "-f", job}), 0);
  EXPECT_THAT(err_, HasSubstr("Stored already"));
  EXPECT_EQ(server_.calls("UploadFile"), 1);
  // Two commands are two wishes.
  ASSERT_EQ(server_.request_ids().size(), 2u);
  EXPECT_NE(server_.request_ids()[0], server_.request_ids()[1]);
  EXPECT_EQ(server_.request_ids()[0].size(), 36u);
}

TEST_F(BinaryTest, QuietSubmitSaysNothingButTheName) {
  EXPECT_EQ(Run({"submit", "-f", WriteJobFile(), "--quiet"}), 0);
  EXPECT_EQ(out_, "fineTuneJobs/made-1\n");
  EXPECT_EQ(err_, "");
}

TEST_F(BinaryTest, JobFileComesFromStandardInputToo) {
  const std::string training = WriteJobFile();
  EXPECT_EQ(Run({"submit", "-f", "-", "--request-id", "my-wish"},
                "base_model: tiny\ndataset: {training: " + (directory_ / "books.jsonl") +
                    "}\nmax_sequence_length: 128\ntraining: {max_steps: 3}\n"),
            0)
      << err_;
  EXPECT_THAT(server_.request_ids(), ElementsAre("my-wish"));
}

TEST_F(BinaryTest, BadSpecExitsWithTwoBeforeAnythingIsSent) {
  EXPECT_EQ(Run({"submit", "-f", WriteJobFile("none.jsonl")}), 2);
  EXPECT_EQ(out_, "");
  EXPECT_THAT(err_, HasSubstr("job.yaml:2: dataset.training: "));
  EXPECT_EQ(server_.calls("CreateFineTuneJob"), 0);
  EXPECT_EQ(Run({"submit", "-f", directory_ / "none.yaml"}), 2);
}

TEST_F(BinaryTest, FindingsOfTheServerHaveTheLinesOfTheJobFile) {
  server_.FailNext(
      "CreateFineTuneJob",
      rpc::ToGrpcStatus(rpc::MakeError(absl::StatusCode::kInvalidArgument, "the spec is invalid",
                                       {.reason = "SPEC_INVALID",
                                        .metadata = {},
                                        .violations = {{"base_model", "is too odd"}}})));
  EXPECT_EQ(Run({"submit", "-f", WriteJobFile()}), 2);
  EXPECT_THAT(err_, HasSubstr("job.yaml:1: base_model: is too odd"));
}

TEST_F(BinaryTest, UnansweredSubmitNamesTheRequestIdToRepeat) {
  for (int i = 0; i < 10; ++i) {
    server_.FailNext("CreateFineTuneJob", grpc::Status(grpc::StatusCode::UNAVAILABLE, "away"));
  }
  EXPECT_EQ(Run({"submit", "-f", WriteJobFile()}), 4);
  EXPECT_THAT(err_, HasSubstr("--request-id " + server_.request_ids()[0]));
}

TEST_F(BinaryTest, ValidateOnlySubmitsNothing) {
  EXPECT_EQ(Run({"submit", "-f", WriteJobFile(), "--validate-only"}), 0);
  EXPECT_EQ(out_, "");
  EXPECT_TRUE(server_.created().validate_only());
  EXPECT_EQ(Run({"submit", "-f", WriteJobFile(), "--dry-run"}), 0);
  EXPECT_TRUE(server_.created().validate_only());
}

TEST_F(BinaryTest, EstimateAsksTheServerAndUploadsNothing) {
  v1::EstimateFineTuneJobResponse estimate;
  estimate.set_total_bytes(12'300'000'000);
  estimate.set_moment("an evaluation");
  estimate.set_rank_count(1);
  server_.SetEstimate(estimate);
  // The dataset need not exist.
  const std::string job = WriteJobFile("none.jsonl");
  EXPECT_EQ(Run({"estimate", "-f", job}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("a rank  12.3 GB  the sum, in an evaluation\n"));
  EXPECT_EQ(server_.estimated().spec().dataset().training(), "none.jsonl");
  EXPECT_EQ(server_.calls("GetFile") + server_.calls("UploadFile"), 0);
  EXPECT_EQ(server_.calls("CreateFineTuneJob"), 0);
  EXPECT_EQ(Run({"estimate", "-f", job, "--output", "json"}), 0) << err_;
  EXPECT_EQ(nlohmann::json::parse(out_)["total_bytes"], "12300000000");
}

TEST_F(BinaryTest, EstimateExitsByWhatIsWrongAndSaysWhere) {
  server_.FailNext(
      "EstimateFineTuneJob",
      rpc::ToGrpcStatus(rpc::MakeError(absl::StatusCode::kInvalidArgument, "the spec is invalid",
                                       {.reason = "SPEC_INVALID",
                                        .metadata = {},
                                        .violations = {{"base_model", "is too odd"}}})));
  EXPECT_EQ(Run({"estimate", "-f", WriteJobFile()}), 2);
  EXPECT_THAT(err_, HasSubstr("job.yaml:1: base_model: is too odd"));
  server_.FailNext("EstimateFineTuneJob",
                   rpc::ToGrpcStatus(rpc::MakeError(absl::StatusCode::kFailedPrecondition,
                                                    "base_model: nobody has it; workers have tiny",
                                                    {.reason = "MODEL_UNAVAILABLE"})));
  EXPECT_EQ(Run({"estimate", "-f", WriteJobFile()}), 2);
  EXPECT_THAT(err_, HasSubstr("workers have tiny"));
  std::ofstream(directory_ / "bad.yaml") << "base_model: tiny\nmax_sequence_length: zero\n";
  EXPECT_EQ(Run({"estimate", "-f", directory_ / "bad.yaml"}), 2);
  EXPECT_THAT(err_, HasSubstr("bad.yaml:2: max_sequence_length: "));
}

TEST_F(BinaryTest, EstimateOfALocalModelNeedsNoServer) {
  const std::string job = WriteJobFile("none.jsonl");
  std::ofstream(directory_ / "config.json")
      << R"({"model_type": "llama", "vocab_size": 1000, "hidden_size": 64,
             "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "max_position_embeddings": 256})";
  server_.Stop();
  EXPECT_EQ(Run({"estimate", "-f", job, "--model", directory_.path(), "--output", "json"}), 0)
      << err_;
  const auto estimate = nlohmann::json::parse(out_);
  EXPECT_FALSE(estimate["components"].empty());
  EXPECT_FALSE(estimate.contains("workers"));
  EXPECT_EQ(Run({"estimate", "-f", job, "--model", directory_ / "none"}), 3);
  EXPECT_THAT(err_, HasSubstr("--model: "));
  std::ofstream(directory_ / "config.json") << R"({"model_type": "mamba"})";
  EXPECT_EQ(Run({"estimate", "-f", job, "--model", directory_.path()}), 2);
  EXPECT_THAT(err_, HasSubstr("\"mamba\" is not supported; these are: llama"));
}

TEST_F(BinaryTest, WaitExitsByTheEndOfTheJob) {
  const std::pair<v1::FineTuneJob::State, int> kEnds[] = {{v1::FineTuneJob::SUCCEEDED, 0},
                                                          {v1::FineTuneJob::FAILED, 1},
                                                          {v1::FineTuneJob::CANCELLED, 1}};
  for (const auto& [state, code] : kEnds) {
    server_.ScriptNextJob([state = state](FakeServer& server, const std::string& id) {
      RunToEnd(server, id, state);
    });
    EXPECT_EQ(Run({"submit", "-f", WriteJobFile(), "--wait"}), code) << err_;
    EXPECT_THAT(out_, HasSubstr("step 3/3  loss 1.0000"));
    EXPECT_THAT(out_, HasSubstr(v1::FineTuneJob::State_Name(state) + "  fineTuneJobs/made-"));
    EXPECT_THAT(out_, Not(HasSubstr("\x1b")));
    EXPECT_THAT(out_, Not(HasSubstr("\r")));
  }
}

TEST_F(BinaryTest, WatchPrintsPlainLinesOrJsonLines) {
  server_.AddJob("some-job");
  RunToEnd(server_, "some-job", v1::FineTuneJob::SUCCEEDED);
  EXPECT_EQ(Run({"watch", "some-job"}), 0);
  EXPECT_THAT(out_, HasSubstr("22:13:22  step 1  loss 3.0000"));
  EXPECT_THAT(err_, HasSubstr("Next: longlora download some-job --to some-job"));
  EXPECT_EQ(Run({"watch", "fineTuneJobs/some-job", "--output", "json", "--after-sequence", "3"}),
            0);
  std::vector<std::string> lines = absl::StrSplit(out_, '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(nlohmann::json::parse(lines[0])["sequence"], "4");
  EXPECT_EQ(nlohmann::json::parse(lines[0])["step"]["step"], "3");
  EXPECT_EQ(nlohmann::json::parse(lines[2])["state"], "SUCCEEDED");
  EXPECT_EQ(Run({"watch", "some-job", "--quiet"}), 0);
  EXPECT_THAT(out_, Not(HasSubstr("step 1")));
}

TEST_F(BinaryTest, ControlCDetachesAndTheJobGoesOn) {
  for (const int signal : {SIGINT, SIGTERM}) {
    server_.AddJob("some-job", v1::FineTuneJob::RUNNING);
    server_.AddStep("some-job", 1, 2.0);
    Child child({"watch", "some-job", "--server", server_.address()});
    ASSERT_TRUE(child.WaitForOutput("step 1"));
    child.Signal(signal);
    EXPECT_EQ(child.Wait(), 128 + signal);
    EXPECT_THAT(child.err(), HasSubstr("Detached; the job goes on."));
    EXPECT_THAT(child.err(), HasSubstr("longlora cancel some-job"));
    EXPECT_EQ(server_.calls("CancelFineTuneJob"), 0);
    server_.EditJob("some-job", [](v1::FineTuneJob& job) { job.clear_last_event_sequence(); });
  }
}

TEST_F(BinaryTest, PauseWaitsUntilTheJobIsPausedAndResumeQueuesIt) {
  server_.AddJob("some-job", v1::FineTuneJob::RUNNING);
  EXPECT_EQ(Run({"pause", "some-job"}), 0);
  EXPECT_EQ(out_, "PAUSING\n");
  EXPECT_THAT(err_, HasSubstr("To go on: longlora resume some-job"));
  Child child({"pause", "some-job", "--wait", "--server", server_.address()});
  while (server_.calls("GetFineTuneJob") == 0) absl::SleepFor(absl::Milliseconds(10));
  server_.AddState("some-job", v1::FineTuneJob::PAUSED);
  EXPECT_EQ(child.Wait(), 0);
  EXPECT_EQ(child.out(), "PAUSED\n");
  EXPECT_EQ(Run({"resume", "some-job"}), 0);
  EXPECT_EQ(out_, "QUEUED\n");
}

TEST_F(BinaryTest, PauseOfAJobThatEndsMeanwhileTellsHow) {
  for (const auto& [state, code] :
       {std::pair(v1::FineTuneJob::SUCCEEDED, 0), std::pair(v1::FineTuneJob::FAILED, 1)}) {
    server_.AddJob("some-job", v1::FineTuneJob::RUNNING);
    const int calls = server_.calls("GetFineTuneJob");
    Child child({"pause", "some-job", "--wait", "--server", server_.address()});
    while (server_.calls("GetFineTuneJob") == calls) absl::SleepFor(absl::Milliseconds(10));
    server_.AddState("some-job", state);
    EXPECT_EQ(child.Wait(), code);
    EXPECT_THAT(child.err(), HasSubstr("ended before it was paused"));
  }
}

TEST_F(BinaryTest, WorkersAreCordonedDrainedAndOpenedAgain) {
  v1::Worker worker;
  worker.set_name("workers/w1");
  worker.add_devices()->set_job("fineTuneJobs/some-job");
  server_.AddWorker(worker);
  EXPECT_EQ(Run({"cordon", "w1"}), 0);
  EXPECT_EQ(out_, "CORDONED\n");
  EXPECT_THAT(err_, HasSubstr("1 device still has a job, which goes on."));
  Child child({"drain", "workers/w1", "--wait", "--server", server_.address()});
  while (server_.calls("ListWorkers") == 0) absl::SleepFor(absl::Milliseconds(10));
  server_.EditWorker("workers/w1", [](v1::Worker& w) { w.mutable_devices(0)->clear_job(); });
  EXPECT_EQ(child.Wait(), 0);
  EXPECT_EQ(child.out(), "DRAINING\n");
  EXPECT_EQ(Run({"workers"}), 0);
  EXPECT_THAT(out_, HasSubstr(", DRAINING"));
  EXPECT_EQ(Run({"uncordon", "w1"}), 0);
  EXPECT_EQ(out_, "OPEN\n");
  EXPECT_EQ(Run({"drain", "w2"}), 3);
  EXPECT_EQ(Run({"drain", "W2!"}), 2);
  EXPECT_THAT(err_, HasSubstr("is not the name of a worker"));
}

TEST_F(BinaryTest, WatchSurvivesARestartOfTheServer) {
  server_.AddJob("some-job", v1::FineTuneJob::RUNNING);
  server_.AddStep("some-job", 1, 2.0);
  Child child({"watch", "some-job", "--server", server_.address()});
  ASSERT_TRUE(child.WaitForOutput("step 1"));
  server_.Stop();
  ASSERT_TRUE(child.WaitForOutput("the job goes on, reconnecting"));
  server_.Start();
  ASSERT_TRUE(child.WaitForOutput("reconnected"));
  server_.AddStep("some-job", 2, 1.0);
  server_.AddState("some-job", v1::FineTuneJob::SUCCEEDED);
  EXPECT_EQ(child.Wait(), 0);
  const std::string out = child.out();
  EXPECT_EQ(out.find("step 1"), out.rfind("step 1"));
  EXPECT_THAT(out, HasSubstr("step 2"));
}

TEST_F(BinaryTest, WatchGivesUpOnAServerThatStaysAway) {
  server_.AddJob("some-job", v1::FineTuneJob::RUNNING);
  server_.AddStep("some-job", 1, 2.0);
  Child child({"watch", "some-job", "--server", server_.address(), "--reconnect-timeout", "0"});
  ASSERT_TRUE(child.WaitForOutput("step 1"));
  server_.Stop();
  EXPECT_EQ(child.Wait(), 4);
}

TEST_F(BinaryTest, TerminalGetsABarAndOthersDoNot) {
  server_.AddJob("some-job", v1::FineTuneJob::RUNNING);
  server_.EditJob("some-job", [](v1::FineTuneJob& job) {
    job.mutable_spec()->mutable_training()->set_max_steps(4);
  });
  server_.AddStep("some-job", 1, 2.0);
  {
    Child child({"watch", "some-job", "--server", server_.address()}, {"TERM=xterm", "LC_ALL=C"},
                "", true);
    EXPECT_TRUE(child.WaitForOutput("[==========------------------------------]"));
    EXPECT_TRUE(child.WaitForOutput("step 1/4  loss 2.0000"));
    EXPECT_THAT(child.out(), HasSubstr("\x1b[36mRUNNING\x1b[0m"));
  }
  {
    Child child({"watch", "some-job", "--server", server_.address()},
                {"TERM=xterm", "NO_COLOR=1", "LC_ALL=C"}, "", true);
    EXPECT_TRUE(child.WaitForOutput("RUNNING  ["));
    EXPECT_THAT(child.out(), Not(HasSubstr("\x1b[36m")));
  }
  Child child({"watch", "some-job", "--server", server_.address()}, {"TERM=dumb"}, "", true);
  EXPECT_TRUE(child.WaitForOutput("step 1/4"));
  server_.AddState("some-job", v1::FineTuneJob::SUCCEEDED);
  EXPECT_EQ(child.Wait(), 0);
  EXPECT_THAT(child.out(), Not(HasSubstr("\x1b")));
  EXPECT_THAT(child.out(), Not(HasSubstr("[=")));
}

TEST_F(BinaryTest, UnknownJobExitsWithThree) {
  for (const char* command : {"get", "watch", "logs", "cancel", "delete", "checkpoints"}) {
    EXPECT_EQ(Run({command, "no-such-job"}), 3) << command;
    EXPECT_EQ(out_, "") << command;
    EXPECT_THAT(err_, HasSubstr("`longlora list` shows the jobs")) << command;
  }
  EXPECT_EQ(Run({"download", "no-such-job", "--to", directory_ / "to"}), 3);
}

TEST_F(BinaryTest, UnreachableServerExitsWithFour) {
  const std::string address = server_.address();
  server_.Stop();
  EXPECT_EQ(Run({"list", "--server", address}), 4);
  EXPECT_THAT(err_, HasSubstr("cannot reach the server at " + address));
  EXPECT_THAT(err_, HasSubstr("LONGLORA_SERVER"));
}

TEST_F(BinaryTest, RefusedCallersExitWithFive) {
  for (const grpc::StatusCode code :
       {grpc::StatusCode::UNAUTHENTICATED, grpc::StatusCode::PERMISSION_DENIED}) {
    server_.FailNext("ListFineTuneJobs", grpc::Status(code, "who are you"));
    EXPECT_EQ(Run({"list"}), 5);
    EXPECT_THAT(err_, HasSubstr("who are you"));
  }
}

TEST_F(BinaryTest, BadUsageExitsWithTwo) {
  const std::vector<std::vector<std::string>> kLines = {{},
                                                        {"fly"},
                                                        {"get"},
                                                        {"get", "Upper"},
                                                        {"list", "--state", "flying"},
                                                        {"list", "--output", "xml"},
                                                        {"list", "--limit", "-1"},
                                                        {"submit"},
                                                        {"download", "some-job"},
                                                        {"list", "--server", "192.0.2.1:7400"},
                                                        {"list", "--token-file", "/none"},
                                                        {"list", "--tls-ca", "/none"},
                                                        {"watch", "some-job", "extra"}};
  for (const std::vector<std::string>& line : kLines) {
    EXPECT_EQ(Run(line), 2) << (line.empty() ? "" : line[0]);
    EXPECT_EQ(out_, "");
    EXPECT_NE(err_, "");
  }
}

TEST_F(BinaryTest, HelpAndVersionNeedNoServer) {
  server_.Stop();
  EXPECT_EQ(Run({"--version"}), 0);
  EXPECT_THAT(out_, ::testing::StartsWith("longlora "));
  EXPECT_EQ(Run({"--help"}), 0);
  EXPECT_THAT(out_, HasSubstr("Exit codes:"));
  for (const char* command : {"submit", "get", "list", "watch", "logs", "cancel", "delete",
                              "checkpoints", "download", "workers"}) {
    EXPECT_EQ(Run({command, "--help"}), 0);
    EXPECT_THAT(out_, HasSubstr("Examples:")) << command;
  }
}

TEST_F(BinaryTest, ListWalksPagesAndFiltersStates) {
  for (int i = 0; i < 5; ++i) server_.AddJob(absl::StrCat("some-job-", i));
  server_.AddJob("other-job", v1::FineTuneJob::FAILED);
  EXPECT_EQ(Run({"list"}), 0);
  EXPECT_EQ(std::count(out_.begin(), out_.end(), '\n'), 7);
  EXPECT_EQ(Run({"list", "--state", "failed,succeeded", "--output", "json"}), 0);
  const auto json = nlohmann::json::parse(out_);
  ASSERT_EQ(json["jobs"].size(), 1u);
  EXPECT_EQ(json["jobs"][0]["name"], "fineTuneJobs/other-job");
  EXPECT_EQ(Run({"--output", "json", "list", "--limit", "2"}), 0);
  EXPECT_EQ(nlohmann::json::parse(out_)["jobs"].size(), 2u);
}

TEST_F(BinaryTest, LogsPrintTextAndFollowToTheEnd) {
  server_.AddJob("some-job", v1::FineTuneJob::RUNNING);
  v1::JobEvent event;
  event.mutable_log()->set_message("hello\x1b[31m");
  event.mutable_log()->set_rank(1);
  server_.AddEvent("some-job", event);
  server_.AddStep("some-job", 1, 2.0);
  EXPECT_EQ(Run({"logs", "some-job"}), 0);
  EXPECT_EQ(out_, "22:13:21  rank 1  hello?[31m\n");
  Child child({"logs", "some-job", "--follow", "--server", server_.address()});
  ASSERT_TRUE(child.WaitForOutput("hello"));
  event.mutable_log()->set_message("goodbye");
  server_.AddEvent("some-job", event);
  ASSERT_TRUE(child.WaitForOutput("goodbye"));
  server_.AddState("some-job", v1::FineTuneJob::FAILED);
  EXPECT_EQ(child.Wait(), 0);
}

TEST_F(BinaryTest, CancelAndDelete) {
  server_.AddJob("some-job", v1::FineTuneJob::RUNNING);
  EXPECT_EQ(Run({"delete", "some-job"}), 2);
  EXPECT_EQ(Run({"cancel", "some-job", "--wait"}), 0);
  EXPECT_EQ(out_, "CANCELLED\n");
  EXPECT_EQ(Run({"cancel", "some-job"}), 2);
  EXPECT_EQ(Run({"delete", "some-job", "--force"}), 0);
  EXPECT_EQ(Run({"get", "some-job"}), 3);
}

TEST_F(BinaryTest, DownloadBringsResultsOrACheckpoint) {
  server_.AddJob("some-job", v1::FineTuneJob::RUNNING);
  server_.AddCheckpoint("some-job", 50, "state");
  const std::string to = directory_ / "to";
  EXPECT_EQ(Run({"download", "some-job", "--to", to}), 2);
  EXPECT_THAT(err_, HasSubstr("is RUNNING and has no results yet: `longlora watch some-job`"));
  EXPECT_EQ(Run({"download", "some-job", "--to", to, "--checkpoint", "40"}), 3);
  EXPECT_THAT(err_, HasSubstr("stored are those of 50"));
  EXPECT_EQ(Run({"download", "some-job", "--to", to, "--checkpoint", "50"}), 0);
  EXPECT_EQ(out_, to + "/checkpoints/step-50/state.bin\n");
  server_.AddArtifact("some-job", "adapter/adapter_config.json", "{}");
  EXPECT_EQ(Run({"download", "some-job", "--to", to}), 0);
  EXPECT_TRUE(std::filesystem::exists(to + "/adapter/adapter_config.json"));
  EXPECT_THAT(err_, HasSubstr("peft.PeftModel.from_pretrained"));
}

TEST_F(BinaryTest, GetWorkersAndCheckpointsSpeakBothForms) {
  server_.AddJob("some-job");
  server_.AddCheckpoint("some-job", 50, "state");
  v1::Worker worker;
  worker.set_name("workers/w1");
  server_.AddWorker(worker);
  EXPECT_EQ(Run({"get", "some-job"}), 0);
  EXPECT_THAT(out_, HasSubstr("State       QUEUED"));
  EXPECT_EQ(Run({"get", "some-job", "--output", "json"}), 0);
  EXPECT_EQ(nlohmann::json::parse(out_)["state"], "QUEUED");
  EXPECT_EQ(Run({"workers"}), 0);
  EXPECT_THAT(out_, HasSubstr("workers/w1"));
  EXPECT_EQ(Run({"workers", "--output=json"}), 0);
  EXPECT_EQ(nlohmann::json::parse(out_)["workers"][0]["name"], "workers/w1");
  EXPECT_EQ(Run({"checkpoints", "some-job"}), 0);
  EXPECT_THAT(out_, HasSubstr("50"));
  EXPECT_EQ(Run({"checkpoints", "some-job", "--output", "json"}), 0);
  EXPECT_EQ(nlohmann::json::parse(out_)["checkpoints"][0]["step"], "50");
}

}  // namespace
}  // namespace longlora::client
