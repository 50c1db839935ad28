#include "server/api/bearer_token.h"

#include <openssl/crypto.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "common/io/sha256.h"
#include "server/api/client_identity.h"

namespace longlora::server {
namespace {

constexpr absl::string_view kHealthPrefix = "/grpc.health.v1.Health/";
constexpr size_t kTokenNameLength = 12;

absl::string_view ToView(grpc::string_ref text) {
  return absl::string_view(text.data(), text.size());
}

grpc::Status Refuse(const char* message) {
  return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, message);
}

}  // namespace

BearerTokenProcessor::BearerTokenProcessor(absl::string_view token)
    : token_sha256_(common::Sha256Hex(token)) {}

grpc::Status BearerTokenProcessor::Process(const InputMetadata& metadata,
                                           grpc::AuthContext* context, OutputMetadata* consumed,
                                           OutputMetadata*) {
  if (const auto path = metadata.find(":path");
      path != metadata.end() && absl::StartsWith(ToView(path->second), kHealthPrefix)) {
    return grpc::Status::OK;
  }
  const auto [begin, end] = metadata.equal_range("authorization");
  if (begin == end) return Refuse("this server wants a bearer token (--token-file)");
  absl::string_view given = ToView(begin->second);
  if (std::next(begin) != end || !absl::ConsumePrefix(&given, "Bearer ")) {
    return Refuse("the authorization header must be one \"Bearer TOKEN\"");
  }
  const std::string given_sha256 = common::Sha256Hex(given);
  if (CRYPTO_memcmp(given_sha256.data(), token_sha256_.data(), token_sha256_.size()) != 0) {
    return Refuse("the bearer token is not this server's");
  }
  // Enough of it to tell tokens apart, in limits and in messages.
  context->AddProperty(kTokenProperty, token_sha256_.substr(0, kTokenNameLength));
  consumed->insert({"authorization", std::string(ToView(begin->second))});
  return grpc::Status::OK;
}

std::shared_ptr<grpc::ServerCredentials> RequireBearerToken(
    std::shared_ptr<grpc::ServerCredentials> credentials, absl::string_view token) {
  // gRPC's insecure credentials take no processor. Wrapped as the fallback of xDS credentials,
  // which without an xDS control plane are exactly their fallback, they do; secure ones pass
  // unchanged.
  auto wrapped = grpc::XdsServerCredentials(credentials);
  wrapped->SetAuthMetadataProcessor(std::make_shared<BearerTokenProcessor>(token));
  return wrapped;
}

}  // namespace longlora::server
