// A trainer without mathematics: takes the real trainer's flags and variables, reads the same spec,
// writes the same events, checkpoints and results, obeys the same signals, and misbehaves on
// demand. For tests of everything around the trainer: `longlora-worker --trainer
// build/tests/fake_trainer`.
//
// Script (see fake_script.h); N is a step, counted as the real one counts:
//   steps=N              updates of the job (default: training.max_steps, else 5)
//   step_ms=N            time of an update (default 1)
//   checkpoint_every=N   default: checkpoint.interval_steps
//   payload=N            bytes of state and of the adapter's weights (default 1000)
//   crash_at=N signal=S crash_rank=R once   dies of a signal (default 9) before update N; `once`:
//   not when resumed exit_at=N code=C error=REASON           exits, with an error event when
//   `error` is given hang_at=N            does nothing more, but obeys SIGTERM ignore_sigterm does
//   not obey SIGTERM flood=N              writes N lines to standard error first bad_json=N writes
//   N broken lines to the events long_line            writes an event of a megabyte grandchild=FILE
//   starts a process in a session of its own and writes its id to FILE no_finish            ends
//   without the `finished` event
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/trainer_protocol/exit_code.h"
#include "common/trainer_protocol/spec_codec.h"
#include "common/trainer_protocol/trainer_event.h"
#include "tests/worker/supervisor/fake_script.h"

namespace {

using longlora::common::AtomicWriteFile;
using longlora::common::ExitCode;
using longlora::common::TrainSpec;
using longlora::testing::FakeScript;

volatile sig_atomic_t stop_requested = 0;

struct Arguments {
  std::string spec;
  std::string output;
  bool resume = false;
  int events_fd = STDOUT_FILENO;
};

[[noreturn]] void Exit(ExitCode code) { _exit(static_cast<int>(code)); }

[[noreturn]] void Die(const std::string& message) {
  fprintf(stderr, "fake_trainer: %s\n", message.c_str());
  Exit(ExitCode::kInvalidJob);
}

Arguments ParseArguments(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--resume") {
      arguments.resume = true;
    } else if (i + 1 == argc) {
      Die("missing value of " + flag);
    } else if (flag == "--spec") {
      arguments.spec = argv[++i];
    } else if (flag == "--output") {
      arguments.output = argv[++i];
    } else if (flag == "--events-fd") {
      arguments.events_fd = atoi(argv[++i]);
    } else if (flag == "--model-dir" || flag == "--cache-dir") {
      ++i;
    } else {
      Die("unknown flag " + flag);
    }
  }
  return arguments;
}

int64_t VariableOr(const char* name, int64_t otherwise) {
  const char* text = getenv(name);
  int64_t value = otherwise;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : otherwise;
}

class FakeTrainer {
 public:
  FakeTrainer(Arguments arguments, TrainSpec spec, FakeScript script)
      : arguments_(std::move(arguments)),
        spec_(std::move(spec)),
        script_(std::move(script)),
        rank_(VariableOr("RANK", 0)),
        steps_(script_.Get("steps", spec_.training.max_steps.value_or(5))),
        checkpoint_every_(script_.Get("checkpoint_every", spec_.checkpoint.interval_steps)) {}

  ExitCode Run() {
    CheckInputs();
    Misbehave();
    const int64_t start = arguments_.resume ? FindCheckpoint() : 0;
    resumed_ = start > 0;
    Emit(longlora::common::PreparedEvent{.total_steps = steps_,
                                         .start_step = start,
                                         .parameters = 1000,
                                         .trainable_parameters = 10,
                                         .training_rows = 1,
                                         .training_tokens = 100,
                                         .validation_tokens = 0,
                                         .fill_ratio = 1.0});
    for (int64_t step = start + 1; step <= steps_; ++step) {
      Sabotage(step);
      Pause(script_.Get("step_ms", 1));
      Emit(longlora::common::StepEvent{.step = step,
                                       .loss = 4.0 / static_cast<double>(step),
                                       .learning_rate = 1e-3,
                                       .grad_norm = 1.0,
                                       .tokens = 100,
                                       .tokens_per_second = 1000.0,
                                       .memory_bytes = 1 << 20});
      const bool stopping = stop_requested != 0 && !script_.Has("ignore_sigterm");
      const bool due = checkpoint_every_ > 0 && step % checkpoint_every_ == 0;
      if (stopping || due) WriteCheckpoint(step);
      if (stopping) {
        Emit(longlora::common::FinishedEvent{
            .step = step, .stopped = true, .adapter = "", .merged = ""});
        return ExitCode::kStopped;
      }
    }
    WriteResults();
    return ExitCode::kSucceeded;
  }

 private:
  template <typename Body>
  void Emit(Body body) {
    constexpr bool speaks_always = std::is_same_v<Body, longlora::common::ErrorEvent>;
    if (rank_ != 0 && !speaks_always) return;
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    WriteLine(longlora::common::FormatTrainerEvent(
        {.time = std::chrono::duration<double>(now).count(), .body = std::move(body)}));
  }

  void WriteLine(const std::string& text) {
    const std::string line = text + "\n";
    size_t done = 0;
    while (done < line.size()) {
      const ssize_t written = write(arguments_.events_fd, line.data() + done, line.size() - done);
      if (written <= 0) _exit(static_cast<int>(ExitCode::kResource));
      done += static_cast<size_t>(written);
    }
  }

  static void Pause(int64_t ms) { poll(nullptr, 0, static_cast<int>(ms)); }

  // The paths in the spec must be this machine's.
  void CheckInputs() {
    struct stat info;
    if (stat(spec_.dataset.training.c_str(), &info) != 0 || info.st_size == 0) {
      Emit(longlora::common::ErrorEvent{"DATASET_INVALID", "no data at " + spec_.dataset.training});
      Exit(ExitCode::kInvalidJob);
    }
    if (stat(spec_.base_model.c_str(), &info) != 0) {
      Emit(longlora::common::ErrorEvent{"MODEL_INVALID", "no model at " + spec_.base_model});
      Exit(ExitCode::kInvalidJob);
    }
  }

  void Misbehave() {
    for (int64_t i = 0; i < script_.Get("flood", 0); ++i) fprintf(stderr, "flood line %ld\n", i);
    for (int64_t i = 0; i < script_.Get("bad_json", 0); ++i) WriteLine("{\"type\": nonsense");
    if (script_.Has("long_line")) WriteLine(std::string(1 << 20, 'x'));
    if (script_.Has("grandchild")) StartGrandchild(script_.GetText("grandchild", ""));
  }

  // Closes nothing and leaves the process group, as a careless data loader would.
  static void StartGrandchild(const std::string& path) {
    const pid_t pid = fork();
    if (pid == 0) {
      setsid();
      while (true) pause();
    }
    if (!AtomicWriteFile(path, absl::StrCat(pid)).ok()) Die("cannot write " + path);
  }

  void Sabotage(int64_t step) {
    if (rank_ != script_.Get("crash_rank", 0) || (script_.Has("once") && resumed_)) return;
    if (step == script_.Get("crash_at", -1)) {
      fprintf(stderr, "about to crash at step %ld\n", step);
      kill(getpid(), static_cast<int>(script_.Get("signal", SIGKILL)));
      pause();
    }
    if (step == script_.Get("exit_at", -1)) {
      if (script_.Has("error")) {
        Emit(longlora::common::ErrorEvent{script_.GetText("error", ""), "as the script says"});
      }
      fprintf(stderr, "about to exit at step %ld\n", step);
      _exit(static_cast<int>(script_.Get("code", 1)));
    }
    if (step == script_.Get("hang_at", -1)) {
      while (stop_requested == 0 || script_.Has("ignore_sigterm")) Pause(5);
    }
  }

  std::string StepDirectory(int64_t step) const {
    return absl::StrCat(arguments_.output, "/checkpoints/step-", step);
  }

  int64_t FindCheckpoint() const {
    const auto files = longlora::common::ListFiles(arguments_.output + "/checkpoints");
    int64_t newest = 0;
    if (!files.ok()) return newest;
    for (const std::string& file : *files) {
      int64_t step = 0;
      if (sscanf(file.c_str(), "step-%ld/manifest.json", &step) == 1 && step > newest &&
          file == absl::StrCat("step-", step, "/manifest.json")) {
        newest = step;
      }
    }
    return newest;
  }

  void WriteCheckpoint(int64_t step) {
    if (rank_ != 0) return;
    const std::string directory = StepDirectory(step);
    const std::string partial = absl::StrCat(arguments_.output, "/checkpoints/partial-", step);
    const int64_t payload = script_.Get("payload", 1000);
    bool ok = longlora::common::CreateDirectories(partial).ok();
    ok = ok && AtomicWriteFile(partial + "/state.bin",
                               std::string(payload, static_cast<char>('a' + step % 26)))
                   .ok();
    ok = ok &&
         AtomicWriteFile(partial + "/manifest.json", absl::StrCat("{\"step\": ", step, "}")).ok();
    ok = ok && longlora::common::RemoveAll(directory).ok();
    if (!ok || rename(partial.c_str(), directory.c_str()) != 0) Die("cannot write " + directory);
    Emit(longlora::common::CheckpointEvent{
        .step = step, .path = absl::StrCat("checkpoints/step-", step), .bytes = payload});
    // Retention, as the real one has it: files vanish while the worker may still be sending them.
    const int64_t oldest = step - checkpoint_every_ * spec_.checkpoint.keep_last;
    if (checkpoint_every_ > 0 && oldest > 0)
      (void)longlora::common::RemoveAll(StepDirectory(oldest));
  }

  void WriteResults() {
    if (rank_ != 0) return;
    const std::string adapter = arguments_.output + "/adapter";
    bool ok = longlora::common::CreateDirectories(adapter).ok();
    ok = ok && AtomicWriteFile(adapter + "/adapter_config.json", "{\"peft_type\": \"LORA\"}").ok();
    ok = ok && AtomicWriteFile(adapter + "/adapter_model.safetensors",
                               std::string(script_.Get("payload", 1000), 'w'))
                   .ok();
    std::string merged;
    if (spec_.export_options.merged) {
      merged = "merged";
      ok = ok && longlora::common::CreateDirectories(arguments_.output + "/merged").ok();
      ok = ok && AtomicWriteFile(arguments_.output + "/merged/config.json", "{}").ok();
    }
    if (!ok) Die("cannot write results");
    if (script_.Has("no_finish")) return;
    Emit(longlora::common::FinishedEvent{
        .step = steps_, .stopped = false, .adapter = "adapter", .merged = merged});
  }

  const Arguments arguments_;
  const TrainSpec spec_;
  const FakeScript script_;
  const int64_t rank_;
  const int64_t steps_;
  const int64_t checkpoint_every_;
  bool resumed_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = ParseArguments(argc, argv);
  const auto text = longlora::common::ReadFile(arguments.spec, 1 << 20);
  if (!text.ok()) Die(std::string(text.status().message()));
  auto spec = longlora::common::ParseTrainSpec(*text);
  if (!spec.ok()) Die(std::string(spec.status().message()));
  const char* variable = getenv("LONGLORA_FAKE_TRAINER");
  const FakeScript script(variable != nullptr ? variable : spec->display_name);
  // Tests kill with it what is to die as a crash does; a sanitizer would report it, and exit.
  signal(SIGSEGV, SIG_DFL);
  signal(SIGTERM, script.Has("ignore_sigterm") ? SIG_IGN : +[](int) { stop_requested = 1; });
  return static_cast<int>(FakeTrainer(arguments, *std::move(spec), script).Run());
}
