// Matchers for absl::Status and StatusOr, which Debian's Abseil does not bring.
#ifndef LONGLORA_TESTS_TESTING_STATUS_MATCHERS_H_
#define LONGLORA_TESTS_TESTING_STATUS_MATCHERS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"

namespace longlora::testing {

inline const absl::Status& GetStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& status) {
  return status.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).ok();
}

// Code and a part of the message.
MATCHER_P2(StatusIs, code, message_part, "") {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).code() == code &&
         std::string(GetStatus(arg).message()).find(message_part) != std::string::npos;
}

}  // namespace longlora::testing

#define ASSERT_OK(expression) ASSERT_THAT((expression), ::longlora::testing::IsOk())
#define EXPECT_OK(expression) EXPECT_THAT((expression), ::longlora::testing::IsOk())
#define LONGLORA_TEST_CONCAT_INNER_(a, b) a##b
#define LONGLORA_TEST_CONCAT_(a, b) LONGLORA_TEST_CONCAT_INNER_(a, b)
#define ASSERT_OK_AND_ASSIGN(lhs, expression)                                           \
  auto LONGLORA_TEST_CONCAT_(statusor_, __LINE__) = (expression);                       \
  ASSERT_THAT(LONGLORA_TEST_CONCAT_(statusor_, __LINE__), ::longlora::testing::IsOk()); \
  lhs = *std::move(LONGLORA_TEST_CONCAT_(statusor_, __LINE__))

#endif  // LONGLORA_TESTS_TESTING_STATUS_MATCHERS_H_
