#include "worker/trainer/distributed/rank_environment.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"

namespace longlora::trainer {
namespace {

using Getter = std::function<const char*(const char*)>;

// The variable as a number in [low, high].
absl::StatusOr<int> ReadNumber(const Getter& get, const char* name, int low, int high) {
  const char* text = get(name);
  if (text == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("the environment variable ", name,
                     " is not set, but others of RANK, LOCAL_RANK and WORLD_SIZE are; start the "
                     "ranks with longlora-worker or torchrun"));
  }
  int value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < low || value > high) {
    return absl::InvalidArgumentError(absl::StrCat("the environment variable ", name, " is \"",
                                                   text, "\"; expected a number from ", low, " to ",
                                                   high));
  }
  return value;
}

}  // namespace

absl::StatusOr<RankEnvironment> ReadRankEnvironment(const Getter& get) {
  constexpr int kMaxRanks = 1 << 16;
  RankEnvironment environment;
  if (get("WORLD_SIZE") == nullptr && get("RANK") == nullptr) return environment;
  LONGLORA_ASSIGN_OR_RETURN(environment.world_size, ReadNumber(get, "WORLD_SIZE", 1, kMaxRanks));
  LONGLORA_ASSIGN_OR_RETURN(environment.rank,
                            ReadNumber(get, "RANK", 0, environment.world_size - 1));
  environment.local_world_size = environment.world_size;
  if (get("LOCAL_WORLD_SIZE") != nullptr) {
    LONGLORA_ASSIGN_OR_RETURN(environment.local_world_size,
                              ReadNumber(get, "LOCAL_WORLD_SIZE", 1, environment.world_size));
  }
  LONGLORA_ASSIGN_OR_RETURN(environment.local_rank,
                            ReadNumber(get, "LOCAL_RANK", 0, environment.local_world_size - 1));
  if (environment.world_size == 1) return environment;

  const char* address = get("MASTER_ADDR");
  if (address == nullptr || *address == '\0') {
    return absl::InvalidArgumentError(
        "the environment variable MASTER_ADDR is not set; it is where rank 0 listens");
  }
  environment.master_address = address;
  LONGLORA_ASSIGN_OR_RETURN(const int port, ReadNumber(get, "MASTER_PORT", 1, 65535));
  environment.master_port = static_cast<uint16_t>(port);
  const char* agent = get("TORCHELASTIC_USE_AGENT_STORE");
  environment.launcher_hosts_store = agent != nullptr && std::string(agent) == "True";
  return environment;
}

}  // namespace longlora::trainer
