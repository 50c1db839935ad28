// longlora-trainer: one rank of one job. Flags -> spec -> Trainer::Run -> ExitCode. Events go to
// standard output or --events-fd, words for people to standard error.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <variant>

#include "common/status/status_macros.h"
#include "worker/trainer/events/event_writer.h"
#include "worker/trainer/events/reader_watch.h"
#include "worker/trainer/failure.h"
#include "worker/trainer/flags.h"
#include "worker/trainer/memory_report.h"
#include "worker/trainer/signal_requests.h"
#include "worker/trainer/spec_file.h"
#include "worker/trainer/trainer.h"

namespace longlora::trainer {
namespace {

using common::ExitCode;

absl::StatusOr<ExitCode> Run(const Flags& flags, const RankEnvironment& environment,
                             EventWriter& events) {
  LONGLORA_ASSIGN_OR_RETURN(const common::TrainSpec spec, ReadSpecFile(flags.spec_path));
  if (flags.estimate) {
    LONGLORA_ASSIGN_OR_RETURN(const auto report, EstimateReport(spec, flags.model_directory));
    return std::puts(report.c_str()) < 0 ? ExitCode::kResource : ExitCode::kSucceeded;
  }
  try {
    return Trainer({.spec = spec,
                    .output_directory = flags.output_directory,
                    .model_directory = flags.model_directory,
                    .cache_directory = flags.cache_directory,
                    .resume = flags.resume,
                    .environment = environment},
                   events, common::Clock::Real())
        .Run();
  } catch (const std::exception& error) {
    return ExplainOutOfMemory(StatusFromException(error), spec, flags.model_directory);
  }
}

int Fail(const absl::Status& status, EventWriter& events) {
  const std::string reason = ReasonOf(status);
  const std::string message(status.message());
  std::fprintf(stderr, "longlora-trainer: %s: %s\n", reason.c_str(), message.c_str());
  // The exit code says enough when even this cannot be written.
  events.Write(common::ErrorEvent{.reason = reason, .message = message}).IgnoreError();
  return static_cast<int>(ExitCodeOf(status));
}

int Main(int argc, char** argv) {
  const std::variant<Flags, int> parsed = ParseFlags(argc, argv);
  if (const int* code = std::get_if<int>(&parsed)) return *code;
  const Flags& flags = std::get<Flags>(parsed);
  InstallSignalHandlers();
  ExitWhenReaderIsGone(flags.events_fd);

  const auto environment =
      ReadRankEnvironment([](const char* name) -> const char* { return std::getenv(name); });
  EventWriter events(flags.events_fd, environment.ok() ? environment->rank : 0,
                     common::Clock::Real());
  if (!environment.ok()) return Fail(environment.status(), events);
  const auto code = Run(flags, *environment, events);
  return code.ok() ? static_cast<int>(*code) : Fail(code.status(), events);
}

}  // namespace
}  // namespace longlora::trainer

int main(int argc, char** argv) {
  try {
    return longlora::trainer::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "longlora-trainer: %s\n", error.what());
    return static_cast<int>(longlora::common::ExitCode::kInternal);
  }
}
