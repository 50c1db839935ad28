#include "worker/supervisor/rank.h"

#include <utility>
#include <variant>

namespace longlora::worker {
namespace {

// Read from one stream before another has its turn.
constexpr size_t kReadBudget = 256 << 10;

bool SpeaksForGroup(const common::TrainerEvent& event) {
  return !std::holds_alternative<common::ErrorEvent>(event.body) &&
         !std::holds_alternative<common::WarningEvent>(event.body) &&
         !std::holds_alternative<common::LogEvent>(event.body);
}

}  // namespace

Rank::Rank(int32_t number, std::unique_ptr<Process> process, const std::string& log_path,
           RankLogLimits log_limits, common::Clock* clock)
    : number_(number),
      process_(std::move(process)),
      event_reader_(number, clock),
      log_(number, log_path, log_limits, clock) {}

void Rank::ReadEvents(OnEvent on_event) {
  events_open_ = event_lines_.ReadAvailable(
      process_->events_fd(), kReadBudget, [&](absl::string_view line, bool cut) {
        const std::optional<common::TrainerEvent> event = event_reader_.Read(line, cut);
        if (!event.has_value()) return;
        if (const auto* error = std::get_if<common::ErrorEvent>(&event->body);
            error != nullptr && !error_.has_value()) {
          error_ = *error;
        }
        if (number_ == 0 || !SpeaksForGroup(*event)) on_event(*event);
      });
}

void Rank::ReadLog(OnEvent on_event) {
  log_open_ = log_lines_.ReadAvailable(
      process_->log_fd(), kReadBudget, [&](absl::string_view line, bool cut) {
        for (const common::TrainerEvent& event : log_.Take(line, cut)) on_event(event);
      });
}

bool Rank::Reap(OnEvent on_event) {
  if (exit_.has_value()) return false;
  exit_ = process_->Reap();
  if (!exit_.has_value()) return false;
  // The writers are dead, so this is at most what a pipe holds (64 KiB, below the budget); a
  // process that fled from the group and goes on writing is not waited for.
  if (events_open_) ReadEvents(on_event);
  if (log_open_) ReadLog(on_event);
  events_open_ = false;
  log_open_ = false;
  return true;
}

}  // namespace longlora::worker
