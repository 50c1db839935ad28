// Goal: the header of any file, however broken, is refused or describes only bytes the file has.
// Method: the first bytes are taken for a whole file, and what was accepted must survive being
// written and read again.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/fuzz/require.h"
#include "worker/trainer/checkpoint/safetensors_header.h"

using longlora::fuzz::Require;
using namespace longlora::trainer;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto header = ParseSafetensorsHeader(text, static_cast<int64_t>(size));
  if (!header.ok()) {
    Require(header.status().code() == absl::StatusCode::kInvalidArgument,
            "always INVALID_ARGUMENT");
    return 0;
  }
  std::vector<std::pair<std::string, SafetensorsEntry>> order;
  int64_t bytes = 0;
  for (const auto& [name, entry] : header->entries) {
    Require(entry.begin >= 0 && entry.begin <= entry.end, "ranges run forward");
    Require(header->data_offset + entry.end <= static_cast<int64_t>(size),
            "ranges lie in the file");
    int64_t elements = 1;
    for (const int64_t length : entry.shape) elements *= length;
    Require(elements * ElementSize(entry.type) == entry.end - entry.begin, "shape x type = range");
    bytes += entry.end - entry.begin;
    order.emplace_back(name, entry);
  }
  Require(header->data_offset + bytes == static_cast<int64_t>(size), "no holes");

  const std::string again = FormatSafetensorsHeader(order, header->metadata);
  const auto second = ParseSafetensorsHeader(again, static_cast<int64_t>(again.size()) + bytes);
  Require(second.ok(), "what was read can be written");
  Require(second->entries.size() == header->entries.size() && second->metadata == header->metadata,
          "and is the same when read again");
  return 0;
}
