#include "client/cli/json_output.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/json_util.h>

#include "absl/strings/str_cat.h"

namespace longlora::client {
namespace {

std::string ToJson(const google::protobuf::Message& message, bool whitespace) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.add_whitespace = whitespace;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  // Only a time outside years 1 to 9999 can make a message of ours unprintable.
  if (!status.ok()) return absl::StrCat("{\"error\":\"", status.code(), "\"}\n");
  if (json.empty() || json.back() != '\n') json.push_back('\n');
  return json;
}

}  // namespace

std::string JsonDocument(const google::protobuf::Message& message) {
  std::string json = ToJson(message, true);
  // Protobuf leaves an empty list out; a script that walks it wants to find it.
  const google::protobuf::FieldDescriptor* first = message.GetDescriptor()->field(0);
  if (json == "{}\n" && first->is_repeated())
    return absl::StrCat("{\"", first->name(), "\": []}\n");
  return json;
}

std::string JsonLine(const google::protobuf::Message& message) { return ToJson(message, false); }

}  // namespace longlora::client
