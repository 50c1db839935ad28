// How a program of ours proves who it is and checks whom it talks to: TLS and a bearer token. Plain
// text is for loopback addresses only, unless the operator insists. Reads files at start; no other
// state.
#ifndef LONGLORA_RPC_CREDENTIALS_H_
#define LONGLORA_RPC_CREDENTIALS_H_

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::rpc {

// Paths are of PEM files; empty means not configured.
struct ServerSecurity {
  std::string tls_cert;          // chain of the server, leaf first
  std::string tls_key;           // its key
  std::string tls_client_ca;     // when set, clients must show a certificate signed by it
  bool allow_plaintext = false;  // serve without TLS beyond loopback
};

struct ClientSecurity {
  bool tls = false;    // implied by any other tls_ field
  std::string tls_ca;  // what the server's certificate must be signed by; empty: the system's roots
  std::string tls_cert;  // client certificate, when the server asks for one
  std::string tls_key;
  std::string token_file;  // file whose first line is the bearer token; empty: none
  bool allow_plaintext = false;
};

// Whether every address of "HOST:PORT" ("localhost:1", "127.0.0.1:1", "[::1]:1") is loopback.
bool IsLoopback(absl::string_view host_port);

// INVALID_ARGUMENT when the combination is unsafe (plain text on a public address), NOT_FOUND when
// a file cannot be read.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const ServerSecurity& security, absl::string_view listen);
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(
    const ClientSecurity& security, absl::string_view server);

// The token of `file`, without surrounding white space; NOT_FOUND, or INVALID_ARGUMENT when it is
// empty or readable by everybody.
absl::StatusOr<std::string> ReadToken(const std::string& file);

}  // namespace longlora::rpc

#endif  // LONGLORA_RPC_CREDENTIALS_H_
