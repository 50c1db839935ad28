#include "rpc/estimate_message.h"

namespace longlora::rpc {

v1::EstimateFineTuneJobResponse ToMessage(const common::MemoryEstimate& estimate,
                                          const common::TrainSpec& spec) {
  v1::EstimateFineTuneJobResponse message;
  message.set_moment(estimate.moment);
  for (const common::MemoryComponent& component : estimate.components) {
    v1::MemoryComponent& added = *message.add_components();
    added.set_name(component.name);
    added.set_description(component.description);
    added.set_bytes(component.bytes);
  }
  message.set_total_bytes(estimate.total_bytes);
  message.set_rank_count(spec.resources.nodes * spec.resources.devices_per_node);
  return message;
}

}  // namespace longlora::rpc
