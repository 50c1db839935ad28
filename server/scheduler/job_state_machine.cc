#include "server/scheduler/job_state_machine.h"

#include <iterator>

namespace longlora::server {
namespace {

using Job = v1::FineTuneJob;

struct Row {
  Job::State from;
  Job::State next[std::size(kJobTriggers)];  // in the order of kJobTriggers; kNo: refused
};

constexpr Job::State kNo = Job::STATE_UNSPECIFIED;

// PREPARING and RUNNING differ only in what the user sees. A job may succeed while PREPARING: a
// resumed attempt can find that its checkpoint was the last, and results may be committed before
// events arrive. A PAUSING job may succeed or fail, too: its attempt may have been done. However
// the attempt of a CANCELLING job ends, also by success, the job becomes CANCELLED: that is what
// its user was told. Asking again for what was asked changes nothing, so that a call can be
// repeated.
// clang-format off
constexpr Row kTable[] = {
    // from            assign          prepared         requeue      succeed         fail         pause         resume          cancel           release
    {Job::QUEUED,     {Job::PREPARING, kNo,             kNo,         kNo,            kNo,         Job::PAUSED,  Job::QUEUED,    Job::CANCELLED,  kNo}},
    {Job::PREPARING,  {kNo,            Job::RUNNING,    Job::QUEUED, Job::SUCCEEDED, Job::FAILED, Job::PAUSING, Job::PREPARING, Job::CANCELLING, kNo}},
    {Job::RUNNING,    {kNo,            Job::RUNNING,    Job::QUEUED, Job::SUCCEEDED, Job::FAILED, Job::PAUSING, Job::RUNNING,   Job::CANCELLING, kNo}},
    {Job::PAUSING,    {kNo,            Job::PAUSING,    kNo,         Job::SUCCEEDED, Job::FAILED, Job::PAUSING, kNo,            Job::CANCELLING, Job::PAUSED}},
    {Job::PAUSED,     {kNo,            kNo,             kNo,         kNo,            kNo,         Job::PAUSED,  Job::QUEUED,    Job::CANCELLED,  kNo}},
    {Job::CANCELLING, {kNo,            Job::CANCELLING, kNo,         kNo,            kNo,         kNo,          kNo,            Job::CANCELLING, Job::CANCELLED}},
    {Job::SUCCEEDED,  {}},
    {Job::FAILED,     {}},
    {Job::CANCELLED,  {}},
};
// clang-format on

}  // namespace

std::optional<Job::State> NextJobState(Job::State state, JobTrigger trigger) {
  for (const Row& row : kTable) {
    if (row.from != state) continue;
    const Job::State next = row.next[static_cast<size_t>(trigger)];
    if (next == kNo) return std::nullopt;
    return next;
  }
  return std::nullopt;  // a state this program does not know
}

bool HasActiveAttempt(Job::State state) {
  return state == Job::PREPARING || state == Job::RUNNING || state == Job::PAUSING ||
         state == Job::CANCELLING;
}

absl::string_view JobTriggerName(JobTrigger trigger) {
  constexpr absl::string_view kNames[] = {"assign", "prepared", "requeue", "succeed", "fail",
                                          "pause",  "resume",   "cancel",  "release"};
  static_assert(std::size(kNames) == std::size(kJobTriggers));
  return kNames[static_cast<size_t>(trigger)];
}

}  // namespace longlora::server
