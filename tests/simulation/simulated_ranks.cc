#include "tests/simulation/simulated_ranks.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"
#include "common/trainer_protocol/spec_codec.h"

namespace longlora::simulation {
namespace {

constexpr int64_t kFileBytesMax = 1 << 20;
constexpr int64_t kTokensPerStep = 16;
constexpr absl::Duration kHangTimeout = absl::Seconds(10);  // as RankGroupSpec::hang_timeout

class SimulatedRanks : public worker::Ranks {
 public:
  SimulatedRanks(World* world, Process* process, std::string worker_name,
                 worker::RankGroupSpec spec, worker::EventSink* sink)
      : world_(world),
        process_(process),
        random_(world->random.Split()),
        worker_(std::move(worker_name)),
        spec_(std::move(spec)),
        sink_(sink),
        deaf_(random_.Chance(world->faults.trainer_deaf)) {
    const std::vector<std::string> parts = absl::StrSplit(spec_.mark, absl::ByAnyChar("/;"));
    job_ = absl::StrCat(parts[1], "/", parts[2]);
    attempt_ = std::stoi(parts[3]);
    for (size_t i = 0; i < spec_.arguments.size(); ++i) {
      if (spec_.arguments[i] == "--resume") resumes_ = true;
      if (spec_.arguments[i] == "--output") output_ = spec_.arguments[i + 1];
      if (spec_.arguments[i] == "--spec") spec_path_ = spec_.arguments[i + 1];
    }
  }

  void Stop(absl::Duration grace) override {
    if (process_->dead) return;
    stop_requested_ = true;
    EndBy(world_->fibers.now() + grace);
  }
  void Kill() override { Stop(absl::ZeroDuration()); }

  worker::RankGroupResult Run() override {
    using End = worker::RankGroupResult::End;
    if (stop_requested_ || process_->dead) return {End::kStopped, {}};
    LiveTrainer trainer = {.job = job_, .attempt = attempt_, .worker = worker_, .devices = {}};
    for (const worker::Device& device : spec_.devices) trainer.devices.push_back(device.id);
    world_->trace.Add(worker_, ": the trainer of ", job_, " attempt ", attempt_, " begins");
    number_ = world_->invariants.OnTrainerStarted(std::move(trainer));
    const absl::Status trained = Train();
    if (process_->dead) return {End::kStopped, {}};
    if (!trained.ok() && !killed_) Linger();
    world_->invariants.OnTrainerEnded(number_);
    world_->trace.Add(worker_, ": the trainer of ", job_, " attempt ", attempt_,
                      " is gone: ", trained.ok() ? "done" : std::string(trained.message()));
    if (trained.ok()) return {End::kSucceeded, {}};
    if (stop_requested_) return {End::kStopped, {}};
    return {End::kFailed,
            {absl::IsResourceExhausted(trained) ? "DISK_FULL" : failure_,
             std::string(trained.message()), worker::FaultOf(failure_)}};
  }

 private:
  absl::Status Fail(std::string reason, absl::string_view message) {
    failure_ = std::move(reason);
    return absl::InternalError(message);
  }

  // SIGKILL at `time` at the latest; what gets it is gone a little later.
  void EndBy(absl::Duration time) {
    const absl::Duration dead = time + random_.Between(absl::ZeroDuration(), kKillDelayMax);
    dies_at_ = std::min(dies_at_, dead);
    world_->fibers.Touch(process_);
  }

  // Other ranks, and what they left on the devices, take a moment to go.
  void Linger() { world_->fibers.Sleep(random_.Between(absl::ZeroDuration(), absl::Seconds(1))); }

  // Lets time pass; not OK: the trainer is to end, or was killed meanwhile.
  absl::Status Work(absl::Duration duration) {
    const absl::Duration end = world_->fibers.now() + duration;
    while (true) {
      const bool heard = stop_requested_ && !deaf_;
      const absl::Duration until = std::min(end, dies_at_);
      const absl::Duration dies_at = dies_at_;
      world_->fibers.WaitFor(
          [&] {
            return process_->dead || dies_at_ != dies_at || (stop_requested_ && !deaf_) != heard;
          },
          std::max(until - world_->fibers.now(), absl::ZeroDuration()));
      if (process_->dead || world_->fibers.now() >= dies_at_) {
        killed_ = true;
        return absl::CancelledError("killed");
      }
      if (world_->fibers.now() >= end) return absl::OkStatus();
    }
  }

  absl::Status Emit(decltype(common::TrainerEvent::body) body) {
    return sink_->OnEvent(
        {absl::ToDoubleSeconds(world_->time.Now() - absl::UnixEpoch()), std::move(body)});
  }

  absl::Status Load() {
    auto content = common::ReadFile(spec_path_, kFileBytesMax);
    if (!content.ok()) return Fail("INVALID_SPEC", content.status().message());
    auto spec = common::ParseTrainSpec(*content);
    if (!spec.ok()) return Fail("INVALID_SPEC", spec.status().message());
    train_ = *std::move(spec);
    weights_ = WeightsAfter(job_, 0);
    return resumes_ ? Resume() : absl::OkStatus();
  }

  // Goes on from the newest checkpoint in the output, as --resume does.
  absl::Status Resume() {
    std::error_code error;
    int64_t newest = 0;
    for (const auto& entry :
         std::filesystem::directory_iterator(absl::StrCat(output_, "/checkpoints"), error)) {
      const std::string name = entry.path().filename().string();
      int64_t step = 0;
      if (absl::SimpleAtoi(absl::StripPrefix(name, "step-"), &step)) {
        newest = std::max(newest, step);
      }
    }
    const auto state = common::ReadFile(
        absl::StrCat(output_, "/checkpoints/step-", newest, "/state.bin"), kFileBytesMax);
    if (!state.ok() || *state != WeightsAfter(job_, newest)) {
      world_->invariants.Violate(job_, " attempt ", attempt_,
                                 " goes on from no true checkpoint of its job: step ", newest);
      return Fail("RESUME_MISMATCH", "not a checkpoint of this job");
    }
    step_ = newest;
    weights_ = *state;
    return absl::OkStatus();
  }

  absl::Status Train() {
    LONGLORA_RETURN_IF_ERROR(Load());
    LONGLORA_RETURN_IF_ERROR(Work(random_.Between(absl::Milliseconds(100), absl::Seconds(2))));
    common::PreparedEvent prepared;
    prepared.total_steps = train_.training.max_steps.value_or(1);
    prepared.start_step = step_;
    LONGLORA_RETURN_IF_ERROR(Emit(prepared));
    while (step_ < prepared.total_steps) {
      LONGLORA_RETURN_IF_ERROR(
          Work(random_.Between(absl::Milliseconds(100), absl::Milliseconds(1500))));
      if (stop_requested_ && !deaf_) return StopWithCheckpoint();
      LONGLORA_RETURN_IF_ERROR(TakeStep());
    }
    return Export();
  }

  absl::Status TakeStep() {
    if (random_.Chance(world_->faults.trainer_crash)) {
      if (random_.Chance(0.2)) {
        LONGLORA_RETURN_IF_ERROR(Work(kHangTimeout));
        return Fail("TRAINER_HUNG", "the trainer hangs");
      }
      if (random_.Chance(0.1)) return Fail("NON_FINITE", "the loss is not finite");
      return Fail("TRAINER_CRASHED", "the trainer crashed");
    }
    ++step_;
    weights_ = NextWeights(weights_, step_);
    common::StepEvent event;
    event.step = step_;
    event.loss = 1.0 / static_cast<double>(step_);
    event.tokens = kTokensPerStep;
    event.tokens_per_second = 100.0;
    LONGLORA_RETURN_IF_ERROR(Emit(event));
    const int64_t interval = train_.checkpoint.interval_steps;
    return interval > 0 && step_ % interval == 0 ? SaveCheckpoint() : absl::OkStatus();
  }

  absl::Status SaveCheckpoint() {
    const std::string path = absl::StrCat("checkpoints/step-", step_);
    const std::string staged = absl::StrCat(output_, "/checkpoints/.staged");
    LONGLORA_RETURN_IF_ERROR(common::RemoveAll(staged));
    LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(staged));
    LONGLORA_RETURN_IF_ERROR(common::AtomicWriteFile(staged + "/state.bin", weights_));
    LONGLORA_RETURN_IF_ERROR(common::AtomicWriteFile(staged + "/manifest.json",
                                                     absl::StrCat("{\"step\": ", step_, "}")));
    LONGLORA_RETURN_IF_ERROR(common::RemoveAll(absl::StrCat(output_, "/", path)));
    std::error_code error;
    std::filesystem::rename(staged, absl::StrCat(output_, "/", path), error);
    if (error) return Fail("TRAINER_ERROR", error.message());
    // Of those before it the trainer keeps none.
    if (saved_step_ > 0 && saved_step_ != step_) {
      common::RemoveAll(absl::StrCat(output_, "/checkpoints/step-", saved_step_)).IgnoreError();
    }
    saved_step_ = step_;
    return Emit(common::CheckpointEvent{.step = step_, .path = path, .bytes = 64, .best = false});
  }

  absl::Status StopWithCheckpoint() {
    if (step_ > saved_step_) LONGLORA_RETURN_IF_ERROR(SaveCheckpoint());
    common::FinishedEvent finished;
    finished.step = step_;
    finished.stopped = true;
    LONGLORA_RETURN_IF_ERROR(Emit(finished));
    return absl::CancelledError("stopped with a checkpoint");
  }

  absl::Status Export() {
    const std::string adapter = absl::StrCat(output_, "/adapter");
    LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(adapter));
    LONGLORA_RETURN_IF_ERROR(
        common::AtomicWriteFile(adapter + "/adapter_model.safetensors", weights_));
    common::FinishedEvent finished;
    finished.step = step_;
    finished.adapter = "adapter";
    return Emit(finished);
  }

  World* const world_;
  Process* const process_;
  Random random_;
  const std::string worker_;
  const worker::RankGroupSpec spec_;
  worker::EventSink* const sink_;
  const bool deaf_;
  std::string job_;
  int32_t attempt_ = 0;
  std::string output_;
  std::string spec_path_;
  bool resumes_ = false;

  int64_t number_ = 0;
  common::TrainSpec train_;
  int64_t step_ = 0;
  int64_t saved_step_ = 0;
  std::string weights_;
  std::string failure_ = "TRAINER_ERROR";
  bool stop_requested_ = false;
  bool killed_ = false;
  absl::Duration dies_at_ = absl::InfiniteDuration();
};

}  // namespace

std::unique_ptr<worker::Ranks> MakeSimulatedRanks(World* world, Process* process,
                                                  std::string worker_name,
                                                  worker::RankGroupSpec spec,
                                                  worker::EventSink* sink) {
  return std::make_unique<SimulatedRanks>(world, process, std::move(worker_name), std::move(spec),
                                          sink);
}

}  // namespace longlora::simulation
