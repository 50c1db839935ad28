// Messages as protobuf's JSON with the field names of the .proto files, for --output json.
#ifndef LONGLORA_CLIENT_CLI_JSON_OUTPUT_H_
#define LONGLORA_CLIENT_CLI_JSON_OUTPUT_H_

#include <google/protobuf/message.h>

#include <string>

namespace longlora::client {

// One document over several lines, with a line break at the end. A response whose list is empty
// shows it as such: {"jobs": []}.
std::string JsonDocument(const google::protobuf::Message& message);

// One line, with a line break at the end.
std::string JsonLine(const google::protobuf::Message& message);

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_CLI_JSON_OUTPUT_H_
