// Goal: an older file is brought up to date, a newer one is refused and not touched.
// Method: real files, their version table edited by hand.
#include "server/store/sqlite_schema.h"

#include "gtest/gtest.h"
#include "server/store/sqlite_job_store.h"
#include "tests/server/store/job_transactions.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

using ::longlora::testing::StatusIs;

TEST(SqliteSchemaTest, EmptyFileGetsThePresentVersion) {
  const testing::TemporaryDirectory folder;
  ASSERT_OK_AND_ASSIGN(const auto connection, SqliteConnection::Open(folder / "jobs.db"));
  ASSERT_OK(MigrateSqliteSchema(*connection));
  ASSERT_OK_AND_ASSIGN(sqlite3_stmt* const sql,
                       connection->Prepare("SELECT version FROM schema_version"));
  SqliteStatement read(connection->get(), sql);
  ASSERT_OK_AND_ASSIGN(const bool found, read.Step());
  ASSERT_TRUE(found);
  EXPECT_EQ(read.Int(0), SqliteSchemaVersion());
}

TEST(SqliteSchemaTest, MigratingAgainChangesNothing) {
  const testing::TemporaryDirectory folder;
  ASSERT_OK_AND_ASSIGN(const auto connection, SqliteConnection::Open(folder / "jobs.db"));
  ASSERT_OK(MigrateSqliteSchema(*connection));
  ASSERT_OK(connection->Execute("INSERT INTO workers VALUES('workers/a', x'')"));
  ASSERT_OK(MigrateSqliteSchema(*connection));
  ASSERT_OK_AND_ASSIGN(sqlite3_stmt* const sql,
                       connection->Prepare("SELECT count(*) FROM workers"));
  SqliteStatement read(connection->get(), sql);
  ASSERT_OK_AND_ASSIGN(const bool found, read.Step());
  ASSERT_TRUE(found);
  EXPECT_EQ(read.Int(0), 1);
}

TEST(SqliteSchemaTest, NewerSchemaIsRefusedAndKept) {
  const testing::TemporaryDirectory folder;
  {
    ASSERT_OK_AND_ASSIGN(const auto store, SqliteJobStore::Open(folder / "jobs.db"));
    ASSERT_OK(store->Enqueue(CreateJob("alpha-1", 1)).Wait());
  }
  {
    ASSERT_OK_AND_ASSIGN(const auto connection, SqliteConnection::Open(folder / "jobs.db"));
    ASSERT_OK(connection->Execute("UPDATE schema_version SET version = version + 1"));
  }
  EXPECT_THAT(SqliteJobStore::Open(folder / "jobs.db"),
              StatusIs(absl::StatusCode::kFailedPrecondition, "newer longlora-server"));
  {
    ASSERT_OK_AND_ASSIGN(const auto connection, SqliteConnection::Open(folder / "jobs.db"));
    ASSERT_OK(connection->Execute("UPDATE schema_version SET version = version - 1"));
  }
  ASSERT_OK_AND_ASSIGN(const auto store, SqliteJobStore::Open(folder / "jobs.db"));
  EXPECT_OK(store->ReadJob("alpha-1"));
}

}  // namespace
}  // namespace longlora::server
