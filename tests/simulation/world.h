// What every part of a simulated world shares.
#ifndef LONGLORA_TESTS_SIMULATION_WORLD_H_
#define LONGLORA_TESTS_SIMULATION_WORLD_H_

#include <cstdint>
#include <memory>
#include <string>

#include "common/time/clock.h"
#include "common/time/fake_clock.h"
#include "tests/simulation/faults.h"
#include "tests/simulation/fibers.h"
#include "tests/simulation/invariants.h"
#include "tests/simulation/network.h"
#include "tests/simulation/random.h"
#include "tests/simulation/trace.h"
#include "worker/metrics/worker_metrics.h"

namespace longlora::simulation {

// What stays from world to world: made once.
struct Ground {
  std::string directory;        // on a file system in memory
  std::string model_directory;  // with the one base model, "tiny"
  std::string empty_store;      // a job store's file without jobs, to be copied
  std::shared_ptr<worker::WorkerMetrics> metrics;
};

// The clock of one machine: time passes as everywhere, the date may be set.
class MachineClock : public common::Clock {
 public:
  explicit MachineClock(common::FakeClock* time) : time_(time) {}
  absl::Time Now() override { return time_->Now() + jump_; }
  common::MonotonicTime MonotonicNow() override { return time_->MonotonicNow(); }
  void Jump(absl::Duration duration) { jump_ += duration; }

 private:
  common::FakeClock* const time_;
  absl::Duration jump_;
};

struct World {
  World(uint64_t seed, bool traced, Ground ground_in, std::string directory_in)
      : random(seed),
        ground(std::move(ground_in)),
        directory(std::move(directory_in)),
        faults(Faults::Draw(random)),
        trace(traced, &time),
        fibers(random.Split(), &time),
        invariants(&trace),
        network(random.Split(), &fibers, &faults, &trace) {}

  Random random;
  const Ground ground;
  const std::string directory;
  common::FakeClock time;
  Faults faults;
  Trace trace;
  Fibers fibers;
  Invariants invariants;
  Network network;
};

// What a job's weights are after so many steps, as text: whoever loses a step, does one twice or
// goes on from a foreign checkpoint ends with others.
std::string WeightsAfter(const std::string& job, int64_t steps);
// A step further.
std::string NextWeights(const std::string& weights, int64_t step);

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_WORLD_H_
