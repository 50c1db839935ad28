// Goal: an older file is brought up to date, a newer one is refused and not touched.
// Method: real files, their version table edited by hand.
#include "server/store/sql_schema.h"

#include "gtest/gtest.h"
#include "server/store/sqlite_connection.h"
#include "server/store/sqlite_job_store.h"
#include "tests/server/store/job_transactions.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

using ::longlora::testing::StatusIs;

TEST(SqlSchemaTest, EmptyFileGetsThePresentVersion) {
  const testing::TemporaryDirectory folder;
  ASSERT_OK_AND_ASSIGN(const auto connection, OpenSqlite(folder / "jobs.db"));
  ASSERT_OK(MigrateSchema(*connection));
  ASSERT_OK_AND_ASSIGN(const auto read, connection->Prepare("SELECT version FROM schema_version"));
  ASSERT_OK_AND_ASSIGN(const bool found, read->Step());
  ASSERT_TRUE(found);
  EXPECT_EQ(read->Int(0), SchemaVersion());
}

TEST(SqlSchemaTest, MigratingAgainChangesNothing) {
  const testing::TemporaryDirectory folder;
  ASSERT_OK_AND_ASSIGN(const auto connection, OpenSqlite(folder / "jobs.db"));
  ASSERT_OK(MigrateSchema(*connection));
  ASSERT_OK(connection->Execute("INSERT INTO workers VALUES('workers/a', x'')"));
  ASSERT_OK(MigrateSchema(*connection));
  ASSERT_OK_AND_ASSIGN(const auto read, connection->Prepare("SELECT count(*) FROM workers"));
  ASSERT_OK_AND_ASSIGN(const bool found, read->Step());
  ASSERT_TRUE(found);
  EXPECT_EQ(read->Int(0), 1);
}

TEST(SqlSchemaTest, OlderSchemaIsBroughtUpToDateWithItsJobs) {
  const testing::TemporaryDirectory folder;
  {
    ASSERT_OK_AND_ASSIGN(const auto store, OpenSqliteJobStore(folder / "jobs.db"));
    ASSERT_OK(store->Enqueue(CreateJob("alpha-1", 1)).Wait());
  }
  {
    // As version 1 left it.
    ASSERT_OK_AND_ASSIGN(const auto connection, OpenSqlite(folder / "jobs.db"));
    ASSERT_OK(connection->Execute("DROP TABLE takeovers; UPDATE schema_version SET version = 1"));
  }
  ASSERT_OK_AND_ASSIGN(const auto store, OpenSqliteJobStore(folder / "jobs.db"));
  EXPECT_OK(store->ReadJob("alpha-1"));
  ASSERT_OK_AND_ASSIGN(const auto connection, OpenSqlite(folder / "jobs.db"));
  EXPECT_OK(connection->Execute("SELECT count FROM takeovers"));
}

TEST(SqlSchemaTest, NewerSchemaIsRefusedAndKept) {
  const testing::TemporaryDirectory folder;
  {
    ASSERT_OK_AND_ASSIGN(const auto store, OpenSqliteJobStore(folder / "jobs.db"));
    ASSERT_OK(store->Enqueue(CreateJob("alpha-1", 1)).Wait());
  }
  {
    ASSERT_OK_AND_ASSIGN(const auto connection, OpenSqlite(folder / "jobs.db"));
    ASSERT_OK(connection->Execute("UPDATE schema_version SET version = version + 1"));
  }
  EXPECT_THAT(OpenSqliteJobStore(folder / "jobs.db"),
              StatusIs(absl::StatusCode::kFailedPrecondition, "newer longlora-server"));
  {
    ASSERT_OK_AND_ASSIGN(const auto connection, OpenSqlite(folder / "jobs.db"));
    ASSERT_OK(connection->Execute("UPDATE schema_version SET version = version - 1"));
  }
  ASSERT_OK_AND_ASSIGN(const auto store, OpenSqliteJobStore(folder / "jobs.db"));
  EXPECT_OK(store->ReadJob("alpha-1"));
}

TEST(SqlSchemaTest, ReaderWantsExactlyThePresentVersion) {
  const testing::TemporaryDirectory folder;
  ASSERT_OK_AND_ASSIGN(const auto connection, OpenSqlite(folder / "jobs.db"));
  EXPECT_THAT(CheckSchema(*connection),
              StatusIs(absl::StatusCode::kUnavailable, "the first server that leads makes it"));
  EXPECT_THAT(CheckSchema(*connection), StatusIs(absl::StatusCode::kUnavailable, "no such table"))
      << "and looking made nothing";
  ASSERT_OK(MigrateSchema(*connection));
  EXPECT_OK(CheckSchema(*connection));
  for (const char* other : {"UPDATE schema_version SET version = version + 1",
                            "UPDATE schema_version SET version = version - 2"}) {
    ASSERT_OK(connection->Execute(other));
    EXPECT_THAT(CheckSchema(*connection), StatusIs(absl::StatusCode::kUnavailable, "one version"));
  }
}

}  // namespace
}  // namespace longlora::server
