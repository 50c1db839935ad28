#include "server/store/postgres_connection.h"

#include <endian.h>
#include <libpq-fe.h>

#include <array>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace longlora::server {
namespace {

// Numbers of PostgreSQL's built-in types (pg_type.dat), which never change.
constexpr Oid kBytea = 17;
constexpr Oid kInt8 = 20;
constexpr Oid kText = 25;
constexpr int kBinary = 1;  // format of values
// Of one connection: a server or a network that is gone answers nobody.
constexpr const char* kConnectTimeoutSeconds = "5";

struct ResultDeleter {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, ResultDeleter>;

absl::Status PostgresError(PGconn* connection, const PGresult* result, absl::string_view what) {
  const char* const state =
      result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const absl::string_view code = state == nullptr ? "" : state;
  const std::string message = absl::StrCat(
      "PostgreSQL, ", what, ": ",
      absl::StripSuffix(
          result == nullptr ? PQerrorMessage(connection) : PQresultErrorMessage(result), "\n"));
  if (code == "23505") return absl::AlreadyExistsError(message);  // unique_violation
  if (absl::StartsWith(code, "53")) return absl::ResourceExhaustedError(message);
  return absl::UnavailableError(message);
}

class PostgresConnection;

// Collects its values, runs with the first Step and then walks through the rows.
class PostgresStatement : public SqlStatement {
 public:
  PostgresStatement(PostgresConnection& connection, std::string sql)
      : connection_(connection), sql_(std::move(sql)) {}

  SqlStatement& Bind(int parameter, int64_t value) override {
    Value& bound = ValueOf(parameter);
    const uint64_t big_endian = htobe64(static_cast<uint64_t>(value));
    std::memcpy(bound.integer.data(), &big_endian, sizeof big_endian);
    bound.type = kInt8;
    return *this;
  }
  SqlStatement& BindText(int parameter, absl::string_view value) override {
    ValueOf(parameter) = {kText, value, {}};
    return *this;
  }
  SqlStatement& BindBlob(int parameter, absl::string_view value) override {
    ValueOf(parameter) = {kBytea, value, {}};
    return *this;
  }
  SqlStatement& BindNull(int parameter) override {
    ValueOf(parameter) = {kText, std::nullopt, {}};
    return *this;
  }

  absl::StatusOr<bool> Step() override;
  int64_t Int(int column) const override {
    if (PQgetisnull(result_.get(), row_, column) != 0) return 0;
    uint64_t big_endian = 0;
    std::memcpy(&big_endian, PQgetvalue(result_.get(), row_, column), sizeof big_endian);
    return static_cast<int64_t>(be64toh(big_endian));
  }
  absl::string_view Bytes(int column) const override {
    return {PQgetvalue(result_.get(), row_, column),
            static_cast<size_t>(PQgetlength(result_.get(), row_, column))};
  }

 private:
  struct Value {
    Oid type = kText;
    std::optional<absl::string_view> bytes;  // unset: NULL, or `integer`
    std::array<char, 8> integer = {};
  };
  Value& ValueOf(int parameter) {
    if (values_.size() < static_cast<size_t>(parameter))
      values_.resize(static_cast<size_t>(parameter));
    return values_[static_cast<size_t>(parameter) - 1];
  }

  PostgresConnection& connection_;
  const std::string sql_;
  std::vector<Value> values_;
  Result result_;
  int row_ = -1;
};

class PostgresConnection : public SqlConnection {
 public:
  explicit PostgresConnection(PGconn* connection) : connection_(connection) {}
  ~PostgresConnection() override { PQfinish(connection_); }
  PostgresConnection(const PostgresConnection&) = delete;
  PostgresConnection& operator=(const PostgresConnection&) = delete;

  absl::StatusOr<std::unique_ptr<SqlStatement>> Prepare(absl::string_view sql) override {
    // PostgreSQL writes $1 where SQLite writes ?1; the store's statements have no other question
    // mark.
    return std::make_unique<PostgresStatement>(*this, absl::StrReplaceAll(sql, {{"?", "$"}}));
  }

  absl::Status Execute(const char* sql) override {
    const Result result(PQexec(connection_, sql));
    const ExecStatusType status = PQresultStatus(result.get());
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return absl::OkStatus();
    return PostgresError(connection_, result.get(), sql);
  }

  absl::Status BeginRead() override {
    return Execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  }
  absl::Status BeginWrite() override { return Execute("BEGIN"); }
  bool InTransaction() const override {
    const PGTransactionStatusType status = PQtransactionStatus(connection_);
    return status == PQTRANS_INTRANS || status == PQTRANS_INERROR || status == PQTRANS_ACTIVE;
  }
  bool broken() const override { return PQstatus(connection_) != CONNECTION_OK; }
  std::string Translate(absl::string_view schema) const override {
    return absl::StrReplaceAll(schema,
                               {{"INTEGER", "BIGINT"}, {"BLOB", "BYTEA"}, {" WITHOUT ROWID", ""}});
  }

  // Runs `sql` with values of `types`; it is prepared when it comes for the first time.
  absl::StatusOr<Result> Run(const std::string& sql, const std::vector<Oid>& types,
                             const std::vector<const char*>& values,
                             const std::vector<int>& lengths) {
    const auto [found, is_new] = names_.try_emplace(sql, absl::StrCat("longlora_", names_.size()));
    const auto count = static_cast<int>(types.size());
    if (is_new) {
      const Result prepared(
          PQprepare(connection_, found->second.c_str(), sql.c_str(), count, types.data()));
      if (PQresultStatus(prepared.get()) != PGRES_COMMAND_OK) {
        names_.erase(found);
        return PostgresError(connection_, prepared.get(), sql);
      }
    }
    const std::vector<int> formats(types.size(), kBinary);
    Result result(PQexecPrepared(connection_, found->second.c_str(), count, values.data(),
                                 lengths.data(), formats.data(), kBinary));
    const ExecStatusType status = PQresultStatus(result.get());
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return result;
    return PostgresError(connection_, result.get(), sql);
  }

 private:
  PGconn* const connection_;
  absl::flat_hash_map<std::string, std::string> names_;  // of prepared statements, by their SQL
};

absl::StatusOr<bool> PostgresStatement::Step() {
  if (result_ == nullptr) {
    std::vector<Oid> types;
    std::vector<const char*> values;
    std::vector<int> lengths;
    for (const Value& value : values_) {
      types.push_back(value.type);
      if (value.type == kInt8) {
        values.push_back(value.integer.data());
        lengths.push_back(static_cast<int>(value.integer.size()));
      } else {
        // An empty view may have no address, which libpq takes for NULL.
        values.push_back(!value.bytes.has_value() ? nullptr
                         : value.bytes->empty()   ? ""
                                                  : value.bytes->data());
        lengths.push_back(value.bytes.has_value() ? static_cast<int>(value.bytes->size()) : 0);
      }
    }
    LONGLORA_ASSIGN_OR_RETURN(result_, connection_.Run(sql_, types, values, lengths));
  }
  return ++row_ < PQntuples(result_.get());
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqlConnection>> OpenPostgres(const std::string& url) {
  // What the URL says of these wins: it is expanded later.
  const char* const keywords[] = {"application_name", "connect_timeout", "dbname", nullptr};
  const char* const values[] = {"longlora-server", kConnectTimeoutSeconds, url.c_str(), nullptr};
  constexpr int kExpandDbname = 1;
  PGconn* const raw = PQconnectdbParams(keywords, values, kExpandDbname);
  auto connection = std::make_unique<PostgresConnection>(raw);
  if (connection->broken()) return PostgresError(raw, nullptr, "connect");
  // The last two: when our machine vanishes, the database lets go of our lock within seconds.
  LONGLORA_RETURN_IF_ERROR(
      connection->Execute("SET synchronous_commit = on; SET client_min_messages = warning;"
                          "SET tcp_keepalives_idle = 2; SET tcp_keepalives_interval = 1;"
                          "SET tcp_keepalives_count = 3; SET tcp_user_timeout = 5000"));
  return std::unique_ptr<SqlConnection>(std::move(connection));
}

}  // namespace longlora::server
