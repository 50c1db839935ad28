// Lets a call in only with the right bearer token. gRPC runs it before any service, also before
// reflection, for unary calls and streams alike; only grpc.health.v1.Health stays open, because
// load balancers and probes have no token and it tells nothing but "serving". Thread-safe.
#ifndef LONGLORA_SERVER_API_BEARER_TOKEN_H_
#define LONGLORA_SERVER_API_BEARER_TOKEN_H_

#include <grpcpp/security/auth_metadata_processor.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace longlora::server {

class BearerTokenProcessor : public grpc::AuthMetadataProcessor {
 public:
  explicit BearerTokenProcessor(absl::string_view token);

  bool IsBlocking() const override { return false; }
  // UNAUTHENTICATED unless there is exactly one `authorization` header, "Bearer " and the token.
  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* context,
                       OutputMetadata* consumed, OutputMetadata* response) override;

 private:
  // A digest has a fixed length, so comparing digests tells nothing about the token's.
  const std::string token_sha256_;
};

// `credentials` with the token check in front. Works on plain text too.
std::shared_ptr<grpc::ServerCredentials> RequireBearerToken(
    std::shared_ptr<grpc::ServerCredentials> credentials, absl::string_view token);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_BEARER_TOKEN_H_
