#include "tests/simulation/world.h"

#include "absl/strings/str_cat.h"
#include "common/io/sha256.h"

namespace longlora::simulation {

std::string NextWeights(const std::string& weights, int64_t step) {
  return common::Sha256Hex(absl::StrCat(weights, "+", step));
}

std::string WeightsAfter(const std::string& job, int64_t steps) {
  std::string weights = common::Sha256Hex(job);
  for (int64_t step = 1; step <= steps; ++step) weights = NextWeights(weights, step);
  return weights;
}

}  // namespace longlora::simulation
