// What lies between workers or users and the server. A call may be lost on the way there or back,
// be done twice, or be given up and done long afterwards; whole links may be down. Who calls never
// knows which it was. A message ends with the connection it came on: what was sent to one life of
// the server does not reach the next.
#ifndef LONGLORA_TESTS_SIMULATION_NETWORK_H_
#define LONGLORA_TESTS_SIMULATION_NETWORK_H_

#include <grpcpp/support/status.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tests/simulation/faults.h"
#include "tests/simulation/fibers.h"
#include "tests/simulation/trace.h"

namespace longlora::simulation {

// What a caller has given up may still be done so much later.
inline constexpr absl::Duration kLateMax = absl::Seconds(25);

// The cable between a machine and the server.
struct Cable {
  absl::Duration down_until;
};

// One end of a connection to the server.
struct Link {
  Process* process = nullptr;  // whose end it is
  Cable* cable = nullptr;
};

struct CallOptions {
  std::string what;  // for the trace
  absl::Duration timeout;
  std::function<bool()> cancelled = [] { return false; };
};

class Network {
 public:
  Network(Random random, Fibers* fibers, const Faults* faults, Trace* trace)
      : random_(random), fibers_(fibers), faults_(faults), trace_(trace) {}

  // The server's present life; nullptr: nobody listens.
  void SetServer(Process* server) { server_ = server; }

  // Blocks the calling fiber. `handle` runs in the server, once, several times or not at all, and
  // perhaps after the caller is gone: it holds what it needs.
  template <typename Response>
  grpc::Status Call(const Link& link, const CallOptions& options,
                    std::function<grpc::Status(Response*)> handle, Response* response) {
    struct Answer {
      grpc::Status status;
      Response response;
    };
    auto answer = std::make_shared<Answer>();
    const Exchange exchange = {.handle =
                                   [handle = std::move(handle)] {
                                     auto made = std::make_shared<Answer>();
                                     made->status = handle(&made->response);
                                     return std::shared_ptr<void>(std::move(made));
                                   },
                               .accept =
                                   [answer](const std::shared_ptr<void>& made) {
                                     *answer = *static_cast<Answer*>(made.get());
                                   }};
    const grpc::Status carried = Carry(link, options, exchange);
    if (!carried.ok()) return carried;
    if (answer->status.ok()) *response = std::move(answer->response);
    return answer->status;
  }

  // Whether a transfer that is about to begin breaks off.
  bool Cuts() { return random_.Chance(faults_->cut); }
  int64_t CutAt(int64_t bytes) { return random_.Between(0, bytes); }

  int64_t calls() const { return calls_; }

 private:
  struct Exchange {
    std::function<std::shared_ptr<void>()> handle;
    std::function<void(const std::shared_ptr<void>&)> accept;
  };
  struct Pending {
    bool answered = false;
    bool refused = false;  // nobody listens
  };

  grpc::Status Carry(const Link& link, const CallOptions& options, const Exchange& exchange);
  void Send(const Link& link, const CallOptions& options, const Exchange& exchange,
            absl::Duration delay, std::shared_ptr<Pending> pending);
  bool IsDown(const Cable& cable) const { return cable.down_until > fibers_->now(); }
  absl::Duration Delay() { return random_.Between(absl::Milliseconds(1), faults_->delay_max); }

  Random random_;
  Fibers* const fibers_;
  const Faults* const faults_;
  Trace* const trace_;
  Process* server_ = nullptr;
  int64_t calls_ = 0;
};

}  // namespace longlora::simulation

#endif  // LONGLORA_TESTS_SIMULATION_NETWORK_H_
