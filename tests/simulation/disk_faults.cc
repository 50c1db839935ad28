// A full disk, for the process of the simulated world that runs just now: these stand before the C
// library's, also for SQLite. Now and then part of what was to be written still finds room.
#include <errno.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "tests/simulation/fibers.h"

namespace {

using longlora::simulation::Fibers;
using longlora::simulation::Process;

bool IsFull() {
  const Process* const process = Fibers::running();
  return process != nullptr && process->disk_full_until > Fibers::running_now();
}

// What of `size` bytes is written on a full disk.
size_t Fits(size_t size) { return size % 3 == 0 ? size / 2 : 0; }

}  // namespace

extern "C" {

ssize_t write(int fd, const void* data, size_t size) {
  if (fd > 2 && size > 0 && IsFull()) {
    size = Fits(size);
    if (size == 0) {
      errno = ENOSPC;
      return -1;
    }
  }
  return syscall(SYS_write, fd, data, size);
}

ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  if (size > 0 && IsFull()) {
    size = Fits(size);
    if (size == 0) {
      errno = ENOSPC;
      return -1;
    }
  }
  return syscall(SYS_pwrite64, fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void* data, size_t size, off_t offset) {
  return pwrite(fd, data, size, offset);
}

}  // extern "C"
