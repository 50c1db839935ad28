// Reads YAML by the rules of its 1.2 core schema into JSON, strictly: what a file could mean in two
// ways is refused. For job files and the operator's files. Pure function, safe from any thread.
//
// Core schema means: `yes`, `no`, `on`, `off` are strings; `1e-5` is a number; quoted text is a
// string. Refused, with the line: duplicate keys, .inf and .nan, tags other than the core ones,
// keys that are not scalars, several documents, more nodes than a limit (aliases count in full).
#ifndef LONGLORA_COMMON_YAML_YAML_H_
#define LONGLORA_COMMON_YAML_YAML_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace longlora::common {

struct YamlDocument {
  nlohmann::ordered_json value;
  std::map<std::string, int>
      lines;  // path of a value, like "method.lora.rank" -> line of its key, from 1
};

// INVALID_ARGUMENT, "line 12: ..." otherwise.
absl::StatusOr<YamlDocument> ParseYaml(absl::string_view text);

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_YAML_YAML_H_
