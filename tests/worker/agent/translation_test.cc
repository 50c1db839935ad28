// Goal: only allowed paths reach a trainer, and every event keeps its meaning and bounds on the way
// to the server. Method: tables; directories and symbolic links in a temporary directory.
#include <filesystem>
#include <limits>

#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "worker/agent/event_translation.h"
#include "worker/agent/failure.h"
#include "worker/agent/model_paths.h"
#include "worker/agent/retry.h"

namespace longlora::worker {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
namespace fs = std::filesystem;

class ModelPathsTest : public ::testing::Test {
 protected:
  ModelPathsTest() {
    for (const char* name : {"models/a", "models/empty", "shared/b/c", "secret/d"}) {
      EXPECT_OK(common::CreateDirectories(directory_ / name));
    }
    EXPECT_OK(common::AtomicWriteFile(directory_ / "models/a/config.json", "{}"));
    EXPECT_OK(common::AtomicWriteFile(directory_ / "shared/file", "x"));
    fs::create_directory_symlink(directory_ / "secret", directory_ / "shared/escape");
    fs::create_directory_symlink(directory_ / "shared/b", directory_ / "secret/way-in");
    fs::create_directories(directory_ / "shared-not/x");
    roots_ = {.model_dir = directory_ / "models", .allowed_roots = {directory_ / "shared"}};
  }
  testing::TemporaryDirectory directory_;
  ModelRoots roots_;
};

TEST_F(ModelPathsTest, NamesAndPathsBelowRootsResolve) {
  EXPECT_EQ(ResolveModelPath("base_model", "a", roots_).value_or("refused"),
            directory_ / "models/a");
  EXPECT_EQ(ResolveModelPath("base_model", directory_ / "shared/b/c", roots_).value_or("refused"),
            directory_ / "shared/b/c");
  EXPECT_EQ(ResolveModelPath("base_model", directory_ / "shared", roots_).value_or("refused"),
            directory_ / "shared");
  EXPECT_EQ(
      ResolveModelPath("base_model", directory_ / "secret/way-in/c", roots_).value_or("refused"),
      directory_ / "shared/b/c")
      << "what counts is where it leads";
}

TEST_F(ModelPathsTest, EverythingElseIsRefusedWithTheField) {
  for (const std::string& value :
       {std::string(""), std::string("."), std::string(".."), std::string("missing"),
        std::string("a/.."), std::string("../secret/d"), std::string("/etc"),
        directory_ / "secret/d", directory_ / "shared/escape/d", directory_ / "shared/../secret/d",
        directory_ / "shared-not/x", directory_ / "shared/missing", directory_ / "shared/file"}) {
    const auto path = ResolveModelPath("base_model", value, roots_);
    EXPECT_THAT(path, StatusIs(absl::StatusCode::kInvalidArgument, "base_model: ")) << value;
    EXPECT_EQ(FailureFromStatus(path.status()).reason(), "INVALID_SPEC");
  }
}

TEST_F(ModelPathsTest, WithoutRootsNoPathIsAllowed) {
  roots_.allowed_roots.clear();
  EXPECT_THAT(ResolveModelPath("base_model", directory_ / "shared/b", roots_),
              StatusIs(absl::StatusCode::kInvalidArgument, "--allow-root"));
}

TEST_F(ModelPathsTest, ModelsAreDirectoriesWithAConfig) {
  EXPECT_THAT(ListModels(roots_.model_dir), ElementsAre("a"));
  EXPECT_TRUE(ListModels(directory_ / "missing").empty());
}

TEST_F(ModelPathsTest, ConfigsAreReadUpToWhatAServerTakes) {
  EXPECT_THAT(ReadModelConfigs(roots_.model_dir, {"a", "empty"}), ElementsAre(Pair("a", "{}")));
  std::vector<std::string> models;
  for (char name = 'b'; name <= 'r'; ++name) {
    models.emplace_back(1, name);
    const std::string folder = absl::StrCat(roots_.model_dir, "/", models.back());
    ASSERT_OK(common::CreateDirectories(folder));
    ASSERT_OK(common::AtomicWriteFile(folder + "/config.json", std::string(64 << 10, 'x')));
  }
  // Seventeen of 64 KiB are one more than a megabyte.
  const auto configs = ReadModelConfigs(roots_.model_dir, models);
  ASSERT_EQ(configs.size(), 16u);
  EXPECT_EQ(configs.back().first, "q");
  const std::string large = absl::StrCat(roots_.model_dir, "/b/config.json");
  ASSERT_OK(common::AtomicWriteFile(large, std::string((64 << 10) + 1, 'x')));
  EXPECT_EQ(ReadModelConfigs(roots_.model_dir, models).front().first, "c");
}

TEST(EventTranslationTest, EveryFieldOfAStepArrives) {
  const auto event = ToJobEvent({.time = 12.25,
                                 .body = common::StepEvent{.step = 1,
                                                           .loss = 2.5,
                                                           .learning_rate = 3.5,
                                                           .grad_norm = 4.5,
                                                           .tokens = 5,
                                                           .tokens_per_second = 6.5,
                                                           .memory_bytes = 7,
                                                           .skipped = true,
                                                           .skipped_steps = 8,
                                                           .checkpoint_seconds = 9.5}});
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->event_time().seconds(), 12);
  EXPECT_EQ(event->event_time().nanos(), 250'000'000);
  EXPECT_EQ(event->step().step(), 1);
  EXPECT_EQ(event->step().loss(), 2.5);
  EXPECT_EQ(event->step().learning_rate(), 3.5);
  EXPECT_EQ(event->step().grad_norm(), 4.5);
  EXPECT_EQ(event->step().tokens(), 5);
  EXPECT_EQ(event->step().tokens_per_second(), 6.5);
  EXPECT_EQ(event->step().memory_bytes(), 7);
  EXPECT_TRUE(event->step().skipped());
  EXPECT_EQ(event->step().skipped_steps(), 8);
  EXPECT_EQ(event->step().checkpoint_seconds(), 9.5);
}

TEST(EventTranslationTest, EveryFieldOfAnEvaluationArrivesAndListsAreBounded) {
  common::EvaluationEvent evaluation = {.step = 1,
                                        .loss = 2.5,
                                        .perplexity = 3.5,
                                        .tokens = 4,
                                        .training_pattern_loss = 5.5,
                                        .buckets = {{6, 7, 8.5, 9}},
                                        .passkey = {{10, 11, 12}}};
  auto event = ToJobEvent({.time = 1, .body = evaluation});
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->evaluation().training_pattern_loss(), 5.5);
  ASSERT_EQ(event->evaluation().buckets_size(), 1);
  EXPECT_EQ(event->evaluation().buckets(0).begin(), 6);
  EXPECT_EQ(event->evaluation().buckets(0).end(), 7);
  EXPECT_EQ(event->evaluation().buckets(0).loss(), 8.5);
  EXPECT_EQ(event->evaluation().buckets(0).tokens(), 9);
  ASSERT_EQ(event->evaluation().passkey_size(), 1);
  EXPECT_EQ(event->evaluation().passkey(0).length(), 10);
  EXPECT_EQ(event->evaluation().passkey(0).trials(), 11);
  EXPECT_EQ(event->evaluation().passkey(0).correct(), 12);
  evaluation.training_pattern_loss.reset();
  evaluation.buckets.resize(100000);
  event = ToJobEvent({.time = 1, .body = evaluation});
  EXPECT_FALSE(event->evaluation().has_training_pattern_loss());
  EXPECT_LE(event->evaluation().buckets_size(), 64);
}

TEST(EventTranslationTest, WhatIsAbsentStaysAbsent) {
  auto event = ToJobEvent({.time = 1, .body = common::PreparedEvent{}});
  EXPECT_FALSE(event->prepared().has_memory_bytes());
  EXPECT_FALSE(event->prepared().has_dense_start_step());
  EXPECT_FALSE(event->prepared().has_estimated_memory_bytes());
  event = ToJobEvent({.time = 1,
                      .body = common::PreparedEvent{
                          .memory_bytes = 1, .dense_start_step = 2, .estimated_memory_bytes = 3}});
  EXPECT_EQ(event->prepared().memory_bytes(), 1);
  EXPECT_EQ(event->prepared().dense_start_step(), 2);
  EXPECT_EQ(event->prepared().estimated_memory_bytes(), 3);
  event = ToJobEvent({.time = 1, .body = common::FinishedEvent{}});
  EXPECT_FALSE(event->finished().has_weights_step());
  event = ToJobEvent(
      {.time = 1, .body = common::FinishedEvent{.weights_step = 3, .early_stop = "enough"}});
  EXPECT_EQ(event->finished().weights_step(), 3);
  EXPECT_EQ(event->finished().early_stop(), "enough");
}

TEST(EventTranslationTest, CheckpointIsNotForTheServer) {
  EXPECT_FALSE(
      ToJobEvent({.time = 1, .body = common::CheckpointEvent{.step = 1, .path = "p", .bytes = 1}})
          .has_value());
}

TEST(EventTranslationTest, TextIsBoundedAndValidUtf8) {
  const auto translate = [](const std::string& text) {
    return ToJobEvent({.time = 1, .body = common::LogEvent{text, 2}})->log().message();
  };
  EXPECT_EQ(translate("grüße €𝄞"), "grüße €𝄞");
  EXPECT_EQ(translate("a\xff"
                      "b\xc3"),
            "a?b?");
  EXPECT_EQ(translate("\xed\xa0\x80"), "???") << "a surrogate";
  EXPECT_EQ(translate("\xc0\xaf"), "??") << "an overlong form";
  EXPECT_LE(translate(std::string(100000, 'x')).size(), kEventTextBytesMax);
}

TEST(EventTranslationTest, WildClockIsTamed) {
  for (const double time : {-1e300, 1e300, std::numeric_limits<double>::quiet_NaN()}) {
    const auto event = ToJobEvent({.time = time, .body = common::WarningEvent{"w"}});
    EXPECT_GE(event->event_time().seconds(), 0);
    EXPECT_LE(event->event_time().seconds(), 253402300799);
  }
}

TEST(RetryTest, TransientErrorsAreRepeatedAndFinalOnesAreNot) {
  Cancellation cancellation;
  const RetryPolicy policy = {
      .backoff = {.initial = absl::Microseconds(1), .maximum = absl::Microseconds(1)},
      .doubtful_tries = 3};
  const auto run = [&](const absl::Status& failure, int failures) {
    int calls = 0;
    const absl::Status status = RetryCall(policy, &cancellation, [&]() -> absl::Status {
      return ++calls <= failures ? failure : absl::OkStatus();
    });
    return std::pair(status.ok(), calls);
  };
  EXPECT_EQ(run(absl::UnavailableError(""), 50), std::pair(true, 51));
  EXPECT_EQ(run(absl::InternalError(""), 2), std::pair(true, 3));
  EXPECT_EQ(run(absl::InternalError(""), 50), std::pair(false, 3));
  EXPECT_EQ(run(absl::NotFoundError(""), 50), std::pair(false, 1));
  EXPECT_EQ(run(absl::FailedPreconditionError(""), 50), std::pair(false, 1));
}

TEST(FailureTest, ReasonsAndFaults) {
  EXPECT_EQ(FailureFromStatus(absl::ResourceExhaustedError("no space")).reason(), "DISK_FULL");
  EXPECT_EQ(FailureFromStatus(absl::NotFoundError("x")).reason(), "TRANSFER_FAILED");
  const api::Failure failure = FailureFromStatus(FailureError("MODEL_INVALID", "broken"));
  EXPECT_EQ(failure.reason(), "MODEL_INVALID");
  EXPECT_EQ(failure.fault(), api::Failure::JOB);
  EXPECT_EQ(failure.message(), "broken");
}

}  // namespace
}  // namespace longlora::worker
