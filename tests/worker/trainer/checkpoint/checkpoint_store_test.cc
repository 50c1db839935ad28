// Goal: whatever moment a crash picks, the newest whole checkpoint is found, a damaged one is
// passed over aloud, and nothing is ever half there. Method: real directories, damaged by hand as
// crashes and bad disks would leave them.
#include "worker/trainer/checkpoint/checkpoint_store.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CheckpointStoreTest : public ::testing::Test {
 protected:
  static Checkpoint Make(int64_t step) {
    Checkpoint checkpoint;
    checkpoint.step = step;
    checkpoint.world_size = 2;
    checkpoint.spec_digest = "digest";
    checkpoint.state = {{"witness_loss", 0.1 + static_cast<double>(step)}, {"text", "é"}};
    checkpoint.tensors = {{"model.norm.weight", torch::full({3}, static_cast<float>(step))},
                          {"rng", torch::arange(5, at::kByte)}};
    return checkpoint;
  }
  std::string Path(int64_t step, const std::string& name) {
    return root_ / ("checkpoints/step-" + std::to_string(step) + "/" + name);
  }
  void FlipByte(const std::string& path, size_t position) {
    auto bytes = common::ReadFile(path, 1 << 20);
    ASSERT_OK(bytes);
    (*bytes)[position % bytes->size()] ^= 1;
    ASSERT_OK(common::AtomicWriteFile(path, *bytes));
  }
  std::vector<std::string> Entries() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(root_ / "checkpoints")) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  testing::TemporaryDirectory root_;
  CheckpointStore store_{root_ / "checkpoints", /*keep_last=*/3};
};

TEST_F(CheckpointStoreTest, WhatIsSavedIsLoaded) {
  ASSERT_OK_AND_ASSIGN(const auto nothing, store_.LoadNewest());
  EXPECT_FALSE(nothing.has_value());
  const Checkpoint saved = Make(7);
  ASSERT_OK_AND_ASSIGN(const SavedCheckpoint place, store_.Save(saved));
  EXPECT_EQ(place.path, root_ / "checkpoints/step-7");
  EXPECT_GT(place.bytes, 0);

  ASSERT_OK_AND_ASSIGN(const auto loaded, store_.LoadNewest());
  ASSERT_TRUE(loaded.has_value());
  EXPECT_THAT(loaded->warnings, IsEmpty());
  EXPECT_EQ(loaded->checkpoint.step, 7);
  EXPECT_EQ(loaded->checkpoint.world_size, 2);
  EXPECT_EQ(loaded->checkpoint.spec_digest, "digest");
  EXPECT_EQ(loaded->checkpoint.state, saved.state);
  ASSERT_EQ(loaded->checkpoint.tensors.size(), 2u);
  for (const auto& [name, tensor] : saved.tensors) {
    EXPECT_TRUE(at::equal(loaded->checkpoint.tensors.at(name), tensor)) << name;
  }
}

TEST_F(CheckpointStoreTest, ExtraFilesAreUnderTheManifestToo) {
  const auto write_extra = [](const std::string& directory) {
    EXPECT_OK(common::CreateDirectories(directory + "/adapter"));
    return common::AtomicWriteFile(directory + "/adapter/config.json", "{}");
  };
  ASSERT_OK(store_.Save(Make(1), write_extra));
  EXPECT_OK(store_.Load(1));
  FlipByte(Path(1, "adapter/config.json"), 0);
  EXPECT_THAT(store_.Load(1),
              StatusIs(absl::StatusCode::kDataLoss, "adapter/config.json is damaged"));
}

TEST_F(CheckpointStoreTest, APartialCheckpointIsIgnoredAndClearedAway) {
  ASSERT_OK(store_.Save(Make(1)));
  // A crash while step 2 was written: its files lie under the hidden name, without a manifest.
  ASSERT_OK(common::CreateDirectories(root_ / "checkpoints/.step-2.partial"));
  ASSERT_OK(
      common::AtomicWriteFile(root_ / "checkpoints/.step-2.partial/tensors.safetensors", "half"));
  ASSERT_OK_AND_ASSIGN(const auto loaded, store_.LoadNewest());
  EXPECT_EQ(loaded->checkpoint.step, 1);
  EXPECT_THAT(loaded->warnings, IsEmpty());
  ASSERT_OK(store_.Save(Make(3)));
  EXPECT_THAT(Entries(), ElementsAre("step-1", "step-3"));
}

TEST_F(CheckpointStoreTest, AFailedSaveLeavesTheOthersUntouched) {
  ASSERT_OK(store_.Save(Make(1)));
  const auto fail = [](const std::string&) { return absl::ResourceExhaustedError("disk full"); };
  EXPECT_THAT(store_.Save(Make(2), fail),
              StatusIs(absl::StatusCode::kResourceExhausted, "disk full"));
  EXPECT_THAT(store_.Save(Make(1), fail),
              StatusIs(absl::StatusCode::kResourceExhausted, "disk full"));
  EXPECT_THAT(Entries(), ElementsAre("step-1"));
  EXPECT_OK(store_.Load(1));
}

// Every byte of every file of the newest checkpoint, flipped one after another.
TEST_F(CheckpointStoreTest, AnyFlippedByteMakesTheLoaderTakeTheOneBeforeAloud) {
  ASSERT_OK(store_.Save(Make(1)));
  ASSERT_OK(store_.Save(Make(2)));
  for (const std::string name : {"tensors.safetensors", "manifest.json"}) {
    ASSERT_OK_AND_ASSIGN(const std::string whole, common::ReadFile(Path(2, name), 1 << 20));
    for (size_t i = 0; i < whole.size(); ++i) {
      // Blanks between the manifest's values carry nothing.
      if (name == "manifest.json" && (whole[i] == ' ' || whole[i] == '\n')) continue;
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ 1);
      std::ofstream(Path(2, name), std::ios::binary) << damaged;  // no fsync: there are many
      ASSERT_OK_AND_ASSIGN(const auto loaded, store_.LoadNewest());
      ASSERT_EQ(loaded->checkpoint.step, 1) << name << " byte " << i;
      ASSERT_THAT(loaded->warnings, ElementsAre(HasSubstr("checkpoint step-2 cannot be used")));
    }
    ASSERT_OK(common::AtomicWriteFile(Path(2, name), whole));
  }
  ASSERT_OK_AND_ASSIGN(const auto whole_again, store_.LoadNewest());
  EXPECT_EQ(whole_again->checkpoint.step, 2);
}

TEST_F(CheckpointStoreTest, MissingAndTruncatedFilesArePassedOver) {
  for (int64_t step = 1; step <= 3; ++step) ASSERT_OK(store_.Save(Make(step)));
  ASSERT_OK(common::RemoveAll(Path(3, "manifest.json")));
  ASSERT_OK(common::RemoveAll(Path(2, "tensors.safetensors")));
  ASSERT_OK_AND_ASSIGN(const auto loaded, store_.LoadNewest());
  EXPECT_EQ(loaded->checkpoint.step, 1);
  EXPECT_THAT(loaded->warnings, ElementsAre(HasSubstr("step-3 is incomplete: it has no manifest"),
                                            HasSubstr("tensors.safetensors is missing")));
  EXPECT_THAT(store_.ListSteps(), ElementsAre(1, 2));
}

TEST_F(CheckpointStoreTest, WhenNoneIsWholeTheErrorSaysWhy) {
  ASSERT_OK(store_.Save(Make(4)));
  FlipByte(Path(4, "tensors.safetensors"), 9);
  EXPECT_THAT(store_.LoadNewest(),
              StatusIs(absl::StatusCode::kDataLoss, "tensors.safetensors is damaged"));
  EXPECT_THAT(store_.Load(5), StatusIs(absl::StatusCode::kNotFound, "step-5"));
}

TEST_F(CheckpointStoreTest, ACheckpointUnderAnotherStepsNameIsRefused) {
  ASSERT_OK(store_.Save(Make(4)));
  std::filesystem::rename(root_ / "checkpoints/step-4", root_ / "checkpoints/step-9");
  EXPECT_THAT(store_.Load(9),
              StatusIs(absl::StatusCode::kDataLoss, "holds the checkpoint of step 4"));
}

TEST_F(CheckpointStoreTest, OnlyTheLastAreKept) {
  for (int64_t step = 8; step <= 12; ++step) ASSERT_OK(store_.Save(Make(step)));
  EXPECT_THAT(Entries(), ElementsAre("step-10", "step-11", "step-12"));
}

// A run that starts anew, or goes on from before a damaged checkpoint, must not lose its own
// checkpoints to those of the run that was given up, nor find them later.
TEST_F(CheckpointStoreTest, TheBestIsKeptBesidesTheLastUntilABetterComes) {
  const std::string directory = root_ / "checkpoints";
  const auto save = [&](int64_t step, std::optional<int64_t> best_step) {
    Checkpoint checkpoint = Make(step);
    EXPECT_OK(CheckpointStore(directory, /*keep_last=*/2, best_step).Save(checkpoint).status());
  };
  save(1, std::nullopt);
  save(2, 2);
  save(3, 2);
  save(4, 2);
  EXPECT_THAT(store_.ListSteps(), ElementsAre(2, 3, 4));
  save(5, 2);
  EXPECT_THAT(store_.ListSteps(), ElementsAre(2, 4, 5));
  save(6, 6);
  EXPECT_THAT(store_.ListSteps(), ElementsAre(4, 5, 6));
  save(3, 6);
  EXPECT_THAT(store_.ListSteps(), ElementsAre(3)) << "the others are of a run that was given up";
}

TEST_F(CheckpointStoreTest, LaterStepsOfAnAbandonedRunGoWhenANewOneIsSaved) {
  for (int64_t step = 10; step <= 12; ++step) ASSERT_OK(store_.Save(Make(step)));
  Checkpoint anew = Make(11);
  anew.spec_digest = "another";
  ASSERT_OK(store_.Save(anew));
  EXPECT_THAT(Entries(), ElementsAre("step-10", "step-11"));
  EXPECT_EQ(store_.Load(11)->checkpoint.spec_digest, "another");
}

}  // namespace
}  // namespace longlora::trainer
