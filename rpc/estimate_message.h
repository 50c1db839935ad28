// An estimate of common/memory as the message of the API: the server answers with it, and the
// client shows its own in the same form. Pure function.
#ifndef LONGLORA_RPC_ESTIMATE_MESSAGE_H_
#define LONGLORA_RPC_ESTIMATE_MESSAGE_H_

#include "common/memory/memory_estimate.h"
#include "common/trainer_protocol/train_spec.h"
#include "longlora/v1/fine_tune_service.pb.h"

namespace longlora::rpc {

// Without `workers`.
v1::EstimateFineTuneJobResponse ToMessage(const common::MemoryEstimate& estimate,
                                          const common::TrainSpec& spec);

}  // namespace longlora::rpc

#endif  // LONGLORA_RPC_ESTIMATE_MESSAGE_H_
