#include "worker/trainer/data/documents.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "worker/trainer/data/line_reader.h"

namespace longlora::trainer {
namespace {

using Json = nlohmann::json;

absl::StatusOr<Json> ParseLine(const std::string& line) {
  try {
    Json json = Json::parse(line);
    if (json.is_object()) return json;
    return absl::InvalidArgumentError(
        absl::StrCat("expected a JSON object, found ", json.type_name()));
  } catch (const Json::parse_error& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 9: reason": the line number
    // is always 1 here and would mislead.
    return absl::InvalidArgumentError(absl::StrCat("broken JSON at byte ", error.byte));
  }
}

absl::StatusOr<std::vector<int32_t>> TakeIntegers(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("key \"", key, "\" is missing; format tokens needs {\"input_ids\": [...]}"));
  }
  if (!found->is_array())
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is not a list"));
  std::vector<int32_t> numbers;
  numbers.reserve(found->size());
  for (const Json& number : *found) {
    const bool fits = number.is_number_unsigned()
                          ? number.get<uint64_t>() <= INT32_MAX
                          : number.is_number_integer() && number.get<int64_t>() >= INT32_MIN;
    if (!fits) {
      return absl::InvalidArgumentError(absl::StrCat("\"", key, "\"[", numbers.size(),
                                                     "] is no 32-bit integer: ", number.dump()));
    }
    numbers.push_back(number.get<int32_t>());
  }
  return numbers;
}

absl::Status CheckRange(const std::vector<int32_t>& ids, const char* key, int64_t vocab_size,
                        bool ignored_allowed) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocab_size) continue;
    if (ignored_allowed && ids[i] == kIgnoredLabel) continue;
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\"[", i, "] is ", ids[i],
                                                   "; the model's vocab_size is ", vocab_size));
  }
  return absl::OkStatus();
}

// Collects examples; each Add takes one line's object.
class Collector {
 public:
  explicit Collector(const DocumentsOptions& options) : options_(options) {}

  absl::Status Add(const Json& json, int64_t line_number) {
    return options_.format == common::DatasetFormat::kText ? AddText(json, line_number)
                                                           : AddTokens(json);
  }

  Documents Take() { return std::move(documents_); }

 private:
  absl::Status AddText(const Json& json, int64_t line_number) {
    const auto text = json.find("text");
    if (text == json.end()) {
      return absl::InvalidArgumentError(
          "key \"text\" is missing; format text needs {\"text\": \"...\"}");
    }
    if (!text->is_string()) return absl::InvalidArgumentError("\"text\" is not a string");
    LONGLORA_ASSIGN_OR_RETURN(std::vector<int32_t> ids,
                              options_.tokenizer->Encode(text->get_ref<const std::string&>()));
    if (ids.empty()) {
      if (documents_.num_skipped++ == 0) documents_.first_skipped_line = line_number;
      return absl::OkStatus();
    }
    ids.push_back(options_.tokenizer->eos_token_id());
    LONGLORA_RETURN_IF_ERROR(CheckRange(ids, "text", options_.vocab_size, false));
    Append(ids);
    return absl::OkStatus();
  }

  absl::Status AddTokens(const Json& json) {
    LONGLORA_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, TakeIntegers(json, "input_ids"));
    LONGLORA_RETURN_IF_ERROR(CheckRange(ids, "input_ids", options_.vocab_size, false));
    if (ids.size() < 2) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"input_ids\" holds ", ids.size(),
                       " tokens: nothing to predict; at least 2 are needed"));
    }
    if (!json.contains("labels")) {
      Append(ids);
      return absl::OkStatus();
    }
    LONGLORA_ASSIGN_OR_RETURN(const std::vector<int32_t> labels, TakeIntegers(json, "labels"));
    LONGLORA_RETURN_IF_ERROR(CheckRange(labels, "labels", options_.vocab_size, true));
    if (labels.size() != ids.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"labels\" holds ", labels.size(), " numbers, \"input_ids\" ", ids.size()));
    }
    // The first label has no token before it to predict it from.
    if (std::all_of(labels.begin() + 1, labels.end(),
                    [](int32_t l) { return l == kIgnoredLabel; })) {
      return absl::InvalidArgumentError("\"labels\" names no target: all but the first are -100");
    }
    // From here on labels are kept beside the ids; what came before were its own labels.
    if (!std::exchange(has_labels_, true)) documents_.labels = documents_.ids;
    documents_.labels.insert(documents_.labels.end(), labels.begin(), labels.end());
    documents_.begins.push_back(documents_.num_tokens());
    documents_.ids.insert(documents_.ids.end(), ids.begin(), ids.end());
    return absl::OkStatus();
  }

  // A document whose tokens are its labels.
  void Append(const std::vector<int32_t>& ids) {
    documents_.begins.push_back(documents_.num_tokens());
    documents_.ids.insert(documents_.ids.end(), ids.begin(), ids.end());
    if (has_labels_) documents_.labels.insert(documents_.labels.end(), ids.begin(), ids.end());
  }

  const DocumentsOptions& options_;
  Documents documents_;
  bool has_labels_ = false;
};

}  // namespace

absl::StatusOr<Documents> ReadDocuments(const DocumentsOptions& options) {
  if (options.format == common::DatasetFormat::kText && options.tokenizer == nullptr) {
    return absl::InternalError("format text was read without a tokenizer");
  }
  if (options.format != common::DatasetFormat::kText &&
      options.format != common::DatasetFormat::kTokens) {
    return absl::UnimplementedError("dataset.format: this version reads text and tokens");
  }
  LONGLORA_ASSIGN_OR_RETURN(LineReader reader,
                            LineReader::Open(options.path, options.line_bytes_max));
  Collector collector(options);
  std::string line;
  while (true) {
    LONGLORA_ASSIGN_OR_RETURN(const bool more, reader.Next(line));
    if (!more) break;
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    const absl::StatusOr<Json> json = ParseLine(line);
    if (!json.ok()) return common::Annotate(json.status(), reader.place());
    const absl::Status added = collector.Add(*json, reader.line_number());
    if (!added.ok()) return common::Annotate(added, reader.place());
  }
  Documents documents = collector.Take();
  if (documents.num_documents() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.path, ": the dataset is empty: it holds no document",
                     documents.num_skipped > 0 ? " with text in it" : ""));
  }
  return documents;
}

}  // namespace longlora::trainer
