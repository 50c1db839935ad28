#include "tests/worker/supervisor/trainer_fixture.h"

#include <poll.h>

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/time/clock.h"
#include "common/trainer_protocol/spec_codec.h"
#include "worker/supervisor/process_table.h"

namespace longlora::worker {

std::string FakeTrainerPath() {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "fake_trainer").string();
}

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = common::Clock::Real().MonotonicNow() + absl::Seconds(30);
  while (!condition()) {
    if (common::Clock::Real().MonotonicNow() >= deadline) return false;
    poll(nullptr, 0, 5);
  }
  return true;
}

bool IsAlive(pid_t pid) {
  const auto entry = ReadProcess(pid);
  return entry.has_value() && entry->state != 'Z';
}

absl::Status RecordingSink::OnEvent(const common::TrainerEvent& event) {
  absl::MutexLock lock(&mutex_);
  events_.push_back(event);
  return answer_;
}

std::vector<common::TrainerEvent> RecordingSink::events() const {
  absl::MutexLock lock(&mutex_);
  return events_;
}

void RecordingSink::Refuse(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  answer_ = std::move(status);
}

TrainerFixture::TrainerFixture() {
  for (const char* name : {"output", "logs", "model"}) {
    EXPECT_TRUE(common::CreateDirectories(directory_ / name).ok());
  }
  EXPECT_TRUE(common::AtomicWriteFile(directory_ / "data.jsonl", "{\"text\": \"a\"}\n").ok());
  common::TrainSpec spec;
  spec.base_model = directory_ / "model";
  spec.dataset.training = directory_ / "data.jsonl";
  spec.max_sequence_length = 16;
  spec.training.max_steps = 5;
  EXPECT_TRUE(
      common::AtomicWriteFile(directory_ / "spec.json", common::FormatTrainSpec(spec)).ok());
}

RankGroupSpec TrainerFixture::Spec(int ranks, const std::string& script) {
  RankGroupSpec spec;
  spec.trainer = FakeTrainerPath();
  spec.arguments = {"--spec", directory_ / "spec.json", "--output", directory_ / "output"};
  for (int i = 0; i < ranks; ++i) {
    spec.devices.push_back(
        {.id = absl::StrCat("cpu:", i), .kind = "cpu", .model = "", .uuid = "", .threads = 1});
  }
  // The directory's name is unlike that of any other test at the same time.
  spec.mark = absl::StrCat("test", directory_.path(), ";");
  spec.record_path = directory_ / "processes.json";
  spec.log_directory = directory_ / "logs";
  spec.directory = directory_ / "output";
  spec.environment = {"PATH=/usr/bin:/bin", absl::StrCat("LONGLORA_FAKE_TRAINER=", script)};
  return spec;
}

RankGroupResult TrainerFixture::Run(RankGroupSpec spec) {
  Start(std::move(spec));
  return Join();
}

void TrainerFixture::Start(RankGroupSpec spec) {
  group_ = std::make_unique<RankGroup>(std::move(spec), &launcher_, &sink_, &common::Clock::Real());
  thread_ = std::thread([this] { result_ = group_->Run(); });
}

RankGroupResult TrainerFixture::Join() {
  thread_.join();
  return result_;
}

}  // namespace longlora::worker
