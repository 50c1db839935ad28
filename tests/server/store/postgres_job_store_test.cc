// Goal: the store in PostgreSQL keeps every promise of JobStore, survives lost sessions and a
// killed database, and never has two writers. Method: the conformance suite on a real PostgreSQL, a
// database for each test; then sessions ended by the database's superuser, and SIGKILL.
#include "server/store/postgres_job_store.h"

#include <memory>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "server/store/postgres_connection.h"
#include "tests/server/store/job_store_conformance.h"
#include "tests/server/store/postgres_server.h"

namespace longlora::server {
namespace {

// One for all tests; stops when the program ends.
testing::PostgresServer& Postgres() {
  static testing::PostgresServer server;
  return server;
}

// A database for each folder of the suite.
std::string DatabaseOf(const std::string& folder) {
  return absl::StrReplaceAll(folder.substr(folder.rfind('/') + 1), {{"-", "_"}, {".", "_"}});
}

INSTANTIATE_TEST_SUITE_P(Postgres, JobStoreConformance,
                         ::testing::Values([](const std::string& folder) {
                           return OpenPostgresJobStore(
                               Postgres().Database(absl::AsciiStrToLower(DatabaseOf(folder))));
                         }));

// The sessions of a database's writers and readers.
std::string EndSessions(const std::string& database) {
  return absl::StrCat(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = \\$\\$", database,
      "\\$\\$");
}

// Tries until the store is well again: replacing a session takes it a call.
absl::Status CreateEventually(JobStore& store, int64_t order) {
  absl::Status status;
  for (int i = 0; i < 200; ++i) {
    status = store.Enqueue(CreateJob(absl::StrCat("job-", order), order)).Wait();
    // A commit whose answer was lost.
    if (status.ok() || absl::IsAlreadyExists(status)) return absl::OkStatus();
    absl::SleepFor(absl::Milliseconds(50));
  }
  return status;
}

TEST(PostgresJobStoreTest, SecondServerOnTheSameDatabaseIsRefused) {
  const std::string url = Postgres().Database("second");
  ASSERT_OK_AND_ASSIGN(auto store, OpenPostgresJobStore(url));
  EXPECT_THAT(OpenPostgresJobStore(url),
              StatusIs(absl::StatusCode::kAlreadyExists, "another longlora-server"));
  store.reset();
  EXPECT_OK(OpenPostgresJobStore(url));
}

TEST(PostgresJobStoreTest, EndedSessionsAreReplaced) {
  ASSERT_OK_AND_ASSIGN(auto store, OpenPostgresJobStore(Postgres().Database("ended")));
  ASSERT_OK(CreateEventually(*store, 1));
  ASSERT_OK(store->ReadJob("job-1"));  // a reading session, too
  EXPECT_OK(store->Confirm().Wait());
  ASSERT_TRUE(Postgres().Sql(EndSessions("ended")));
  EXPECT_THAT(store->Enqueue(CreateJob("job-2", 2)).Wait(),
              StatusIs(absl::StatusCode::kUnavailable, "PostgreSQL"));
  EXPECT_OK(CreateEventually(*store, 2));
  EXPECT_OK(store->ReadJob("job-1"));
  EXPECT_OK(store->ReadJob("job-2"));
}

TEST(PostgresJobStoreTest, ServerThatLostItsSessionToAnotherWritesNoMore) {
  const std::string url = Postgres().Database("taken");
  std::atomic<int> lost = 0;
  ASSERT_OK_AND_ASSIGN(auto old_server, OpenPostgresJobStore(url, {}, [&](const absl::Status& why) {
                         EXPECT_THAT(why, StatusIs(absl::StatusCode::kAlreadyExists, "another"));
                         ++lost;
                       }));
  ASSERT_OK(CreateEventually(*old_server, 1));
  ASSERT_TRUE(Postgres().Sql(EndSessions("taken")));
  ASSERT_OK_AND_ASSIGN(auto new_server, OpenPostgresJobStore(url));
  ASSERT_OK(CreateEventually(*new_server, 2));
  absl::Status status = old_server->Enqueue(CreateJob("job-3", 3)).Wait();
  EXPECT_FALSE(status.ok()) << "its session was ended";
  status = old_server->Enqueue(CreateJob("job-3", 3)).Wait();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition, "another longlora-server"));
  EXPECT_EQ(lost, 1);
  EXPECT_THAT(new_server->ReadJob("job-3"), StatusIs(absl::StatusCode::kNotFound, ""));
}

TEST(PostgresJobStoreTest, ServerThatWasReplacedMeanwhileWritesNoMoreEither) {
  const std::string url = Postgres().Database("replaced");
  int lost = 0;
  ASSERT_OK_AND_ASSIGN(auto old_server,
                       OpenPostgresJobStore(url, {}, [&](const absl::Status&) { ++lost; }));
  ASSERT_OK(CreateEventually(*old_server, 1));
  ASSERT_TRUE(Postgres().Sql(EndSessions("replaced")));
  {
    ASSERT_OK_AND_ASSIGN(auto new_server, OpenPostgresJobStore(url));
    ASSERT_OK(CreateEventually(*new_server, 2));
  }
  EXPECT_FALSE(old_server->Confirm().Wait().ok()) << "its session was ended";
  EXPECT_THAT(old_server->Confirm().Wait(),
              StatusIs(absl::StatusCode::kFailedPrecondition, "had this job store"));
  EXPECT_EQ(lost, 1);
}

TEST(PostgresJobStoreTest, AcknowledgedJobsSurviveAKilledDatabase) {
  ASSERT_OK_AND_ASSIGN(auto store, OpenPostgresJobStore(Postgres().Database("killed")));
  for (int64_t order = 1; order <= 50; ++order) ASSERT_OK(CreateEventually(*store, order));
  Postgres().Kill();
  EXPECT_THAT(store->Enqueue(CreateJob("job-51", 51)).Wait(),
              StatusIs(absl::StatusCode::kUnavailable, "PostgreSQL"));
  Postgres().Start();
  ASSERT_OK(CreateEventually(*store, 51));
  ASSERT_OK_AND_ASSIGN(const auto jobs, store->ListJobs({.limit = 1000}));
  EXPECT_EQ(jobs.size(), 51u);
}

TEST(PostgresJobStoreTest, ReaderSeesWhatAnotherServerWritesAndWaitsForItsFirstStart) {
  const std::string url = Postgres().Database("read");
  const std::unique_ptr<JobStoreReader> reader = OpenPostgresReader(url);
  EXPECT_THAT(reader->ReadJob("job-1"),
              StatusIs(absl::StatusCode::kUnavailable, "the first server that leads makes it"));
  ASSERT_OK_AND_ASSIGN(auto store, OpenPostgresJobStore(url));
  EXPECT_THAT(reader->ReadJob("job-1"), StatusIs(absl::StatusCode::kNotFound, "job-1"));
  for (int64_t order = 1; order <= 20; ++order) {
    const std::string id = absl::StrCat("job-", order);
    ASSERT_OK(store->Enqueue(CreateJob(id, order)).Wait());
    EXPECT_OK(reader->ReadJob(id)) << "as soon as it is durable";
  }
  store.reset();
  ASSERT_OK_AND_ASSIGN(const auto jobs, reader->ListJobs({.limit = 1000}));
  EXPECT_THAT(jobs, SizeIs(20)) << "whether a server leads or not";
  ASSERT_TRUE(Postgres().Sql(EndSessions("read")));
  EXPECT_OK(reader->ReadEvents("job-1", 0, 10)) << "on a new session";
}

TEST(PostgresJobStoreTest, ReaderRefusesAnotherSchema) {
  const std::string url = Postgres().Database("read_newer");
  ASSERT_OK(OpenPostgresJobStore(url));
  ASSERT_OK_AND_ASSIGN(const auto connection, OpenPostgres(url));
  ASSERT_OK(connection->Execute("UPDATE schema_version SET version = version + 1"));
  EXPECT_THAT(OpenPostgresReader(url)->NewestOrder(),
              StatusIs(absl::StatusCode::kUnavailable, "all servers of a store"));
}

TEST(PostgresJobStoreTest, NewerSchemaIsRefused) {
  const std::string url = Postgres().Database("newer");
  ASSERT_OK(OpenPostgresJobStore(url));
  ASSERT_OK_AND_ASSIGN(const auto connection, OpenPostgres(url));
  ASSERT_OK(connection->Execute("UPDATE schema_version SET version = version + 1"));
  EXPECT_THAT(OpenPostgresJobStore(url),
              StatusIs(absl::StatusCode::kFailedPrecondition, "newer longlora-server"));
}

TEST(PostgresJobStoreTest, DatabaseThatIsNotThereIsUnavailableWithItsWords) {
  EXPECT_THAT(OpenPostgresJobStore("postgresql:///none?host=/nonexistent"),
              StatusIs(absl::StatusCode::kUnavailable, "/nonexistent"));
}

}  // namespace
}  // namespace longlora::server
