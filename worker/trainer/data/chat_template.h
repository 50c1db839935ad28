// The chat template of a model directory: a conversation as the text that the model sees, the same
// as transformers' apply_chat_template gives. Called by the dataset reader. Immutable after Load,
// safe from any thread.
#ifndef LONGLORA_WORKER_TRAINER_DATA_CHAT_TEMPLATE_H_
#define LONGLORA_WORKER_TRAINER_DATA_CHAT_TEMPLATE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct LongloraTemplate;

namespace longlora::trainer {

// What templates are told when they ask for the date (strftime_now): 26 July 2024, 12:00 UTC, the
// date that Llama's templates write when they cannot ask. A run that is resumed tomorrow must see
// the tokens of today.
inline constexpr int64_t kTemplateDate = 1'721'995'200;

struct RenderedChat {
  std::string text;
  std::vector<std::pair<size_t, size_t>> answers = {};  // bytes [begin, end) of text, ascending
  size_t head_size = 0;  // bytes the leading system message takes; 0: none, or it cannot be told
};

class ChatTemplate {
 public:
  // chat_template.jinja (and additional_chat_templates/tool_use.jinja), else `chat_template` of
  // tokenizer_config.json (a text, or a list of named ones: default and tool_use), else of
  // chat_template.json. INVALID_ARGUMENT, naming the file, when none is there or one is broken.
  // `now_seconds`: see kTemplateDate.
  static absl::StatusOr<ChatTemplate> Load(const std::string& model_directory,
                                           int64_t now_seconds = kTemplateDate);

  enum class Answers { kIfPossible, kRequired };
  // `example`: a JSON object {"messages": [{"role", "content", ...}], "tools"?, "documents"?}.
  // Answers are what {% generation %} blocks wrote; in a template without them, what it writes for
  // each message of the role assistant after the prompt for it. INVALID_ARGUMENT when the template
  // refuses the example, and with kRequired when its answers cannot be told.
  absl::StatusOr<RenderedChat> Render(absl::string_view example, bool has_tools,
                                      Answers answers) const;

  bool asks_for_date() const { return asks_for_date_; }
  // SHA-256 of everything that decides the text.
  const std::string& digest() const { return digest_; }

 private:
  struct Free {
    void operator()(LongloraTemplate* tmpl) const;
  };
  using Handle = std::unique_ptr<LongloraTemplate, Free>;

  Handle default_;
  Handle tool_use_;  // null: the default serves examples with tools too
  bool asks_for_date_ = false;
  std::string digest_;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_CHAT_TEMPLATE_H_
