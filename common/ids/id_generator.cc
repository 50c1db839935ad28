#include "common/ids/id_generator.h"

#include <sys/random.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace longlora::common {
namespace {

void FillRandom(void* data, size_t size) {
  // At most 256 bytes are never cut short (getrandom(2)); failing means a kernel before 3.17.
  if (getrandom(data, size, 0) != static_cast<ssize_t>(size)) std::abort();
}

class KernelIdGenerator : public IdGenerator {
 public:
  std::string RandomSuffix(int length) override {
    static constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    std::string suffix;
    while (static_cast<int>(suffix.size()) < length) {
      uint8_t byte;
      FillRandom(&byte, 1);
      if (byte < 252) suffix.push_back(kAlphabet[byte % 36]);  // 252 = 7 * 36: no bias
    }
    return suffix;
  }

  std::string Uuid() override {
    std::array<uint8_t, 16> b;
    FillRandom(b.data(), b.size());
    b[6] = static_cast<uint8_t>((b[6] & 0x0f) | 0x40);
    b[8] = static_cast<uint8_t>((b[8] & 0x3f) | 0x80);
    char text[37];
    std::snprintf(text, sizeof text,
                  "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                  b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                  b[14], b[15]);
    return text;
  }
};

}  // namespace

IdGenerator& IdGenerator::Real() {
  static KernelIdGenerator* const generator = new KernelIdGenerator;
  return *generator;
}

std::string JobId(absl::string_view display_name, absl::string_view suffix) {
  std::string stem;
  for (const char c : display_name) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c))) {
      stem.push_back(absl::ascii_tolower(static_cast<unsigned char>(c)));
    } else if (!stem.empty() && stem.back() != '-') {
      stem.push_back('-');
    }
    if (stem.size() == 40) break;
  }
  while (!stem.empty() && stem.back() == '-') stem.pop_back();
  if (stem.empty() || !absl::ascii_isalpha(static_cast<unsigned char>(stem[0]))) {
    stem = absl::StrCat("job", stem.empty() ? "" : "-", stem);
  }
  return absl::StrCat(stem, "-", suffix);
}

}  // namespace longlora::common
