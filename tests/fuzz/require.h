// What a fuzz target says when a property does not hold: aborts, in builds without asserts too, so
// that libFuzzer keeps the input and ctest fails.
#ifndef LONGLORA_TESTS_FUZZ_REQUIRE_H_
#define LONGLORA_TESTS_FUZZ_REQUIRE_H_

#include <cstdlib>
#include <iostream>

namespace longlora::fuzz {

inline void Require(bool holds, const char* property) {
  if (holds) return;
  std::cerr << "does not hold: " << property << std::endl;
  std::abort();
}

}  // namespace longlora::fuzz

#endif  // LONGLORA_TESTS_FUZZ_REQUIRE_H_
