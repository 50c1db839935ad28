#include "rpc/credentials.h"

#include <arpa/inet.h>
#include <sys/stat.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/io/files.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"

namespace longlora::rpc {
namespace {

constexpr int64_t kMaxPemBytes = 1 << 20;

// "[::1]:80" -> "::1", "host:80" -> "host".
absl::string_view HostOf(absl::string_view host_port) {
  if (absl::StartsWith(host_port, "[")) {
    const size_t end = host_port.find(']');
    return end == absl::string_view::npos ? absl::string_view() : host_port.substr(1, end - 1);
  }
  const size_t colon = host_port.rfind(':');
  return host_port.substr(0, colon);
}

absl::StatusOr<std::string> ReadPem(const std::string& path, absl::string_view flag) {
  absl::StatusOr<std::string> pem = common::ReadFile(path, kMaxPemBytes);
  if (!pem.ok()) return common::Annotate(pem.status(), flag);
  if (!absl::StrContains(*pem, "-----BEGIN ")) {
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", path, " is not a PEM file"));
  }
  return pem;
}

}  // namespace

bool IsLoopback(absl::string_view host_port) {
  const std::string host(HostOf(host_port));
  if (host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const ServerSecurity& security, absl::string_view listen) {
  if (security.tls_cert.empty() != security.tls_key.empty()) {
    return absl::InvalidArgumentError("--tls-cert and --tls-key go together");
  }
  if (security.tls_cert.empty()) {
    if (!security.tls_client_ca.empty()) {
      return absl::InvalidArgumentError("--tls-client-ca needs --tls-cert and --tls-key");
    }
    if (!IsLoopback(listen) && !security.allow_plaintext) {
      return absl::InvalidArgumentError(
          absl::StrCat("--listen ", listen,
                       " is reachable from other machines: give --tls-cert and --tls-key, "
                       "listen on 127.0.0.1, or say --allow-plaintext"));
    }
    return grpc::InsecureServerCredentials();
  }
  grpc::SslServerCredentialsOptions options;
  LONGLORA_ASSIGN_OR_RETURN(std::string cert, ReadPem(security.tls_cert, "--tls-cert"));
  LONGLORA_ASSIGN_OR_RETURN(std::string key, ReadPem(security.tls_key, "--tls-key"));
  options.pem_key_cert_pairs.push_back({std::move(key), std::move(cert)});
  if (!security.tls_client_ca.empty()) {
    LONGLORA_ASSIGN_OR_RETURN(options.pem_root_certs,
                              ReadPem(security.tls_client_ca, "--tls-client-ca"));
    options.client_certificate_request = GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
  }
  return grpc::SslServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(
    const ClientSecurity& security, absl::string_view server) {
  const bool tls = security.tls || !security.tls_ca.empty() || !security.tls_cert.empty();
  if (security.tls_cert.empty() != security.tls_key.empty()) {
    return absl::InvalidArgumentError("--tls-cert and --tls-key go together");
  }
  if (!tls) {
    if (!IsLoopback(server) && !security.allow_plaintext) {
      return absl::InvalidArgumentError(
          absl::StrCat("--server ", server,
                       " is another machine: give --tls or --tls-ca, or say "
                       "--allow-plaintext"));
    }
    return grpc::InsecureChannelCredentials();
  }
  grpc::SslCredentialsOptions options;
  if (!security.tls_ca.empty()) {
    LONGLORA_ASSIGN_OR_RETURN(options.pem_root_certs, ReadPem(security.tls_ca, "--tls-ca"));
  }
  if (!security.tls_cert.empty()) {
    LONGLORA_ASSIGN_OR_RETURN(options.pem_cert_chain, ReadPem(security.tls_cert, "--tls-cert"));
    LONGLORA_ASSIGN_OR_RETURN(options.pem_private_key, ReadPem(security.tls_key, "--tls-key"));
  }
  return grpc::SslCredentials(options);
}

absl::StatusOr<std::string> ReadToken(const std::string& file) {
  struct stat info;
  if (stat(file.c_str(), &info) != 0) return common::ErrnoStatus(errno, "read the token in", file);
  if ((info.st_mode & S_IROTH) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("token file ", file, " is readable by everybody: chmod 600 it"));
  }
  LONGLORA_ASSIGN_OR_RETURN(std::string content, common::ReadFile(file, 1 << 16));
  const absl::string_view first_line = *absl::StrSplit(content, '\n').begin();
  const std::string token(absl::StripAsciiWhitespace(first_line));
  if (token.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("token file ", file, " is empty"));
  }
  return token;
}

}  // namespace longlora::rpc
