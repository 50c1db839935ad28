#include "tests/simulation/network.h"

#include <algorithm>

#include "rpc/grpc_status.h"

namespace longlora::simulation {
namespace {

// A call that gets no answer ends no later than this, whatever its own timeout: keep-alive notices
// that nobody is there.
constexpr absl::Duration kKeepAlive = absl::Seconds(12);

grpc::Status Unavailable() { return {grpc::StatusCode::UNAVAILABLE, "connection lost"}; }

// Ends every loop of a process that was killed and has to run to its end.
grpc::Status Gone(const std::string& what) {
  const bool is_report = what == "Synchronize";
  return rpc::ToGrpcStatus(
      rpc::MakeError(absl::StatusCode::kFailedPrecondition, "killed",
                     {is_report ? "WORKER_NAME_TAKEN" : "STALE_ATTEMPT", {}, {}}));
}

}  // namespace

grpc::Status Network::Carry(const Link& link, const CallOptions& options,
                            const Exchange& exchange) {
  Process* const caller = link.process;
  if (caller->dead) return Gone(options.what);
  ++calls_;
  const auto pending = std::make_shared<Pending>();
  std::shared_ptr<Pending> answers_to = pending;
  const bool late = random_.Chance(faults_->late);
  if (IsDown(*link.cable) || random_.Chance(faults_->request_lost)) {
    trace_->Add(caller->name, ": ", options.what, " is lost");
  } else {
    if (late || random_.Chance(faults_->answer_lost)) answers_to = nullptr;
    const absl::Duration delay =
        late ? random_.Between(absl::Milliseconds(100), kLateMax) : Delay();
    Send(link, options, exchange, delay, answers_to);
    if (random_.Chance(faults_->doubled)) {
      Send(link, options, exchange, delay + random_.Between(absl::ZeroDuration(), kLateMax),
           random_.Chance(0.5) ? answers_to : nullptr);
    }
  }
  // Without an answer the caller sees a broken connection now or then, or its own time is up.
  const absl::Duration patience =
      answers_to != nullptr
          ? options.timeout
          : std::min(options.timeout, random_.Between(absl::ZeroDuration(), kKeepAlive));
  const bool ended = fibers_->WaitFor(
      [&] { return pending->answered || pending->refused || caller->dead || options.cancelled(); },
      std::min(patience, kKeepAlive));
  if (caller->dead) return Gone(options.what);
  if (pending->answered) return grpc::Status::OK;
  if (options.cancelled()) return {grpc::StatusCode::CANCELLED, "cancelled"};
  trace_->Add(caller->name, ": ", options.what, " fails");
  return ended || patience < options.timeout
             ? Unavailable()
             : grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "no answer in time");
}

void Network::Send(const Link& link, const CallOptions& options, const Exchange& exchange,
                   absl::Duration delay, std::shared_ptr<Pending> pending) {
  Process* const caller = link.process;
  Process* const server = server_;
  const Cable* const cable = link.cable;
  fibers_->After(delay, [this, caller, server, cable, pending, exchange, what = options.what] {
    if (server == nullptr || server->dead) {
      if (pending != nullptr && !pending->answered) pending->refused = true;
      fibers_->Touch(caller);
      return;
    }
    fibers_->Spawn(server, what, [this, caller, server, cable, pending, exchange, what] {
      const std::shared_ptr<void> made = exchange.handle();
      if (server->dead || pending == nullptr) return;
      fibers_->After(Delay(), [this, caller, cable, pending, exchange, made] {
        if (pending->answered || caller->dead || IsDown(*cable)) return;
        exchange.accept(made);
        pending->answered = true;
        fibers_->Touch(caller);
      });
    });
  });
}

}  // namespace longlora::simulation
