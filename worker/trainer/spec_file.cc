#include "worker/trainer/spec_file.h"

#include "common/io/files.h"
#include "common/status/annotate.h"
#include "common/trainer_protocol/spec_codec.h"
#include "common/trainer_protocol/spec_rules.h"
#include "worker/trainer/failure.h"

namespace longlora::trainer {

absl::StatusOr<common::TrainSpec> ReadSpecFile(const std::string& path) {
  constexpr int64_t kMaxBytes = 1 << 20;
  const auto blame = [](const absl::Status& status) { return BlameInput(status, "INVALID_SPEC"); };
  const absl::StatusOr<std::string> text = common::ReadFile(path, kMaxBytes);
  if (!text.ok()) return blame(text.status());
  absl::StatusOr<common::TrainSpec> spec = common::ParseTrainSpec(*text);
  if (!spec.ok()) return blame(common::Annotate(spec.status(), path));
  const absl::Status possible = common::CheckTrainSpec(*spec);
  if (!possible.ok()) return blame(common::Annotate(possible, path));
  return spec;
}

}  // namespace longlora::trainer
