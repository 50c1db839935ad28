// SHA-256 (FIPS 180-4), by OpenSSL.
#ifndef LONGLORA_COMMON_IO_SHA256_H_
#define LONGLORA_COMMON_IO_SHA256_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longlora::common {

// Of a stream. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void Update(absl::string_view data);
  // Lower-case hexadecimal of what came so far; the object is spent afterwards.
  std::string HexDigest();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Lower-case hexadecimal, 64 characters.
std::string Sha256Hex(absl::string_view data);

// Of a file's content; errors as in files.h.
absl::StatusOr<std::string> Sha256File(const std::string& path);

// Whether `text` is 64 lower-case hexadecimal digits.
bool IsSha256Hex(absl::string_view text);

}  // namespace longlora::common

#endif  // LONGLORA_COMMON_IO_SHA256_H_
