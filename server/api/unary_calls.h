// Answers unary calls without a thread for each: gRPC calls back when a request is there, a few
// threads decide, and the answer is sent when the store has what it rests on. So the number of
// calls that wait for the disk costs memory only, and has a limit, beyond which callers are told to
// come again. Users and workers have one each, so that neither takes the other's room. Used by the
// services. Thread-safe.
#ifndef LONGLORA_SERVER_API_UNARY_CALLS_H_
#define LONGLORA_SERVER_API_UNARY_CALLS_H_

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/api/call_pool.h"
#include "server/api/edge_status.h"
#include "server/api/limits.h"
#include "server/scheduler/answer.h"

namespace longlora::server {

class UnaryCalls {
 public:
  // How long the decision takes: most calls need no more than memory and the store; one that reads
  // a whole dataset waits for others of its kind, not they for it.
  enum class Length { kShort, kLong };

  UnaryCalls(int threads, const Limits& limits)
      : max_calls_(limits.calls), max_message_bytes_(limits.message_bytes), short_(threads) {}

  // For a service method to return. `decide` makes an Answer<Response>, or an absl::StatusOr of it,
  // on one of the threads, unless the call is refused (INVALID_ARGUMENT, MESSAGE_TOO_LARGE;
  // RESOURCE_EXHAUSTED, TOO_MANY_CALLS) or its caller gave up before. It may use `request` until
  // its answer is told.
  template <typename Request, typename Response, typename Decide>
  grpc::ServerUnaryReactor* Start(grpc::CallbackServerContext* context, const Request* request,
                                  Response* response, Decide decide,
                                  Length length = Length::kShort) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    if (absl::Status status = Enter(request->ByteSizeLong()); !status.ok()) {
      return Refuse(reactor, status);
    }
    CallPool& pool = length == Length::kShort ? short_ : long_;
    pool.Post([this, context, reactor, response, decide = std::move(decide)]() mutable {
      // Who waits too long gives up; work for nobody would make the others wait longer still.
      if (context->IsCancelled()) return Tell<Response>(reactor, response, CallerGone());
      auto answer = std::make_shared<Answer<Response>>(Answer<Response>(decide()));
      if (answer->ticket().decided()) return Tell(reactor, response, answer->Get());
      const CommitTicket ticket = answer->ticket();
      ticket.OnDecided([this, reactor, response, answer = std::move(answer)] {
        short_.Post([=, this] { Tell(reactor, response, answer->Get()); });
      });
    });
    return reactor;
  }

  // The same for a call that is refused with `status`.
  static grpc::ServerUnaryReactor* Refuse(grpc::ServerUnaryReactor* reactor,
                                          const absl::Status& status) {
    reactor->Finish(ToReply(status));
    return reactor;
  }

 private:
  absl::Status Enter(size_t message_bytes);
  static absl::Status CallerGone() { return absl::CancelledError("the caller gave up"); }

  template <typename Response>
  void Tell(grpc::ServerUnaryReactor* reactor, Response* response,
            absl::StatusOr<Response> answer) {
    --in_flight_;
    reactor->Finish(ToReply(std::move(answer), response));
  }

  const int max_calls_;
  const int64_t max_message_bytes_;
  std::atomic<int> in_flight_ = 0;
  CallPool short_;
  CallPool long_{1};  // destroyed first: what it decides is told by the other
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_UNARY_CALLS_H_
