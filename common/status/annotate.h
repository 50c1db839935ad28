// Adds context to an error on its way up; the code and the payloads never change.
#ifndef LONGLORA_COMMON_STATUS_ANNOTATE_H_
#define LONGLORA_COMMON_STATUS_ANNOTATE_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace longlora::common {

// Returns `status` with "context: " before its message; an OK status as it is.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_STATUS_ANNOTATE_H_
