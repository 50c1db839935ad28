// Names of dataset files in the public API. Pure functions.
#ifndef LONGLORA_SERVER_API_FILE_NAME_H_
#define LONGLORA_SERVER_API_FILE_NAME_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::server {

// The digest in "files/{sha256}"; INVALID_ARGUMENT (NAME_INVALID) when the name has another form.
absl::StatusOr<std::string> ParseFileName(absl::string_view name);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_FILE_NAME_H_
