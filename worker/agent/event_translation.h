// A trainer's event as the API's. Pure.
#ifndef LONGLORA_WORKER_AGENT_EVENT_TRANSLATION_H_
#define LONGLORA_WORKER_AGENT_EVENT_TRANSLATION_H_

#include <optional>

#include "common/trainer_protocol/trainer_event.h"
#include "worker/agent/protos.h"

namespace longlora::worker {

// The longest text of a warning, log line or error, in bytes; longer ones are cut. As the API has
// it.
inline constexpr size_t kEventTextBytesMax = 8 << 10;

// `job`, `sequence` and `attempt` are left unset. Nothing for a checkpoint: that one is announced
// by the server once it has the files.
std::optional<api::JobEvent> ToJobEvent(const common::TrainerEvent& event);

}  // namespace longlora::worker

#endif  // LONGLORA_WORKER_AGENT_EVENT_TRANSLATION_H_
