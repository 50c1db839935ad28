// What a call comes to: decided, but not to be told before the store has what it rests on. Lets a
// caller wait without a thread: `ticket().OnDecided(...)`, then Get. Get must be called, whoever is
// still interested: it also does what follows from the store's decision. Belongs to one thread at a
// time.
#ifndef LONGLORA_SERVER_SCHEDULER_ANSWER_H_
#define LONGLORA_SERVER_SCHEDULER_ANSWER_H_

#include <type_traits>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/commit_ticket.h"

namespace longlora::server {

template <typename T>
class Answer {
 public:
  using Finish = absl::AnyInvocable<absl::StatusOr<T>()>;

  // Known already: a value or an error.
  template <typename V>
    requires std::is_convertible_v<V, absl::StatusOr<T>>
  Answer(V&& value)
      : finish_([value = absl::StatusOr<T>(std::forward<V>(value))]() mutable {
          return std::move(value);
        }) {}
  // Known when `ticket` is decided; `finish` then tells it.
  Answer(CommitTicket ticket, Finish finish)
      : ticket_(std::move(ticket)), finish_(std::move(finish)) {}

  // Once it is decided, Get waits for nothing more, or in rare cases for another commit.
  const CommitTicket& ticket() const { return ticket_; }

  // Waits for the answer. Call once.
  absl::StatusOr<T> Get() {
    ticket_.Wait().IgnoreError();  // what a refusal means is for finish_ to say
    return finish_();
  }

  // The answer that `next` makes of this one, once it is known; takes it over. `next` gets an
  // absl::StatusOr<T> and returns an absl::StatusOr<U>.
  template <typename F>
  auto Then(F next) && -> Answer<typename std::invoke_result_t<F, absl::StatusOr<T>>::value_type> {
    return {std::move(ticket_), [finish = std::move(finish_), next = std::move(next)]() mutable {
              return next(finish());
            }};
  }

 private:
  CommitTicket ticket_;
  Finish finish_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_ANSWER_H_
