// Goal: rows hold every token once, in order, no document is predicted from another, and nothing is
// left out silently. Method: documents of known tokens cut by hand; then random documents against
// the definitions, token by token.
#include "worker/trainer/data/packing.h"

#include <random>

#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "worker/trainer/data/first_fit.h"
#include "worker/trainer/data/row_dataset.h"

namespace longlora::trainer {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Documents of the given lengths with tokens 0, 1, 2, ... all through.
Documents Counting(const std::vector<int64_t>& lengths) {
  DocumentsBuilder builder;
  int32_t next = 0;
  for (const int64_t length : lengths) {
    Document document;
    for (int64_t i = 0; i < length; ++i) document.ids.push_back(next++);
    EXPECT_OK(builder.Add(document));
  }
  return builder.Build();
}

TEST(PackingTest, DocumentsAreJoinedAndCutAtTheRowLength) {
  const Documents documents = Counting({3, 6, 2});
  ASSERT_OK_AND_ASSIGN(const RowPlan plan, PlanRows(documents, {.max_sequence_length = 4}));
  ASSERT_EQ(plan.num_rows(), 2);
  EXPECT_EQ(plan.num_dropped_tokens, 3);

  const Row first = MakeRow(documents, plan.row(0));
  EXPECT_THAT(first.input_ids, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(first.labels, ElementsAre(-100, 1, 2, -100));
  EXPECT_THAT(first.position_ids, ElementsAre(0, 1, 2, 0));
  EXPECT_THAT(first.document_starts, ElementsAre(0, 3));

  // The second document goes on: in its new row it starts again at position 0.
  const Row second = MakeRow(documents, plan.row(1));
  EXPECT_THAT(second.input_ids, ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(second.labels, ElementsAre(-100, 5, 6, 7));
  EXPECT_THAT(second.position_ids, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(second.document_starts, ElementsAre(0));
}

TEST(PackingTest, ValidationKeepsTheShortLastRow) {
  const Documents documents = Counting({3, 6, 2});
  ASSERT_OK_AND_ASSIGN(const RowPlan plan,
                       PlanRows(documents, {.max_sequence_length = 4, .keep_partial_row = true}));
  ASSERT_EQ(plan.num_rows(), 3);
  EXPECT_EQ(plan.num_dropped_tokens, 0);
  const Row last = MakeRow(documents, plan.row(2));
  EXPECT_THAT(last.input_ids, ElementsAre(8, 9, 10));
  EXPECT_THAT(last.labels, ElementsAre(-100, -100, 10));
  EXPECT_THAT(last.document_starts, ElementsAre(0, 1));
}

TEST(PackingTest, WithoutPackingEveryDocumentStartsARow) {
  const Documents documents = Counting({3, 9});
  ASSERT_OK_AND_ASSIGN(const RowPlan plan,
                       PlanRows(documents, {.max_sequence_length = 4, .packing = false}));
  ASSERT_EQ(plan.num_rows(), 3);
  EXPECT_THAT(MakeRow(documents, plan.row(0)).input_ids, ElementsAre(0, 1, 2));
  EXPECT_THAT(MakeRow(documents, plan.row(1)).input_ids, ElementsAre(3, 4, 5, 6));
  EXPECT_THAT(MakeRow(documents, plan.row(2)).input_ids, ElementsAre(7, 8, 9, 10));
  EXPECT_EQ(plan.num_rows_without_target, 1);  // token 11 alone predicts nothing
}

TEST(PackingTest, RowsInWhichNothingIsATargetAreLeftOutAndCounted) {
  DocumentsBuilder builder;
  ASSERT_OK(builder.Add({.ids = {0, 1, 2, 3}, .labels = {0, -100, -100, -100}}));
  ASSERT_OK(builder.Add({.ids = {4, 5, 6, 7}, .labels = {-100, -100, 6, -100}}));
  const Documents documents = builder.Build();
  ASSERT_OK_AND_ASSIGN(const RowPlan plan, PlanRows(documents, {.max_sequence_length = 4}));
  ASSERT_EQ(plan.num_rows(), 1);
  EXPECT_EQ(plan.row(0)[0].document, 1);
  EXPECT_EQ(plan.num_rows_without_target, 1);
}

TEST(PackingTest, RandomDocumentsKeepEveryTokenAndNoTargetCrossesADocument) {
  const uint32_t seed = 20261123;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 200; ++round) {
    std::vector<int64_t> lengths(1 + random() % 8);
    for (int64_t& length : lengths) length = 1 + random() % 12;
    const int64_t row_length = 2 + random() % 9;
    const Documents documents = Counting(lengths);
    ASSERT_OK_AND_ASSIGN(const RowPlan plan, PlanRows(documents, {.max_sequence_length = row_length,
                                                                  .keep_partial_row = true}));
    int64_t token = 0;  // its id too
    for (int64_t index = 0; index < plan.num_rows(); ++index) {
      const Row row = MakeRow(documents, plan.row(index));
      int64_t num_targets = 0;
      // Rows of a single token, the start of a document, are left out.
      while (row.input_ids[0] != token) ++token;
      const int64_t row_begin = token;
      for (size_t t = 0; t < row.input_ids.size(); ++t, ++token) {
        EXPECT_EQ(row.input_ids[t], token);
        int64_t document = 0;
        for (int64_t begin = 0, d = 0; begin <= token; begin += lengths[d++]) document = begin;
        const int64_t start = std::max(document, row_begin);
        EXPECT_EQ(row.position_ids[t], token - start);
        EXPECT_EQ(row.labels[t], token == start ? -100 : token);
        EXPECT_EQ(std::count(row.document_starts.begin(), row.document_starts.end(), t),
                  token == start);
        num_targets += row.labels[t] != -100;
      }
      EXPECT_EQ(CountTargets(documents, plan.row(index)), num_targets);
      EXPECT_GT(num_targets, 0);
    }
  }
}

TEST(PackingTest, CollatedRowsArePaddedOnTheRightAsADocumentOfItsOwn) {
  const Documents documents = Counting({3, 5});
  const RowBatch batch = CollateRows({MakeRow(documents, {{.document = 0, .begin = 0, .end = 3}}),
                                      MakeRow(documents, {{.document = 1, .begin = 0, .end = 5}})},
                                     /*padding_id=*/77);
  EXPECT_EQ(batch.num_rows, 2);
  EXPECT_EQ(batch.length, 5);
  EXPECT_THAT(batch.input_ids, ElementsAre(0, 1, 2, 77, 77, 3, 4, 5, 6, 7));
  EXPECT_THAT(batch.labels, ElementsAre(-100, 1, 2, -100, -100, -100, 4, 5, 6, 7));
  EXPECT_THAT(batch.position_ids, ElementsAre(0, 1, 2, 0, 1, 0, 1, 2, 3, 4));
  EXPECT_THAT(batch.document_starts, ElementsAre(ElementsAre(0, 3), ElementsAre(0)));
  EXPECT_EQ(batch.num_tokens, 8);
  EXPECT_EQ(batch.num_targets, 6);
}

TEST(PackingTest, ACutRowKeepsItsStart) {
  const Documents documents = Counting({3, 5});
  const Row whole = MakeRow(
      documents, {{.document = 0, .begin = 0, .end = 3}, {.document = 1, .begin = 0, .end = 5}});
  Row row = whole;
  CutRow(8, row);
  EXPECT_EQ(row.input_ids, whole.input_ids);
  CutRow(5, row);
  EXPECT_THAT(row.input_ids, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(row.labels, ElementsAre(-100, 1, 2, -100, 4));
  EXPECT_THAT(row.position_ids, ElementsAre(0, 1, 2, 0, 1));
  EXPECT_THAT(row.document_starts, ElementsAre(0, 3));
  CutRow(3, row);
  EXPECT_THAT(row.document_starts, ElementsAre(0));
}

// An example of `length` tokens with ids 0, 1, 2, ...: only tokens from `answer_begin` on are
// targets.
Document Example(int32_t length, int32_t answer_begin, int32_t num_head = 0, int32_t num_bos = 0) {
  Document document;
  document.num_bos = num_bos;
  document.num_head = num_head;
  document.answer_begin = answer_begin;
  for (int32_t t = 0; t < length; ++t) {
    document.ids.push_back(t);
    document.labels.push_back(t < answer_begin ? -100 : t);
  }
  return document;
}

Documents Examples(const std::vector<Document>& list) {
  DocumentsBuilder builder;
  for (size_t i = 0; i < list.size(); ++i) {
    Document document = list[i];
    document.line = static_cast<int64_t>(i) + 1;
    EXPECT_OK(builder.Add(document));
  }
  return builder.Build();
}

std::vector<int64_t> DocumentsOf(absl::Span<const Piece> pieces) {
  std::vector<int64_t> documents;
  for (const Piece& piece : pieces) documents.push_back(piece.document);
  return documents;
}

TEST(ExamplePackingTest, EachExampleGoesWholeIntoTheFirstRowWithRoom) {
  const Documents documents =
      Examples({Example(6, 3), Example(5, 2), Example(4, 2), Example(3, 1), Example(2, 1)});
  ASSERT_OK_AND_ASSIGN(const RowPlan plan,
                       PlanRows(documents, {.max_sequence_length = 8, .whole_examples = true}));
  ASSERT_EQ(plan.num_rows(), 3);
  EXPECT_THAT(DocumentsOf(plan.row(0)), ElementsAre(0, 4));  // 6 + 2: later, but the first room
  EXPECT_THAT(DocumentsOf(plan.row(1)), ElementsAre(1, 3));
  EXPECT_THAT(DocumentsOf(plan.row(2)), ElementsAre(2));

  const Row row = MakeRow(documents, plan.row(1));
  EXPECT_THAT(row.input_ids, ElementsAre(0, 1, 2, 3, 4, 0, 1, 2));
  EXPECT_THAT(row.labels, ElementsAre(-100, -100, 2, 3, 4, -100, 1, 2));
  EXPECT_THAT(row.position_ids, ElementsAre(0, 1, 2, 3, 4, 0, 1, 2));
  EXPECT_THAT(row.document_starts, ElementsAre(0, 5));

  ASSERT_OK_AND_ASSIGN(
      const RowPlan unpacked,
      PlanRows(documents, {.max_sequence_length = 8, .packing = false, .whole_examples = true}));
  EXPECT_EQ(unpacked.num_rows(), 5);
}

TEST(ExamplePackingTest, FirstFitEqualsTheDefinition) {
  const uint32_t seed = 20261124;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  constexpr int64_t kLength = 50;
  FirstFit fit(kLength);
  std::vector<int64_t> room;  // of each row, looked through one by one
  for (int i = 0; i < 3000; ++i) {
    const int64_t length = 1 + random() % kLength;
    size_t row = 0;
    while (row < room.size() && room[row] < length) ++row;
    if (row == room.size()) room.push_back(kLength);
    room[row] -= length;
    ASSERT_EQ(fit.Place(length), row);
  }
}

TEST(ExamplePackingTest, ALongPromptLosesItsOldestTokensAndKeepsItsHead) {
  // Tokens 0-1 are the head (0 is begin-of-text), 2-9 the prompt, 10-12 the answer.
  const Documents documents = Examples({Example(13, 10, /*num_head=*/2, /*num_bos=*/1)});
  ASSERT_OK_AND_ASSIGN(const RowPlan plan,
                       PlanRows(documents, {.max_sequence_length = 8, .whole_examples = true}));
  EXPECT_EQ(plan.num_truncated, 1);
  EXPECT_EQ(plan.num_truncated_tokens, 5);
  const Row row = MakeRow(documents, plan.row(0));
  EXPECT_THAT(row.input_ids, ElementsAre(0, 1, 7, 8, 9, 10, 11, 12));
  EXPECT_THAT(row.labels, ElementsAre(-100, -100, -100, -100, -100, 10, 11, 12));
  EXPECT_THAT(row.position_ids, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(row.document_starts, ElementsAre(0));  // one document: the cut is no border

  // Half the row is the most a head may take; begin-of-text stays.
  const Documents long_head = Examples({Example(13, 10, /*num_head=*/5, /*num_bos=*/1)});
  ASSERT_OK_AND_ASSIGN(const RowPlan short_head,
                       PlanRows(long_head, {.max_sequence_length = 8, .whole_examples = true}));
  EXPECT_THAT(MakeRow(long_head, short_head.row(0)).input_ids,
              ElementsAre(0, 6, 7, 8, 9, 10, 11, 12));
}

TEST(ExamplePackingTest, ALongAnswerTakesTheHeadsPlaceAndThenIsLeftOut) {
  // 8 tokens of room: answers of 7 leave one for begin-of-text, answers of 8 none to predict from.
  const Documents documents = Examples(
      {Example(13, 6, /*num_head=*/3, /*num_bos=*/1), Example(13, 5, 3, 1), Example(9, 8)});
  ASSERT_OK_AND_ASSIGN(const RowPlan plan,
                       PlanRows(documents, {.max_sequence_length = 8, .whole_examples = true}));
  ASSERT_EQ(plan.num_rows(), 2);
  EXPECT_THAT(MakeRow(documents, plan.row(0)).input_ids, ElementsAre(0, 6, 7, 8, 9, 10, 11, 12));
  EXPECT_EQ(CountTargets(documents, plan.row(0)), 7);
  EXPECT_THAT(MakeRow(documents, plan.row(1)).input_ids, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_EQ(plan.num_answers_too_long, 1);
  EXPECT_EQ(plan.num_truncated, 2);
}

TEST(ExamplePackingTest, AnEarlierAnswerWithoutItsBeginningIsNoTarget) {
  // Targets 2-6 (an older answer) and 10-11 (the last).
  Document document = Example(12, 10, 1, 1);
  for (int32_t t = 2; t < 7; ++t) document.labels[t] = t;
  const Documents documents = Examples({document});
  ASSERT_OK_AND_ASSIGN(const RowPlan plan,
                       PlanRows(documents, {.max_sequence_length = 9, .whole_examples = true}));
  const Row row = MakeRow(documents, plan.row(0));
  EXPECT_THAT(row.input_ids, ElementsAre(0, 4, 5, 6, 7, 8, 9, 10, 11));
  EXPECT_THAT(row.labels, ElementsAre(-100, -100, -100, -100, -100, -100, -100, 10, 11));
  EXPECT_EQ(CountTargets(documents, plan.row(0)), 2);
}

TEST(ExamplePackingTest, LongExamplesAreDroppedOrRefusedOnRequest) {
  const Documents documents = Examples({Example(4, 2), Example(13, 10), Example(5, 3)});
  PackingOptions options = {.max_sequence_length = 8, .whole_examples = true};
  options.length_policy = common::LengthPolicy::kDrop;
  ASSERT_OK_AND_ASSIGN(const RowPlan plan, PlanRows(documents, options));
  EXPECT_EQ(plan.num_dropped, 1);
  EXPECT_EQ(plan.num_rows(), 2);
  options.length_policy = common::LengthPolicy::kError;
  EXPECT_THAT(PlanRows(documents, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "line 2: the example has 13 tokens, more than max_sequence_length 8"));
}

class RowDatasetTest : public ::testing::Test {
 protected:
  absl::StatusOr<RowDataset> Load(const PackingOptions& packing) {
    EXPECT_OK(common::AtomicWriteFile(directory_ / "data.jsonl",
                                      "{\"input_ids\": [1, 2, 3]}\n"
                                      "{\"input_ids\": [4, 5, 6, 7]}\n"));
    DocumentsOptions options;
    options.path = directory_ / "data.jsonl";
    options.example.format = common::DatasetFormat::kTokens;
    options.example.vocab_size = 10;
    return RowDataset::Load(options, packing);
  }
  testing::TemporaryDirectory directory_;
};

TEST_F(RowDatasetTest, CountsWhatIsInTheRowsAndTellsWhatIsNot) {
  ASSERT_OK_AND_ASSIGN(const RowDataset dataset, Load({.max_sequence_length = 3}));
  EXPECT_EQ(dataset.num_rows(), 2);
  EXPECT_EQ(dataset.stats().num_documents, 2);
  EXPECT_EQ(dataset.stats().num_tokens, 6);
  EXPECT_EQ(dataset.stats().num_targets, 4);
  EXPECT_DOUBLE_EQ(dataset.stats().fill_ratio, 1.0);
  EXPECT_THAT(dataset.stats().warnings,
              ElementsAre(HasSubstr("the last 1 of 7 tokens do not fill a row")));
  EXPECT_THAT(dataset.GetRow(1).input_ids, ElementsAre(4, 5, 6));

  ASSERT_OK_AND_ASSIGN(const RowDataset unpacked,
                       Load({.max_sequence_length = 4, .packing = false}));
  EXPECT_THAT(unpacked.stats().warnings, IsEmpty());
  EXPECT_DOUBLE_EQ(unpacked.stats().fill_ratio, 7.0 / 8.0);
}

TEST_F(RowDatasetTest, TooFewTokensForOneRowNameTheLengthAndTheTokensFound) {
  const auto dataset = Load({.max_sequence_length = 8});
  EXPECT_THAT(dataset, StatusIs(absl::StatusCode::kInvalidArgument,
                                "its 7 tokens do not fill one row of max_sequence_length 8"));
  EXPECT_OK(Load({.max_sequence_length = 8, .keep_partial_row = true}));
}

}  // namespace
}  // namespace longlora::trainer
