// One rank of a group: its process, and what it said. Driven by RankGroup's thread only.
#ifndef LONGLORA_WORKER_SUPERVISOR_RANK_H_
#define LONGLORA_WORKER_SUPERVISOR_RANK_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "common/time/clock.h"
#include "common/trainer_protocol/trainer_event.h"
#include "worker/supervisor/event_reader.h"
#include "worker/supervisor/line_reader.h"
#include "worker/supervisor/process.h"
#include "worker/supervisor/rank_log.h"

namespace longlora::worker {

class Rank {
 public:
  using OnEvent = absl::FunctionRef<void(const common::TrainerEvent&)>;

  // `log_path`: file for the lines that it writes.
  Rank(int32_t number, std::unique_ptr<Process> process, const std::string& log_path,
       RankLogLimits log_limits, common::Clock* clock);

  int32_t number() const { return number_; }
  Process& process() { return *process_; }
  // Unset while it lives.
  const std::optional<ProcessExit>& exit() const { return exit_; }
  // The first error it reported.
  const std::optional<common::ErrorEvent>& error() const { return error_; }
  bool events_open() const { return events_open_; }
  bool log_open() const { return log_open_; }
  std::string last_lines() const { return log_.Tail(); }

  // Takes in what there is to read, a bounded amount. Of ranks other than 0 only errors, warnings
  // and log lines are passed on: rank 0 speaks for the group.
  void ReadEvents(OnEvent on_event);
  void ReadLog(OnEvent on_event);

  // When the process has ended: ends what is left of its group, reads the rest of what it wrote,
  // and returns true.
  bool Reap(OnEvent on_event);

 private:
  const int32_t number_;
  const std::unique_ptr<Process> process_;
  LineReader event_lines_{kEventLineBytesMax};
  LineReader log_lines_{kLogLineBytesMax};
  EventReader event_reader_;
  RankLog log_;
  bool events_open_ = true;
  bool log_open_ = true;
  std::optional<ProcessExit> exit_;
  std::optional<common::ErrorEvent> error_;
};

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_SUPERVISOR_RANK_H_
