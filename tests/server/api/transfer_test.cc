// Goal: transfers cannot take every thread. Method: slots taken to the limit and given back.
#include "server/api/transfer.h"

#include <gtest/gtest.h>

#include <optional>

#include "rpc/grpc_status.h"
#include "tests/testing/status_matchers.h"

namespace longlora::server {
namespace {

TEST(TransferLimitTest, RefusesBeyondItsLimitAndTakesAgainWhenOneIsDone) {
  TransferLimit limit(2);
  auto first = std::make_optional(limit.Take());
  const auto second = limit.Take();
  ASSERT_OK(*first);
  ASSERT_OK(second);
  for (int i = 0; i < 3; ++i) {
    const absl::Status status = limit.Take().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(rpc::GetErrorDetails(status).reason, "TOO_MANY_TRANSFERS");
  }
  first.reset();
  EXPECT_OK(limit.Take());
}

TEST(CheckChunkTest, TakesTheLargestChunkAndNoLarger) {
  EXPECT_OK(CheckChunk(true, kMaxChunkBytes));
  EXPECT_FALSE(CheckChunk(true, kMaxChunkBytes + 1).ok());
  EXPECT_FALSE(CheckChunk(false, 0).ok());
}

}  // namespace
}  // namespace longlora::server
