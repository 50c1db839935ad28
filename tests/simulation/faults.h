// Which faults a seed has, and how often. Not every seed has all: with everything failing at once,
// little gets far enough to fail in an interesting way.
#ifndef LONGLORA_TESTS_SIMULATION_FAULTS_H_
#define LONGLORA_TESTS_SIMULATION_FAULTS_H_

#include "absl/time/time.h"
#include "tests/simulation/random.h"

namespace longlora::simulation {

struct Faults {
  // Of the network, for each call.
  double request_lost = 0;
  double answer_lost = 0;
  double doubled = 0;
  double late = 0;  // given up by who sent it, and done long afterwards
  double cut = 0;   // a file breaks off in the middle
  absl::Duration delay_max = absl::Milliseconds(20);
  // Of the server's store, for each commit.
  double commit_refused = 0;
  double commit_unclear = 0;  // done, though it looks failed
  double crash_before_commit = 0;
  double crash_after_commit = 0;
  // Of trainers, for each step.
  double trainer_crash = 0;
  double trainer_deaf = 0;  // a trainer that hears no SIGTERM, for each
  // What comes from time to time.
  bool server_crash = false;
  bool worker_crash = false;
  bool worker_leave = false;
  bool partition = false;
  bool server_stall = false;
  bool worker_stall = false;
  bool worker_freeze = false;  // a stall beyond every lease
  bool server_disk_full = false;
  bool worker_disk_full = false;
  bool date_jump = false;
  bool operators = false;  // who cordon and drain

  static Faults Draw(Random& random);
  // Nothing fails any more.
  void Stop() { *this = Faults(); }
};

// How long a worker may take to end its trainers once the lease is over: a stall of its machine,
// and what the kernel needs. Shorter than SchedulerOptions::lease_grace, as its operator must see
// to.
inline constexpr absl::Duration kWorkerStallMax = absl::Milliseconds(1500);
inline constexpr absl::Duration kKillDelayMax = absl::Milliseconds(1500);

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_FAULTS_H_
