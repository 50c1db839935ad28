// Short names for the two protobuf packages, which in namespace longlora::worker would hide one
// another.
#ifndef LONGLORA_WORKER_AGENT_PROTOS_H_
#define LONGLORA_WORKER_AGENT_PROTOS_H_

#include "longlora/v1/fine_tune_job.pb.h"
#include "longlora/v1/fine_tune_spec.pb.h"
#include "longlora/worker/v1/worker_service.grpc.pb.h"
#include "longlora/worker/v1/worker_service.pb.h"

namespace longlora::worker {

namespace api = ::longlora::v1;           // public
namespace seam = ::longlora::worker::v1;  // between server and worker

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_PROTOS_H_
