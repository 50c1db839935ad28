#include "client/cli/command.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/format.h"
#include "rpc/grpc_status.h"

namespace longlora::client {
namespace {

// What to do about an error whose message cannot know it.
std::string WayOut(const absl::Status& status) {
  const std::string reason = rpc::GetErrorDetails(status).reason;
  if (reason == "JOB_NOT_FOUND") return "`longlora list` shows the jobs.";
  if (reason == "JOB_HAS_ARTIFACTS") return "--force deletes them too.";
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      // gRPC does not tell a server that wants TLS from one that hangs up.
      return "Is longlora-server running there? --server HOST:PORT or LONGLORA_SERVER names "
             "another. If it serves TLS, add --tls, or --tls-ca FILE for a certificate of your "
             "own.";
    case absl::StatusCode::kUnauthenticated:
      return "Give the token with --token-file FILE or LONGLORA_TOKEN_FILE.";
    case absl::StatusCode::kUnimplemented:
      return "The server is older than this program: upgrade it.";
    default:
      return "";
  }
}

// Foreign text over several lines.
std::string PrintableLines(absl::string_view text) {
  std::string result;
  while (true) {
    const size_t end = text.find('\n');
    absl::StrAppend(&result, Printable(text.substr(0, end)));
    if (end == absl::string_view::npos) return result;
    result.push_back('\n');
    text.remove_prefix(end + 1);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<FineTuneClient>> Environment::Connect() {
  ClientOptions client_options;
  client_options.server = options.server;
  client_options.security = options.security;
  client_options.cancellation = &cancellation;
  absl::StatusOr<std::unique_ptr<FineTuneClient>> client =
      FineTuneClient::Create(std::move(client_options));
  // A certificate or token file that is not there is a mistake of the command line, not a missing
  // job.
  if (absl::IsNotFound(client.status())) {
    return absl::InvalidArgumentError(client.status().message());
  }
  return client;
}

std::string DescribeError(const absl::Status& status) {
  std::string text = PrintableLines(status.message());
  if (text.empty()) text = absl::StatusCodeToString(status.code());
  for (const common::SpecViolation& violation : rpc::GetErrorDetails(status).violations) {
    // Most messages name their violations themselves.
    if (absl::StrContains(text, violation.description)) continue;
    absl::StrAppend(&text, "\n  ", Printable(violation.field), ": ",
                    Printable(violation.description));
  }
  if (const std::string way_out = WayOut(status); !way_out.empty()) {
    absl::StrAppend(&text, "\n", way_out);
  }
  return text;
}

}  // namespace longlora::client
