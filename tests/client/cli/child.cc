#include "tests/client/cli/child.h"

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/match.h"

extern char** environ;

namespace longlora::client {
namespace {

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> Environment(const std::vector<std::string>& added) {
  std::vector<std::string> variables = added;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text = *variable;
    if (absl::StartsWith(text, "TERM=") || absl::StartsWith(text, "NO_COLOR=") ||
        absl::StartsWith(text, "LONGLORA_") || absl::StartsWith(text, "TZ=") ||
        absl::StartsWith(text, "http") || absl::StartsWith(text, "HTTP")) {
      continue;
    }
    variables.push_back(text);
  }
  variables.push_back("TZ=UTC");
  return variables;
}

void Must(bool ok) {
  if (!ok) std::abort();
}

}  // namespace

Child::Child(const std::vector<std::string>& arguments, const std::vector<std::string>& environment,
             const std::string& input, bool terminal) {
  int in[2];
  int out[2];
  int err[2] = {-1, -1};
  Must(pipe2(in, O_CLOEXEC) == 0);
  if (terminal) {
    winsize size{};
    size.ws_row = 24;
    size.ws_col = 100;
    Must(openpty(&out[0], &out[1], nullptr, nullptr, &size) == 0);
    for (const int fd : out) fcntl(fd, F_SETFD, FD_CLOEXEC);
  } else {
    Must(pipe2(out, O_CLOEXEC) == 0);
    Must(pipe2(err, O_CLOEXEC) == 0);
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, terminal ? out[1] : err[1], STDERR_FILENO);
  std::vector<std::string> words = {LONGLORA_BINARY};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables = Environment(environment);
  Must(posix_spawn(&pid_, LONGLORA_BINARY, &actions, nullptr, Pointers(words).data(),
                   Pointers(variables).data()) == 0);
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(out[1]);
  Must(write(in[1], input.data(), input.size()) == static_cast<ssize_t>(input.size()));
  close(in[1]);
  readers_.emplace_back([this, fd = out[0]] { Read(fd, &Child::out_, &Child::out_closed_); });
  if (terminal) {
    absl::MutexLock lock(&mutex_);
    err_closed_ = true;
  } else {
    close(err[1]);
    readers_.emplace_back([this, fd = err[0]] { Read(fd, &Child::err_, &Child::err_closed_); });
  }
}

Child::~Child() {
  if (result_ < 0) {
    Signal(SIGKILL);
    Wait();
  }
}

void Child::Read(int fd, std::string Child::* target, bool Child::* closed) {
  char buffer[4096];
  while (true) {
    const ssize_t count = read(fd, buffer, sizeof buffer);
    absl::MutexLock lock(&mutex_);
    if (count <= 0) {  // a terminal whose other side is gone gives EIO
      this->*closed = true;
      break;
    }
    (this->*target).append(buffer, static_cast<size_t>(count));
  }
  close(fd);
}

bool Child::WaitForOutput(absl::string_view text) {
  absl::MutexLock lock(&mutex_);
  const auto ready = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return out_closed_ || absl::StrContains(out_, text);
  };
  // Long enough for a busy machine; only a failing test waits for it.
  mutex_.AwaitWithTimeout(absl::Condition(&ready), absl::Seconds(60));
  return absl::StrContains(out_, text);
}

void Child::Signal(int signal) { kill(pid_, signal); }

int Child::Wait() {
  if (result_ >= 0) return result_;
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  for (std::thread& reader : readers_) reader.join();
  result_ = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  return result_;
}

std::string Child::out() {
  absl::MutexLock lock(&mutex_);
  return out_;
}

std::string Child::err() {
  absl::MutexLock lock(&mutex_);
  return err_;
}

}  // namespace longlora::client
