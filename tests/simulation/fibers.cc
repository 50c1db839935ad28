#include "tests/simulation/fibers.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace longlora::simulation {
namespace {

// The only one of this moment: makecontext hands no pointer over.
Fibers* the_fibers = nullptr;

// A dead process ends in a few steps a fiber.
constexpr int64_t kDriveStepsMax = 1'000'000;
// What lies before a Yield may have taken so long.
constexpr absl::Duration kYieldMax = absl::Milliseconds(20);

}  // namespace

Fibers::Fibers(Random random, common::FakeClock* clock)
    : random_(random), clock_(clock), now_(clock->MonotonicNow().since_start()) {
  AdoptThread(main_);
  the_fibers = this;
}

Fibers::~Fibers() {
  the_fibers = nullptr;
  Collect();
  if (!fibers_.empty()) {
    std::fprintf(stderr, "fibers outlive their world:\n%s", Describe().c_str());
    std::abort();
  }
}

Process* Fibers::MakeProcess(std::string name) {
  processes_.push_back(std::make_unique<Process>());
  processes_.back()->name = std::move(name);
  return processes_.back().get();
}

Fibers::Fiber* Fibers::Add(Process* process, std::string name, std::function<void()> body) {
  auto fiber = std::make_shared<Fiber>();
  fiber->body = std::move(body);
  fiber->process = process;
  fiber->name = std::move(name);
  PrepareFiber(fiber->context, &Fibers::Enter);
  ++process->fibers;
  fibers_.push_back(fiber);
  return fiber.get();
}

void Fibers::Spawn(Process* process, std::string name, std::function<void()> body) {
  Add(process, std::move(name), std::move(body));
}

std::unique_ptr<common::Threads::Running> Fibers::Start(std::function<void()> body) {
  class Joined : public Running {
   public:
    Joined(Fibers* fibers, std::shared_ptr<Fiber> fiber)
        : fibers_(fibers), fiber_(std::move(fiber)) {}
    void Join() override {
      const std::function<bool()> ended = [this] { return fiber_->ended; };
      if (fibers_->current_ != nullptr) {
        fibers_->WaitFor(ended, absl::InfiniteDuration());
      } else {
        fibers_->MustDrive(fiber_->process, ended);
      }
    }

   private:
    Fibers* const fibers_;
    const std::shared_ptr<Fiber> fiber_;
  };
  Process* const process = current_ != nullptr ? current_->process : inside_;
  Add(process, "thread", std::move(body));
  return std::make_unique<Joined>(this, fibers_.back());
}

void Fibers::At(absl::Duration when, std::function<void()> event) {
  events_.emplace(when, std::move(event));
}

void Fibers::Enter() {
  Fibers& fibers = *the_fibers;
  FinishFirstSwitch(fibers.main_);
  Fiber& fiber = *fibers.current_;
  fiber.body();
  fiber.body = nullptr;
  fiber.ended = true;
  SwitchFiber(fiber.context, fibers.main_, /*from_is_done=*/true);
}

bool Fibers::Holds(const Fiber& fiber) const ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (fiber.predicate != nullptr) return (*fiber.predicate)();
  fiber.mutex->Lock();
  const bool holds = fiber.condition->Eval();
  fiber.mutex->Unlock();
  return holds;
}

bool Fibers::CanGoOn(Fiber& fiber) {
  Process& process = *fiber.process;
  if (process.stopped_until > now() && !process.dead) return false;
  if (!fiber.waiting) return true;
  if (fiber.seen != process.touched) {
    fiber.seen = process.touched;
    fiber.held = Holds(fiber);
  }
  if (fiber.held) return true;
  return process.dead ? fiber.deadline != absl::InfiniteDuration() : fiber.deadline <= now();
}

// Leaves the fiber until it can go on; true when that is because of what it waits for.
bool Fibers::Block(Fiber& fiber) {
  fiber.waiting = true;
  fiber.seen = 0;
  SwitchFiber(fiber.context, main_, /*from_is_done=*/false);
  fiber.waiting = false;
  return Holds(fiber);
}

bool Fibers::WaitFor(const std::function<bool()>& condition, absl::Duration timeout) {
  if (condition()) return true;
  Fiber& fiber = *current_;
  fiber.predicate = &condition;
  fiber.deadline = now() + timeout;
  const bool holds = Block(fiber);
  fiber.predicate = nullptr;
  return holds;
}

bool Fibers::Await(absl::Mutex* mutex, const absl::Condition& condition,
                   absl::Duration timeout) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (condition.Eval()) return true;
  mutex->Unlock();
  bool holds = false;
  if (current_ != nullptr) {
    Fiber& fiber = *current_;
    fiber.mutex = mutex;
    fiber.condition = &condition;
    fiber.deadline = now() + std::max(timeout, absl::ZeroDuration());
    holds = Block(fiber);
  } else {
    Fiber probe;
    probe.mutex = mutex;
    probe.condition = &condition;
    MustDrive(inside_, [&] { return holds = Holds(probe); });
  }
  mutex->Lock();
  return holds;
}

void Fibers::Yield() {
  if (current_ != nullptr) Sleep(random_.Between(absl::ZeroDuration(), kYieldMax));
}

void Fibers::Resume(Fiber& fiber) {
  ++steps_;
  for (const char c : fiber.name) digest_ = (digest_ ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  digest_ = (digest_ ^ static_cast<uint64_t>(absl::ToInt64Microseconds(now()))) * 0x100000001B3;
  current_ = &fiber;
  SwitchFiber(main_, fiber.context, /*from_is_done=*/false);
  current_ = nullptr;
  ++fiber.process->touched;
  if (!fiber.ended) return;
  --fiber.process->fibers;
  ReleaseFiber(fiber.context);
}

void Fibers::Collect() {
  std::erase_if(fibers_, [](const auto& fiber) { return fiber->ended; });
}

bool Fibers::Drive(Process* process, const std::function<bool()>& done) {
  Touch(process);  // the main context may have changed anything
  for (int64_t count = 0; !done(); ++count) {
    Fiber* next = nullptr;
    for (const auto& fiber : fibers_) {
      if (fiber->process == process && !fiber->ended && CanGoOn(*fiber)) {
        next = fiber.get();
        // In turn, so that one that waits in slices for another does not keep it from running.
        std::rotate(std::find(fibers_.begin(), fibers_.end(), fiber),
                    std::find(fibers_.begin(), fibers_.end(), fiber) + 1, fibers_.end());
        break;
      }
    }
    if (next == nullptr) return false;
    if (count > kDriveStepsMax) Abort(process);
    Resume(*next);
    Collect();
  }
  return true;
}

void Fibers::MustDrive(Process* process, const std::function<bool()>& done) {
  if (!Drive(process, done)) Abort(process);
}

void Fibers::Abort(const Process* process) const {
  std::fprintf(stderr, "%s does not come to its end:\n%s", process->name.c_str(),
               Describe().c_str());
  std::abort();
}

Process* Fibers::running() {
  if (the_fibers == nullptr) return nullptr;
  return the_fibers->current_ != nullptr ? the_fibers->current_->process : the_fibers->inside_;
}

void Fibers::Kill(Process* process) {
  process->dead = true;
  Touch(process);
  Drive(process, [process] { return process->fibers == 0; });
}

void Fibers::Inside(Process* process, const std::function<void()>& call) {
  Process* const before = std::exchange(inside_, process);
  call();
  inside_ = before;
}

bool Fibers::PassTime() {
  absl::Duration next = absl::InfiniteDuration();
  if (!events_.empty()) next = events_.begin()->first;
  for (const auto& fiber : fibers_) {
    const absl::Duration stopped_until = fiber->process->stopped_until;
    next = std::min(next, stopped_until > now_ ? stopped_until : fiber->deadline);
  }
  if (next == absl::InfiniteDuration()) return false;
  clock_->Advance(next - now_);
  now_ = next;
  return true;
}

void Fibers::Run(const std::function<bool()>& done) {
  std::vector<Fiber*> ready;
  while (!done()) {
    if (!events_.empty() && events_.begin()->first <= now()) {
      const auto event = std::move(events_.begin()->second);
      events_.erase(events_.begin());
      event();
      Collect();
      continue;
    }
    ready.clear();
    for (const auto& fiber : fibers_) {
      if (CanGoOn(*fiber)) ready.push_back(fiber.get());
    }
    if (ready.empty()) {
      if (!PassTime()) return;
      continue;
    }
    Fiber& fiber =
        *ready[static_cast<size_t>(random_.Between(0, static_cast<int64_t>(ready.size()) - 1))];
    Resume(fiber);
    if (fiber.ended) Collect();
  }
}

absl::Duration Fibers::running_now() { return the_fibers->now_; }

std::string Fibers::Describe() const {
  std::string text;
  for (const auto& fiber : fibers_) {
    absl::StrAppend(&text, "  ", fiber->process->name, " / ", fiber->name,
                    fiber->waiting ? " waits until " : " can go on, ",
                    fiber->waiting ? absl::FormatDuration(fiber->deadline) : "", "\n");
  }
  return text;
}

}  // namespace longlora::simulation
