// A worker: the real agent from its start to its end, on a machine that may die, be cut off, stand
// still or have a full disk. Only its trainers are simulated.
#ifndef LONGLORA_TESTS_SIMULATION_SIMULATED_WORKER_H_
#define LONGLORA_TESTS_SIMULATION_SIMULATED_WORKER_H_

#include <memory>
#include <string>

#include "tests/simulation/simulated_server.h"
#include "tests/simulation/world.h"
#include "worker/agent/attempt.h"
#include "worker/agent/sync_loop.h"

namespace longlora::simulation {

class SimulatedWorker {
 public:
  SimulatedWorker(World* world, SimulatedServer* server, std::string name, int devices);
  ~SimulatedWorker();

  // For events.
  void Start();
  // Is killed with its trainers, and comes back after `absence`.
  void Crash(absl::Duration absence);
  // Is asked to end, and comes back after `absence`.
  void Leave(absl::Duration absence);

  const std::string& name() const { return name_; }
  int devices() const { return devices_; }
  Process* process();  // nullptr: down
  Cable& cable() { return cable_; }
  MachineClock& clock() { return clock_; }
  // Whether something of an attempt lies on its disk.
  bool HasFiles() const;

 private:
  struct Life {
    Process* process = nullptr;
    std::unique_ptr<worker::ServerLink> link;
    std::unique_ptr<worker::FileCache> cache;
    worker::DeviceLocks locks;
    worker::AttemptEnvironment environment;
    std::unique_ptr<worker::SyncLoop> loop;
  };

  std::string Directory() const;
  void MakeEnvironment(Life& life);
  void Live(Life& life);
  void End(absl::Duration absence);

  World* const world_;
  SimulatedServer* const server_;
  const std::string name_;
  const int devices_;
  Random random_;
  MachineClock clock_;
  Cable cable_;
  int lives_ = 0;
  int directories_ = 0;
  absl::Duration absence_;  // after the present life
  std::unique_ptr<Life> life_;
};

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_SIMULATED_WORKER_H_
