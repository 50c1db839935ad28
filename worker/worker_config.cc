#include "worker/worker_config.h"

#include <CLI/CLI.hpp>

#include "common/ids/names.h"

namespace longlora::worker {
namespace {

// Durations as the flags take them, turned into values once everything is parsed.
struct DurationTexts {
  std::string grace;
  std::string pause_grace;
  std::string hang_timeout;
  std::string leave_timeout;
};

constexpr absl::Duration kDurationMax = absl::Hours(24 * 7);

std::string CheckDuration(const std::string& text) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration)) return "write a duration like 30s or 2m";
  if (duration <= absl::ZeroDuration() || duration > kDurationMax)
    return "must be above 0 and at most 168h";
  return "";
}

std::string CheckName(const std::string& name) {
  return common::IsWorkerId(name)
             ? ""
             : "must be 1 to 63 of a-z, 0-9, '.' and '-', with a letter or digit at both ends";
}

std::string CheckLabel(const std::string& label) {
  return common::IsWorkerLabel(label) ? ""
                                      : "must be KEY=VALUE, each of letters, digits, '.', '_', "
                                        "'/' and '-', at most 63";
}

std::string CheckAbsolute(const std::string& path) {
  return !path.empty() && path[0] == '/' ? "" : "must be an absolute path";
}

void AddSecurity(CLI::App& app, rpc::ClientSecurity& security) {
  app.add_flag("--tls", security.tls, "Speak TLS and check the server against the system's roots");
  app.add_option("--tls-ca", security.tls_ca,
                 "PEM: what the server's certificate must be signed by");
  app.add_option("--tls-cert", security.tls_cert, "PEM: certificate of this worker");
  app.add_option("--tls-key", security.tls_key, "PEM: its key");
  app.add_option("--token-file", security.token_file,
                 "File whose first line is the bearer token to send");
  app.add_flag("--allow-plaintext", security.allow_plaintext,
               "Speak without TLS to an address that is not loopback");
}

void AddLimits(CLI::App& app, WorkerConfig& config, DurationTexts& texts) {
  const CLI::Validator duration(CheckDuration, "DURATION");
  app.add_option("--grace", texts.grace, "From SIGTERM to SIGKILL, when a trainer is to end")
      ->check(duration)
      ->capture_default_str();
  app.add_option("--pause-grace", texts.pause_grace,
                 "The same when a job pauses: time for a step and its checkpoint")
      ->check(duration)
      ->capture_default_str();
  app.add_option("--hang-timeout", texts.hang_timeout,
                 "A trainer that reports nothing for so long is ended")
      ->check(duration)
      ->capture_default_str();
  app.add_option("--leave-timeout", texts.leave_timeout,
                 "On SIGTERM: time to stop attempts and deliver their checkpoints")
      ->check(duration)
      ->capture_default_str();
  app.add_option("--cache-bytes", config.cache_bytes, "Dataset files kept for later jobs")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
}

void AddOptions(CLI::App& app, WorkerConfig& config, DurationTexts& texts) {
  app.set_config("--config", "", "File with the same keys, like work-dir = \"/var/lib/longlora\"");
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.set_version_flag("--version", std::string(LONGLORA_VERSION));
  app.add_option("--server", config.server, "HOST:PORT of the server")->required();
  app.add_option("--name", config.name, "This worker's name, unlike any other's")
      ->required()
      ->check(CLI::Validator(CheckName, "NAME"));
  app.add_option("--work-dir", config.work_dir,
                 "Directory for this worker alone: cache and attempts")
      ->required();
  app.add_option("--model-dir", config.model_dir, "Directory with a directory for each base model")
      ->required()
      ->check(CLI::ExistingDirectory);
  app.add_option("--label", config.labels,
                 "KEY=VALUE that jobs may ask for (resources.worker_labels); may be repeated")
      ->check(CLI::Validator(CheckLabel, "KEY=VALUE"));
  app.add_option("--metrics-listen", config.metrics_listen,
                 "HOST:PORT for Prometheus, path /metrics")
      ->capture_default_str();
  app.add_option("--devices", config.devices, "cuda (every GPU) or cpu:N (N shares of the machine)")
      ->capture_default_str();
  app.add_option("--trainer", config.trainer,
                 "The trainer program (default: longlora-trainer beside this one)");
  app.add_option("--allow-root", config.allowed_roots,
                 "Directory below which jobs may name models and adapters by path; may be repeated")
      ->check(CLI::Validator(CheckAbsolute, "DIR"));
  AddLimits(app, config, texts);
  AddSecurity(app, config.security);
  app.add_option("--log-level", config.log_level, "What is worth a line on standard error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
}

}  // namespace

std::variant<WorkerConfig, int> ParseWorkerConfig(int argc, const char* const* argv) {
  WorkerConfig config;
  DurationTexts texts = {.grace = absl::FormatDuration(config.grace),
                         .pause_grace = absl::FormatDuration(config.pause_grace),
                         .hang_timeout = absl::FormatDuration(config.hang_timeout),
                         .leave_timeout = absl::FormatDuration(config.leave_timeout)};
  CLI::App app("Runs fine-tuning jobs of a longlora server on this machine.", "longlora-worker");
  AddOptions(app, config, texts);
  // CLI11 reports by exception; it goes no further than here.
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  absl::ParseDuration(texts.grace, &config.grace);
  absl::ParseDuration(texts.pause_grace, &config.pause_grace);
  absl::ParseDuration(texts.hang_timeout, &config.hang_timeout);
  absl::ParseDuration(texts.leave_timeout, &config.leave_timeout);
  return config;
}

}  // namespace longlora::worker
