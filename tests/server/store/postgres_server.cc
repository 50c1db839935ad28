#include "tests/server/store/postgres_server.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace longlora::testing {
namespace {

constexpr char kBin[] = "/usr/lib/postgresql/15/bin/";

std::string Quote(const std::string& text) { return absl::StrCat("'", text, "'"); }

}  // namespace

PostgresServer::PostgresServer() {
  if (geteuid() == 0 &&
      std::system(absl::StrCat("chown postgres ", directory_.path()).c_str()) != 0) {
    std::abort();
  }
  const bool made = Run(absl::StrCat(kBin, "initdb -D ", directory_.path(),
                                     "/data -A trust -U longlora -E UTF8 --locale=C --no-sync"));
  if (!made) std::abort();
  Start();
}

PostgresServer::~PostgresServer() {
  Run(absl::StrCat(kBin, "pg_ctl -D ", directory_.path(), "/data -m immediate -w stop"));
}

bool PostgresServer::Run(const std::string& command) {
  const std::string log = directory_ / "log";
  const std::string inner =
      absl::StrCat("cd ", directory_.path(), "; ", command, " >>", log, " 2>&1");
  const std::string whole = geteuid() == 0
                                ? absl::StrCat("runuser -u postgres -- sh -c ", Quote(inner))
                                : absl::StrCat("sh -c ", Quote(inner));
  if (std::system(whole.c_str()) == 0) return true;
  std::fprintf(stderr, "failed: %s; the log:\n", command.c_str());
  [[maybe_unused]] const int shown = std::system(absl::StrCat("tail -n 20 ", log, " >&2").c_str());
  return false;
}

void PostgresServer::Start() {
  const std::string options = absl::StrCat("\"-k ", directory_.path(), " -c listen_addresses=\"");
  if (!Run(absl::StrCat(kBin, "pg_ctl -D ", directory_.path(), "/data -l ", directory_.path(),
                        "/server.log -w -o ", options, " start"))) {
    std::abort();
  }
}

void PostgresServer::Kill() {
  // Each session is a child with a process group of its own; a stopped parent makes no more of
  // them. Until somebody waits for it, a dead postmaster's number makes a new one believe that it
  // lives.
  const std::string pid_file = directory_ / "data/postmaster.pid";
  Run(absl::StrCat("pid=$(head -n 1 ", pid_file, "); kill -STOP $pid; pkill -KILL -P $pid; ",
                   "kill -KILL $pid; rm ", pid_file, " ", directory_.path(), "/.s.PGSQL.*"));
}

bool PostgresServer::Sql(const std::string& sql) {
  return Run(absl::StrCat(kBin, "psql -q -h ", directory_.path(),
                          " -U longlora -d postgres -v ON_ERROR_STOP=1 -c \"", sql, "\""));
}

std::string PostgresServer::Database(const std::string& name) {
  Run(absl::StrCat(kBin, "psql -q -h ", directory_.path(), " -U longlora -d postgres -tAc ",
                   "\"SELECT 1 FROM pg_database WHERE datname = \\$\\$", name,
                   "\\$\\$\" | grep -q 1 || ", kBin, "createdb -h ", directory_.path(),
                   " -U longlora ", name));
  return absl::StrCat("postgresql://longlora@/", name, "?host=", directory_.path());
}

}  // namespace longlora::testing
