#include "common/yaml/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <charconv>
#include <cmath>
#include <initializer_list>
#include <optional>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace longlora::common {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxNodes = 20'000;
constexpr int kMaxDepth = 64;
constexpr absl::string_view kCoreTag = "tag:yaml.org,2002:";

// Ends the parse from inside yaml-cpp's callbacks, which cannot return an error.
class Refusal : public YAML::ParserException {
 public:
  Refusal(const YAML::Mark& mark, const std::string& message)
      : YAML::ParserException(mark, message) {}
};

bool IsOneOf(absl::string_view text, std::initializer_list<absl::string_view> choices) {
  for (absl::string_view choice : choices) {
    if (text == choice) return true;
  }
  return false;
}

enum class Integer { kNone, kFits, kTooLarge };

// [-+]?[0-9]+ | 0o[0-7]+ | 0x[0-9a-fA-F]+ (YAML 1.2.2, section 10.3.2)
Integer AsInteger(absl::string_view text, int64_t& value) {
  int base = 10;
  bool negative = false;
  if (absl::ConsumePrefix(&text, "0o")) {
    base = 8;
  } else if (absl::ConsumePrefix(&text, "0x")) {
    base = 16;
  } else if (absl::ConsumePrefix(&text, "-")) {
    negative = true;
  } else {
    absl::ConsumePrefix(&text, "+");
  }
  // from_chars would take a second sign.
  if (text.empty() || text[0] == '-') return Integer::kNone;
  const std::string digits = absl::StrCat(negative ? "-" : "", text);
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value, base);
  if (stop != end) return Integer::kNone;
  return error == std::errc() ? Integer::kFits : Integer::kTooLarge;
}

// [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?
bool IsFloat(absl::string_view text) {
  size_t i = 0;
  const auto digits = [&] {
    const size_t start = i;
    while (i < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[i]))) ++i;
    return i > start;
  };
  if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
  const bool whole = digits();
  if (i < text.size() && text[i] == '.') {
    ++i;
    if (!digits() && !whole) return false;
  } else if (!whole) {
    return false;
  }
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
    if (!digits()) return false;
  }
  return i == text.size();
}

// What a plain (unquoted) scalar is in the core schema.
Json ResolvePlain(const YAML::Mark& mark, const std::string& text) {
  if (IsOneOf(text, {"", "~", "null", "Null", "NULL"})) return nullptr;
  if (IsOneOf(text, {"true", "True", "TRUE"})) return true;
  if (IsOneOf(text, {"false", "False", "FALSE"})) return false;
  absl::string_view unsigned_text = text;
  if (!absl::ConsumePrefix(&unsigned_text, "-")) absl::ConsumePrefix(&unsigned_text, "+");
  if (IsOneOf(unsigned_text, {".inf", ".Inf", ".INF"}) || IsOneOf(text, {".nan", ".NaN", ".NAN"})) {
    throw Refusal(mark, absl::StrCat(text, " is not a finite number"));
  }
  int64_t integer = 0;
  const Integer kind = AsInteger(text, integer);
  if (kind == Integer::kFits) return integer;
  if (kind == Integer::kNone && !IsFloat(text)) return text;
  double number = 0;
  if (kind == Integer::kTooLarge || !absl::SimpleAtod(text, &number) || !std::isfinite(number)) {
    throw Refusal(mark, absl::StrCat(text, " is too large for a number"));
  }
  return number;
}

// Builds JSON out of yaml-cpp's events. Its Node tree would lose tags of style and hide duplicate
// keys.
class Builder : public YAML::EventHandler {
 public:
  YamlDocument Take() { return std::move(document_); }
  bool has_document() const { return documents_ > 0; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) throw Refusal(mark, "a second document begins; one is expected");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Add(mark, anchor, nullptr, 1, std::nullopt);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end()) throw Refusal(mark, "an alias refers to a value it is part of");
    Add(mark, 0, it->second.value, it->second.nodes, std::nullopt);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    Json value = text;
    // yaml-cpp says "?" of plain scalars and "!" of quoted ones.
    if (tag == "?" || tag.empty()) {
      value = ResolvePlain(mark, text);
    } else if (tag != "!" && tag != absl::StrCat(kCoreTag, "str")) {
      throw Refusal(mark, absl::StrCat("tag ", tag, " is not supported"));
    }
    Add(mark, anchor, std::move(value), 1, text);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, "seq", anchor, Json::array());
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, "map", anchor, Json::object());
  }
  void OnMapEnd() override { Close(); }

 private:
  // A collection whose end has not come yet.
  struct Frame {
    Json value;
    YAML::Mark mark;
    YAML::anchor_t anchor = 0;
    size_t nodes = 1;
    std::optional<std::string> key;  // of the value that comes next, in an object
    std::string path;
  };
  struct Anchored {
    Json value;
    size_t nodes;
  };

  bool WantsKey() const {
    return !stack_.empty() && stack_.back().value.is_object() && !stack_.back().key.has_value();
  }

  void Open(const YAML::Mark& mark, const std::string& tag, absl::string_view core_name,
            YAML::anchor_t anchor, Json value) {
    if (WantsKey()) throw Refusal(mark, "a key must be a plain word");
    if (!tag.empty() && tag != "?" && tag != "!" && tag != absl::StrCat(kCoreTag, core_name)) {
      throw Refusal(mark, absl::StrCat("tag ", tag, " is not supported"));
    }
    if (stack_.size() >= kMaxDepth) throw Refusal(mark, "nested too deeply");
    Frame frame{.value = std::move(value),
                .mark = mark,
                .anchor = anchor,
                .nodes = 1,
                .key = std::nullopt,
                .path = ChildPath()};
    stack_.push_back(std::move(frame));
  }

  void Close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    Add(frame.mark, frame.anchor, std::move(frame.value), frame.nodes, std::nullopt);
  }

  // Puts a finished value where it belongs. `scalar` is its text, when it can serve as a key.
  void Add(const YAML::Mark& mark, YAML::anchor_t anchor, Json value, size_t nodes,
           const std::optional<std::string>& scalar) {
    if (WantsKey()) return TakeKey(mark, scalar);
    if (anchor != 0) anchors_[anchor] = {value, nodes};
    if (stack_.empty()) {
      document_.value = std::move(value);
      return;
    }
    Frame& parent = stack_.back();
    parent.nodes += nodes;
    if (parent.nodes > kMaxNodes) throw Refusal(mark, "too many values");
    if (parent.value.is_array()) {
      parent.value.push_back(std::move(value));
    } else {
      parent.value[*parent.key] = std::move(value);
      parent.key.reset();
    }
  }

  void TakeKey(const YAML::Mark& mark, const std::optional<std::string>& scalar) {
    if (!scalar.has_value() || scalar->empty()) throw Refusal(mark, "a key must be a plain word");
    Frame& parent = stack_.back();
    if (parent.value.contains(*scalar)) {
      throw Refusal(mark, absl::StrCat("the key ", *scalar, " is given twice"));
    }
    parent.key = *scalar;
    document_.lines[ChildPath()] = mark.line + 1;
  }

  std::string ChildPath() const {
    if (stack_.empty()) return "";
    const Frame& parent = stack_.back();
    if (!parent.key.has_value()) return parent.path;
    return parent.path.empty() ? *parent.key : absl::StrCat(parent.path, ".", *parent.key);
  }

  YamlDocument document_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, Anchored> anchors_;
  int documents_ = 0;
};

}  // namespace

absl::StatusOr<YamlDocument> ParseYaml(absl::string_view text) {
  std::istringstream in{std::string(text)};
  Builder builder;
  // yaml-cpp reports errors by exceptions only; they end here.
  try {
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("line ", error.mark.line + 1, ": ", error.msg));
  }
  if (!builder.has_document()) return absl::InvalidArgumentError("line 1: nothing is written here");
  return builder.Take();
}

}  // namespace longlora::common
