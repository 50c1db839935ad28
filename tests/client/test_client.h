// A client of a fake server, with waits too short to notice.
#ifndef LONGLORA_TESTS_CLIENT_TEST_CLIENT_H_
#define LONGLORA_TESTS_CLIENT_TEST_CLIENT_H_

#include <memory>
#include <utility>

#include "client/fine_tune_client.h"
#include "gtest/gtest.h"
#include "tests/client/fake_server.h"

namespace longlora::client {

inline std::unique_ptr<FineTuneClient> MakeTestClient(FakeServer& server,
                                                      Cancellation* cancellation = nullptr) {
  ClientOptions options;
  options.server = server.address();
  options.retry.backoff = {.initial = absl::Milliseconds(1), .maximum = absl::Milliseconds(5)};
  options.cancellation = cancellation;
  auto client = FineTuneClient::Create(std::move(options));
  EXPECT_TRUE(client.ok());
  return *std::move(client);
}

inline grpc::Status Unavailable() { return grpc::Status(grpc::StatusCode::UNAVAILABLE, "away"); }

}  // namespace longlora::client

#endif  // LONGLORA_TESTS_CLIENT_TEST_CLIENT_H_
