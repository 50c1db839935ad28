// Goal: the daemon as operators run it: one in a work directory, killed and started again without
// leaving a process behind, errors that name the flag. Method: the real longlora-worker with the
// fake trainer, against the fake service.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "tests/worker/agent/fake_worker_service.h"
#include "tests/worker/supervisor/trainer_fixture.h"

namespace longlora::worker {
namespace {

using ::testing::HasSubstr;

std::string WorkerPath() {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "../bin/longlora-worker")
      .lexically_normal()
      .string();
}

// A running longlora-worker; killed at the end.
class Daemon {
 public:
  Daemon(std::vector<std::string> arguments, const std::string& log) {
    arguments.insert(arguments.begin(), WorkerPath());
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(fd, 1);
      dup2(fd, 2);
      execv(pointers[0], pointers.data());
      _exit(127);
    }
    close(fd);
  }
  ~Daemon() {
    if (pid_ > 0) Kill();
  }
  void Signal(int signal) { kill(pid_, signal); }
  void Kill() {
    Signal(SIGKILL);
    Wait();
  }
  // Exit status; 128 + signal when killed.
  int Wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
};

class WorkerBinaryTest : public ::testing::Test {
 protected:
  WorkerBinaryTest() {
    EXPECT_OK(common::CreateDirectories(directory_ / "models/tiny"));
    EXPECT_OK(common::AtomicWriteFile(directory_ / "models/tiny/config.json", "{}"));
  }

  std::vector<std::string> Flags() {
    return {"--server",         service_.address(),  "--name",      "w1",
            "--work-dir",       directory_ / "work", "--model-dir", directory_ / "models",
            "--metrics-listen", "127.0.0.1:0",       "--devices",   "cpu:1",
            "--trainer",        FakeTrainerPath()};
  }
  std::string log() const { return directory_ / "worker.log"; }
  std::string Log() { return common::ReadFile(log(), 1 << 20).value_or(""); }

  AttemptId AssignEndless(const std::string& script) {
    seam::Assignment assignment;
    assignment.set_job("fineTuneJobs/endless");
    assignment.set_attempt(1);
    assignment.set_desired(seam::Assignment::RUN);
    assignment.add_device_ids("cpu:0");
    api::FineTuneSpec* spec = assignment.mutable_spec();
    spec->set_display_name(absl::StrCat("steps=1000000,step_ms=5,", script));
    spec->set_base_model("tiny");
    spec->mutable_dataset()->set_training(service_.AddFile("{\"text\": \"some words\"}\n"));
    spec->set_max_sequence_length(16);
    spec->mutable_training()->set_max_steps(5);
    service_.Assign(assignment);
    return {assignment.job(), assignment.attempt()};
  }
  bool WaitForStep(const AttemptId& id) {
    return Eventually([&] {
      const auto events = service_.Events(id);
      return !events.empty() && events.back().has_step();
    });
  }
  // Runs a worker that is to refuse, and returns its exit status.
  int RunToExit(const std::vector<std::string>& flags) { return Daemon(flags, log()).Wait(); }

  testing::TemporaryDirectory directory_;
  FakeWorkerService service_;
};

TEST_F(WorkerBinaryTest, SigkillLeavesNothingForTheNextLife) {
  const std::string pid_file = directory_ / "g";
  const AttemptId id = AssignEndless(absl::StrCat("grandchild=", pid_file));
  Daemon first(Flags(), log());
  ASSERT_TRUE(WaitForStep(id));
  const auto pid_text = common::ReadFile(pid_file, 100);
  ASSERT_OK(pid_text);
  pid_t grandchild = 0;
  ASSERT_TRUE(absl::SimpleAtoi(*pid_text, &grandchild));
  const std::string incarnation = service_.synchronize_requests().back().incarnation();
  first.Kill();
  EXPECT_TRUE(IsAlive(grandchild)) << "it fled from its session, so only the next life can end it";

  service_.Unassign(id);
  Daemon second(Flags(), log());
  ASSERT_TRUE(Eventually(
      [&] { return service_.synchronize_requests().back().incarnation() != incarnation; }));
  EXPECT_FALSE(IsAlive(grandchild)) << "nothing may be left when the worker registers";
  EXPECT_EQ(service_.synchronize_requests().back().attempts_size(), 0)
      << "former attempts are forgotten";
  EXPECT_TRUE(std::filesystem::is_empty(directory_ / "work/attempts"));
}

TEST_F(WorkerBinaryTest, SigtermStopsWithACheckpointAndExitsWell) {
  const AttemptId id = AssignEndless("");
  Daemon worker(Flags(), log());
  ASSERT_TRUE(WaitForStep(id));
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.Wait(), 0) << Log();
  EXPECT_EQ(service_.Checkpoints(id).size(), 1u);
  EXPECT_TRUE(service_.synchronize_requests().back().leaving());
}

TEST_F(WorkerBinaryTest, SecondWorkerInAWorkDirectoryIsRefused) {
  Daemon first(Flags(), log());
  ASSERT_TRUE(Eventually([&] { return !service_.synchronize_requests().empty(); }));
  EXPECT_EQ(RunToExit(Flags()), 1);
  EXPECT_THAT(Log(), HasSubstr("another worker uses it"));
}

TEST_F(WorkerBinaryTest, ConfigurationFileTakesTheSameKeys) {
  std::string config;
  const std::vector<std::string> flags = Flags();
  for (size_t i = 0; i < flags.size(); i += 2) {
    absl::StrAppend(&config, flags[i].substr(2), " = \"", flags[i + 1], "\"\n");
  }
  ASSERT_OK(common::AtomicWriteFile(directory_ / "worker.toml", config));
  Daemon worker({"--config", directory_ / "worker.toml"}, log());
  EXPECT_TRUE(Eventually([&] { return !service_.synchronize_requests().empty(); })) << Log();
}

TEST_F(WorkerBinaryTest, BadFlagsAreNamedAndEndWithTwo) {
  const struct {
    std::string flag;
    std::string value;
    std::string words;
  } kCases[] = {{"--devices", "gpu", "--devices"},
                {"--trainer", "/nowhere/trainer", "/nowhere/trainer"},
                {"--name", "Bad_Name", "--name"},
                {"--grace", "soon", "--grace"},
                {"--allow-root", "relative", "--allow-root"},
                {"--model-dir", "/nowhere/models", "--model-dir"},
                {"--no-such-flag", "1", "--no-such-flag"}};
  for (const auto& item : kCases) {
    std::vector<std::string> flags = Flags();
    const auto found = std::find(flags.begin(), flags.end(), item.flag);
    if (found == flags.end()) {
      flags.push_back(item.flag);
      flags.push_back(item.value);
    } else {
      *(found + 1) = item.value;
    }
    ASSERT_OK(common::RemoveAll(log()));
    EXPECT_EQ(RunToExit(flags), 2) << item.flag;
    EXPECT_THAT(Log(), HasSubstr(item.words));
  }
}

}  // namespace
}  // namespace longlora::worker
