// Ends the process as soon as nobody reads its events any more: a trainer whose worker died must
// not hold memory until its next event. Used by main.
#ifndef LONGLORA_WORKER_TRAINER_EVENTS_READER_WATCH_H_
#define LONGLORA_WORKER_TRAINER_EVENTS_READER_WATCH_H_

namespace longlora::trainer {

// Starts a thread that waits for the other end of the pipe or socket `fd` to be closed and then
// exits with ExitCode::kResource. Unlike PR_SET_PDEATHSIG this does not mistake the end of the
// thread that started us for the end of the parent. Files and terminals never trigger it before
// they are closed.
void ExitWhenReaderIsGone(int fd);

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_EVENTS_READER_WATCH_H_
