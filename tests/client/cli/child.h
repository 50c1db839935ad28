// Runs the real `longlora` and collects what it does. Used by binary_test.cc.
#ifndef LONGLORA_TESTS_CLIENT_CLI_CHILD_H_
#define LONGLORA_TESTS_CLIENT_CLI_CHILD_H_

#include <sys/types.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace longlora::client {

// A running child. Its output is read by a thread. Killed when the owner goes.
class Child {
 public:
  // `arguments` follow the program's name; `environment` ("NAME=value") is added to ours without
  // TERM, NO_COLOR and LONGLORA_*. With `terminal` standard output and error are one terminal of
  // 100 columns.
  Child(const std::vector<std::string>& arguments, const std::vector<std::string>& environment = {},
        const std::string& input = "", bool terminal = false);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Waits until `text` appeared on standard output; false when that ended before, or
  // after a minute.
  bool WaitForOutput(absl::string_view text);
  void Signal(int signal);
  // Waits for the end: the exit code, or 1000 plus the signal that killed it.
  int Wait();
  std::string out();
  std::string err();

 private:
  void Read(int fd, std::string Child::* target, bool Child::* closed);

  pid_t pid_ = -1;
  int result_ = -1;
  absl::Mutex mutex_;
  std::string out_ ABSL_GUARDED_BY(mutex_);
  std::string err_ ABSL_GUARDED_BY(mutex_);
  bool out_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool err_closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> readers_;
};

}  // namespace longlora::client

#endif  // LONGLORA_TESTS_CLIENT_CLI_CHILD_H_
