// First-fit bin packing: each item goes into the first row that has room for it, in the order in
// which items come, so that a row depends on the items before it alone. Used by packing.cc. Not
// thread-safe.
#ifndef LONGLORA_WORKER_TRAINER_DATA_FIRST_FIT_H_
#define LONGLORA_WORKER_TRAINER_DATA_FIRST_FIT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace longlora::trainer {

class FirstFit {
 public:
  explicit FirstFit(int64_t row_length) : row_length_(row_length) {}

  // Index of the row that takes an item of `length` in [1, row_length]: one that has been used
  // already, or the next. O(log rows).
  size_t Place(int64_t length);

 private:
  void Grow();

  const int64_t row_length_;
  size_t num_leaves_ = 0;
  // A tree in an array, the root at 1: each node holds the most room of any row below it.
  std::vector<int64_t> room_;
};

}  // namespace longlora::trainer

#endif  // LONGLORA_WORKER_TRAINER_DATA_FIRST_FIT_H_
