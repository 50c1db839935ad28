// A connection to the database as it is when things go wrong around a commit: the disk is full, the
// commit is done although it looks failed, the server is killed just before or just after it. The
// database itself is the real one.
#ifndef LONGLORA_TESTS_SIMULATION_FAULTY_CONNECTION_H_
#define LONGLORA_TESTS_SIMULATION_FAULTY_CONNECTION_H_

#include <functional>
#include <memory>

#include "server/store/sql_connection.h"
#include "tests/simulation/faults.h"
#include "tests/simulation/fibers.h"
#include "tests/simulation/random.h"
#include "tests/simulation/trace.h"

namespace longlora::simulation {

struct StoreFaults {
  Random* random = nullptr;
  const Faults* faults = nullptr;
  Trace* trace = nullptr;
  Process* process = nullptr;      // whose connection it is
  std::function<void()> on_crash;  // the process dies here
};

std::unique_ptr<server::SqlConnection> MakeFaultyConnection(
    std::unique_ptr<server::SqlConnection> inner, StoreFaults faults);

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_FAULTY_CONNECTION_H_
