#include "worker/trainer/checkpoint/safetensors_header.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"

namespace longlora::trainer {
namespace {

using Json = nlohmann::json;

struct TypeFacts {
  SafetensorsType type;
  absl::string_view name;
  int64_t size;
};
constexpr std::array<TypeFacts, 10> kTypes = {{{SafetensorsType::kF64, "F64", 8},
                                               {SafetensorsType::kF32, "F32", 4},
                                               {SafetensorsType::kF16, "F16", 2},
                                               {SafetensorsType::kBf16, "BF16", 2},
                                               {SafetensorsType::kI64, "I64", 8},
                                               {SafetensorsType::kI32, "I32", 4},
                                               {SafetensorsType::kI16, "I16", 2},
                                               {SafetensorsType::kI8, "I8", 1},
                                               {SafetensorsType::kU8, "U8", 1},
                                               {SafetensorsType::kBool, "BOOL", 1}}};

const TypeFacts& FactsOf(SafetensorsType type) { return kTypes[static_cast<size_t>(type)]; }

constexpr char kMetadataKey[] = "__metadata__";
constexpr size_t kLengthBytes = 8;
constexpr size_t kRankMax = 64;  // dimensions a tensor may have

// Takes the header's JSON as it is parsed and accepts nothing but the format's one shape, so a
// hostile header costs no more memory than its own size.
class HeaderHandler : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderHandler(SafetensorsHeader& header) : header_(header) {}

  const std::string& problem() const { return problem_; }

  bool start_object(std::size_t) override {
    if (place_ == Place::kStart) return Enter(Place::kTop);
    if (place_ != Place::kTopValue) return Unexpected("an object");
    if (name_ == kMetadataKey) return Enter(Place::kMetadata);
    entry_ = {};
    fields_.clear();
    return Enter(Place::kEntry);
  }

  bool key(std::string& key) override {
    if (place_ == Place::kTop) {
      if (!names_.insert(key).second) return Fail(absl::StrCat("doubled key \"", key, "\""));
      name_ = key;
      return Enter(Place::kTopValue);
    }
    field_ = key;
    if (place_ == Place::kMetadata) {
      if (header_.metadata.count(key))
        return Fail(absl::StrCat("doubled metadata key \"", key, "\""));
      return Enter(Place::kMetadataValue);
    }
    if (!fields_.insert(key).second) return FailEntry(absl::StrCat("doubled key \"", key, "\""));
    if (key == "dtype") return Enter(Place::kDtype);
    if (key == "shape") return Enter(Place::kBeforeShape);
    if (key == "data_offsets") return Enter(Place::kBeforeOffsets);
    return FailEntry(absl::StrCat("unknown key \"", key, "\""));
  }

  bool string(std::string& value) override {
    if (place_ == Place::kMetadataValue) {
      header_.metadata[field_] = value;
      return Enter(Place::kMetadata);
    }
    if (place_ != Place::kDtype) return Unexpected("a string");
    const auto facts = std::find_if(kTypes.begin(), kTypes.end(),
                                    [&](const TypeFacts& f) { return f.name == value; });
    if (facts == kTypes.end()) return FailEntry(absl::StrCat("unknown type \"", value, "\""));
    entry_.type = facts->type;
    return Enter(Place::kEntry);
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::kBeforeShape) return Enter(Place::kShape);
    if (place_ == Place::kBeforeOffsets) return Enter(Place::kOffsets);
    return Unexpected("a list");
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return FailEntry("a number beyond 63 bits");
    }
    const int64_t number = static_cast<int64_t>(value);
    if (place_ == Place::kShape) {
      if (entry_.shape.size() == kRankMax) return FailEntry("more than 64 dimensions");
      entry_.shape.push_back(number);
      return true;
    }
    if (place_ != Place::kOffsets) return Unexpected("a number");
    if (num_offsets_ == 2) return FailEntry("more than two data_offsets");
    (num_offsets_++ == 0 ? entry_.begin : entry_.end) = number;
    return true;
  }

  bool end_array() override {
    if (place_ == Place::kOffsets && std::exchange(num_offsets_, 0) != 2) {
      return FailEntry("data_offsets are not two numbers");
    }
    return Enter(Place::kEntry);
  }

  bool end_object() override {
    if (place_ == Place::kTop) return Enter(Place::kEnd);
    if (place_ == Place::kEntry) {
      if (fields_.size() != 3) return FailEntry("dtype, shape or data_offsets is missing");
      header_.entries[name_] = std::move(entry_);
    }
    return Enter(Place::kTop);
  }

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("true or false"); }
  bool number_integer(number_integer_t) override { return Unexpected("a negative number"); }
  bool number_float(number_float_t, const std::string&) override {
    return Unexpected("a number that is no integer");
  }
  bool binary(Json::binary_t&) override { return Unexpected("bytes"); }
  bool parse_error(std::size_t position, const std::string&, const Json::exception&) override {
    return Fail(absl::StrCat("the header is not JSON from byte ", position));
  }

 private:
  enum class Place {
    kStart,
    kTop,
    kTopValue,
    kMetadata,
    kMetadataValue,
    kEntry,
    kDtype,
    kBeforeShape,
    kShape,
    kBeforeOffsets,
    kOffsets,
    kEnd
  };

  bool Enter(Place place) {
    place_ = place;
    return true;
  }
  bool Fail(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }
  bool FailEntry(absl::string_view problem) {
    return Fail(absl::StrCat("tensor \"", name_, "\": ", problem));
  }
  bool Unexpected(absl::string_view what) {
    if (place_ == Place::kStart)
      return Fail(absl::StrCat("the header is ", what, ", not an object"));
    return FailEntry(absl::StrCat(what, " where none belongs"));
  }

  SafetensorsHeader& header_;
  Place place_ = Place::kStart;
  std::set<std::string> names_;
  std::set<std::string> fields_;
  std::string name_;
  std::string field_;
  SafetensorsEntry entry_;
  int num_offsets_ = 0;
  std::string problem_;
};

absl::Status CheckSize(const std::string& name, const SafetensorsEntry& entry) {
  int64_t bytes = ElementSize(entry.type);
  for (const int64_t size : entry.shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) {
      return absl::InvalidArgumentError(absl::StrCat("tensor \"", name, "\": its shape overflows"));
    }
  }
  if (entry.end < entry.begin || entry.end - entry.begin != bytes) {
    return absl::InvalidArgumentError(absl::StrCat("tensor \"", name, "\": shape and type need ",
                                                   bytes, " bytes, data_offsets are [", entry.begin,
                                                   ", ", entry.end, ")"));
  }
  return absl::OkStatus();
}

// Every byte of the data belongs to exactly one tensor.
absl::Status CheckCover(const SafetensorsHeader& header, int64_t data_bytes) {
  std::vector<std::pair<const std::string*, const SafetensorsEntry*>> order;
  for (const auto& [name, entry] : header.entries) {
    LONGLORA_RETURN_IF_ERROR(CheckSize(name, entry));
    order.emplace_back(&name, &entry);
  }
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  int64_t next = 0;
  for (const auto& [name, entry] : order) {
    if (entry->begin != next) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor \"", *name, "\": its data begins at byte ", entry->begin,
          entry->begin < next ? " inside another tensor's" : " after a hole", ", expected ", next));
    }
    next = entry->end;
    if (next > data_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor \"", *name, "\": its data ends at byte ", next,
                       " and the file holds ", data_bytes, ": the file is truncated"));
    }
  }
  if (next != data_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(data_bytes - next, " bytes behind the last tensor belong to none"));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t ElementSize(SafetensorsType type) { return FactsOf(type).size; }

absl::string_view TypeName(SafetensorsType type) { return FactsOf(type).name; }

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view prefix,
                                                         int64_t file_size) {
  if (file_size < static_cast<int64_t>(kLengthBytes) || prefix.size() < kLengthBytes) {
    return absl::InvalidArgumentError("truncated: shorter than the 8 bytes of the header's length");
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    length |= uint64_t{static_cast<unsigned char>(prefix[i])} << (8 * i);
  }
  if (length > static_cast<uint64_t>(kSafetensorsHeaderMax)) {
    return absl::InvalidArgumentError(absl::StrCat("a header of ", length, " bytes is more than ",
                                                   kSafetensorsHeaderMax,
                                                   ": not a safetensors file"));
  }
  if (prefix.size() - kLengthBytes < length) {
    return absl::InvalidArgumentError(
        absl::StrCat("truncated: the header should have ", length, " bytes"));
  }
  const absl::string_view text = prefix.substr(kLengthBytes, length);
  if (text.empty() || text[0] != '{') {
    return absl::InvalidArgumentError(
        "the header does not begin with a brace: not a safetensors file");
  }
  SafetensorsHeader header;
  HeaderHandler handler(header);
  if (!Json::sax_parse(text.begin(), text.end(), &handler)) {
    return absl::InvalidArgumentError(handler.problem());
  }
  header.data_offset = static_cast<int64_t>(kLengthBytes + length);
  LONGLORA_RETURN_IF_ERROR(CheckCover(header, file_size - header.data_offset));
  return header;
}

std::string FormatSafetensorsHeader(
    const std::vector<std::pair<std::string, SafetensorsEntry>>& order,
    const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!metadata.empty()) json[kMetadataKey] = metadata;
  for (const auto& [name, entry] : order) {
    json[name] = {{"dtype", std::string(TypeName(entry.type))},
                  {"shape", entry.shape},
                  {"data_offsets", {entry.begin, entry.end}}};
  }
  std::string text = json.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string out;
  for (size_t i = 0; i < kLengthBytes; ++i)
    out.push_back(static_cast<char>(text.size() >> (8 * i)));
  return out + text;
}

}  // namespace longlora::trainer
