// The ranks of an attempt, simulated: they read the spec and the checkpoint that the agent laid
// out, make steps that take virtual time, write checkpoints and results, and crash, hang, fill the
// disk or hear no signal as the seed has it. In place of worker/supervisor/rank_group.
#ifndef LONGLORA_TESTS_SIMULATION_SIMULATED_RANKS_H_
#define LONGLORA_TESTS_SIMULATION_SIMULATED_RANKS_H_

#include <memory>
#include <string>

#include "tests/simulation/world.h"
#include "worker/supervisor/rank_group.h"

namespace longlora::simulation {

// On `worker`, in `process`.
std::unique_ptr<worker::Ranks> MakeSimulatedRanks(World* world, Process* process,
                                                  std::string worker_name,
                                                  worker::RankGroupSpec spec,
                                                  worker::EventSink* sink);

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_SIMULATED_RANKS_H_
