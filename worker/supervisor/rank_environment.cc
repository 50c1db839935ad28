#include "worker/supervisor/rank_environment.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "worker/supervisor/process_sweep.h"

namespace longlora::worker {

std::vector<std::string> RankEnvironment(const std::vector<std::string>& inherited,
                                         const RankPlace& place) {
  const Device& device = place.devices[place.rank];
  std::map<std::string, std::string> ours = {
      {"RANK", absl::StrCat(place.rank)},
      {"LOCAL_RANK", absl::StrCat(place.rank)},
      {"WORLD_SIZE", absl::StrCat(place.devices.size())},
      {"LOCAL_WORLD_SIZE", absl::StrCat(place.devices.size())},
      {"MASTER_ADDR", "127.0.0.1"},
      {"MASTER_PORT", absl::StrCat(place.master_port)},
      {std::string(kAttemptVariable), place.mark},
      // Empty hides every GPU from a rank that computes on the CPU.
      {"CUDA_VISIBLE_DEVICES", absl::StrJoin(place.devices, ",",
                                             [](std::string* out, const Device& each) {
                                               absl::StrAppend(out, each.uuid);
                                             })},
  };
  if (device.kind == "cpu") {
    ours["CUDA_VISIBLE_DEVICES"] = "";
    // Ranks that each start a thread for every core slow one another down.
    if (device.threads > 0) ours["OMP_NUM_THREADS"] = absl::StrCat(device.threads);
    // OpenMP's threads spin while they wait for one another. Where something else runs on these
    // cores too, the one they wait for is not running, and a step takes many times as long.
    ours["OMP_WAIT_POLICY"] = "passive";
  }
  std::vector<std::string> environment;
  for (const std::string& variable : inherited) {
    if (ours.count(variable.substr(0, variable.find('='))) == 0) environment.push_back(variable);
  }
  for (const auto& [name, value] : ours) environment.push_back(absl::StrCat(name, "=", value));
  return environment;
}

}  // namespace longlora::worker
