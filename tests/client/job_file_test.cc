// Goal: a job file becomes exactly the spec it says; each mistake is found before anything is sent,
// with file, line and field, all of them in one go. Method: one good file, and a table of changes
// to it.
#include "client/job_file.h"

#include <unistd.h>

#include <fstream>

#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "client/resource_name.h"
#include "common/io/sha256.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::client {
namespace {

using ::longlora::testing::StatusIs;
using ::longlora::testing::TemporaryDirectory;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Line numbers below refer to this text.
constexpr char kGood[] = R"(display_name: books
base_model: smollm2-135m
dataset:
  training: books.jsonl
  validation: held-out.jsonl
max_sequence_length: 16384
method:
  lora: {rank: 8, alpha: 16}
  trainable: [embed, norm]
  attention: {pattern: shifted_sparse, group_ratio: 0.25}
optimizer: {learning_rate: 2.0e-5, beta1: 0.9}
training: {max_steps: 1000, precision: bf16}
resources: {device: cpu}
priority: 0
)";

class JobFileTest : public ::testing::Test {
 protected:
  JobFileTest() {
    Write("books.jsonl", "{\"text\": \"a\"}\n");
    Write("held-out.jsonl", "{\"text\": \"b\"}\n");
    Write("empty.jsonl", "");
  }
  void Write(const std::string& name, const std::string& content) {
    std::ofstream(directory_ / name) << content;
  }
  absl::StatusOr<JobFile> Parse(absl::string_view text, absl::string_view label = "job.yaml") {
    return ParseJobFile(text, label, directory_.path());
  }

  TemporaryDirectory directory_;
};

TEST_F(JobFileTest, GoodFileBecomesItsSpec) {
  ASSERT_OK_AND_ASSIGN(const JobFile file, Parse(kGood));
  EXPECT_EQ(file.spec.display_name(), "books");
  EXPECT_EQ(file.spec.max_sequence_length(), 16384);
  EXPECT_EQ(file.spec.method().lora().rank(), 8);
  EXPECT_EQ(file.spec.method().lora().alpha(), 16.0);
  EXPECT_EQ(file.spec.method().trainable().values_size(), 2);
  EXPECT_EQ(file.spec.optimizer().learning_rate(), 2.0e-5);
  EXPECT_EQ(file.spec.training().max_steps(), 1000);
  // What the file does not say stays unsaid.
  EXPECT_FALSE(file.spec.optimizer().has_beta2());
  EXPECT_FALSE(file.spec.has_checkpoint());
}

TEST_F(JobFileTest, EmptyTrainableDiffersFromAbsent) {
  ASSERT_OK_AND_ASSIGN(const JobFile plain,
                       Parse(absl::StrReplaceAll(kGood, {{"[embed, norm]", "[]"}})));
  EXPECT_TRUE(plain.spec.method().has_trainable());
  EXPECT_EQ(plain.spec.method().trainable().values_size(), 0);
  ASSERT_OK_AND_ASSIGN(const JobFile absent,
                       Parse(absl::StrReplaceAll(kGood, {{"  trainable: [embed, norm]\n", ""}})));
  EXPECT_FALSE(absent.spec.method().has_trainable());
}

TEST_F(JobFileTest, DatasetsAreFoundBesideTheJobFileAndNamedByDigest) {
  Write("job.yaml", kGood);
  ASSERT_OK_AND_ASSIGN(JobFile file, ReadJobFile(directory_ / "job.yaml"));
  ASSERT_EQ(file.datasets.size(), 2u);
  EXPECT_EQ(file.datasets[0].field, "dataset.training");
  EXPECT_EQ(file.datasets[0].file.sha256, common::Sha256Hex("{\"text\": \"a\"}\n"));
  EXPECT_EQ(file.datasets[0].file.size_bytes, 14);
  EXPECT_EQ(file.datasets[1].file.path, directory_ / "held-out.jsonl");
  ReplaceDataset(file.spec, file.datasets[1].field, FileName(file.datasets[1].file.sha256));
  EXPECT_EQ(file.spec.dataset().validation(), FileName(common::Sha256Hex("{\"text\": \"b\"}\n")));
  EXPECT_EQ(file.spec.dataset().training(), "books.jsonl");
}

TEST_F(JobFileTest, StoredFilesAndAbsolutePathsAreUnderstood) {
  const std::string stored = FileName(std::string(64, 'a'));
  ASSERT_OK_AND_ASSIGN(
      const JobFile file,
      Parse(absl::StrReplaceAll(
          kGood, {{"books.jsonl", stored}, {"held-out.jsonl", directory_ / "held-out.jsonl"}})));
  EXPECT_EQ(file.spec.dataset().training(), stored);
  ASSERT_EQ(file.datasets.size(), 1u);
  EXPECT_EQ(file.datasets[0].file.path, directory_ / "held-out.jsonl");
}

TEST_F(JobFileTest, JsonMeansTheSame) {
  constexpr char kJson[] = R"({
	"base_model": "smollm2-135m",
	"dataset": {"training": "books.jsonl"},
	"max_sequence_length": 128.0,
	"optimizer": {"learning_rate": 1e-5},
	"training": {"max_steps": "10"}
})";
  for (const char* label : {"job.json", "stdin"}) {
    ASSERT_OK_AND_ASSIGN(const JobFile file, Parse(kJson, label));
    EXPECT_EQ(file.spec.max_sequence_length(), 128);
    EXPECT_EQ(file.spec.training().max_steps(), 10);
    EXPECT_EQ(file.spec.optimizer().learning_rate(), 1e-5);
  }
}

// One mistake each: what is replaced, by what, and the whole message.
struct Mistake {
  const char* from;
  const char* to;
  const char* message;
};

TEST_F(JobFileTest, EveryMistakeIsNamedWithLineAndField) {
  const Mistake kMistakes[] = {
      {"rank: 8", "rank: 0", "job.yaml:8: method.lora.rank: must be from 1 to 1024, is 0"},
      {"rank: 8", "rank: '8'", "job.yaml:8: method.lora.rank: expected an integer, found \"8\""},
      {"rank: 8", "rank: 8.5", "job.yaml:8: method.lora.rank: expected an integer, found 8.5"},
      {"rank: 8", "rank: yes", "job.yaml:8: method.lora.rank: expected an integer, found \"yes\""},
      {"rank: 8", "rank: 8589934592",
       "job.yaml:8: method.lora.rank: expected an integer of 32 bits"},
      {"rank: 8", "rnak: 8",
       "job.yaml:8: method.lora.rnak: unknown key; known here are alpha, dropout, rank"},
      {"rank: 8", "rank: 8, rank: 9", "job.yaml:8: the key rank is given twice"},
      {"alpha: 16", "alpha: -1", "job.yaml:8: method.lora.alpha: must be greater than 0, is -1"},
      {"alpha: 16", "alpha: .nan", "job.yaml:8: .nan is not a finite number"},
      {"alpha: 16", "alpha: high",
       "job.yaml:8: method.lora.alpha: expected a finite number, found \"high\""},
      {"[embed, norm]", "embed",
       "job.yaml:9: method.trainable: expected a list of strings, found \"embed\""},
      {"[embed, norm]", "[embed, head]",
       "job.yaml:9: method.trainable: may name embed and norm, names head"},
      {"shifted_sparse", "sparse", "job.yaml:10: method.attention.pattern: expected one of"},
      {"group_ratio: 0.25", "group_ratio: 1.5",
       "job.yaml:10: method.attention.group_ratio: must be greater than 0"},
      {"group_ratio: 0.25", "group_ratio: 0.25, group_size: 64",
       "job.yaml:10: method.attention.group_size: give group_size or group_ratio, not both"},
      {"group_ratio: 0.25", "group_size: 63",
       "job.yaml:10: method.attention.group_size: must be even"},
      {"2.0e-5", "-2.0e-5", "job.yaml:11: optimizer.learning_rate: must be greater than 0"},
      {"2.0e-5", "~", "job.yaml:11: optimizer.learning_rate: expected a finite number, found null"},
      {"beta1: 0.9", "beta1: 1.0",
       "job.yaml:11: optimizer.beta1: must be at least 0 and less than 1"},
      {"max_steps: 1000", "max_steps: 0", "job.yaml:12: training.max_steps: must be from 1"},
      {"max_steps: 1000, ", "",
       "job.yaml:12: training.max_steps: is required: give max_steps or epochs"},
      {"max_steps: 1000", "max_steps: 10, epochs: 1",
       "job.yaml:12: training.max_steps: give max_steps or epochs, not both"},
      {"precision: bf16", "precision: fp16",
       "job.yaml:12: training.precision: expected one of bf16, fp32"},
      {"device: cpu", "device: tpu", "job.yaml:13: resources.device: expected one of"},
      {"device: cpu", "device: cpu, nodes: 2",
       "job.yaml:13: resources.nodes: is not supported by this version"},
      {"priority: 0", "priority: 5000", "job.yaml:14: priority: must be from -1000 to 1000"},
      {"priority: 0", "epochs: 3", "job.yaml:14: epochs: unknown key"},
      {"priority: 0", "priority: 0\npriority: 1", "job.yaml:15: the key priority is given twice"},
      {"max_sequence_length: 16384", "max_sequence_length: 1",
       "job.yaml:6: max_sequence_length: must be from 2"},
      {"max_sequence_length: 16384\n", "", "job.yaml: max_sequence_length: must be from 2"},
      {"base_model: smollm2-135m\n", "", "job.yaml: base_model: is required"},
      {"base_model: smollm2-135m", "base_model: 7",
       "job.yaml:2: base_model: expected a string, found 7"},
      {"books.jsonl", "none.jsonl", "none.jsonl: No such file or directory"},
      {"books.jsonl", "none.jsonl", "job.yaml:4: dataset.training: "},
      {"books.jsonl", "empty.jsonl", "empty.jsonl is empty"},
      {"held-out.jsonl", "empty.jsonl", "job.yaml:5: dataset.validation: "},
      {"books.jsonl", ".", "is not a regular file"},
      {"books.jsonl", "''", "job.yaml:4: dataset.training: is required"},
      {"books.jsonl", "s3://bucket/books.jsonl",
       "job.yaml:4: dataset.training: s3:// is not supported"},
      {"books.jsonl", "[books.jsonl]",
       "job.yaml:4: dataset.training: expected a string, found [\"books.jsonl\"]"},
      {"dataset:\n  training: books.jsonl\n  validation: held-out.jsonl", "dataset: books.jsonl",
       "job.yaml:3: dataset: expected an object"},
      {"display_name: books", "display_name: [", "job.yaml:"},
      {kGood, "- a\n- b\n", "job.yaml:1: expected keys and values"},
      {kGood, "", "job.yaml:1: nothing is written here"},
  };
  for (const Mistake& mistake : kMistakes) {
    const std::string text = absl::StrReplaceAll(kGood, {{mistake.from, mistake.to}});
    ASSERT_NE(text, kGood);
    EXPECT_THAT(Parse(text), StatusIs(absl::StatusCode::kInvalidArgument, mistake.message)) << text;
  }
}

TEST_F(JobFileTest, AllMistakesAreShownAtOnceInTheOrderOfTheFile) {
  const std::string text = absl::StrReplaceAll(kGood, {{"rank: 8", "rank: eight"},
                                                       {"alpha: 16", "alpha: -1"},
                                                       {"books.jsonl", "none.jsonl"},
                                                       {"max_steps: 1000", "max_step: 1000"},
                                                       {"priority: 0", "priority: 9999"}});
  const absl::Status status = Parse(text).status();
  const std::vector<std::string> lines = absl::StrSplit(status.message(), '\n');
  EXPECT_THAT(lines, ElementsAre(HasSubstr("job.yaml:4: dataset.training: "),
                                 HasSubstr("job.yaml:8: method.lora.rank: expected an integer"),
                                 HasSubstr("job.yaml:8: method.lora.alpha: must be"),
                                 HasSubstr("job.yaml:12: training.max_step: unknown key"),
                                 HasSubstr("job.yaml:12: training.max_steps: is required"),
                                 HasSubstr("job.yaml:14: priority: must be")));
}

TEST_F(JobFileTest, BrokenJsonIsNamedWithItsPlace) {
  EXPECT_THAT(Parse("{\"base_model\": \"m\",\n \"priority\": }", "job.json"),
              StatusIs(absl::StatusCode::kInvalidArgument, "job.json: parse error at line 2"));
  EXPECT_THAT(
      Parse("{\"priority\": 1,\n \"priority\": 2}", "job.json"),
      StatusIs(absl::StatusCode::kInvalidArgument, "job.json:2: the key priority is given twice"));
  EXPECT_THAT(Parse("{\"optimizer\": {\"epsilon\": 1e999}}", "job.json"),
              StatusIs(absl::StatusCode::kInvalidArgument, "job.json: "));
  EXPECT_THAT(Parse("{\n\"priority\": 9999}", "job.json"),
              StatusIs(absl::StatusCode::kInvalidArgument, "job.json:2: priority: must be"));
}

TEST_F(JobFileTest, FilesThatCannotBeReadAreTheUsersMistake) {
  EXPECT_THAT(ReadJobFile(directory_ / "none.yaml"),
              StatusIs(absl::StatusCode::kInvalidArgument, "none.yaml"));
  EXPECT_THAT(ReadJobFile(directory_.path()), StatusIs(absl::StatusCode::kInvalidArgument, ""));
  Write("large.yaml", std::string((1 << 20) + 1, '#'));
  EXPECT_THAT(ReadJobFile(directory_ / "large.yaml"),
              StatusIs(absl::StatusCode::kInvalidArgument, "larger than 1048576 bytes"));
}

TEST_F(JobFileTest, FindingsOfAServerGetTheLinesToo) {
  ASSERT_OK_AND_ASSIGN(const JobFile file, Parse(kGood));
  EXPECT_EQ(FormatViolations(file, {{"priority", "is too high for you"},
                                    {"base_model", "no worker has it"},
                                    {"checkpoint.keep_last", "is required"}}),
            "job.yaml: checkpoint.keep_last: is required\n"
            "job.yaml:2: base_model: no worker has it\n"
            "job.yaml:14: priority: is too high for you");
}

TEST(ResourceNameTest, TakesIdsAndNamesAndNothingElse) {
  for (const char* good : {"abcd", "fineTuneJobs/abcd", "a-b-1", "books-a1b2c3"}) {
    EXPECT_OK(JobName(good)) << good;
  }
  for (const std::string& bad :
       {std::string(""), std::string("abc"), std::string("1abc"), std::string("Abcd"),
        std::string("abc-"), std::string("a/bcd"), std::string("fineTuneJobs/"),
        std::string(64, 'a'), std::string("ab\ncd")}) {
    EXPECT_FALSE(JobName(bad).ok()) << bad;
  }
  EXPECT_EQ(*JobName("abcd"), "fineTuneJobs/abcd");
  EXPECT_EQ(ShortName("fineTuneJobs/abcd"), "abcd");
}

}  // namespace
}  // namespace longlora::client
