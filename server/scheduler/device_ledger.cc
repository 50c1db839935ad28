#include "server/scheduler/device_ledger.h"

#include <algorithm>
#include <cmath>

#include "server/store/stored_job.h"
#include "server/store/timestamps.h"

namespace longlora::server {
namespace {

// Moves the cut to `time` as far as it may; the seconds in between.
double Cut(absl::Time time, absl::Time now, const LedgerFacts& facts, v1::Progress& progress) {
  const absl::Time before =
      progress.has_ledger_time() ? FromTimestamp(progress.ledger_time()) : facts.start;
  const absl::Time cut = std::max(before, std::min(time, now));
  *progress.mutable_ledger_time() = ToTimestamp(cut);
  // Of what was stored, which has the resolution of a Timestamp.
  return absl::ToDoubleSeconds(FromTimestamp(progress.ledger_time()) - before);
}

void AccountStep(const v1::Step& step, double seconds, const LedgerFacts& facts,
                 v1::DeviceLedger& ledger) {
  const double told = static_cast<double>(step.tokens()) / step.tokens_per_second();
  const double computed = std::isfinite(told) && told > 0.0 ? std::min(told, seconds) : seconds;
  const double waited = std::clamp(step.checkpoint_seconds(), 0.0, seconds - computed);
  if (step.step() <= facts.steps_before) {
    ledger.set_recomputed(ledger.recomputed() + computed * facts.devices);
  } else {
    ledger.set_training(ledger.training() + computed * facts.devices);
  }
  ledger.set_checkpointing(ledger.checkpointing() + waited * facts.devices);
  ledger.set_stalled(ledger.stalled() + (seconds - computed - waited) * facts.devices);
}

void AccountLast(LastStretch last, double device_seconds, v1::DeviceLedger& ledger) {
  switch (last) {
    case LastStretch::kPreparing:
      return ledger.set_preparing(ledger.preparing() + device_seconds);
    case LastStretch::kStalled:
      return ledger.set_stalled(ledger.stalled() + device_seconds);
    case LastStretch::kFinishing:
      return ledger.set_finishing(ledger.finishing() + device_seconds);
    case LastStretch::kStopping:
      return ledger.set_stopping(ledger.stopping() + device_seconds);
  }
}

}  // namespace

void AccountEvent(const v1::JobEvent& event, absl::Time now, const LedgerFacts& facts,
                  v1::Progress& progress) {
  const absl::Time time = FromTimestamp(event.event_time());
  v1::DeviceLedger& ledger = *progress.mutable_ledger();
  switch (event.body_case()) {
    case v1::JobEvent::kPrepared:
      return AccountLast(LastStretch::kPreparing, Cut(time, now, facts, progress) * facts.devices,
                         ledger);
    case v1::JobEvent::kStep:
      return AccountStep(event.step(), Cut(time, now, facts, progress), facts, ledger);
    case v1::JobEvent::kEvaluation:
      return ledger.set_evaluating(ledger.evaluating() +
                                   Cut(time, now, facts, progress) * facts.devices);
    case v1::JobEvent::kFinished:
      return AccountLast(
          event.finished().stopped() ? LastStretch::kStopping : LastStretch::kFinishing,
          Cut(time, now, facts, progress) * facts.devices, ledger);
    default:
      return;
  }
}

void CloseLedger(LastStretch last, absl::Time now, const LedgerFacts& facts,
                 v1::Progress& progress) {
  AccountLast(last, Cut(now, now, facts, progress) * facts.devices, *progress.mutable_ledger());
}

double TotalOf(const v1::DeviceLedger& ledger) {
  double total = 0.0;
  for (const auto& [use, seconds] : UsesOf(ledger)) total += seconds;
  return total;
}

}  // namespace longlora::server
