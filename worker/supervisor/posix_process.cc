#include "worker/supervisor/posix_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/io/unique_fd.h"
#include "common/status/status_macros.h"
#include "worker/supervisor/pidfd.h"

namespace longlora::worker {
namespace {

using ::longlora::common::ErrnoStatus;
using ::longlora::common::UniqueFd;

// Where the child keeps its end of the gate; closed by exec.
constexpr int kChildGateFd = kChildEventsFd + 1;
// Descriptors that become 0 to 4 in the child must lie above them, or dup2 would overwrite one
// another.
constexpr int kLowestSafeFd = 10;

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

absl::StatusOr<UniqueFd> MoveUp(UniqueFd fd) {
  UniqueFd moved(fcntl(fd.get(), F_DUPFD_CLOEXEC, kLowestSafeFd));
  if (!moved.ok()) return ErrnoStatus(errno, "duplicate", "a descriptor for a trainer");
  return moved;
}

absl::StatusOr<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "create", "a pipe for a trainer");
  Pipe pipe;
  UniqueFd write(ends[1]);
  pipe.read = UniqueFd(ends[0]);
  LONGLORA_ASSIGN_OR_RETURN(pipe.write, MoveUp(std::move(write)));
  if (fcntl(pipe.read.get(), F_SETFL, O_NONBLOCK) != 0) {
    return ErrnoStatus(errno, "make non-blocking", "a pipe of a trainer");
  }
  return pipe;
}

// Everything the child needs, made before fork: between fork and exec only async-signal-safe calls
// are allowed, because another thread may hold the allocator's lock.
struct ChildPlan {
  std::vector<char*> arguments;
  std::vector<char*> environment;
  const char* directory;
  int null_fd;
  int log_fd;
  int events_fd;
  int gate_fd;
  pid_t parent;
};

[[noreturn]] void RunChild(const ChildPlan& plan) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The worker may have died before prctl took effect.
  if (getppid() != plan.parent) _exit(127);
  setsid();
  // Ignored signals and the mask survive exec; the trainer must get SIGTERM in any case.
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (dup2(plan.null_fd, 0) < 0 || dup2(plan.log_fd, 1) < 0 || dup2(plan.log_fd, 2) < 0 ||
      dup2(plan.events_fd, kChildEventsFd) < 0 || dup2(plan.gate_fd, kChildGateFd) < 0) {
    _exit(127);
  }
  fcntl(kChildGateFd, F_SETFD, FD_CLOEXEC);
  close_range(kChildGateFd + 1, ~0U, 0);
  // Only now is there a session and a group that signals can be sent to.
  char go = 1;
  if (write(kChildGateFd, &go, 1) != 1) _exit(127);
  // End of file: the worker gave up, or died.
  if (read(kChildGateFd, &go, 1) != 1) _exit(127);
  int error = 0;
  if (chdir(plan.directory) == 0) {
    execve(plan.arguments[0], plan.arguments.data(), plan.environment.data());
  }
  error = errno;
  [[maybe_unused]] const ssize_t written = write(kChildGateFd, &error, sizeof(error));
  _exit(127);
}

class PosixProcess : public Process {
 public:
  PosixProcess(pid_t pid, std::string program, UniqueFd gate, UniqueFd exit_fd, UniqueFd events,
               UniqueFd log)
      : pid_(pid),
        program_(std::move(program)),
        gate_(std::move(gate)),
        exit_fd_(std::move(exit_fd)),
        events_(std::move(events)),
        log_(std::move(log)) {}

  ~PosixProcess() override {
    if (reaped_) return;
    // The leader by itself too, in case it died before it led a group.
    kill(pid_, SIGKILL);
    SignalGroup(SIGKILL);
    siginfo_t info;
    while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED) != 0 && errno == EINTR) {
    }
  }

  pid_t pid() const override { return pid_; }
  int exit_fd() const override { return exit_fd_.get(); }
  int events_fd() const override { return events_.get(); }
  int log_fd() const override { return log_.get(); }

  absl::Status Start() override {
    const char go = 1;
    // MSG_NOSIGNAL: a child that is already dead must not kill the worker with SIGPIPE.
    if (send(gate_.get(), &go, 1, MSG_NOSIGNAL) != 1) return ErrnoStatus(errno, "start", program_);
    int error = 0;
    ssize_t got;
    do {
      got = read(gate_.get(), &error, sizeof(error));
    } while (got < 0 && errno == EINTR);
    gate_.Reset();
    // exec closed the child's end, or the child was killed, which Reap() will tell.
    if (got != sizeof(error)) return absl::OkStatus();
    return ErrnoStatus(error, "execute", program_);
  }

  void SignalGroup(int signal) override {
    // Before it is reaped, the leader keeps its number from being given to a stranger.
    if (!reaped_) kill(-pid_, signal);
  }

  std::optional<ProcessExit> Reap() override {
    if (reaped_) return std::nullopt;
    siginfo_t info = {};
    if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid == 0) {
      return std::nullopt;
    }
    SignalGroup(SIGKILL);
    waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED);
    reaped_ = true;
    // As process 1 of a container the worker inherits the group's orphans.
    siginfo_t orphan = {};
    while (waitid(P_PGID, static_cast<id_t>(pid_), &orphan, WEXITED | WNOHANG) == 0 &&
           orphan.si_pid != 0) {
      orphan = {};
    }
    if (info.si_code == CLD_EXITED) return ProcessExit{.code = info.si_status};
    return ProcessExit{.signal = info.si_status};
  }

 private:
  const pid_t pid_;
  const std::string program_;
  UniqueFd gate_;
  UniqueFd exit_fd_;
  UniqueFd events_;
  UniqueFd log_;
  bool reaped_ = false;
};

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// False when the child died before it had a session of its own.
bool WaitUntilReady(int gate) {
  char ready = 0;
  ssize_t got;
  do {
    got = read(gate, &ready, 1);
  } while (got < 0 && errno == EINTR);
  return got == 1;
}

absl::StatusOr<std::unique_ptr<Process>> Fork(const ProcessSpec& spec) {
  LONGLORA_ASSIGN_OR_RETURN(Pipe events, MakePipe());
  LONGLORA_ASSIGN_OR_RETURN(Pipe log, MakePipe());
  int gate_ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gate_ends) != 0) {
    return ErrnoStatus(errno, "create", "a socket pair for a trainer");
  }
  UniqueFd gate(gate_ends[0]);
  LONGLORA_ASSIGN_OR_RETURN(UniqueFd child_gate, MoveUp(UniqueFd(gate_ends[1])));
  LONGLORA_ASSIGN_OR_RETURN(UniqueFd null_fd,
                            MoveUp(UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC))));
  const ChildPlan plan = {.arguments = Pointers(spec.arguments),
                          .environment = Pointers(spec.environment),
                          .directory = spec.directory.c_str(),
                          .null_fd = null_fd.get(),
                          .log_fd = log.write.get(),
                          .events_fd = events.write.get(),
                          .gate_fd = child_gate.get(),
                          .parent = getpid()};
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, "fork for", spec.arguments[0]);
  if (pid == 0) RunChild(plan);
  UniqueFd exit_fd(pidfd_open(pid, 0));
  const int error = errno;
  child_gate.Reset();
  const bool ready = WaitUntilReady(gate.get());
  auto process =
      std::make_unique<PosixProcess>(pid, spec.arguments[0], std::move(gate), std::move(exit_fd),
                                     std::move(events.read), std::move(log.read));
  if (process->exit_fd() < 0) return ErrnoStatus(error, "watch", spec.arguments[0]);
  if (!ready) {
    return absl::UnavailableError(
        absl::StrCat("the process for ", spec.arguments[0], " died before its start"));
  }
  return process;
}

}  // namespace

PosixProcessLauncher::PosixProcessLauncher() : thread_([this] { ServeRequests(); }) {}

PosixProcessLauncher::~PosixProcessLauncher() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  thread_.join();
}

void PosixProcessLauncher::ServeRequests() {
  absl::MutexLock lock(&mutex_);
  while (true) {
    mutex_.Await(absl::Condition(
        +[](PosixProcessLauncher* self)
             ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->ending_ || self->request_ != nullptr; },
        this));
    if (ending_) return;
    request_();
    request_ = nullptr;
  }
}

absl::StatusOr<std::unique_ptr<Process>> PosixProcessLauncher::Launch(const ProcessSpec& spec) {
  absl::StatusOr<std::unique_ptr<Process>> result = absl::UnknownError("not launched");
  bool done = false;
  absl::MutexLock lock(&mutex_);
  const auto idle = +[](PosixProcessLauncher* self)
                         ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->request_ == nullptr; };
  mutex_.Await(absl::Condition(idle, this));
  request_ = [&] {
    result = Fork(spec);
    done = true;
  };
  mutex_.Await(absl::Condition(&done));
  return result;
}

}  // namespace longlora::worker
