// The composition root of --read-listen: an address of this process that tells of jobs, events,
// artifacts and workers for the whole life of the process, whichever server leads meanwhile. Reads
// the database and the artifacts' folder and changes neither. Used by main and by tests. Start and
// destruction belong to one thread.
#ifndef LONGLORA_SERVER_READ_SERVER_H_
#define LONGLORA_SERVER_READ_SERVER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "server/api/fine_tune_service.h"
#include "server/api/read_only.h"
#include "server/api/transfer.h"
#include "server/api/unary_calls.h"
#include "server/api/watch_stream.h"
#include "server/api/worker_directory_service.h"
#include "server/artifacts/artifact_store.h"
#include "server/events/event_hub.h"
#include "server/events/event_log.h"
#include "server/events/event_poll.h"
#include "server/listener.h"
#include "server/scheduler/stored_job_reader.h"
#include "server/server_config.h"
#include "server/store/job_store.h"

namespace longlora::server {

class ReadServer {
 public:
  // Serves when it returns OK, whether the database is there or not: calls are UNAVAILABLE until it
  // is. Null: `config` wants none. Errors as Listen.
  static absl::StatusOr<std::unique_ptr<ReadServer>> Start(const ServerConfig& config);
  // As ~Server.
  ~ReadServer();

  int port() const { return listener_.port; }

 private:
  explicit ReadServer(const ServerConfig& config);

  // In the order in which they use one another; destroyed the other way round.
  const std::unique_ptr<JobStoreReader> store_;
  const std::unique_ptr<ArtifactStore> artifacts_;
  EventHub hub_;
  EventLog events_;
  EventPoll poll_;
  StoredJobReader reader_;
  TransferLimit transfers_;
  UnaryCalls calls_;
  WatchStreams watches_;
  FineTuneServiceHandler fine_tune_service_;
  WorkerDirectoryHandler worker_directory_;
  ReadOnlyService everything_else_;
  Listener listener_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_READ_SERVER_H_
