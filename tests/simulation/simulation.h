// One simulated world from its beginning until everything in it has come to rest.
#ifndef LONGLORA_TESTS_SIMULATION_SIMULATION_H_
#define LONGLORA_TESTS_SIMULATION_SIMULATION_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "tests/simulation/world.h"

namespace longlora::simulation {

// What a run did, to be added up.
struct Coverage {
  int64_t jobs = 0;
  int64_t succeeded = 0;
  int64_t attempts = 0;
  int64_t resumed = 0;                          // attempts that went on from a checkpoint
  std::map<std::string, int64_t> attempt_ends;  // by what became of them
  int64_t events = 0;                           // of jobs' logs
  int64_t calls = 0;                            // of the server
  int64_t server_deaths = 0;
  int64_t worker_deaths = 0;
  int64_t other_faults = 0;  // partitions, stalls, full disks, jumps of the date, workers that left
  int64_t steps = 0;         // of fibers
  absl::Duration time;       // virtual

  void Add(const Coverage& other);
};

struct Outcome {
  std::optional<std::string> violation;
  Coverage coverage;
  uint64_t digest = 0;  // of the whole run
};

// `traced`: tells on stdout what happens.
Outcome Simulate(uint64_t seed, const Ground& ground, bool traced);

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_SIMULATION_H_
