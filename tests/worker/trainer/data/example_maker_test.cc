// Goal: examples that cannot be learnt from are refused or left out with a reason, and what prompts
// may lose when they are cut is marked right. Method: hand-made templates and a word tokenizer.
// That tokens and targets equal transformers': chat_parity_test.py, instruction_parity_test.py.
#include "worker/trainer/data/example_maker.h"

#include <memory>
#include <string>

#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "tests/worker/trainer/data/word_tokenizer.h"

namespace longlora::trainer {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kPlainTemplate[] =
    "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}";

class ExampleMakerTest : public ::testing::Test {
 protected:
  ExampleMakerTest() { WriteWordTokenizer(directory_.path()); }

  void Write(const std::string& name, const std::string& content) {
    ASSERT_OK(common::AtomicWriteFile(directory_ / name, content));
  }
  absl::StatusOr<ChatTemplate> LoadTemplate() { return ChatTemplate::Load(directory_.path()); }

  absl::StatusOr<std::optional<Document>> Make(common::DatasetFormat format,
                                               const std::string& line,
                                               bool train_on_prompt = false) {
    auto tokenizer = Tokenizer::Load(directory_.path());
    if (!tokenizer.ok()) return tokenizer.status();
    ExampleOptions options = {.format = format,
                              .vocab_size = 10,
                              .tokenizer = &*tokenizer,
                              .train_on_prompt = train_on_prompt};
    absl::StatusOr<ChatTemplate> chat_template = absl::NotFoundError("");
    if (format == common::DatasetFormat::kChat) {
      chat_template = LoadTemplate();
      if (!chat_template.ok()) return chat_template.status();
      options.chat_template = &*chat_template;
    }
    return ExampleMaker(options).Make(line);
  }
  absl::StatusOr<std::optional<Document>> Chat(const std::string& messages,
                                               bool train_on_prompt = false) {
    return Make(common::DatasetFormat::kChat, "{\"messages\": " + messages + "}", train_on_prompt);
  }

  testing::TemporaryDirectory directory_;
};

TEST_F(ExampleMakerTest, ChatTargetsAreTheAnswersAndTheHeadIsTheSystemMessage) {
  Write("chat_template.jinja", kPlainTemplate);
  ASSERT_OK_AND_ASSIGN(const auto document, Chat(R"([{"role": "system", "content": "five"},
                                {"role": "user", "content": "one"},
                                {"role": "assistant", "content": "two"},
                                {"role": "user", "content": "three"},
                                {"role": "assistant", "content": "four one"}])"));
  ASSERT_TRUE(document.has_value());
  // Roles are unknown words, 6.
  EXPECT_THAT(document->ids, ElementsAre(6, 5, 6, 1, 6, 2, 6, 3, 6, 4, 1));
  EXPECT_THAT(document->labels,
              ElementsAre(-100, -100, -100, -100, -100, 2, -100, -100, -100, 4, 1));
  EXPECT_EQ(document->num_head, 2);
  EXPECT_EQ(document->answer_begin, 9);
}

TEST_F(ExampleMakerTest, ATemplateThatRewritesTheBeginningNeedsTrainOnPrompt) {
  // Writes only the last answer; the others vanish once there is a later one.
  Write("chat_template.jinja",
        "{% for m in messages %}{% if m.role == 'user' or loop.last %}{{ m.content }} {% endif %}"
        "{% endfor %}");
  const std::string messages = R"([{"role": "user", "content": "one"},
                                   {"role": "assistant", "content": "two"},
                                   {"role": "user", "content": "three"},
                                   {"role": "assistant", "content": "four"}])";
  const auto refused = Chat(messages);
  EXPECT_THAT(refused,
              StatusIs(absl::StatusCode::kInvalidArgument, "cannot tell the answer in message 2"));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("train_on_prompt"));
  ASSERT_OK_AND_ASSIGN(const auto document, Chat(messages, /*train_on_prompt=*/true));
  EXPECT_THAT(document->ids, ElementsAre(1, 3, 4));
  EXPECT_TRUE(document->labels.empty());
}

TEST_F(ExampleMakerTest, TemplatesRefuseInTheirOwnWords) {
  Write("chat_template.jinja",
        "{% for m in messages %}\n{% if m.role == 'system' %}\n"
        "{{ raise_exception('no system message, please') }}\n{% endif %}\n{% endfor %}");
  EXPECT_THAT(Chat(R"([{"role": "system", "content": "five"}])"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "the chat template, line 3: no system message, please"));
  Write("chat_template.jinja", "{% for m in messages %}{{ m.content }}");
  EXPECT_THAT(Chat("[]"), StatusIs(absl::StatusCode::kInvalidArgument, "chat_template.jinja: "));
  Write("chat_template.jinja",
        "{% for i in range(99999) %}{% for k in range(99999) %}x{% endfor %}"
        "{% endfor %}");
  EXPECT_THAT(Chat(R"([{"role": "user", "content": "five"}])"),
              StatusIs(absl::StatusCode::kInvalidArgument, "the chat template"));
}

TEST_F(ExampleMakerTest, ATemplateThatWouldFillTheMemoryIsRefused) {
  for (const char* source :
       {"{{ [1] * 99999999 }}", "{{ [[1] * 9999] * 99999 }}", "{{ [[1] * 9999] * 99999 | tojson }}",
        "{{ 'x' * 99999999 * 9 }}", "{{ messages | tojson(indent=99999999999) }}",
        "{% set ns = namespace(x=1) %}{% for k in range(99) %}{% for i in range(9999) %}"
        "{% set ns.x = [ns.x] %}{% endfor %}{% endfor %}"
        "{{ ns.x }}"}) {
    Write("chat_template.jinja", source);
    EXPECT_THAT(Chat(R"([{"role": "user", "content": "five"}])"),
                StatusIs(absl::StatusCode::kInvalidArgument, "the chat template"))
        << source;
  }
}

TEST_F(ExampleMakerTest, MalformedConversationsAreRefused) {
  Write("chat_template.jinja", kPlainTemplate);
  for (const char* messages : {"5", "[]", "[1]", "[{\"content\": \"one\"}]",
                               "[{\"role\": 1, \"content\": \"one\"}]", "null"}) {
    EXPECT_THAT(Chat(messages), StatusIs(absl::StatusCode::kInvalidArgument, "\"messages\""));
  }
  EXPECT_THAT(Make(common::DatasetFormat::kChat, "{}"),
              StatusIs(absl::StatusCode::kInvalidArgument, "key \"messages\" is missing"));
  ASSERT_OK_AND_ASSIGN(const auto question, Chat(R"([{"role": "user", "content": "one"}])"));
  EXPECT_FALSE(question.has_value());
}

TEST_F(ExampleMakerTest, ADeepValueIsRefusedAndDoesNotBreakTheStack) {
  Write("chat_template.jinja", "{{ messages | tojson }}");
  const std::string deep = std::string(3000, '[') + std::string(3000, ']');
  EXPECT_FALSE(Chat(R"([{"role": "user", "content": )" + deep + "}]").ok());
}

TEST_F(ExampleMakerTest, TheTemplateIsFoundInEachPlace) {
  EXPECT_THAT(LoadTemplate(),
              StatusIs(absl::StatusCode::kInvalidArgument, "the model has no chat template"));
  const std::string line = R"({"messages": [{"role": "user", "content": "x"}], "tools": []})";
  const auto text = [&](bool has_tools) {
    const auto loaded = LoadTemplate();
    EXPECT_OK(loaded);
    return loaded->Render(line, has_tools, ChatTemplate::Answers::kIfPossible)->text;
  };
  Write("chat_template.json", R"({"chat_template": "of its own json {{ eos_token }}"})");
  EXPECT_EQ(text(false), "of its own json <end>");
  Write("tokenizer_config.json", R"({"eos_token": {"content": "<end>"}, "chat_template": [
      {"name": "default", "template": "by name"}, {"name": "tool_use", "template": "with tools"}]})");
  EXPECT_EQ(text(false), "by name");
  EXPECT_EQ(text(true), "with tools");
  Write("tokenizer_config.json", R"({"eos_token": "<end>", "chat_template": "config"})");
  EXPECT_EQ(text(true), "config");
  Write("chat_template.jinja", "{{ strftime_now('%d %b %Y') }}");
  EXPECT_EQ(text(true), "26 Jul 2024");
  EXPECT_TRUE(LoadTemplate()->asks_for_date());
}

TEST_F(ExampleMakerTest, InstructionKeepsTheFixedStartOfItsPrompt) {
  const InstructionPrompt prompt = MakeInstructionPrompt("do", "");
  EXPECT_EQ(prompt.text, "[INST]do[/INST]");
  EXPECT_EQ(prompt.head_size, 6u);
  const InstructionPrompt with_input = MakeInstructionPrompt("do", "this");
  EXPECT_THAT(with_input.text, ::testing::EndsWith("<</SYS>> \n\n do \nthis [/INST]"));
  EXPECT_EQ(with_input.text.substr(with_input.head_size), "do \nthis [/INST]");
}

TEST_F(ExampleMakerTest, MalformedInstructionsAreRefused) {
  const auto make = [&](const std::string& line) {
    return Make(common::DatasetFormat::kInstruction, line);
  };
  EXPECT_THAT(make(R"({"output": "one"})"),
              StatusIs(absl::StatusCode::kInvalidArgument, "key \"instruction\" is missing"));
  EXPECT_THAT(make(R"({"instruction": "one"})"),
              StatusIs(absl::StatusCode::kInvalidArgument, "key \"output\" is missing"));
  EXPECT_THAT(make(R"({"instruction": "one", "output": 5})"),
              StatusIs(absl::StatusCode::kInvalidArgument, "\"output\" is not a string"));
  EXPECT_OK(make(R"({"instruction": "one", "output": "two", "input": null})"));
}

}  // namespace
}  // namespace longlora::trainer
