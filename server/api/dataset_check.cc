#include "server/api/dataset_check.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"
#include "rpc/grpc_status.h"
#include "server/api/file_name.h"

namespace longlora::server {
namespace {

using Json = nlohmann::json;

// As the trainer's own limit; a line is one document.
constexpr size_t kMaxLineBytes = size_t{256} << 20;
constexpr size_t kMaxRemembered = 10'000;
constexpr size_t kMaxShownBytes = 200;

enum class Kind { kAbsent, kNull, kString, kIntegers, kArray, kOther };

struct KeyRule {
  const char* key;
  Kind kind;
  bool required;
};

std::vector<KeyRule> RulesOf(common::DatasetFormat format) {
  switch (format) {
    case common::DatasetFormat::kText:
      return {{"text", Kind::kString, true}};
    case common::DatasetFormat::kTokens:
      return {{"input_ids", Kind::kIntegers, true}, {"labels", Kind::kIntegers, false}};
    case common::DatasetFormat::kInstruction:
      return {{"instruction", Kind::kString, true},
              {"input", Kind::kString, false},
              {"output", Kind::kString, true}};
    case common::DatasetFormat::kChat:
      return {{"messages", Kind::kArray, true}};
  }
  return {};
}

const char* NameOf(Kind kind) {
  switch (kind) {
    case Kind::kString:
      return "a string";
    case Kind::kIntegers:
      return "a list of integers";
    default:
      return "a list";
  }
}

// Text that a terminal and a protobuf string both take; data of users may be neither.
std::string Printable(absl::string_view text) {
  std::string shown(text.substr(0, kMaxShownBytes));
  for (char& c : shown) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return shown;
}

// Notes the kind of each key of the outermost object that a rule asks for; builds no tree.
class LineReader : public nlohmann::json_sax<Json> {
 public:
  explicit LineReader(std::vector<KeyRule> rules)
      : rules_(std::move(rules)), kinds_(rules_.size(), Kind::kAbsent), sizes_(rules_.size(), 0) {}

  bool null() override { return Scalar(Kind::kNull); }
  bool boolean(bool) override { return Scalar(Kind::kOther); }
  bool number_integer(int64_t) override { return Integer(); }
  bool number_unsigned(uint64_t) override { return Integer(); }
  bool number_float(double, const std::string&) override { return Scalar(Kind::kOther); }
  bool string(std::string&) override { return Scalar(Kind::kString); }
  bool binary(binary_t&) override { return Scalar(Kind::kOther); }
  bool start_object(size_t) override {
    if (depth_ == 0) is_object_ = true;
    return Open(Kind::kOther);
  }
  bool end_object() override { return Close(); }
  bool start_array(size_t) override { return Open(Kind::kIntegers); }
  bool end_array() override { return Close(); }
  bool key(std::string& name) override {
    if (depth_ != 1) return true;
    rule_.reset();
    for (size_t i = 0; i < rules_.size(); ++i) {
      if (name == rules_[i].key) rule_ = i;
    }
    return true;
  }
  bool parse_error(size_t position, const std::string&, const Json::exception& error) override {
    // "...parse error at line 1, column 3: what": of the line given, so only the column means
    // something.
    const absl::string_view what = error.what();
    const size_t column = what.find("column ");
    const size_t colon = column == absl::string_view::npos ? column : what.find(": ", column);
    problem_ =
        absl::StrCat("broken JSON at column ", position, ": ",
                     Printable(colon == absl::string_view::npos ? what : what.substr(colon + 2)));
    return false;
  }

  // Empty: the line is fine.
  std::string Problem() const {
    if (!problem_.empty()) return problem_;
    if (!is_object_) return "must be a JSON object";
    for (size_t i = 0; i < rules_.size(); ++i) {
      const KeyRule& rule = rules_[i];
      // A field that is not required may be null, as writers of tables leave it.
      if (kinds_[i] == Kind::kAbsent || (kinds_[i] == Kind::kNull && !rule.required)) {
        if (rule.required) return absl::StrCat("lacks the key \"", rule.key, "\"");
        continue;
      }
      const bool list = rule.kind == Kind::kArray && kinds_[i] == Kind::kIntegers;
      if (kinds_[i] != rule.kind && !list) {
        return absl::StrCat("\"", rule.key, "\" must be ", NameOf(rule.kind));
      }
      if (rule.kind != Kind::kString && sizes_[i] == 0) {
        return absl::StrCat("\"", rule.key, "\" is empty");
      }
      if (rule.kind == Kind::kIntegers && sizes_[i] != sizes_[0]) {
        return absl::StrCat("\"", rule.key, "\" has ", sizes_[i], " entries, \"", rules_[0].key,
                            "\" has ", sizes_[0]);
      }
    }
    return "";
  }

 private:
  bool Scalar(Kind kind) {
    if (rule_.has_value() && depth_ == 1) kinds_[*rule_] = kind;
    if (rule_.has_value() && depth_ == 2) Element(/*integer=*/false);
    return true;
  }
  bool Integer() {
    if (rule_.has_value() && depth_ == 2) {
      Element(/*integer=*/true);
      return true;
    }
    return Scalar(Kind::kOther);
  }
  bool Open(Kind kind) {
    if (rule_.has_value() && depth_ == 1) {
      kinds_[*rule_] = kind;
      sizes_[*rule_] = 0;
    }
    if (rule_.has_value() && depth_ == 2) Element(/*integer=*/false);
    ++depth_;
    return true;
  }
  // A list counts as one of integers until something else is found in it.
  void Element(bool integer) {
    ++sizes_[*rule_];
    if (!integer && kinds_[*rule_] == Kind::kIntegers) kinds_[*rule_] = Kind::kArray;
  }
  bool Close() {
    --depth_;
    return true;
  }

  const std::vector<KeyRule> rules_;
  std::vector<Kind> kinds_;
  std::vector<size_t> sizes_;   // entries of a list
  std::optional<size_t> rule_;  // of the key whose value is being read
  int64_t depth_ = 0;
  bool is_object_ = false;
  std::string problem_;
};

absl::Status FileInvalid(const std::string& field, const std::string& name,
                         const std::string& problem) {
  return rpc::MakeError(absl::StatusCode::kInvalidArgument,
                        absl::StrCat(field, " (", name, "): ", problem),
                        {.reason = "FILE_INVALID",
                         .metadata = {{"name", name}, {"field", field}},
                         .violations = {{field, problem}}});
}

// What a file is by its first bytes, whatever its name (RFC 1952, RFC 8878, the Parquet format).
// Only the trainer unpacks: the server must not spend its memory on what a user's file expands to.
enum class Container { kLines, kGzip, kZstd, kParquet };

Container ContainerOf(absl::string_view first_bytes) {
  if (absl::StartsWith(first_bytes, "\x1f\x8b")) return Container::kGzip;
  if (absl::StartsWith(first_bytes, "\x28\xb5\x2f\xfd")) return Container::kZstd;
  if (first_bytes.size() >= 4 && (first_bytes[0] & '\xf0') == '\x50' &&
      first_bytes.substr(1, 3) == "\x2a\x4d\x18") {
    return Container::kZstd;  // a frame to skip
  }
  if (absl::StartsWith(first_bytes, "PAR1")) return Container::kParquet;
  return Container::kLines;
}

// Whether a packed file can hold anything: an empty gzip file has 20 bytes, an empty zstd frame 9,
// and a Parquet file ends as it begins.
absl::StatusOr<std::string> FindPackedProblem(Container container, const std::string& first_chunk,
                                              ChunkReader& reader) {
  size_t size = first_chunk.size();
  std::string end = first_chunk;
  std::string chunk;
  while (true) {
    LONGLORA_ASSIGN_OR_RETURN(const bool more, reader.Next(&chunk));
    if (!more) break;
    size += chunk.size();
    end = end.substr(end.size() - std::min<size_t>(end.size(), 4)) + chunk;
  }
  switch (container) {
    case Container::kGzip:
      return size <= 20 ? "the gzip file is empty" : "";
    case Container::kZstd:
      return size <= 9 ? "the zstd file is empty" : "";
    case Container::kParquet:
      return size < 12 || !absl::EndsWith(end, "PAR1") ? "the Parquet file is cut short" : "";
    case Container::kLines:
      break;
  }
  return "";
}

}  // namespace

absl::Status CheckDatasetLine(absl::string_view line, common::DatasetFormat format) {
  LineReader reader(RulesOf(format));
  Json::sax_parse(line.data(), line.data() + line.size(), &reader);
  const std::string problem = reader.Problem();
  return problem.empty() ? absl::OkStatus() : absl::InvalidArgumentError(problem);
}

absl::StatusOr<std::string> DatasetCheck::FindProblem(ChunkReader& reader,
                                                      common::DatasetFormat format) {
  std::string chunk;
  std::string line;
  int64_t line_number = 1;
  int64_t documents = 0;
  const auto take_line = [&]() -> std::string {
    const absl::string_view text = absl::StripAsciiWhitespace(line);
    if (text.empty()) return "";
    ++documents;
    const absl::Status status = CheckDatasetLine(text, format);
    return status.ok() ? ""
                       : absl::StrCat("line ", line_number, ": ", std::string(status.message()));
  };
  for (bool first = true;; first = false) {
    LONGLORA_ASSIGN_OR_RETURN(const bool more, reader.Next(&chunk));
    if (const Container container = ContainerOf(chunk);
        first && more && container != Container::kLines) {
      return FindPackedProblem(container, chunk, reader);
    }
    absl::string_view rest = chunk;
    for (size_t end; more && (end = rest.find('\n')) != absl::string_view::npos;) {
      absl::StrAppend(&line, rest.substr(0, end));
      if (std::string problem = take_line(); !problem.empty()) return problem;
      line.clear();
      ++line_number;
      rest.remove_prefix(end + 1);
    }
    if (!more) break;
    absl::StrAppend(&line, rest);
    if (line.size() > kMaxLineBytes) {
      return absl::StrCat("line ", line_number, ": is longer than ", kMaxLineBytes, " bytes");
    }
  }
  if (std::string problem = take_line(); !problem.empty()) return problem;
  if (documents == 0) return "the dataset is empty: every line is blank";
  return std::string();
}

bool DatasetCheck::NeedsReading(const std::string& name, common::DatasetFormat format) {
  const absl::StatusOr<std::string> sha256 = ParseFileName(name);
  if (!sha256.ok()) return false;
  {
    absl::MutexLock lock(&mutex_);
    if (problems_.contains(Key(*sha256, format))) return false;
  }
  return files_->Read(*sha256, 0).ok();
}

absl::Status DatasetCheck::Check(const std::string& field, const std::string& name,
                                 common::DatasetFormat format) {
  LONGLORA_ASSIGN_OR_RETURN(const std::string sha256, ParseFileName(name));
  // Also when the verdict is known: the file must still be there.
  LONGLORA_ASSIGN_OR_RETURN(std::unique_ptr<ChunkReader> reader, files_->Read(sha256, 0));
  const Key key(sha256, format);
  std::optional<std::string> problem;
  {
    absl::MutexLock lock(&mutex_);
    if (const auto known = problems_.find(key); known != problems_.end()) problem = known->second;
  }
  if (!problem.has_value()) {
    absl::MutexLock one_at_a_time(&reading_);
    LONGLORA_ASSIGN_OR_RETURN(problem, FindProblem(*reader, format));
    absl::MutexLock lock(&mutex_);
    if (problems_.size() >= kMaxRemembered) problems_.clear();
    problems_[key] = *problem;
  }
  return problem->empty() ? absl::OkStatus() : FileInvalid(field, name, *problem);
}

}  // namespace longlora::server
