#include "client/cli/live_view.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace longlora::client {
namespace {

constexpr absl::Duration kDrawInterval = absl::Milliseconds(100);
constexpr absl::Duration kClockInterval = absl::Seconds(1);

}  // namespace

LiveView::LiveView(Console& console, std::function<std::string(int columns)> render)
    : console_(console),
      live_(console.style().live && !console.quiet()),
      render_(std::move(render)) {
  if (live_) thread_ = std::thread([this] { Run(); });
}

LiveView::~LiveView() {
  {
    absl::MutexLock lock(&mutex_);
    done_ = true;
    Erase();
  }
  if (thread_.joinable()) thread_.join();
}

void LiveView::Update(const std::function<void()>& change) {
  absl::MutexLock lock(&mutex_);
  change();
  if (absl::Now() - drawn_time_ >= kDrawInterval) Draw();
}

void LiveView::Line(const std::string& text) {
  absl::MutexLock lock(&mutex_);
  Erase();
  console_.Print(absl::StrCat(text, "\n"));
  Draw();
}

void LiveView::Run() {
  absl::MutexLock lock(&mutex_);
  while (!mutex_.AwaitWithTimeout(absl::Condition(&done_), kClockInterval)) Draw();
}

void LiveView::Draw() {
  if (!live_ || done_) return;
  console_.Print(absl::StrCat("\r", render_(Console::Columns()), "\x1b[K"));
  drawn_ = true;
  drawn_time_ = absl::Now();
}

void LiveView::Erase() {
  if (drawn_) console_.Print("\r\x1b[K");
  drawn_ = false;
}

}  // namespace longlora::client
