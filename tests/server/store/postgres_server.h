// A real PostgreSQL server of the test's own: in a temporary directory, on a Unix socket there,
// gone with its owner. Root runs it as the user `postgres`, because PostgreSQL refuses root.
#ifndef LONGLORA_TESTS_SERVER_STORE_POSTGRES_SERVER_H_
#define LONGLORA_TESTS_SERVER_STORE_POSTGRES_SERVER_H_

#include <string>

#include "tests/testing/temporary_directory.h"

namespace longlora::testing {

class PostgresServer {
 public:
  // Ends the program when the server does not start.
  PostgresServer();
  ~PostgresServer();
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  // The URL of a database, which is created when it is asked for first.
  std::string Database(const std::string& name);
  // Runs SQL in the database `postgres`, as its superuser; true: it went well.
  bool Sql(const std::string& sql);
  // SIGKILL to all of it; and up again on the same data.
  void Kill();
  void Start();

 private:
  // A shell command as the server's user; true: it exited with 0.
  bool Run(const std::string& command);

  TemporaryDirectory directory_;
};

}  // namespace longlora::testing

#endif  // LONGLORA_TESTS_SERVER_STORE_POSTGRES_SERVER_H_
