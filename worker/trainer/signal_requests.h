// What people and the supervisor ask of a running trainer by signals: SIGTERM or SIGINT to stop at
// the next step border, SIGUSR1 to write a checkpoint and go on. Read by the training loop.
#ifndef LONGLORA_WORKER_TRAINER_SIGNAL_REQUESTS_H_
#define LONGLORA_WORKER_TRAINER_SIGNAL_REQUESTS_H_

namespace longlora::trainer {

// Installs the handlers, and ignores SIGPIPE so that a closed pipe is an error of write(). Once, at
// the start of main. A second SIGINT ends the process at once.
void InstallSignalHandlers();

// Whether a stop has been asked for; stays true.
bool StopRequested();

// Whether a checkpoint has been asked for since the last call.
bool TakeCheckpointRequest();

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_SIGNAL_REQUESTS_H_
