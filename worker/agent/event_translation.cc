#include "worker/agent/event_translation.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <variant>

#include "absl/strings/string_view.h"

namespace longlora::worker {
namespace {

constexpr size_t kEventListMax = 64;  // elements of a list kept

// `text` made fit for a proto3 string: valid UTF-8 (a cut may have split a character), bounded.
std::string CleanText(absl::string_view text) {
  std::string clean;
  size_t i = 0;
  while (i < text.size() && clean.size() < kEventTextBytesMax - 4) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const size_t length = byte < 0x80    ? 1
                          : byte >= 0xF0 ? 4
                          : byte >= 0xE0 ? 3
                          : byte >= 0xC2 ? 2
                                         : 0;
    bool valid = length > 0 && i + length <= text.size() && byte < 0xF5;
    for (size_t k = 1; valid && k < length; ++k) {
      valid = (static_cast<unsigned char>(text[i + k]) & 0xC0) == 0x80;
    }
    // Overlong forms, surrogates and what lies beyond U+10FFFF (RFC 3629, section 4).
    if (valid && length > 2) {
      const auto second = static_cast<unsigned char>(text[i + 1]);
      valid = !(byte == 0xE0 && second < 0xA0) && !(byte == 0xED && second > 0x9F) &&
              !(byte == 0xF0 && second < 0x90) && !(byte == 0xF4 && second > 0x8F);
    }
    if (valid) {
      clean.append(text.data() + i, length);
      i += length;
    } else {
      clean.push_back('?');
      ++i;
    }
  }
  return clean;
}

struct BodyWriter {
  api::JobEvent* out;

  bool operator()(const common::PreparedEvent& event) const {
    api::Prepared* body = out->mutable_prepared();
    body->set_total_steps(event.total_steps);
    body->set_start_step(event.start_step);
    body->set_parameter_count(event.parameters);
    body->set_trainable_parameter_count(event.trainable_parameters);
    body->set_training_row_count(event.training_rows);
    body->set_training_token_count(event.training_tokens);
    body->set_validation_token_count(event.validation_tokens);
    body->set_fill_ratio(event.fill_ratio);
    if (event.memory_bytes.has_value()) body->set_memory_bytes(*event.memory_bytes);
    if (event.dense_start_step.has_value()) body->set_dense_start_step(*event.dense_start_step);
    if (event.estimated_memory_bytes.has_value()) {
      body->set_estimated_memory_bytes(*event.estimated_memory_bytes);
    }
    return true;
  }
  bool operator()(const common::StepEvent& event) const {
    api::Step* body = out->mutable_step();
    body->set_step(event.step);
    body->set_loss(event.loss);
    body->set_learning_rate(event.learning_rate);
    body->set_grad_norm(event.grad_norm);
    body->set_tokens(event.tokens);
    body->set_tokens_per_second(event.tokens_per_second);
    body->set_memory_bytes(event.memory_bytes);
    body->set_skipped(event.skipped);
    body->set_skipped_steps(event.skipped_steps);
    body->set_checkpoint_seconds(event.checkpoint_seconds);
    return true;
  }
  bool operator()(const common::EvaluationEvent& event) const {
    api::Evaluation* body = out->mutable_evaluation();
    body->set_step(event.step);
    body->set_loss(event.loss);
    body->set_perplexity(event.perplexity);
    body->set_tokens(event.tokens);
    if (event.training_pattern_loss.has_value()) {
      body->set_training_pattern_loss(*event.training_pattern_loss);
    }
    WriteLists(event, body);
    return true;
  }
  bool operator()(const common::CheckpointEvent&) const { return false; }
  bool operator()(const common::WarningEvent& event) const {
    out->mutable_warning()->set_message(CleanText(event.message));
    return true;
  }
  bool operator()(const common::LogEvent& event) const {
    out->mutable_log()->set_message(CleanText(event.message));
    out->mutable_log()->set_rank(event.rank);
    return true;
  }
  bool operator()(const common::ErrorEvent& event) const {
    out->mutable_error()->set_reason(CleanText(event.reason));
    out->mutable_error()->set_message(CleanText(event.message));
    return true;
  }
  bool operator()(const common::FinishedEvent& event) const {
    out->mutable_finished()->set_step(event.step);
    out->mutable_finished()->set_stopped(event.stopped);
    if (event.weights_step.has_value()) {
      out->mutable_finished()->set_weights_step(*event.weights_step);
    }
    out->mutable_finished()->set_early_stop(CleanText(event.early_stop));
    return true;
  }

 private:
  // The trainer is not trusted: its lists are bounded.
  static void WriteLists(const common::EvaluationEvent& event, api::Evaluation* body) {
    for (size_t i = 0; i < std::min(event.buckets.size(), kEventListMax); ++i) {
      api::PositionBucket* bucket = body->add_buckets();
      bucket->set_begin(event.buckets[i].begin);
      bucket->set_end(event.buckets[i].end);
      bucket->set_loss(event.buckets[i].loss);
      bucket->set_tokens(event.buckets[i].tokens);
    }
    for (size_t i = 0; i < std::min(event.passkey.size(), kEventListMax); ++i) {
      api::PasskeyResult* result = body->add_passkey();
      result->set_length(event.passkey[i].length);
      result->set_trials(event.passkey[i].trials);
      result->set_correct(event.passkey[i].correct);
    }
  }
};

}  // namespace

std::optional<api::JobEvent> ToJobEvent(const common::TrainerEvent& event) {
  api::JobEvent result;
  if (!std::visit(BodyWriter{&result}, event.body)) return std::nullopt;
  // The range of a Timestamp; a trainer's clock may be anything.
  constexpr double kSecondsMax = 253402300799.0;
  const double time =
      std::isfinite(event.time) ? std::min(std::max(event.time, 0.0), kSecondsMax) : 0.0;
  const double seconds = std::floor(time);
  result.mutable_event_time()->set_seconds(static_cast<int64_t>(seconds));
  result.mutable_event_time()->set_nanos(static_cast<int32_t>((time - seconds) * 1e9));
  return result;
}

}  // namespace longlora::worker
