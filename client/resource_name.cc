#include "client/resource_name.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/io/sha256.h"

namespace longlora::client {
namespace {

constexpr absl::string_view kJobs = "fineTuneJobs/";
constexpr absl::string_view kFiles = "files/";
constexpr absl::string_view kWorkers = "workers/";

// [a-z][a-z0-9-]{2,61}[a-z0-9], AIP-122.
bool IsJobId(absl::string_view id) {
  if (id.size() < 4 || id.size() > 63) return false;
  for (const char c : id) {
    const auto byte = static_cast<unsigned char>(c);
    if (!absl::ascii_islower(byte) && !absl::ascii_isdigit(byte) && c != '-') return false;
  }
  return absl::ascii_islower(static_cast<unsigned char>(id.front())) && id.back() != '-';
}

// [a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?
bool IsWorkerId(absl::string_view id) {
  if (id.empty() || id.size() > 63) return false;
  for (size_t i = 0; i < id.size(); ++i) {
    const auto byte = static_cast<unsigned char>(id[i]);
    const bool inner = i > 0 && i + 1 < id.size();
    const bool alphanumeric = absl::ascii_islower(byte) || absl::ascii_isdigit(byte);
    if (!alphanumeric && !(inner && (byte == '-' || byte == '.'))) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<std::string> JobName(absl::string_view text) {
  absl::string_view id = text;
  absl::ConsumePrefix(&id, kJobs);
  if (!IsJobId(id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text,
                     "\" is not the name of a job: expected fineTuneJobs/ID or ID, where "
                     "ID has 4 to 63 of a-z, 0-9 and -; `longlora list` shows them"));
  }
  return absl::StrCat(kJobs, id);
}

absl::StatusOr<std::string> WorkerName(absl::string_view text) {
  absl::string_view id = text;
  absl::ConsumePrefix(&id, kWorkers);
  if (!IsWorkerId(id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text,
                     "\" is not the name of a worker: expected workers/ID or ID, where ID has 1 to "
                     "63 of a-z, 0-9, - and .; `longlora workers` shows them"));
  }
  return absl::StrCat(kWorkers, id);
}

absl::string_view ShortName(absl::string_view name) {
  absl::ConsumePrefix(&name, kJobs);
  return name;
}

std::string FileName(absl::string_view sha256) { return absl::StrCat(kFiles, sha256); }

bool IsFileName(absl::string_view text) {
  return absl::ConsumePrefix(&text, kFiles) && common::IsSha256Hex(text);
}

}  // namespace longlora::client
