// <sys/pidfd.h> for C++: glibc 2.36, Debian 12's, forgot to declare its functions as C.
#ifndef LONGLORA_WORKER_SUPERVISOR_PIDFD_H_
#define LONGLORA_WORKER_SUPERVISOR_PIDFD_H_

#include <fcntl.h>
#include <signal.h>

extern "C" {
#include <sys/pidfd.h>
}

#endif  // LONGLORA_WORKER_SUPERVISOR_PIDFD_H_
