// The threads of every process of the simulated world, as fibers of one real thread, and their
// virtual time. A fiber runs until it waits; which of those that can go on does so next is drawn
// from the seed, so every order that threads could have had comes up for some seed. Time passes
// only when nobody can go on, and then at once.
//
// The main context, outside all fibers, runs events: crashes, deliveries, the end of faults.
#ifndef LONGLORA_TESTS_SIMULATION_FIBERS_H_
#define LONGLORA_TESTS_SIMULATION_FIBERS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/threads/threads.h"
#include "common/time/fake_clock.h"
#include "tests/simulation/fiber_stack.h"
#include "tests/simulation/random.h"

namespace longlora::simulation {

// One life of a server, of a worker, or of all users together.
struct Process {
  std::string name;
  // Killed. Its fibers run on only until they end, with every wait over at once and every way out
  // of the process closed: whoever lets something out asks for this first.
  bool dead = false;
  absl::Duration disk_full_until;
  absl::Duration stopped_until;  // as by SIGSTOP
  int64_t touched = 1;           // rises when something happened that its waits may be waiting for
  int64_t fibers = 0;            // that have not ended
};

class Fibers : public common::Threads {
 public:
  Fibers(Random random, common::FakeClock* clock);
  // Every process must be dead.
  ~Fibers() override;

  // common::Threads, for the process whose fiber calls.
  std::unique_ptr<Running> Start(std::function<void()> body) override;
  bool Await(absl::Mutex* mutex, const absl::Condition& condition, absl::Duration timeout) override;
  void Yield() override;

  // Lives as long as this.
  Process* MakeProcess(std::string name);
  void Spawn(Process* process, std::string name, std::function<void()> body);
  // On the main context.
  void At(absl::Duration when, std::function<void()> event);
  void After(absl::Duration delay, std::function<void()> event) { At(now() + delay, event); }
  absl::Duration now() const { return now_; }

  // For fibers. True: `condition`, which only what Touch was called for changes; false: time is up.
  bool WaitFor(const std::function<bool()>& condition, absl::Duration timeout);
  void Sleep(absl::Duration duration) {
    WaitFor([] { return false; }, duration);
  }
  void Touch(Process* process) { ++process->touched; }

  // For events. Lets the fibers of the process run to their ends, or as far as they come before
  // what they belong to is destroyed, for which Inside is.
  void Kill(Process* process);
  // Calls that may wait, on the main context and on behalf of `process`.
  void Inside(Process* process, const std::function<void()>& call);

  // Runs until `done`, looked at after every step, or until nothing will ever happen again.
  void Run(const std::function<bool()>& done);

  // Whose fiber, or Inside of which, runs; nullptr: nobody's.
  static Process* running();
  static absl::Duration running_now();

  int64_t steps() const { return steps_; }
  // Of everything that ran, in its order: equal for equal runs.
  uint64_t digest() const { return digest_; }
  // What every fiber waits for, for people.
  std::string Describe() const;

 private:
  struct Fiber {
    FiberContext context;
    std::function<void()> body;
    Process* process = nullptr;
    std::string name;
    bool ended = false;
    // While it waits.
    bool waiting = false;
    absl::Mutex* mutex = nullptr;  // with `condition`
    const absl::Condition* condition = nullptr;
    const std::function<bool()>* predicate = nullptr;
    absl::Duration deadline;
    int64_t seen = 0;   // Process::touched when the condition was last looked at
    bool held = false;  // it did hold then
  };

  static void Enter();
  Fiber* Add(Process* process, std::string name, std::function<void()> body);
  bool Block(Fiber& fiber);
  bool Holds(const Fiber& fiber) const;
  bool CanGoOn(Fiber& fiber);
  void Resume(Fiber& fiber);
  void Collect();
  bool PassTime();
  // Runs fibers of `process` until `done`, without letting time pass; false: none can go on.
  bool Drive(Process* process, const std::function<bool()>& done);
  [[noreturn]] void Abort(const Process* process) const;
  void MustDrive(Process* process, const std::function<bool()>& done);

  Random random_;
  common::FakeClock* const clock_;
  absl::Duration now_;  // as the clock has it
  FiberContext main_;
  Fiber* current_ = nullptr;
  Process* inside_ = nullptr;  // of Inside
  std::vector<std::shared_ptr<Fiber>> fibers_;
  std::vector<std::unique_ptr<Process>> processes_;
  std::multimap<absl::Duration, std::function<void()>> events_;
  int64_t steps_ = 0;
  uint64_t digest_ = 0xCBF29CE484222325;
};

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_FIBERS_H_
