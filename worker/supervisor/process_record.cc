#include "worker/supervisor/process_record.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"

namespace longlora::worker {
namespace {

constexpr int64_t kRecordBytesMax = 1 << 20;

}  // namespace

absl::Status WriteProcessRecord(const std::string& path, const ProcessRecord& record) {
  nlohmann::json processes = nlohmann::json::array();
  for (const RecordedProcess& process : record.processes) {
    processes.push_back({{"pid", process.pid}, {"start_ticks", process.start_ticks}});
  }
  const nlohmann::json json = {{"boot_id", record.boot_id}, {"processes", processes}};
  return common::AtomicWriteFile(path, json.dump());
}

absl::StatusOr<ProcessRecord> ReadProcessRecord(const std::string& path) {
  LONGLORA_ASSIGN_OR_RETURN(std::string content, common::ReadFile(path, kRecordBytesMax));
  const absl::Status broken = absl::DataLossError(absl::StrCat(path, ": not a process record"));
  const auto json = nlohmann::json::parse(content, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("boot_id") || !json["boot_id"].is_string() ||
      !json.contains("processes") || !json["processes"].is_array()) {
    return broken;
  }
  ProcessRecord record{.boot_id = json["boot_id"].get<std::string>(), .processes = {}};
  for (const auto& process : json["processes"]) {
    if (!process.is_object() || !process.contains("pid") || !process["pid"].is_number_integer() ||
        !process.contains("start_ticks") || !process["start_ticks"].is_number_unsigned()) {
      return broken;
    }
    record.processes.push_back({.pid = process["pid"].get<pid_t>(),
                                .start_ticks = process["start_ticks"].get<uint64_t>()});
  }
  return record;
}

}  // namespace longlora::worker
