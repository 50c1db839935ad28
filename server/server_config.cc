#include "server/server_config.h"

#include <CLI/CLI.hpp>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace longlora::server {
namespace {

// Bounds of --lease-duration: below, heartbeats of a busy worker come too late; above, a lost
// worker's job waits for an hour.
constexpr absl::Duration kMinLease = absl::Seconds(1);
constexpr absl::Duration kMaxLease = absl::Hours(1);
// Below, no model is loaded.
constexpr absl::Duration kMinReadyTimeout = absl::Seconds(10);

// Of a duration that is `right`; `examples` of how to write one, `complaint` about another.
CLI::Validator Duration(bool (*right)(absl::Duration), const char* examples,
                        const char* complaint) {
  const auto check = [=](const std::string& text) -> std::string {
    absl::Duration duration;
    if (!absl::ParseDuration(text, &duration)) {
      return absl::StrCat("write a duration like ", examples);
    }
    return right(duration) ? "" : complaint;
  };
  return CLI::Validator(check, "DURATION");
}

std::string CheckStore(const std::string& url) {
  return absl::StartsWith(url, "postgres://") || absl::StartsWith(url, "postgresql://")
             ? ""
             : "must be a postgresql:// URL";
}

// As the flags take them.
struct DurationTexts {
  std::string lease;
  std::string ready_timeout;
  std::string watch_stall;
  std::string event_retention = "inf";
};

// Upper bounds keep sums and casts within their types.
void AddLimits(CLI::App& app, Limits& limits, int64_t& unfinished_jobs, std::string& watch_stall) {
  app.add_option("--max-spec-bytes", limits.spec_bytes, "Largest job, serialized")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--max-message-bytes", limits.message_bytes, "Largest request, serialized")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(int64_t{4} << 20, int64_t{256} << 20))
      ->capture_default_str();
  app.add_option("--max-unfinished-jobs", unfinished_jobs, "Jobs that wait or run")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--max-creates-per-second", limits.creates_per_second,
                 "Jobs that one client may create a second in the long run; 0: no limit")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--max-creates-burst", limits.creates_burst,
                 "Jobs that one client may create at once after a pause")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--max-calls", limits.calls,
                 "Unary calls of users at a time, and as many of workers")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--max-transfers", limits.transfers, "Uploads and downloads at a time")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  app.add_option("--max-watches", limits.watches, "Watch streams at a time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--max-watches-per-client", limits.watches_per_client,
                 "Watch streams of one client at a time")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--watch-stall", watch_stall,
                 "A watcher that takes nothing for so long is cut off")
      ->check(Duration([](absl::Duration stall) { return stall >= absl::Seconds(1); }, "30s or 2m",
                       "must be at least 1s"))
      ->capture_default_str();
}

void AddOptions(CLI::App& app, ServerConfig& config, DurationTexts& durations) {
  app.set_config("--config", "", "File with the same keys, like data-dir = \"/var/lib/longlora\"");
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.set_version_flag("--version", std::string(LONGLORA_VERSION));
  app.add_option("--data-dir", config.data_dir, "Directory for jobs, dataset files and artifacts")
      ->required();
  CLI::Option* const store =
      app.add_option(
             "--store", config.store,
             "postgresql://USER@HOST/DATABASE for the job store (default: SQLite in --data-dir)")
          ->check(CLI::Validator(CheckStore, "URL"));
  app.add_flag("--standby", config.standby,
               "Wait while another server has the --store, and take over when it ends");
  app.add_option("--listen", config.listen, "HOST:PORT for gRPC")->capture_default_str();
  app.add_option("--read-listen", config.read_listen,
                 "HOST:PORT for gRPC that only reads the --store, also while this server stands by "
                 "(default: none)")
      ->needs(store);
  app.add_option("--metrics-listen", config.metrics_listen,
                 "HOST:PORT for Prometheus, path /metrics; empty: none")
      ->capture_default_str();
  app.add_option("--tls-cert", config.security.tls_cert, "PEM: the server's certificate chain");
  app.add_option("--tls-key", config.security.tls_key, "PEM: its key");
  app.add_option("--tls-client-ca", config.security.tls_client_ca,
                 "PEM: clients must show a certificate signed by this");
  app.add_option(
      "--token-file", config.token_file,
      "File whose first line every caller must send as bearer token (not for health checks)");
  app.add_flag("--allow-plaintext", config.security.allow_plaintext,
               "Serve without TLS on an address that other machines reach");
  app.add_option("--max-file-bytes", config.max_file_bytes, "Largest dataset file")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--max-artifact-bytes", config.max_artifact_bytes,
                 "Largest file of a job's results")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--lease-duration", durations.lease,
                 "How long a worker may go on without the server")
      ->check(
          Duration([](absl::Duration lease) { return lease >= kMinLease && lease <= kMaxLease; },
                   "30s or 2m", "must be from 1s to 1h"))
      ->capture_default_str();
  app.add_option("--ready-timeout", durations.ready_timeout,
                 "How long an attempt may take from its devices to its first step")
      ->check(Duration([](absl::Duration timeout) { return timeout >= kMinReadyTimeout; },
                       "20m or 2h", "must be at least 10s"))
      ->capture_default_str();
  app.add_option("--max-job-events", config.retention.events_max,
                 "Newest events that a job keeps; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option(
         "--event-retention", durations.event_retention,
         "After which the events of a final job are dropped, but for its last (default: never)")
      ->check(Duration([](absl::Duration age) { return age > absl::ZeroDuration(); }, "72h",
                       "must be above 0"));
  app.add_option("--queues", config.queues,
                 "YAML file with the queues and their quotas (default: one queue without limits)");
  app.add_option("--failed-attempts-max", config.scheduler.failed_attempts_max,
                 "Attempts in a row, without a new checkpoint, that faults of the system may end "
                 "before the job fails")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--log-level", config.log_level, "What is worth a line on standard error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
}

// `backup` and `restore`; --data-dir is the server's own option.
std::vector<CLI::App*> AddDataCopies(CLI::App& app, DataCopyCommand& copy) {
  app.require_subcommand(0, 1);
  CLI::App* backup = app.add_subcommand(
      "backup",
      "Copies the data of --data-dir, also while a server uses it, and verifies the copy");
  backup
      ->add_option("--to", copy.to, "Directory for the backup; one of before is brought up to date")
      ->required();
  CLI::App* restore =
      app.add_subcommand("restore", "Copies a backup to an empty --data-dir, verified");
  restore->add_option("--from", copy.from, "Directory of the backup")->required();
  for (CLI::App* command : {backup, restore}) command->fallthrough();
  return {backup, restore};
}

}  // namespace

std::variant<ServerConfig, DataCopyCommand, int> ParseServerConfig(int argc,
                                                                   const char* const* argv) {
  ServerConfig config;
  DataCopyCommand copy;
  DurationTexts durations = {absl::FormatDuration(config.scheduler.lease_duration),
                             absl::FormatDuration(config.scheduler.ready_timeout),
                             absl::FormatDuration(config.limits.watch_stall)};
  CLI::App app("Takes fine-tuning jobs, gives them to workers, keeps what they produce.",
               "longlora-server");
  AddOptions(app, config, durations);
  AddLimits(app, config.limits, config.scheduler.live_jobs_max, durations.watch_stall);
  const std::vector<CLI::App*> copies = AddDataCopies(app, copy);
  // CLI11 reports by exception; it goes no further than here.
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (copies[0]->parsed()) return DataCopyCommand{false, config.data_dir, copy.to};
  if (copies[1]->parsed()) return DataCopyCommand{true, copy.from, config.data_dir};
  absl::ParseDuration(durations.lease, &config.scheduler.lease_duration);
  absl::ParseDuration(durations.ready_timeout, &config.scheduler.ready_timeout);
  absl::ParseDuration(durations.event_retention, &config.retention.age_max);
  absl::ParseDuration(durations.watch_stall, &config.limits.watch_stall);
  return config;
}

}  // namespace longlora::server
