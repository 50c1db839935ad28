// Goal: the store in SQLite keeps every promise of JobStore, alone on its file.
// Method: the conformance suite on a temporary folder, then what only SQLite has.
#include "server/store/sqlite_job_store.h"

#include <fstream>

#include "tests/server/store/job_store_conformance.h"

namespace longlora::server {
namespace {

INSTANTIATE_TEST_SUITE_P(Sqlite, JobStoreConformance,
                         ::testing::Values([](const std::string& folder) {
                           return OpenSqliteJobStore(folder + "/jobs.db");
                         }));

TEST(SqliteJobStoreTest, SecondServerOnTheSameFileIsRefused) {
  const testing::TemporaryDirectory folder;
  ASSERT_OK_AND_ASSIGN(const auto store, OpenSqliteJobStore(folder / "jobs.db"));
  EXPECT_THAT(OpenSqliteJobStore(folder / "jobs.db"),
              StatusIs(absl::StatusCode::kFailedPrecondition, "another longlora-server"));
}

TEST(SqliteJobStoreTest, FileThatIsNoDatabaseIsRefusedAndLeftAlone) {
  const testing::TemporaryDirectory folder;
  const std::string text(4096, 'x');
  std::ofstream(folder / "jobs.db") << text;
  EXPECT_THAT(OpenSqliteJobStore(folder / "jobs.db"),
              StatusIs(absl::StatusCode::kUnavailable, "not a database"));
  std::ifstream file(folder / "jobs.db");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), text);
}

TEST(SqliteJobStoreTest, MissingFolderIsNamed) {
  EXPECT_THAT(OpenSqliteJobStore("/nonexistent/jobs.db"),
              StatusIs(absl::StatusCode::kNotFound, "/nonexistent/jobs.db"));
}

}  // namespace
}  // namespace longlora::server
