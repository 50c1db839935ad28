// Goal: the table of states is total and says exactly this.
// Method: every state (also unknown ones) × every trigger against a table written by hand from the
// design.
#include "server/scheduler/job_state_machine.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/store/stored_job.h"

namespace longlora::server {
namespace {

using Job = v1::FineTuneJob;
using T = JobTrigger;

// Every pair that is allowed; a pair that is missing must be refused.
const std::map<std::pair<Job::State, JobTrigger>, Job::State> kAllowed = {
    {{Job::QUEUED, T::kAssign}, Job::PREPARING},
    {{Job::QUEUED, T::kPause}, Job::PAUSED},
    {{Job::QUEUED, T::kResume}, Job::QUEUED},
    {{Job::QUEUED, T::kCancel}, Job::CANCELLED},
    {{Job::PREPARING, T::kPrepared}, Job::RUNNING},
    {{Job::PREPARING, T::kRequeue}, Job::QUEUED},
    {{Job::PREPARING, T::kSucceed}, Job::SUCCEEDED},
    {{Job::PREPARING, T::kFail}, Job::FAILED},
    {{Job::PREPARING, T::kPause}, Job::PAUSING},
    {{Job::PREPARING, T::kResume}, Job::PREPARING},
    {{Job::PREPARING, T::kCancel}, Job::CANCELLING},
    {{Job::RUNNING, T::kPrepared}, Job::RUNNING},
    {{Job::RUNNING, T::kRequeue}, Job::QUEUED},
    {{Job::RUNNING, T::kSucceed}, Job::SUCCEEDED},
    {{Job::RUNNING, T::kFail}, Job::FAILED},
    {{Job::RUNNING, T::kPause}, Job::PAUSING},
    {{Job::RUNNING, T::kResume}, Job::RUNNING},
    {{Job::RUNNING, T::kCancel}, Job::CANCELLING},
    {{Job::PAUSING, T::kPrepared}, Job::PAUSING},
    {{Job::PAUSING, T::kSucceed}, Job::SUCCEEDED},
    {{Job::PAUSING, T::kFail}, Job::FAILED},
    {{Job::PAUSING, T::kPause}, Job::PAUSING},
    {{Job::PAUSING, T::kCancel}, Job::CANCELLING},
    {{Job::PAUSING, T::kRelease}, Job::PAUSED},
    {{Job::PAUSED, T::kPause}, Job::PAUSED},
    {{Job::PAUSED, T::kResume}, Job::QUEUED},
    {{Job::PAUSED, T::kCancel}, Job::CANCELLED},
    {{Job::CANCELLING, T::kPrepared}, Job::CANCELLING},
    {{Job::CANCELLING, T::kCancel}, Job::CANCELLING},
    {{Job::CANCELLING, T::kRelease}, Job::CANCELLED},
};

TEST(JobStateMachineTest, EveryStateAnswersEveryTriggerAsTheTableSays) {
  for (int state = Job::State_MIN; state <= Job::State_MAX + 1; ++state) {
    for (const JobTrigger trigger : kJobTriggers) {
      const auto from = static_cast<Job::State>(state);
      const std::optional<Job::State> next = NextJobState(from, trigger);
      const auto allowed = kAllowed.find({from, trigger});
      if (allowed == kAllowed.end()) {
        EXPECT_FALSE(next.has_value()) << Job::State_Name(from) << " x " << JobTriggerName(trigger);
      } else {
        EXPECT_EQ(next, allowed->second)
            << Job::State_Name(from) << " x " << JobTriggerName(trigger);
      }
    }
  }
}

TEST(JobStateMachineTest, FinalStatesNeverChange) {
  for (const Job::State state : {Job::SUCCEEDED, Job::FAILED, Job::CANCELLED}) {
    EXPECT_TRUE(IsFinal(state));
    for (const JobTrigger trigger : kJobTriggers)
      EXPECT_FALSE(NextJobState(state, trigger).has_value());
  }
}

TEST(JobStateMachineTest, EveryStateThatIsNotFinalLeadsToAFinalOne) {
  for (int state = Job::QUEUED; state <= Job::State_MAX; ++state) {
    std::vector<Job::State> reached = {static_cast<Job::State>(state)};
    bool ends = false;
    for (size_t i = 0; i < reached.size(); ++i) {
      ends = ends || IsFinal(reached[i]);
      for (const JobTrigger trigger : kJobTriggers) {
        const std::optional<Job::State> next = NextJobState(reached[i], trigger);
        if (next.has_value() && std::find(reached.begin(), reached.end(), *next) == reached.end()) {
          reached.push_back(*next);
        }
      }
    }
    EXPECT_TRUE(ends) << Job::State_Name(static_cast<Job::State>(state));
  }
}

}  // namespace
}  // namespace longlora::server
