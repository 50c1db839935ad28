#include <CLI/CLI.hpp>

#include "client/cli/command.h"

namespace longlora::client {

void AddGlobalOptions(CLI::App& app, GlobalOptions& options) {
  app.add_option("--server", options.server, "Address of longlora-server, HOST:PORT")
      ->envname("LONGLORA_SERVER")
      ->capture_default_str();
  app.add_option("--output", options.output, "table for people, json for machines")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  app.add_flag("-q,--quiet", options.quiet, "No messages and no progress, only data and errors");
  auto* security =
      app.add_option_group("Security", "Beyond this machine the server is reached by TLS");
  security->add_flag("--tls", options.security.tls, "Use TLS with the system's root certificates");
  security->add_option("--tls-ca", options.security.tls_ca,
                       "PEM file that the server's certificate must be signed by (implies --tls)");
  security->add_option("--tls-cert", options.security.tls_cert,
                       "PEM file of a client certificate, where the server asks for one");
  security->add_option("--tls-key", options.security.tls_key, "PEM file of its key");
  security
      ->add_option("--token-file", options.security.token_file,
                   "File whose first line is the bearer token; not readable by everybody")
      ->envname("LONGLORA_TOKEN_FILE");
  security->add_flag("--allow-plaintext", options.security.allow_plaintext,
                     "Talk to another machine without TLS");
}

}  // namespace longlora::client
