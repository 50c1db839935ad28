// Early returns for absl::Status, which Debian's Abseil does not bring. Used everywhere.
#ifndef LONGLORA_COMMON_STATUS_STATUS_MACROS_H_
#define LONGLORA_COMMON_STATUS_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define LONGLORA_RETURN_IF_ERROR(expression)                                  \
  do {                                                                        \
    if (absl::Status longlora_status = (expression); !longlora_status.ok()) { \
      return longlora_status;                                                 \
    }                                                                         \
  } while (false)

#define LONGLORA_STATUS_CONCAT_INNER_(a, b) a##b
#define LONGLORA_STATUS_CONCAT_(a, b) LONGLORA_STATUS_CONCAT_INNER_(a, b)

#define LONGLORA_ASSIGN_OR_RETURN(lhs, expression)                                            \
  LONGLORA_ASSIGN_OR_RETURN_IMPL_(LONGLORA_STATUS_CONCAT_(longlora_statusor_, __LINE__), lhs, \
                                  expression)

#define LONGLORA_ASSIGN_OR_RETURN_IMPL_(statusor, lhs, expression) \
  auto statusor = (expression);                                    \
  if (!statusor.ok()) {                                            \
    return std::move(statusor).status();                           \
  }                                                                \
  lhs = *std::move(statusor)

#endif  // LONGLORA_COMMON_STATUS_STATUS_MACROS_H_
