// Goal: segments are exactly the method's, for any length and any documents.
// Method: golden lists for small rows, and a sweep that compares the borders with the formula
// seg(i) = floor(i / G), shifted floor((i + G/2) / G), refined by document.
#include "worker/trainer/attention/segments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace longlora::trainer {
namespace {

using ::testing::ElementsAre;

TEST(SegmentsTest, UnshiftedHeadsCutEveryGroupAndShiftedHeadsHalfAGroupEarlier) {
  const RowSegments row = ShiftedSparseSegments({0, 16}, 4);
  EXPECT_THAT(row.unshifted, ElementsAre(0, 4, 8, 12, 16));
  EXPECT_THAT(row.shifted, ElementsAre(0, 2, 6, 10, 14, 16));
}

TEST(SegmentsTest, LastGroupIsShorterWhenTheGroupSizeDoesNotDivideTheRow) {
  const RowSegments row = ShiftedSparseSegments({0, 11}, 4);
  EXPECT_THAT(row.unshifted, ElementsAre(0, 4, 8, 11));
  EXPECT_THAT(row.shifted, ElementsAre(0, 2, 6, 10, 11));
}

TEST(SegmentsTest, DocumentBordersCutBothHalvesAndCoincidingBordersCountOnce) {
  const RowSegments row = ShiftedSparseSegments({0, 3, 8, 10}, 4);
  EXPECT_THAT(row.unshifted, ElementsAre(0, 3, 4, 8, 10));
  EXPECT_THAT(row.shifted, ElementsAre(0, 2, 3, 6, 8, 10));
}

TEST(SegmentsTest, RowShorterThanHalfAGroupIsOneSegment) {
  const RowSegments row = ShiftedSparseSegments({0, 2}, 8);
  EXPECT_THAT(row.unshifted, ElementsAre(0, 2));
  EXPECT_THAT(row.shifted, ElementsAre(0, 2));
}

TEST(SegmentsTest, DenseSegmentsAreTheDocuments) {
  const RowSegments row = DenseSegments(DocumentBorders({0, 3}, 8));
  EXPECT_THAT(row.unshifted, ElementsAre(0, 3, 8));
  EXPECT_EQ(row.unshifted, row.shifted);
}

TEST(SegmentsTest, BordersEqualTheFormulaForManyLengthsGroupsAndDocuments) {
  const auto borders_of = [](int64_t length, auto key) {
    Borders borders = {0};
    for (int64_t i = 1; i < length; ++i) {
      if (key(i) != key(i - 1)) borders.push_back(i);
    }
    borders.push_back(length);
    return borders;
  };
  for (int64_t length = 1; length <= 40; ++length) {
    for (int64_t group = 2; group <= 18; group += 2) {
      for (const int64_t cut : {int64_t{0}, length / 3, length / 2}) {
        const auto document = [&](int64_t i) { return i < cut ? 0 : 1; };
        const RowSegments row = ShiftedSparseSegments(
            cut == 0 ? Borders{0, length} : DocumentBorders({0, cut}, length), group);
        EXPECT_EQ(row.unshifted,
                  borders_of(length, [&](int64_t i) { return std::pair(document(i), i / group); }));
        EXPECT_EQ(row.shifted, borders_of(length, [&](int64_t i) {
                    return std::pair(document(i), (i + group / 2) / group);
                  }));
      }
    }
  }
}

TEST(SegmentRunsTest, ShiftedHeadsOfAWholeRowAreThreeRuns) {
  const RowSegments row = ShiftedSparseSegments({0, 16}, 4);
  EXPECT_THAT(SegmentRuns(row.unshifted), ElementsAre(SegmentRun{0, 4, 4}));
  EXPECT_THAT(SegmentRuns(row.shifted),
              ElementsAre(SegmentRun{0, 2, 1}, SegmentRun{2, 4, 3}, SegmentRun{14, 2, 1}));
}

TEST(HeadPiecesTest, SplitOnAKeyValueBorderIsOnePiece) {
  EXPECT_THAT(HeadPieces(0, 16, 32, 8), ElementsAre(HeadPiece{0, 16, 0, 4}));
  EXPECT_THAT(HeadPieces(16, 32, 32, 8), ElementsAre(HeadPiece{16, 32, 4, 8}));
}

TEST(HeadPiecesTest, MultiQueryHalvesShareTheOneKeyValueHead) {
  EXPECT_THAT(HeadPieces(0, 3, 7, 1), ElementsAre(HeadPiece{0, 3, 0, 1}));
  EXPECT_THAT(HeadPieces(3, 7, 7, 1), ElementsAre(HeadPiece{3, 7, 0, 1}));
}

TEST(HeadPiecesTest, SplitInsideAKeyValueHeadCutsOnlyThatHeadOff) {
  EXPECT_THAT(HeadPieces(0, 4, 9, 3), ElementsAre(HeadPiece{0, 3, 0, 1}, HeadPiece{3, 4, 1, 2}));
  EXPECT_THAT(HeadPieces(4, 9, 9, 3), ElementsAre(HeadPiece{4, 6, 1, 2}, HeadPiece{6, 9, 2, 3}));
}

TEST(HeadPiecesTest, EveryQueryHeadMeetsItsOwnKeyValueHead) {
  for (const int64_t num_kv : {1, 2, 3, 4, 5}) {
    for (const int64_t share : {1, 2, 3, 4}) {
      const int64_t num_heads = num_kv * share;
      for (int64_t begin = 0; begin < num_heads; ++begin) {
        for (int64_t end = begin + 1; end <= num_heads; ++end) {
          int64_t next = begin;
          const std::vector<HeadPiece> pieces = HeadPieces(begin, end, num_heads, num_kv);
          EXPECT_LE(pieces.size(), 3u);
          for (const HeadPiece& piece : pieces) {
            const int64_t q = piece.q_end - piece.q_begin, kv = piece.kv_end - piece.kv_begin;
            ASSERT_EQ(q % kv, 0);
            for (int64_t i = 0; i < q; ++i) {
              EXPECT_EQ(piece.q_begin + i, next++);
              EXPECT_EQ(piece.kv_begin + i / (q / kv), (piece.q_begin + i) / share);
            }
          }
          EXPECT_EQ(next, end);
        }
      }
    }
  }
}

}  // namespace
}  // namespace longlora::trainer
