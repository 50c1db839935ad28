#include "client/cli/follow.h"

#include <CLI/CLI.hpp>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/event_lines.h"
#include "client/cli/format.h"
#include "client/cli/interrupt.h"
#include "client/cli/json_output.h"
#include "client/cli/live_view.h"
#include "client/cli/progress.h"
#include "client/resource_name.h"
#include "common/status/status_macros.h"

namespace longlora::client {
namespace {

// How often a waiting job is asked why it waits: that is no event.
constexpr absl::Duration kReasonInterval = absl::Seconds(5);

// One JSON object a line an event, as it comes.
class JsonObserver : public WatchObserver {
 public:
  explicit JsonObserver(Console& console) : console_(console) {}
  void OnJob(const v1::FineTuneJob&) override {}
  void OnEvent(const v1::JobEvent& event) override { console_.Print(JsonLine(event)); }
  void OnDisconnected(const absl::Status& reason) override {
    console_.Note(absl::StrCat(reason.message(), "; the job goes on, reconnecting ..."));
  }
  void OnGap(int64_t first, int64_t last) override {
    console_.Error(absl::StrCat("the server lost the events ", first, " to ", last));
  }

 private:
  Console& console_;
};

// Lines and bar. The progress is shared with the view's thread and with the one that asks why the
// job waits; the view's lock guards it.
class ViewObserver : public WatchObserver {
 public:
  explicit ViewObserver(Console& console)
      : console_(console), view_(console, [this](int columns) {
          return away_ ? "the server is away; the job goes on, reconnecting ..."
                       : RenderBar(progress_, absl::Now(), columns, console_.style());
        }) {}

  void OnJob(const v1::FineTuneJob& job) override {
    ShowWait([&] { progress_.Apply(job); });
  }
  // Called by another thread than the rest.
  void OnReason(const v1::ScheduleReason& reason) {
    ShowWait([&] { progress_.Apply(reason); });
  }

  void OnEvent(const v1::JobEvent& event) override {
    std::optional<std::string> line;
    view_.Update([&] {
      progress_.Apply(event);
      if (event.has_step() && !filter_.Show(event, progress_.total_steps())) return;
      // The bar has them on a terminal.
      if (event.has_step() && console_.style().live) return;
      line = EventLine(event, progress_, absl::LocalTimeZone());
    });
    if (line.has_value()) Show(*line);
  }

  void OnDisconnected(const absl::Status& reason) override {
    view_.Update([&] { away_ = true; });
    Show(absl::StrCat(reason.message(), "; the job goes on, reconnecting ..."));
  }
  void OnReconnected() override {
    view_.Update([&] { away_ = false; });
    Show("reconnected");
  }
  void OnGap(int64_t first, int64_t last) override {
    Show(absl::StrCat("the server lost the events ", first, " to ", last));
  }

  // Whether somebody has to ask why it waits.
  bool waiting() {
    bool waiting = false;
    view_.Update([&] { waiting = progress_.state() == v1::FineTuneJob::QUEUED; });
    return waiting;
  }
  std::string End(const v1::FineTuneJob& job) {
    std::string text;
    view_.Update([&] { text = DescribeEnd(job, progress_); });
    return text;
  }

 private:
  // Runs `change` and says why the job waits, when that is new.
  void ShowWait(const std::function<void()>& change) {
    std::string waits_for;
    view_.Update([&] {
      change();
      if (progress_.waits_for() != told_wait_) told_wait_ = waits_for = progress_.waits_for();
    });
    if (!waits_for.empty()) Show(absl::StrCat("waits: ", Printable(waits_for)));
  }
  void Show(const std::string& line) {
    if (!console_.quiet()) view_.Line(line);
  }

  Console& console_;
  Progress progress_;
  StepFilter filter_;
  std::string told_wait_;
  bool away_ = false;
  LiveView view_;  // last: its thread reads the others
};

// Asks for the schedule reason of a QUEUED job until it lives no more.
class ReasonPoller {
 public:
  ReasonPoller(FineTuneClient& client, const std::string& name, ViewObserver& observer)
      : thread_([this, &client, name, &observer] {
          while (stop_.Sleep(kReasonInterval)) {
            if (!observer.waiting()) continue;
            absl::StatusOr<v1::FineTuneJob> job = client.GetJob(name);
            // Errors are the watch's to tell.
            if (job.ok() && job->state() == v1::FineTuneJob::QUEUED)
              observer.OnReason(job->schedule_reason());
          }
        }) {}
  ~ReasonPoller() {
    stop_.Cancel();
    thread_.join();
  }

 private:
  Cancellation stop_;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<v1::FineTuneJob> FollowJob(Environment& environment, FineTuneClient& client,
                                          const std::string& name, const WatchOptions& options) {
  Interrupt interrupt(environment.cancellation);
  if (environment.json()) {
    JsonObserver observer(environment.console);
    absl::StatusOr<v1::FineTuneJob> job = WatchJob(client, name, options, observer);
    if (job.ok()) environment.console.Print(JsonLine(*job));
    return job;
  }
  std::string end;
  absl::StatusOr<v1::FineTuneJob> job = absl::UnknownError("");
  {
    ViewObserver observer(environment.console);
    ReasonPoller poller(client, name, observer);
    job = WatchJob(client, name, options, observer);
    if (job.ok()) end = observer.End(*job);
  }
  if (job.ok()) environment.console.Print(absl::StrCat(end, "\n"));
  return job;
}

absl::StatusOr<int> FollowExitCode(Environment& environment, const std::string& name,
                                   const absl::StatusOr<v1::FineTuneJob>& job) {
  const absl::string_view id = ShortName(name);
  if (const int signal = Interrupt::signal(); !job.ok() && signal != 0) {
    environment.console.Note(absl::StrCat("Detached; the job goes on.\n  longlora watch ", id,
                                          "    to see it again\n  longlora cancel ", id,
                                          "   to end it"));
    return kExitSignal + signal;
  }
  LONGLORA_RETURN_IF_ERROR(job.status());
  environment.console.Note(NextCommand(*job));
  return ExitCodeOf(job->state());
}

void AddReconnectOption(CLI::App& command, WatchOptions& options) {
  command
      .add_option_function<int>(
          "--reconnect-timeout",
          [&options](int seconds) { options.reconnect_timeout = absl::Seconds(seconds); },
          "Seconds to try to reach a server that went away before giving up [600]")
      ->check(CLI::NonNegativeNumber);
}

}  // namespace longlora::client
