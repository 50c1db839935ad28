#include "worker/trainer/data/chat_template.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/io/sha256.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "text/longlora_text.h"
#include "worker/trainer/data/text_error.h"
#include "worker/trainer/data/tokenizer_files.h"

namespace longlora::trainer {
namespace {

using Json = nlohmann::json;

constexpr int64_t kTemplateBytesMax = int64_t{16} << 20;

struct Sources {
  std::string file;  // where they were found
  std::string default_source = {};
  std::string tool_use_source = {};  // empty: there is none
};

// Empty: there is no such file.
absl::StatusOr<std::string> ReadIfThere(const std::string& path) {
  absl::StatusOr<std::string> text = common::ReadFile(path, kTemplateBytesMax);
  if (absl::IsNotFound(text.status())) return std::string();
  return text;
}

// `chat_template` as a JSON file writes it.
Sources SourcesFromJson(const std::string& file, const Json& config) {
  Sources sources = {.file = file};
  const auto found = config.find("chat_template");
  if (found == config.end()) return sources;
  if (found->is_string()) sources.default_source = found->get<std::string>();
  if (!found->is_array()) return sources;
  for (const Json& entry : *found) {
    if (!entry.is_object()) continue;
    const std::string name = entry.value("name", Json()).dump();
    const Json source = entry.value("template", Json());
    if (!source.is_string()) continue;
    if (name == "\"default\"") sources.default_source = source.get<std::string>();
    if (name == "\"tool_use\"") sources.tool_use_source = source.get<std::string>();
  }
  return sources;
}

absl::StatusOr<Sources> FindSources(const std::string& directory) {
  Sources sources = {.file = absl::StrCat(directory, "/chat_template.jinja")};
  LONGLORA_ASSIGN_OR_RETURN(sources.default_source, ReadIfThere(sources.file));
  if (!sources.default_source.empty()) {
    LONGLORA_ASSIGN_OR_RETURN(
        sources.tool_use_source,
        ReadIfThere(absl::StrCat(directory, "/additional_chat_templates/tool_use.jinja")));
    return sources;
  }
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    const std::string file = absl::StrCat(directory, "/", name);
    LONGLORA_ASSIGN_OR_RETURN(const std::optional<Json> config, ReadJsonFile(file));
    if (!config.has_value()) continue;
    sources = SourcesFromJson(file, *config);
    if (!sources.default_source.empty()) return sources;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      directory,
      ": the model has no chat template (chat_template.jinja, or chat_template in "
      "tokenizer_config.json): take an instruct model, or dataset.format instruction or text"));
}

// As transformers' special_tokens_map: what templates see as variables.
absl::StatusOr<std::string> SpecialTokens(const std::string& directory) {
  Json tokens = Json::object();
  for (const char* name : {"special_tokens_map.json", "tokenizer_config.json"}) {
    LONGLORA_ASSIGN_OR_RETURN(const std::optional<Json> config,
                              ReadJsonFile(absl::StrCat(directory, "/", name)));
    if (!config.has_value()) continue;
    for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                            "cls_token", "mask_token"}) {
      if (const auto text = SpecialToken(*config, key)) tokens[key] = *text;
    }
  }
  return tokens.dump();
}

}  // namespace

void ChatTemplate::Free::operator()(LongloraTemplate* tmpl) const { longlora_template_free(tmpl); }

absl::StatusOr<ChatTemplate> ChatTemplate::Load(const std::string& model_directory,
                                                int64_t now_seconds) {
  LONGLORA_ASSIGN_OR_RETURN(const Sources sources, FindSources(model_directory));
  LONGLORA_ASSIGN_OR_RETURN(const std::string tokens, SpecialTokens(model_directory));
  const auto compile = [&](const std::string& source) -> absl::StatusOr<Handle> {
    char* error = nullptr;
    Handle handle(longlora_template_new(TextBytes(source), source.size(), TextBytes(tokens),
                                        tokens.size(), now_seconds, &error));
    if (handle != nullptr) return handle;
    return absl::InvalidArgumentError(absl::StrCat(sources.file, ": ", TakeTextError(error)));
  };
  ChatTemplate result;
  LONGLORA_ASSIGN_OR_RETURN(result.default_, compile(sources.default_source));
  if (!sources.tool_use_source.empty()) {
    LONGLORA_ASSIGN_OR_RETURN(result.tool_use_, compile(sources.tool_use_source));
  }
  result.asks_for_date_ = absl::StrContains(sources.default_source, "strftime_now") ||
                          absl::StrContains(sources.tool_use_source, "strftime_now");
  result.digest_ = common::Sha256Hex(
      absl::StrCat(longlora_text_digest(), " ", now_seconds, " ", common::Sha256Hex(tokens), " ",
                   common::Sha256Hex(sources.default_source), " ", sources.tool_use_source));
  return result;
}

absl::StatusOr<RenderedChat> ChatTemplate::Render(absl::string_view example, bool has_tools,
                                                  Answers answers) const {
  const LongloraTemplate* const tmpl =
      has_tools && tool_use_ != nullptr ? tool_use_.get() : default_.get();
  LongloraChat chat;
  char* error = nullptr;
  const int32_t wanted =
      answers == Answers::kRequired ? LONGLORA_ANSWERS_REQUIRED : LONGLORA_ANSWERS_IF_POSSIBLE;
  if (!longlora_template_render(tmpl, TextBytes(example), example.size(), wanted, &chat, &error)) {
    return absl::InvalidArgumentError(TakeTextError(error));
  }
  RenderedChat result;
  result.text.assign(reinterpret_cast<const char*>(chat.text), chat.text_size);
  for (size_t i = 0; i < chat.num_answers; ++i) {
    result.answers.emplace_back(chat.answers[2 * i], chat.answers[2 * i + 1]);
  }
  result.head_size = chat.head_size;
  longlora_chat_free(&chat);
  return result;
}

}  // namespace longlora::trainer
