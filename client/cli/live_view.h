// Lines that scroll and, on a terminal, a bar that stays below them and keeps its clock running.
// Used while a job is followed. Thread-safe.
#ifndef LONGLORA_CLIENT_CLI_LIVE_VIEW_H_
#define LONGLORA_CLIENT_CLI_LIVE_VIEW_H_

#include <functional>
#include <string>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/cli/console.h"

namespace longlora::client {

class LiveView {
 public:
  // `render` gives the bar for a width, without line break; it is called with the view's lock held,
  // from a thread of the view too. Without a live terminal, or with --quiet, there is no bar.
  LiveView(Console& console, std::function<std::string(int columns)> render);
  // Removes the bar.
  ~LiveView();
  LiveView(const LiveView&) = delete;
  LiveView& operator=(const LiveView&) = delete;

  // Runs `change`, which may change what `render` reads, and draws the bar anew unless that was
  // done just now.
  void Update(const std::function<void()>& change);
  // Prints a line above the bar. A line break is added.
  void Line(const std::string& text);

 private:
  void Run();
  void Draw() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Erase() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Console& console_;
  const bool live_;
  const std::function<std::string(int)> render_;
  absl::Mutex mutex_;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  bool drawn_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time drawn_time_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  std::thread thread_;
};

}  // namespace longlora::client

#endif  // LONGLORA_CLIENT_CLI_LIVE_VIEW_H_
