#include "worker/trainer/data/first_fit.h"

#include <algorithm>

namespace longlora::trainer {

// Twice the leaves; the new ones are unused rows.
void FirstFit::Grow() {
  const std::vector<int64_t> before(room_.begin() + static_cast<int64_t>(num_leaves_), room_.end());
  num_leaves_ = std::max<size_t>(64, 2 * num_leaves_);
  room_.assign(2 * num_leaves_, row_length_);
  std::copy(before.begin(), before.end(), room_.begin() + static_cast<int64_t>(num_leaves_));
  for (size_t node = num_leaves_ - 1; node >= 1; --node) {
    room_[node] = std::max(room_[2 * node], room_[2 * node + 1]);
  }
}

size_t FirstFit::Place(int64_t length) {
  while (num_leaves_ == 0 || room_[1] < length) Grow();
  size_t node = 1;
  while (node < num_leaves_) node = room_[2 * node] >= length ? 2 * node : 2 * node + 1;
  const size_t row = node - num_leaves_;
  room_[node] -= length;
  while (node > 1) {
    node /= 2;
    room_[node] = std::max(room_[2 * node], room_[2 * node + 1]);
  }
  return row;
}

}  // namespace longlora::trainer
