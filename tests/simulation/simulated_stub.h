// The stub through which a simulated worker's ServerLink calls the simulated server. Only the
// synchronous calls are there; the agent makes no others.
#ifndef LONGLORA_TESTS_SIMULATION_SIMULATED_STUB_H_
#define LONGLORA_TESTS_SIMULATION_SIMULATED_STUB_H_

#include <memory>

#include "common/time/clock.h"
#include "tests/simulation/network.h"
#include "tests/simulation/simulated_server.h"
#include "worker/agent/server_link.h"

namespace longlora::simulation {

// `clock`: by which the caller sets deadlines. Everything outlives the stub.
std::unique_ptr<worker::ServerLink::Stub> MakeSimulatedStub(Link link, Network* network,
                                                            SimulatedServer* server,
                                                            common::Clock* clock);

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_SIMULATED_STUB_H_
