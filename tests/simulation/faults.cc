#include "tests/simulation/faults.h"

namespace longlora::simulation {
namespace {

// Often 0, else up to `most`.
double Rate(Random& random, double most) {
  if (random.Chance(0.5)) return 0.0;
  return most * static_cast<double>(random.Between(1, 100)) / 100.0;
}

}  // namespace

Faults Faults::Draw(Random& random) {
  Faults faults;
  faults.request_lost = Rate(random, 0.15);
  faults.answer_lost = Rate(random, 0.15);
  faults.doubled = Rate(random, 0.15);
  faults.late = Rate(random, 0.1);
  faults.cut = Rate(random, 0.2);
  if (random.Chance(0.3)) faults.delay_max = absl::Seconds(1);
  faults.commit_refused = Rate(random, 0.02);
  faults.commit_unclear = Rate(random, 0.02);
  faults.crash_before_commit = Rate(random, 0.01);
  faults.crash_after_commit = Rate(random, 0.01);
  faults.trainer_crash = Rate(random, 0.05);
  faults.trainer_deaf = Rate(random, 0.5);
  for (bool* const fault :
       {&faults.server_crash, &faults.worker_crash, &faults.worker_leave, &faults.partition,
        &faults.server_stall, &faults.worker_stall, &faults.worker_freeze, &faults.server_disk_full,
        &faults.worker_disk_full, &faults.date_jump, &faults.operators}) {
    *fault = random.Chance(0.35);
  }
  return faults;
}

}  // namespace longlora::simulation
