// Who uses the service: some submit jobs, again when they got no answer, pause, resume, cancel and
// delete them; some watch; operators cordon and drain workers. Once the faults are over they want
// their jobs done.
#ifndef LONGLORA_TESTS_SIMULATION_SIMULATED_USERS_H_
#define LONGLORA_TESTS_SIMULATION_SIMULATED_USERS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "longlora/v1/fine_tune_job.pb.h"
#include "longlora/v1/worker_directory_service.pb.h"
#include "server/scheduler/job_state_machine.h"
#include "tests/simulation/simulated_server.h"
#include "tests/simulation/world.h"

namespace longlora::simulation {

class SimulatedUsers {
 public:
  // `devices_max`: of the largest worker.
  SimulatedUsers(World* world, SimulatedServer* server, std::vector<std::string> workers,
                 int devices_max);
  ~SimulatedUsers();

  void Start();
  // The faults are over.
  void CalmDown();
  bool done() const { return busy_ == 0; }
  int jobs() const { return jobs_; }

 private:
  using Job = v1::FineTuneJob;

  void Spawn(std::string name, std::function<void()> body);
  void Sleep(absl::Duration low, absl::Duration high);
  // Calls until there is an answer that is none of the network's or the store's.
  grpc::Status Insist(const std::string& what,
                      const std::function<absl::StatusOr<Job>(server::Scheduler&)>& ask, Job* job);
  // Once.
  grpc::Status Try(const std::string& what,
                   const std::function<absl::StatusOr<Job>(server::Scheduler&)>& ask, Job* job);

  void OwnJob(int number);
  void Meddle(const std::string& job);
  void SeeThrough(const std::string& job);
  void Delete(const std::string& job);
  void Watch(std::string job);
  void Operate();
  v1::FineTuneSpec MakeSpec(int number);
  std::string Submit(const v1::FineTuneSpec& spec, const std::string& request_id);

  World* const world_;
  SimulatedServer* const server_;
  const std::vector<std::string> workers_;
  const int devices_max_;
  Random random_;
  Cable cable_;
  Process* const process_;
  const int jobs_;
  int busy_ = 0;
  bool calm_ = false;
};

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_SIMULATED_USERS_H_
