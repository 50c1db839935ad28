// longlora-simulation: runs seeds of the simulation one after another. The first that violates an
// invariant is run once more, with its trace on stdout; exit status 1.
//
//   longlora-simulation --seed N              one seed, with its trace
//   longlora-simulation --first N --count M   many
//   --twice        each seed twice: the second run must be the first over again
//   --keep-going   counts the seeds that fail instead of ending with the first
#include <spdlog/spdlog.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/io/files.h"
#include "server/store/sql_schema.h"
#include "server/store/sqlite_connection.h"
#include "tests/simulation/simulation.h"

namespace {

namespace fs = std::filesystem;
using longlora::simulation::Coverage;
using longlora::simulation::Ground;
using longlora::simulation::Outcome;
using longlora::simulation::Simulate;

struct Flags {
  uint64_t first = 0;
  uint64_t count = 1;
  bool traced = false;
  bool twice = false;
  bool keep_going = false;
};

bool ParseFlags(int argc, char** argv, Flags& flags) {
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--twice") {
      flags.twice = true;
    } else if (flag == "--keep-going") {
      flags.keep_going = true;
    } else if (i + 1 < argc && (flag == "--seed" || flag == "--first" || flag == "--count")) {
      uint64_t* const value = flag == "--count" ? &flags.count : &flags.first;
      if (!absl::SimpleAtoi(argv[++i], value)) return false;
      if (flag == "--seed") flags.traced = true;
    } else {
      return false;
    }
  }
  return true;
}

// In memory where there is such a file system: nothing here has to survive.
std::string MakeDirectory() {
  std::error_code error;
  const fs::path memory = "/dev/shm";
  const fs::path parent = fs::is_directory(memory, error) ? memory : fs::temp_directory_path();
  std::string pattern = (parent / "longlora-simulation-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) std::abort();
  return pattern;
}

Ground MakeGround() {
  Ground ground;
  ground.directory = MakeDirectory();
  ground.model_directory = ground.directory + "/models";
  ground.empty_store = ground.directory + "/empty.sqlite";
  ground.metrics = std::make_shared<longlora::worker::WorkerMetrics>(
      "simulated", std::vector<longlora::worker::WorkerMetrics::DeviceLabels>(),
      &longlora::common::Clock::Real());
  fs::create_directories(ground.model_directory + "/tiny");
  auto written =
      longlora::common::AtomicWriteFile(ground.model_directory + "/tiny/config.json", "{}");
  auto store = longlora::server::OpenSqlite(ground.empty_store);
  if (!written.ok() || !store.ok() || !longlora::server::MigrateSchema(**store).ok()) std::abort();
  return ground;
}

void Print(const Coverage& all, uint64_t seeds) {
  std::printf(
      "%lu seeds, %.0f h of virtual time: %ld jobs (%ld succeeded), %ld attempts, %ld events,\n"
      "%ld calls, %ld deaths of the server and %ld of workers, %ld other faults, %ld steps\n",
      seeds, absl::ToDoubleHours(all.time), all.jobs, all.succeeded, all.attempts, all.events,
      all.calls, all.server_deaths, all.worker_deaths, all.other_faults, all.steps);
  std::printf("%ld attempts went on from a checkpoint; ends:", all.resumed);
  for (const auto& [end, count] : all.attempt_ends) std::printf(" %s %ld", end.c_str(), count);
  std::printf("\n");
}

Outcome RunSeed(uint64_t seed, const Ground& ground, const Flags& flags) {
  Outcome outcome = Simulate(seed, ground, flags.traced);
  if (flags.twice && !outcome.violation.has_value() &&
      Simulate(seed, ground, false).digest != outcome.digest) {
    outcome.violation = "the second run differs from the first";
  }
  return outcome;
}

int Run(const Flags& flags, const Ground& ground) {
  Coverage all;
  uint64_t failed = 0;
  for (uint64_t seed = flags.first; seed < flags.first + flags.count; ++seed) {
    const Outcome outcome = RunSeed(seed, ground, flags);
    all.Add(outcome.coverage);
    if (!outcome.violation.has_value()) continue;
    ++failed;
    std::printf("seed %lu: %s\n", seed, outcome.violation->c_str());
    if (flags.keep_going) continue;
    if (!flags.traced) Simulate(seed, ground, /*traced=*/true);
    std::printf("FAILED: seed %lu: %s\nreplay: longlora-simulation --seed %lu\n", seed,
                outcome.violation->c_str(), seed);
    return 1;
  }
  Print(all, flags.count);
  if (failed > 0) std::printf("FAILED: %lu seeds\n", failed);
  return failed > 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  if (!ParseFlags(argc, argv, flags)) {
    std::fprintf(stderr,
                 "usage: longlora-simulation [--seed N | --first N --count M] [--twice] "
                 "[--keep-going]\n");
    return 2;
  }
  spdlog::set_level(spdlog::level::off);
  // Abseil's own watch over mutexes costs most of a run, and here one thread takes them all.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const Ground ground = MakeGround();
  const int status = Run(flags, ground);
  std::error_code error;
  fs::remove_all(ground.directory, error);
  return status;
}
