#include "worker/supervisor/free_port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "common/io/files.h"
#include "common/io/unique_fd.h"

namespace longlora::worker {

absl::StatusOr<int32_t> FindFreePort() {
  const common::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (!fd.ok() || bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return common::ErrnoStatus(errno, "find a free port on", "127.0.0.1");
  }
  return ntohs(address.sin_port);
}

}  // namespace longlora::worker
