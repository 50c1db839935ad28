#include "tests/simulation/faulty_connection.h"

#include <cstring>
#include <utility>

namespace longlora::simulation {
namespace {

absl::Status Gone() { return absl::UnavailableError("the process was killed"); }

// Fails once its process is dead.
class MortalStatement : public server::SqlStatement {
 public:
  MortalStatement(std::unique_ptr<server::SqlStatement> inner, const Process* process)
      : inner_(std::move(inner)), process_(process) {}
  SqlStatement& Bind(int parameter, int64_t value) override {
    inner_->Bind(parameter, value);
    return *this;
  }
  SqlStatement& BindText(int parameter, absl::string_view value) override {
    inner_->BindText(parameter, value);
    return *this;
  }
  SqlStatement& BindBlob(int parameter, absl::string_view value) override {
    inner_->BindBlob(parameter, value);
    return *this;
  }
  SqlStatement& BindNull(int parameter) override {
    inner_->BindNull(parameter);
    return *this;
  }
  absl::StatusOr<bool> Step() override {
    if (process_->dead) return Gone();
    return inner_->Step();
  }
  int64_t Int(int column) const override { return inner_->Int(column); }
  absl::string_view Bytes(int column) const override { return inner_->Bytes(column); }

 private:
  const std::unique_ptr<server::SqlStatement> inner_;
  const Process* const process_;
};

class FaultyConnection : public server::SqlConnection {
 public:
  FaultyConnection(std::unique_ptr<server::SqlConnection> inner, StoreFaults faults)
      : inner_(std::move(inner)), faults_(std::move(faults)) {}

  absl::StatusOr<std::unique_ptr<server::SqlStatement>> Prepare(absl::string_view sql) override {
    if (lost()) return Gone();
    LONGLORA_ASSIGN_OR_RETURN(std::unique_ptr<server::SqlStatement> statement,
                              inner_->Prepare(sql));
    return std::make_unique<MortalStatement>(std::move(statement), faults_.process);
  }
  absl::Status Execute(const char* sql) override {
    if (lost()) return Gone();
    return std::strcmp(sql, "COMMIT") == 0 ? Commit() : inner_->Execute(sql);
  }
  absl::Status BeginRead() override { return lost() ? Gone() : inner_->BeginRead(); }
  absl::Status BeginWrite() override { return lost() ? Gone() : inner_->BeginWrite(); }
  bool InTransaction() const override { return !lost() && inner_->InTransaction(); }
  bool broken() const override { return broken_; }
  std::string Translate(absl::string_view schema) const override {
    return inner_->Translate(schema);
  }

 private:
  bool lost() const { return broken_ || faults_.process->dead; }

  absl::Status Commit() {
    const Faults& faults = *faults_.faults;
    if (faults_.random->Chance(faults.commit_refused)) {
      faults_.trace->Add("the store refuses a commit");
      inner_->Execute("ROLLBACK").IgnoreError();
      return absl::ResourceExhaustedError("disk full");
    }
    if (faults_.random->Chance(faults.crash_before_commit)) {
      faults_.trace->Add("the server is killed before a commit");
      faults_.on_crash();
      return Gone();
    }
    LONGLORA_RETURN_IF_ERROR(inner_->Execute("COMMIT"));
    if (faults_.random->Chance(faults.crash_after_commit)) {
      faults_.trace->Add("the server is killed after a commit");
      faults_.on_crash();
      return Gone();
    }
    if (faults_.random->Chance(faults.commit_unclear)) {
      faults_.trace->Add("the store commits and does not say so");
      broken_ = true;
      return absl::UnavailableError("connection lost");
    }
    return absl::OkStatus();
  }

  const std::unique_ptr<server::SqlConnection> inner_;
  const StoreFaults faults_;
  bool broken_ = false;
};

}  // namespace

std::unique_ptr<server::SqlConnection> MakeFaultyConnection(
    std::unique_ptr<server::SqlConnection> inner, StoreFaults faults) {
  return std::make_unique<FaultyConnection>(std::move(inner), std::move(faults));
}

}  // namespace longlora::simulation
