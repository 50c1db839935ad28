// Where the device-seconds of an attempt go, told from its events as they come. Pure; kept beside
// the job in the store, with its progress.
//
// Time is cut at the events: what lies between two of them belongs to what the later one ends. The
// cuts never run backwards nor ahead of the server, whatever the worker's clock says, so that the
// classes of an attempt always sum up to its length times its devices.
#ifndef LONGLORA_SERVER_SCHEDULER_DEVICE_LEDGER_H_
#define LONGLORA_SERVER_SCHEDULER_DEVICE_LEDGER_H_

#include <cstdint>

#include "absl/time/time.h"
#include "longlora/v1/fine_tune_job.pb.h"

namespace longlora::server {

// What the account of an attempt rests on besides its events.
struct LedgerFacts {
  int devices = 1;
  absl::Time start;          // of the attempt
  int64_t steps_before = 0;  // the last step that an earlier attempt of the job reported
};

// Takes in the next event of the attempt, which the server received at `now`.
void AccountEvent(const v1::JobEvent& event, absl::Time now, const LedgerFacts& facts,
                  v1::Progress& progress);

// What the time since the last event was, when the attempt ends.
enum class LastStretch { kPreparing, kStalled, kFinishing, kStopping };
// The attempt ends at `now`.
void CloseLedger(LastStretch last, absl::Time now, const LedgerFacts& facts,
                 v1::Progress& progress);

// All of its classes.
double TotalOf(const v1::DeviceLedger& ledger);

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_SCHEDULER_DEVICE_LEDGER_H_
