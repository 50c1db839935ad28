#include "worker/agent/attempt_directory.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "absl/strings/strip.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"

namespace longlora::worker {
namespace {

constexpr int64_t kNoteBytesMax = 4096;

std::string NotePath(const std::string& directory) {
  return absl::StrCat(directory, "/attempt.json");
}

}  // namespace

AttemptDirectory::AttemptDirectory(const std::string& attempts, const AttemptId& id)
    : id_(id),
      path_(absl::StrCat(attempts, "/", absl::StripPrefix(id.job, "fineTuneJobs/"), "@",
                         id.attempt)) {}

absl::Status AttemptDirectory::Create() const {
  if (!common::IsSafeRelativePath(absl::StripPrefix(id_.job, "fineTuneJobs/"))) {
    return absl::InvalidArgumentError(absl::StrCat("job name cannot be a path: ", id_.job));
  }
  LONGLORA_RETURN_IF_ERROR(Remove());
  for (const std::string& directory : {data(), output(), logs(), uploads()}) {
    LONGLORA_RETURN_IF_ERROR(common::CreateDirectories(directory));
  }
  const nlohmann::json note = {{"job", id_.job}, {"attempt", id_.attempt}};
  return common::AtomicWriteFile(NotePath(path_), note.dump());
}

absl::Status AttemptDirectory::Remove() const { return common::RemoveAll(path_); }

std::vector<AttemptId> ListAttemptDirectories(const std::string& attempts) {
  std::vector<AttemptId> ids;
  std::error_code error;
  for (std::filesystem::directory_iterator it(attempts, error), end; !error && it != end;
       it.increment(error)) {
    const auto content = common::ReadFile(NotePath(it->path().string()), kNoteBytesMax);
    if (!content.ok()) continue;
    const auto note = nlohmann::json::parse(*content, nullptr, /*allow_exceptions=*/false);
    if (!note.is_object() || !note.contains("job") || !note["job"].is_string() ||
        !note.contains("attempt") || !note["attempt"].is_number_integer()) {
      continue;
    }
    ids.push_back(
        {.job = note["job"].get<std::string>(), .attempt = note["attempt"].get<int32_t>()});
  }
  // The order of a directory is chance.
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace longlora::worker
