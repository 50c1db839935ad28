#include "worker/trainer/data/example_maker.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/status_macros.h"

namespace longlora::trainer {
namespace {

using Json = nlohmann::json;

// Of supervised-fine-tune.py, to the blank.
constexpr char kSystemPrompt[] =
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, "
    "while being safe.  Your answers should not include any harmful, unethical, racist, sexist, "
    "toxic, dangerous, or illegal content. Please ensure that your responses are socially unbiased "
    "and positive in nature.\n\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of "
    "answering something not correct. If you don't know the answer to a question, please don't "
    "share false information.\n";

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
  } catch (const Json::out_of_range&) {
    return absl::InvalidArgumentError(
        "a number is larger than any that JSON readers agree on, 1.8e308");
  }
}

absl::StatusOr<std::string> TakeString(const Json& json, const char* key, const char* needs) {
  const auto found = json.find(key);
  if (found == json.end()) {
    return absl::InvalidArgumentError(absl::StrCat("key \"", key, "\" is missing; ", needs));
  }
  if (!found->is_string())
    return absl::InvalidArgumentError(absl::StrCat("\"", key, "\" is not a string"));
  return found->get<std::string>();
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

// The first label has no token before it to predict it from.
bool HasTarget(const std::vector<int32_t>& labels) {
  return std::any_of(labels.begin() + 1, labels.end(),
                     [](int32_t label) { return label != kIgnoredLabel; });
}

}  // namespace

InstructionPrompt MakeInstructionPrompt(const std::string& instruction, const std::string& input) {
  const std::string head =
      input.empty() ? "[INST]" : absl::StrCat("[INST] <<SYS>>\n", kSystemPrompt, "<</SYS>> \n\n ");
  if (input.empty()) return {absl::StrCat(head, instruction, "[/INST]"), head.size()};
  return {absl::StrCat(head, instruction, " \n", input, " [/INST]"), head.size()};
}

absl::StatusOr<std::optional<Document>> ExampleMaker::Make(const std::string& line) const {
  LONGLORA_ASSIGN_OR_RETURN(const Json json, ParseLine(line));
  switch (options_.format) {
    case common::DatasetFormat::kText:
      return FromText(json);
    case common::DatasetFormat::kTokens:
      return FromTokens(json);
    case common::DatasetFormat::kInstruction:
      return FromInstruction(json);
    case common::DatasetFormat::kChat:
      return FromChat(json, line);
  }
  return absl::InternalError("unknown dataset format");
}

absl::StatusOr<std::optional<Document>> ExampleMaker::FromText(const Json& json) const {
  LONGLORA_ASSIGN_OR_RETURN(const std::string text,
                            TakeString(json, "text", "format text needs {\"text\": \"...\"}"));
  Document document;
  LONGLORA_ASSIGN_OR_RETURN(document.ids, options_.tokenizer->Encode(text));
  if (document.ids.empty()) return std::nullopt;
  document.ids.push_back(options_.tokenizer->eos_token_id());
  LONGLORA_RETURN_IF_ERROR(CheckRange(document.ids, "text", options_.vocab_size, false));
  return document;
}

absl::StatusOr<std::optional<Document>> ExampleMaker::FromTokens(const Json& json) const {
  Document document;
  LONGLORA_ASSIGN_OR_RETURN(document.ids, TakeIntegers(json, "input_ids"));
  LONGLORA_RETURN_IF_ERROR(CheckRange(document.ids, "input_ids", options_.vocab_size, false));
  if (document.ids.size() < 2) {
    return absl::InvalidArgumentError(absl::StrCat("\"input_ids\" holds ", document.ids.size(),
                                                   " tokens: nothing to predict; at least 2 are "
                                                   "needed"));
  }
  // A Parquet column that is empty in a row comes as null.
  if (!json.contains("labels") || json["labels"].is_null()) return document;
  LONGLORA_ASSIGN_OR_RETURN(document.labels, TakeIntegers(json, "labels"));
  LONGLORA_RETURN_IF_ERROR(CheckRange(document.labels, "labels", options_.vocab_size, true));
  if (document.labels.size() != document.ids.size()) {
    return absl::InvalidArgumentError(absl::StrCat("\"labels\" holds ", document.labels.size(),
                                                   " numbers, \"input_ids\" ",
                                                   document.ids.size()));
  }
  if (!HasTarget(document.labels)) {
    return absl::InvalidArgumentError("\"labels\" names no target: all but the first are -100");
  }
  return document;
}

absl::StatusOr<std::optional<Document>> ExampleMaker::FromInstruction(const Json& json) const {
  constexpr char kNeeds[] =
      "format instruction needs {\"instruction\": \"...\", \"output\": \"...\"}";
  LONGLORA_ASSIGN_OR_RETURN(const std::string instruction, TakeString(json, "instruction", kNeeds));
  LONGLORA_ASSIGN_OR_RETURN(const std::string output, TakeString(json, "output", kNeeds));
  std::string input;
  if (json.contains("input") && !json["input"].is_null()) {
    LONGLORA_ASSIGN_OR_RETURN(input, TakeString(json, "input", kNeeds));
  }
  const InstructionPrompt prompt = MakeInstructionPrompt(instruction, input);
  RenderedChat chat = {.text = absl::StrCat(prompt.text, output), .head_size = prompt.head_size};
  chat.answers.emplace_back(prompt.text.size(), chat.text.size());
  LONGLORA_ASSIGN_OR_RETURN(Encoding encoding, options_.tokenizer->EncodeWithSpans(
                                                   chat.text, /*add_special_tokens=*/true));
  // The end-of-text token is part of the answer; some tokenizers add it themselves.
  const int32_t eos = options_.tokenizer->eos_token_id();
  const std::pair<uint32_t, uint32_t> end = {static_cast<uint32_t>(chat.text.size()),
                                             static_cast<uint32_t>(chat.text.size()) + 1};
  const bool has_eos = !encoding.ids.empty() && encoding.ids.back() == eos &&
                       encoding.spans.back().first == encoding.spans.back().second;
  if (has_eos) {
    encoding.spans.back() = end;
  } else {
    encoding.ids.push_back(eos);
    encoding.spans.push_back(end);
  }
  chat.answers.back().second = chat.text.size() + 1;
  LONGLORA_ASSIGN_OR_RETURN(Document document, FromAnswers(chat, std::move(encoding)));
  return document;
}

absl::StatusOr<std::optional<Document>> ExampleMaker::FromChat(const Json& json,
                                                               const std::string& line) const {
  const auto messages = json.find("messages");
  if (messages == json.end()) {
    return absl::InvalidArgumentError(
        "key \"messages\" is missing; format chat needs "
        "{\"messages\": [{\"role\": \"user\", \"content\": \"...\"}, ...]}");
  }
  const bool has_tools = json.contains("tools") && !json["tools"].is_null();
  LONGLORA_ASSIGN_OR_RETURN(
      const RenderedChat chat,
      options_.chat_template->Render(line, has_tools,
                                     options_.train_on_prompt ? ChatTemplate::Answers::kIfPossible
                                                              : ChatTemplate::Answers::kRequired));
  LONGLORA_ASSIGN_OR_RETURN(Encoding encoding, options_.tokenizer->EncodeWithSpans(
                                                   chat.text, /*add_special_tokens=*/false));
  if (encoding.ids.size() < 2) return std::nullopt;
  LONGLORA_ASSIGN_OR_RETURN(Document document, FromAnswers(chat, std::move(encoding)));
  if (!options_.train_on_prompt && !HasTarget(document.labels)) return std::nullopt;
  return document;
}

absl::StatusOr<Document> ExampleMaker::FromAnswers(const RenderedChat& chat,
                                                   Encoding encoding) const {
  Document document;
  document.ids = std::move(encoding.ids);
  LONGLORA_RETURN_IF_ERROR(CheckRange(document.ids, "text", options_.vocab_size, false));
  const auto size = static_cast<int32_t>(document.ids.size());
  document.labels.assign(document.ids.size(), kIgnoredLabel);
  document.answer_begin = size;  // no answer is known: all may be cut from the front
  size_t answer = 0;
  size_t last_answer_seen = chat.answers.size();
  for (int32_t t = 0; t < size; ++t) {
    const auto [begin, end] = encoding.spans[static_cast<size_t>(t)];
    while (answer < chat.answers.size() && chat.answers[answer].second <= begin) ++answer;
    if (answer == chat.answers.size()) break;
    // Several answers may share a token; it counts for the last of them that it reaches.
    size_t reached = answer;
    while (reached + 1 < chat.answers.size() && chat.answers[reached + 1].first < end) ++reached;
    if (begin == end || end <= chat.answers[answer].first) continue;
    document.labels[static_cast<size_t>(t)] = document.ids[static_cast<size_t>(t)];
    if (reached != last_answer_seen) document.answer_begin = t;
    last_answer_seen = reached;
  }
  const auto bos = options_.tokenizer->bos_token_id();
  document.num_bos = bos.has_value() && size > 0 && document.ids.front() == *bos ? 1 : 0;
  document.num_head = document.num_bos;
  while (document.num_head < document.answer_begin &&
         encoding.spans[static_cast<size_t>(document.num_head)].second <= chat.head_size) {
    ++document.num_head;
  }
  if (options_.train_on_prompt) document.labels.clear();
  return document;
}

}  // namespace longlora::trainer
