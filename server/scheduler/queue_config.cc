#include "server/scheduler/queue_config.h"

#include <cmath>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/ids/names.h"
#include "common/io/files.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "common/yaml/yaml.h"

namespace longlora::server {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kFileBytesMax = 1 << 20;

// Reads one object of the file; every mistake goes to `errors` with its place.
class Section {
 public:
  Section(const Json& object, std::string place, std::vector<std::string>& errors)
      : object_(object), place_(std::move(place)), errors_(errors) {}

  // To be called after the last key was asked for: what is left is unknown.
  void Finish() {
    for (const auto& [key, value] : object_.items()) {
      if (known_.contains(key)) continue;
      Fail(key, absl::StrCat("unknown key; known here are ", absl::StrJoin(known_, ", ")));
    }
  }

  void Read(const char* key, bool& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_boolean()) return Fail(key, "expected true or false");
    value = found->get<bool>();
  }
  void Read(const char* key, double& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_number() || found->get<double>() <= 0) {
      return Fail(key, "expected a number above 0");
    }
    value = found->get<double>();
  }
  void Read(const char* key, absl::Duration& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    absl::Duration duration;
    if (!found->is_string() || !absl::ParseDuration(found->get<std::string>(), &duration) ||
        duration < absl::ZeroDuration() || duration == absl::InfiniteDuration()) {
      return Fail(key, "expected a duration like 90s, 10m or 168h");
    }
    value = duration;
  }
  // A map from kinds of devices to counts.
  std::map<std::string, int32_t> ReadCounts(const char* key) {
    std::map<std::string, int32_t> counts;
    const Json* found = Find(key);
    if (found == nullptr) return counts;
    constexpr absl::string_view kExpected = "expected counts by kind, like {cuda: 8}";
    if (!found->is_object()) return Fail(key, kExpected), counts;
    for (const auto& [kind, count] : found->items()) {
      if (kind != "cuda" && kind != "cpu") {
        Fail(key, absl::StrCat("\"", kind, "\" is no kind of device; expected cuda or cpu"));
      } else if (!count.is_number_integer() || count.get<int64_t>() < 0 ||
                 count.get<int64_t>() > std::numeric_limits<int32_t>::max()) {
        Fail(key, kExpected);
      } else {
        counts[kind] = count.get<int32_t>();
      }
    }
    return counts;
  }
  const Json* Find(const char* key) {
    known_.insert(key);
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }
  void Fail(absl::string_view key, absl::string_view what) {
    errors_.push_back(absl::StrCat(place_, key, ": ", what));
  }

 private:
  const Json& object_;
  const std::string place_;
  std::vector<std::string>& errors_;
  std::set<std::string> known_;
};

QueueConfig ReadQueue(Section& section) {
  QueueConfig queue;
  for (const auto& [kind, nominal] : section.ReadCounts("nominal")) {
    queue.quotas[kind].nominal = nominal;
  }
  for (const auto& [kind, limit] : section.ReadCounts("borrowing_limit")) {
    queue.quotas[kind].borrowing_limit = limit;
  }
  section.Read("weight", queue.weight);
  section.Read("preempt_lower_priority", queue.preempt_lower_priority);
  absl::Duration max_duration = absl::InfiniteDuration();
  section.Read("max_duration", max_duration);
  if (max_duration < absl::InfiniteDuration()) queue.max_duration = max_duration;
  return queue;
}

void ReadQueues(const Json& list, QueuesConfig& config, std::vector<std::string>& errors) {
  if (!list.is_array()) {
    errors.push_back("queues: expected a list");
    return;
  }
  std::set<std::string> seen;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string place = absl::StrCat("queues[", i, "]");
    if (!list[i].is_object()) {
      errors.push_back(absl::StrCat(place, ": expected a queue with a name"));
      continue;
    }
    Section section(list[i], absl::StrCat(place, "."), errors);
    const Json* name = section.Find("name");
    QueueConfig queue = ReadQueue(section);
    section.Finish();
    if (name == nullptr || !name->is_string() || !common::IsQueueName(name->get<std::string>())) {
      section.Fail("name", "1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends");
    } else if (!seen.insert(name->get<std::string>()).second) {
      section.Fail("name", absl::StrCat("\"", name->get<std::string>(), "\" is given twice"));
    } else {
      config.queues[name->get<std::string>()] = std::move(queue);
    }
  }
}

}  // namespace

DeviceQuotaConfig QueueConfig::QuotaOf(absl::string_view kind) const {
  const auto found = quotas.find(kind);
  return found == quotas.end() ? DeviceQuotaConfig() : found->second;
}

std::optional<int32_t> QueueConfig::LimitOf(absl::string_view kind) const {
  const DeviceQuotaConfig quota = QuotaOf(kind);
  if (!quota.borrowing_limit.has_value()) return std::nullopt;
  const int64_t limit = int64_t{quota.nominal} + *quota.borrowing_limit;
  return static_cast<int32_t>(std::min<int64_t>(limit, std::numeric_limits<int32_t>::max()));
}

const QueueConfig* QueuesConfig::Find(absl::string_view name) const {
  const auto found = queues.find(name);
  return found == queues.end() ? nullptr : &found->second;
}

absl::StatusOr<QueuesConfig> ParseQueuesConfig(const std::string& yaml) {
  LONGLORA_ASSIGN_OR_RETURN(const common::YamlDocument document, common::ParseYaml(yaml));
  if (!document.value.is_object()) return absl::InvalidArgumentError("expected keys like queues:");
  QueuesConfig config;
  std::vector<std::string> errors;
  Section section(document.value, "", errors);
  section.Read("half_life", config.half_life);
  section.Read("min_run_time", config.min_run_time);
  section.Read("reclaim", config.reclaim);
  if (config.half_life <= absl::ZeroDuration()) section.Fail("half_life", "must be above 0");
  if (const Json* queues = section.Find("queues"); queues != nullptr) {
    ReadQueues(*queues, config, errors);
  }
  section.Finish();
  if (!errors.empty()) return absl::InvalidArgumentError(absl::StrJoin(errors, "; "));
  return config;
}

absl::StatusOr<QueuesConfig> ReadQueuesConfig(const std::string& path) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string text, common::ReadFile(path, kFileBytesMax));
  absl::StatusOr<QueuesConfig> config = ParseQueuesConfig(text);
  if (!config.ok()) return common::Annotate(config.status(), path);
  return config;
}

}  // namespace longlora::server
