// scheduler_load: puts one kind of load on a longlora-server and prints one JSON object. Driven by
// bench/scheduler.py.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "bench/scheduler_load/submits.h"
#include "bench/scheduler_load/watchers.h"
#include "bench/scheduler_load/workers.h"

namespace longlora::bench {
namespace {

int Main(int argc, char** argv) {
  CLI::App app("Puts load on a longlora-server.", "scheduler_load");
  app.require_subcommand(1);
  app.fallthrough();
  std::string server;
  app.add_option("--server", server, "HOST:PORT")->required();
  SubmitLoad submits;
  CLI::App* submit = app.add_subcommand("submit");
  submit->add_option("--count", submits.count);
  submit->add_option("--in-flight", submits.in_flight);
  submit->add_option("--per-second", submits.per_second);
  FleetLoad fleet;
  int dispatches = 5000;
  CLI::App* dispatch = app.add_subcommand("dispatch");
  dispatch->add_option("--workers", fleet.workers);
  dispatch->add_option("--devices", fleet.devices);
  dispatch->add_option("--count", dispatches);
  int jobs = 32;
  int batch = 500;
  double seconds = 10;
  CLI::App* events = app.add_subcommand("events");
  events->add_option("--jobs", jobs);
  events->add_option("--batch", batch);
  events->add_option("--seconds", seconds);
  int idle_workers = 1000;
  CLI::App* idle = app.add_subcommand("idle");
  idle->add_option("--workers", idle_workers);
  idle->add_option("--seconds", seconds);
  int watchers = 10'000;
  CLI::App* watch = app.add_subcommand("watch");
  watch->add_option("--count", watchers);
  CLI11_PARSE(app, argc, argv);

  absl::StatusOr<nlohmann::json> report = absl::UnimplementedError("no such load");
  if (submit->parsed()) report = RunSubmits(server, submits);
  if (dispatch->parsed()) report = RunDispatch(server, fleet, dispatches);
  if (events->parsed()) report = RunEvents(server, jobs, batch, absl::Seconds(seconds));
  if (idle->parsed()) report = RunIdle(server, idle_workers, absl::Seconds(seconds));
  if (watch->parsed()) report = RunWatchers(server, watchers);
  if (!report.ok()) {
    std::fprintf(stderr, "scheduler_load: %s\n", report.status().ToString().c_str());
    return 1;
  }
  std::printf("%s\n", report->dump().c_str());
  return 0;
}

}  // namespace
}  // namespace longlora::bench

int main(int argc, char** argv) { return longlora::bench::Main(argc, argv); }
