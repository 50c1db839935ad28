// Random names, injected so that tests own them.
#ifndef LONGLORA_COMMON_IDS_ID_GENERATOR_H_
#define LONGLORA_COMMON_IDS_ID_GENERATOR_H_

#include <string>

#include "absl/strings/string_view.h"

namespace longlora::common {

// Thread-safe.
class IdGenerator {
 public:
  virtual ~IdGenerator() = default;
  // `length` characters of [a-z0-9], about 5.17 bits of randomness each.
  virtual std::string RandomSuffix(int length) = 0;
  // A random UUID (RFC 9562, version 4).
  virtual std::string Uuid() = 0;

  // From the kernel's generator; lives for ever.
  static IdGenerator& Real();
};

// An id for a job called `display_name`: its letters and digits in lower case joined by hyphens, at
// most 40 characters, and `suffix`; matches [a-z][a-z0-9-]{2,61}[a-z0-9] (AIP-122).
std::string JobId(absl::string_view display_name, absl::string_view suffix);

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_IDS_ID_GENERATOR_H_
