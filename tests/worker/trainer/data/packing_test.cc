// Goal: rows hold every token once, in order, no document is predicted from another, and nothing is
// left out silently. Method: documents of known tokens cut by hand; then random documents against
// the definitions, token by token.
#include "worker/trainer/data/packing.h"

#include <random>

#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "worker/trainer/data/row_dataset.h"

namespace longlora::trainer {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Documents of the given lengths with tokens 0, 1, 2, ... all through.
Documents Counting(const std::vector<int64_t>& lengths) {
  Documents documents;
  for (const int64_t length : lengths) {
    documents.begins.push_back(documents.num_tokens());
    for (int64_t i = 0; i < length; ++i)
      documents.ids.push_back(static_cast<int32_t>(documents.ids.size()));
  }
  return documents;
}

TEST(PackingTest, DocumentsAreJoinedAndCutAtTheRowLength) {
  const Documents documents = Counting({3, 6, 2});
  const RowPlan plan = PlanRows(documents, {.max_sequence_length = 4});
  ASSERT_EQ(plan.rows.size(), 2u);
  EXPECT_EQ(plan.num_dropped_tokens, 3);

  const Row first = MakeRow(documents, plan.rows[0]);
  EXPECT_THAT(first.input_ids, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(first.labels, ElementsAre(-100, 1, 2, -100));
  EXPECT_THAT(first.position_ids, ElementsAre(0, 1, 2, 0));
  EXPECT_THAT(first.document_starts, ElementsAre(0, 3));

  // The second document goes on: in its new row it starts again at position 0.
  const Row second = MakeRow(documents, plan.rows[1]);
  EXPECT_THAT(second.input_ids, ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(second.labels, ElementsAre(-100, 5, 6, 7));
  EXPECT_THAT(second.position_ids, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(second.document_starts, ElementsAre(0));
}

TEST(PackingTest, ValidationKeepsTheShortLastRow) {
  const Documents documents = Counting({3, 6, 2});
  const RowPlan plan = PlanRows(documents, {.max_sequence_length = 4, .keep_partial_row = true});
  ASSERT_EQ(plan.rows.size(), 3u);
  EXPECT_EQ(plan.num_dropped_tokens, 0);
  const Row last = MakeRow(documents, plan.rows[2]);
  EXPECT_THAT(last.input_ids, ElementsAre(8, 9, 10));
  EXPECT_THAT(last.labels, ElementsAre(-100, -100, 10));
  EXPECT_THAT(last.document_starts, ElementsAre(0, 1));
}

TEST(PackingTest, WithoutPackingEveryDocumentStartsARow) {
  const Documents documents = Counting({3, 9});
  const RowPlan plan = PlanRows(documents, {.max_sequence_length = 4, .packing = false});
  ASSERT_EQ(plan.rows.size(), 3u);
  EXPECT_THAT(MakeRow(documents, plan.rows[0]).input_ids, ElementsAre(0, 1, 2));
  EXPECT_THAT(MakeRow(documents, plan.rows[1]).input_ids, ElementsAre(3, 4, 5, 6));
  EXPECT_THAT(MakeRow(documents, plan.rows[2]).input_ids, ElementsAre(7, 8, 9, 10));
  EXPECT_EQ(plan.num_rows_without_target, 1);  // token 11 alone predicts nothing
}

TEST(PackingTest, RowsInWhichNothingIsATargetAreLeftOutAndCounted) {
  Documents documents = Counting({4, 4});
  documents.labels = {0, -100, -100, -100, -100, -100, 6, -100};
  const RowPlan plan = PlanRows(documents, {.max_sequence_length = 4});
  ASSERT_EQ(plan.rows.size(), 1u);
  EXPECT_EQ(plan.rows[0].begin, 4);
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
    const RowPlan plan =
        PlanRows(documents, {.max_sequence_length = row_length, .keep_partial_row = true});
    for (const RowRange& range : plan.rows) {
      const Row row = MakeRow(documents, range);
      int64_t num_targets = 0;
      for (int64_t t = 0; t < range.end - range.begin; ++t) {
        const int64_t token = range.begin + t;  // its id too
        EXPECT_EQ(row.input_ids[t], token);
        const int64_t document =
            *(std::upper_bound(documents.begins.begin(), documents.begins.end(), token) - 1);
        const int64_t start = std::max(document, range.begin);
        EXPECT_EQ(row.position_ids[t], token - start);
        EXPECT_EQ(row.labels[t], token == start ? -100 : token);
        EXPECT_EQ(std::count(row.document_starts.begin(), row.document_starts.end(), t),
                  token == start);
        num_targets += row.labels[t] != -100;
      }
      EXPECT_EQ(CountTargets(documents, range), num_targets);
      EXPECT_GT(num_targets, 0);
    }
  }
}

TEST(PackingTest, CollatedRowsArePaddedOnTheRightAsADocumentOfItsOwn) {
  const Documents documents = Counting({3, 5});
  const RowBatch batch =
      CollateRows({MakeRow(documents, {0, 3}), MakeRow(documents, {3, 8})}, /*padding_id=*/77);
  EXPECT_EQ(batch.num_rows, 2);
  EXPECT_EQ(batch.length, 5);
  EXPECT_THAT(batch.input_ids, ElementsAre(0, 1, 2, 77, 77, 3, 4, 5, 6, 7));
  EXPECT_THAT(batch.labels, ElementsAre(-100, 1, 2, -100, -100, -100, 4, 5, 6, 7));
  EXPECT_THAT(batch.position_ids, ElementsAre(0, 1, 2, 0, 1, 0, 1, 2, 3, 4));
  EXPECT_THAT(batch.document_starts, ElementsAre(ElementsAre(0, 3), ElementsAre(0)));
  EXPECT_EQ(batch.num_tokens, 8);
  EXPECT_EQ(batch.num_targets, 6);
}

class RowDatasetTest : public ::testing::Test {
 protected:
  absl::StatusOr<RowDataset> Load(const PackingOptions& packing) {
    EXPECT_OK(common::AtomicWriteFile(directory_ / "data.jsonl",
                                      "{\"input_ids\": [1, 2, 3]}\n"
                                      "{\"input_ids\": [4, 5, 6, 7]}\n"));
    DocumentsOptions options;
    options.path = directory_ / "data.jsonl";
    options.format = common::DatasetFormat::kTokens;
    options.vocab_size = 10;
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
