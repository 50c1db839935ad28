#include "server/api/rate_limit.h"

#include <algorithm>

namespace longlora::server {
namespace {

constexpr absl::Duration kStep = absl::Milliseconds(1);
constexpr size_t kForgetFrom = 1024;  // clients

}  // namespace

absl::Duration RateLimit::Take(absl::string_view client) {
  if (per_second_ <= 0) return absl::ZeroDuration();
  const common::MonotonicTime now = clock_->MonotonicNow();
  absl::MutexLock lock(&mutex_);
  if (buckets_.size() >= std::max(forget_at_, kForgetFrom)) ForgetFull(now);
  const auto [found, is_new] = buckets_.try_emplace(client, Bucket{burst_, now});
  Bucket& bucket = found->second;
  bucket = {TokensAt(bucket, now), now};
  if (bucket.tokens < 1) {
    // Rounded up, so that who comes then is not a hair too early.
    return absl::Floor(absl::Seconds((1 - bucket.tokens) / per_second_), kStep) + kStep;
  }
  bucket.tokens -= 1;
  return absl::ZeroDuration();
}

size_t RateLimit::client_count() const {
  absl::MutexLock lock(&mutex_);
  return buckets_.size();
}

double RateLimit::TokensAt(const Bucket& bucket, common::MonotonicTime now) const {
  return std::min(burst_, bucket.tokens + per_second_ * absl::ToDoubleSeconds(now - bucket.at));
}

// A full bucket is as good as none. Looking at all of them is paid for by those that came since.
void RateLimit::ForgetFull(common::MonotonicTime now) {
  absl::erase_if(buckets_,
                 [&](const auto& entry) { return TokensAt(entry.second, now) >= burst_; });
  forget_at_ = 2 * buckets_.size();
}

}  // namespace longlora::server
