#include "worker/supervisor/event_reader.h"

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace longlora::worker {
namespace {

// Of a malformed line, shown in the warning.
constexpr size_t kExcerptBytes = 120;

}  // namespace

std::optional<common::TrainerEvent> EventReader::Read(absl::string_view line, bool cut) {
  if (line.empty()) return std::nullopt;
  absl::Status problem;
  if (cut) {
    problem =
        absl::InvalidArgumentError(absl::StrCat("longer than ", kEventLineBytesMax, " bytes"));
  } else {
    auto event = common::ParseTrainerEvent(line);
    if (event.ok()) return *std::move(event);
    problem = event.status();
  }
  ++malformed_count_;
  if (malformed_count_ > kWarningsMax) return std::nullopt;
  std::string message = absl::StrCat("rank ", rank_, " wrote a line that is no event (",
                                     std::string(problem.message()),
                                     "): ", absl::CHexEscape(line.substr(0, kExcerptBytes)));
  if (malformed_count_ == kWarningsMax) {
    absl::StrAppend(&message, "; further ones of this rank are dropped silently");
  }
  return common::TrainerEvent{.time = absl::ToDoubleSeconds(clock_->Now() - absl::UnixEpoch()),
                              .body = common::WarningEvent{message}};
}

}  // namespace longlora::worker
