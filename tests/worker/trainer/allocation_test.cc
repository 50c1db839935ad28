// Goal: freed memory is used again, no block has two owners, and what is held never passes the most
// that lived. Method: addresses and figures; marked blocks allocated at random by two threads.
#include "worker/trainer/allocation.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <thread>
#include <vector>

namespace longlora::trainer {
namespace {

constexpr size_t kMegabyte = TensorMemory::kSmallestKept;

TEST(TensorMemoryTest, GivesAFreedBlockToTheNextTensorOfItsSize) {
  TensorMemory memory(/*keeping=*/true);
  c10::DataPtr first = memory.allocate(3 * kMegabyte);
  c10::DataPtr second = memory.allocate(2 * kMegabyte);
  const void* const address = first.get();
  first.clear();
  EXPECT_EQ(memory.usage().live, 2 * kMegabyte);
  EXPECT_EQ(memory.usage().kept, 3 * kMegabyte);
  const c10::DataPtr third = memory.allocate(3 * kMegabyte);
  EXPECT_EQ(third.get(), address);
  EXPECT_EQ(memory.usage().kept, 0u);
  EXPECT_EQ(memory.usage().peak, 5 * kMegabyte);
}

TEST(TensorMemoryTest, HoldsNoMoreThanEverLivedAtOneTime) {
  TensorMemory memory(/*keeping=*/true);
  memory.allocate(4 * kMegabyte).clear();
  const c10::DataPtr other = memory.allocate(3 * kMegabyte);
  EXPECT_EQ(memory.usage().kept, 0u);
  EXPECT_EQ(memory.usage().peak, 4 * kMegabyte);
}

TEST(TensorMemoryTest, GivesBackTheLongestUnusedFirst) {
  TensorMemory memory(/*keeping=*/true);
  c10::DataPtr old = memory.allocate(2 * kMegabyte);
  c10::DataPtr young = memory.allocate(3 * kMegabyte);
  const void* const young_address = young.get();
  old.clear();
  young.clear();
  const c10::DataPtr other = memory.allocate(kMegabyte);  // for which one of the two has to go
  EXPECT_EQ(memory.usage().kept, 3 * kMegabyte);
  const c10::DataPtr again = memory.allocate(3 * kMegabyte);
  EXPECT_EQ(again.get(), young_address);
}

TEST(TensorMemoryTest, KeepsOnlyWhileItIsToldTo) {
  TensorMemory memory(/*keeping=*/false);
  memory.allocate(2 * kMegabyte).clear();
  EXPECT_EQ(memory.usage().kept, 0u);
  memory.SetKeeping(true);
  memory.allocate(2 * kMegabyte).clear();
  EXPECT_EQ(memory.usage().kept, 2 * kMegabyte);
  memory.SetKeeping(false);
  EXPECT_EQ(memory.usage().kept, 0u);
  EXPECT_EQ(memory.usage().live, 0u);
}

TEST(TensorMemoryTest, LeavesSmallTensorsToMalloc) {
  TensorMemory memory(/*keeping=*/true);
  memory.allocate(kMegabyte - 1).clear();
  memory.allocate(0).clear();
  EXPECT_EQ(memory.usage().peak, 0u);
}

TEST(TensorMemoryTest, AnAddressAloneIsEnoughToFreeAndIsAligned) {
  TensorMemory memory(/*keeping=*/true);
  for (const size_t bytes : {size_t{1}, kMegabyte - 1, kMegabyte, 5 * kMegabyte + 3}) {
    void* const data = memory.raw_allocate(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % c10::gAlignment, 0u);
    memory.raw_deallocate(data);
  }
  EXPECT_EQ(memory.usage().live, 0u);
}

TEST(TensorMemoryTest, AFailedAllocationCountsForNothing) {
  TensorMemory memory(/*keeping=*/true);
  constexpr size_t kMoreThanAnAddressSpace = size_t{1} << 60;
  EXPECT_THROW(memory.allocate(kMoreThanAnAddressSpace), c10::Error);
  EXPECT_EQ(memory.usage().live, 0u);
  EXPECT_EQ(memory.usage().peak, 0u);
}

// Every tensor is marked by its owner: a block with two owners loses a mark.
void AllocateAtRandom(TensorMemory& memory, uint64_t seed) {
  struct Marked {
    c10::DataPtr data;
    size_t bytes = 0;
    uint64_t mark = 0;
  };
  std::mt19937_64 random(seed);
  std::vector<Marked> held;
  for (uint64_t i = 0; i < 2000; ++i) {
    if (held.size() < 8 && random() % 2 == 0) {
      const size_t bytes = kMegabyte * (1 + random() % 4);
      Marked marked{memory.allocate(bytes), bytes, seed << 32 | i};
      uint64_t* const words = static_cast<uint64_t*>(marked.data.get());
      words[0] = words[bytes / sizeof(uint64_t) - 1] = marked.mark;
      held.push_back(std::move(marked));
    } else if (!held.empty()) {
      const size_t at = random() % held.size();
      const uint64_t* const words = static_cast<const uint64_t*>(held[at].data.get());
      ASSERT_EQ(words[0], held[at].mark);
      ASSERT_EQ(words[held[at].bytes / sizeof(uint64_t) - 1], held[at].mark);
      held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
    }
    const TensorMemory::Usage usage = memory.usage();
    ASSERT_LE(usage.live + usage.kept, usage.peak);
  }
}

TEST(TensorMemoryTest, ThreadsShareNoBlockAndStayBelowThePeak) {
  TensorMemory memory(/*keeping=*/true);
  std::thread other([&] { AllocateAtRandom(memory, 1); });
  AllocateAtRandom(memory, 2);
  other.join();
  EXPECT_EQ(memory.usage().live, 0u);
  EXPECT_GT(memory.usage().kept, 0u);
}

}  // namespace
}  // namespace longlora::trainer
