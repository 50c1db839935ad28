#include "server/api/client_identity.h"

#include <grpcpp/security/auth_context.h>

#include <memory>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace longlora::server {
namespace {

std::string ToString(grpc::string_ref text) { return std::string(text.data(), text.size()); }

}  // namespace

std::string ClientOf(const grpc::ServerContextBase& context) {
  const std::shared_ptr<const grpc::AuthContext> auth = context.auth_context();
  if (auth != nullptr && auth->IsPeerAuthenticated()) {
    const std::vector<grpc::string_ref> names = auth->GetPeerIdentity();
    if (!names.empty()) return absl::StrCat("certificate:", ToString(names[0]));
  }
  if (auth != nullptr) {
    const std::vector<grpc::string_ref> tokens = auth->FindPropertyValues(kTokenProperty);
    if (!tokens.empty()) return absl::StrCat("token:", ToString(tokens[0]));
  }
  return absl::StrCat("address:", WithoutPort(context.peer()));
}

absl::string_view WithoutPort(absl::string_view peer) {
  if (!absl::StartsWith(peer, "ipv4:") && !absl::StartsWith(peer, "ipv6:")) return peer;
  return peer.substr(0, peer.rfind(':'));
}

}  // namespace longlora::server
