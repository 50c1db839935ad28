#include "worker/supervisor/line_reader.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>

namespace longlora::worker {
namespace {

constexpr size_t kReadBytes = 64 << 10;

}  // namespace

bool LineReader::ReadAvailable(int fd, size_t budget, OnLine on_line) {
  char buffer[kReadBytes];
  size_t taken = 0;
  while (taken < budget) {
    const ssize_t got = read(fd, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (got <= 0) {
      if (!line_.empty()) Deliver(on_line);
      return false;
    }
    Take(absl::string_view(buffer, static_cast<size_t>(got)), on_line);
    taken += static_cast<size_t>(got);
  }
  return true;
}

void LineReader::Take(absl::string_view data, OnLine on_line) {
  while (!data.empty()) {
    const size_t end = data.find('\n');
    const absl::string_view part = data.substr(0, end);
    const size_t room = line_bytes_max_ - line_.size();
    line_.append(part.data(), std::min(part.size(), room));
    cut_ = cut_ || part.size() > room;
    if (end == absl::string_view::npos) return;
    Deliver(on_line);
    data.remove_prefix(end + 1);
  }
}

void LineReader::Deliver(OnLine on_line) {
  on_line(line_, cut_);
  line_.clear();
  cut_ = false;
}

}  // namespace longlora::worker
