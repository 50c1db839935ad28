#include "worker/supervisor/rank_verdict.h"

#include <signal.h>
#include <string.h>

#include "absl/strings/str_cat.h"
#include "common/trainer_protocol/exit_code.h"

namespace longlora::worker {
namespace {

using ::longlora::common::ExitCode;

// The server judges by the same list (server/scheduler/failure_policy.cc) and has the last word.
constexpr absl::string_view kJobReasons[] = {"INVALID_SPEC",    "DATASET_INVALID", "MODEL_INVALID",
                                             "ADAPTER_INVALID", "OUT_OF_MEMORY",   "NON_FINITE"};

// For a trainer that exited without saying why.
absl::string_view ReasonOfExitCode(int code) {
  switch (static_cast<ExitCode>(code)) {
    case ExitCode::kInvalidJob:
      return "INVALID_SPEC";
    case ExitCode::kOutOfMemory:
      return "OUT_OF_MEMORY";
    case ExitCode::kNonFinite:
      return "NON_FINITE";
    default:
      return "TRAINER_ERROR";
  }
}

std::string WithLastLines(std::string message, const RankEnd& end) {
  if (!end.last_lines.empty()) absl::StrAppend(&message, ". Its last lines:\n", end.last_lines);
  return message;
}

RankFailure JudgeSignal(const RankEnd& end) {
  const std::string signal_name =
      absl::StrCat("signal ", end.exit.signal, " (", strsignal(end.exit.signal), ")");
  if (end.exit.signal == SIGKILL && end.oom_kills_rose) {
    return {"OUT_OF_MEMORY",
            WithLastLines(
                absl::StrCat("rank ", end.rank,
                             " was killed by SIGKILL while the kernel's count of out-of-memory "
                             "kills rose: most likely the machine's memory did not suffice. Use "
                             "shorter rows, a smaller micro-batch or fewer devices per node"),
                end),
            Fault::kJob};
  }
  const absl::string_view hint =
      end.exit.signal == SIGKILL ? " (not by this worker: an operator, or the kernel)" : "";
  return {"TRAINER_CRASHED",
          WithLastLines(absl::StrCat("rank ", end.rank, " was killed by ", signal_name, hint), end),
          Fault::kSystem};
}

}  // namespace

Fault FaultOf(absl::string_view reason) {
  for (absl::string_view job_reason : kJobReasons) {
    if (reason == job_reason) return Fault::kJob;
  }
  return Fault::kSystem;
}

std::optional<RankFailure> JudgeRank(const RankEnd& end) {
  const bool ended_well =
      end.exit.signal == 0 && (end.exit.code == static_cast<int>(ExitCode::kSucceeded) ||
                               end.exit.code == static_cast<int>(ExitCode::kStopped));
  if (ended_well) return std::nullopt;
  if (end.error.has_value()) {
    return RankFailure{end.error->reason, absl::StrCat("rank ", end.rank, ": ", end.error->message),
                       FaultOf(end.error->reason)};
  }
  if (end.exit.signal != 0) return JudgeSignal(end);
  const absl::string_view reason = ReasonOfExitCode(end.exit.code);
  return RankFailure{std::string(reason),
                     WithLastLines(absl::StrCat("rank ", end.rank, " exited with status ",
                                                end.exit.code, " without reporting an error"),
                                   end),
                     FaultOf(reason)};
}

bool Supersedes(const RankFailure& later, const RankFailure& first) {
  return first.reason == "PEER_LOST" && later.reason != "PEER_LOST";
}

}  // namespace longlora::worker
