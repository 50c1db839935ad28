// Goal: sums, broadcasts and barriers over Gloo are right for tensors of any size and shape, and a
// killed peer is an error that names it. Method: ranks are threads of this process; for the killed
// one, a child.
#include "worker/trainer/distributed/c10d_process_group.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "tests/testing/status_matchers.h"
#include "worker/trainer/kernels/device_backend.h"

namespace longlora::trainer {
namespace {

using longlora::testing::StatusIs;
using torch::Tensor;

// A port nobody listens on at this moment.
uint16_t FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(fd);
  return ntohs(address.sin_port);
}

absl::StatusOr<std::unique_ptr<C10dProcessGroup>> Join(int rank, int world_size, uint16_t port) {
  RankEnvironment environment;
  environment.rank = environment.local_rank = rank;
  environment.world_size = environment.local_world_size = world_size;
  environment.master_address = "127.0.0.1";
  environment.master_port = port;
  auto backend = CreateDeviceBackend(common::Device::kCpu, environment);
  if (!backend.ok()) return backend.status();
  auto rendezvous = MeetPeers(environment);
  if (!rendezvous.ok()) return rendezvous.status();
  auto communicator = (*backend)->CreateCommunicator(*rendezvous, environment);
  if (!communicator.ok()) return communicator.status();
  return std::make_unique<C10dProcessGroup>(*communicator, *rendezvous, torch::kCPU);
}

// Runs `body` as every rank of a group, each in a thread.
void AsRanks(int world_size, const std::function<void(ProcessGroup&)>& body) {
  const uint16_t port = FreePort();
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < world_size; ++rank) {
    ranks.emplace_back([=] {
      auto group = Join(rank, world_size, port);
      ASSERT_OK(group.status());
      body(**group);
      // Rank 0 hosts the store: it leaves last.
      EXPECT_OK((*group)->Barrier());
    });
  }
  for (std::thread& rank : ranks) rank.join();
}

TEST(C10dProcessGroupTest, SumsTensorsOfManySizesTypesAndStrides) {
  AsRanks(3, [](ProcessGroup& group) {
    const float mine = static_cast<float>(group.rank() + 1);  // 1 + 2 + 3 = 6
    const Tensor small = torch::full({3}, mine);
    const Tensor scalar = torch::full({}, mine);
    const Tensor strided = torch::full({4, 5}, mine).t();
    const Tensor count = torch::full({2}, group.rank() + 1, torch::kInt64);
    const Tensor large = torch::full({7 * 1024 * 1024}, mine);  // 28 MiB, more than a message holds
    ASSERT_OK(group.AllReduceSum({small, scalar, strided, count, large}));
    for (const Tensor& tensor : {small, scalar, strided, large}) {
      EXPECT_TRUE((tensor == 6.0F).all().item<bool>()) << tensor.sizes();
    }
    EXPECT_TRUE((count == 6).all().item<bool>());
  });
}

TEST(C10dProcessGroupTest, SumsAreBitEqualOnEveryRank) {
  std::vector<Tensor> sums(3);
  AsRanks(3, [&sums](ProcessGroup& group) {
    Tensor values = torch::sin(torch::arange(100'001.0F) * (group.rank() + 1.1));
    ASSERT_OK(group.AllReduceSum({values}));
    sums[group.rank()] = values;
  });
  EXPECT_TRUE(torch::equal(sums[0], sums[1]));
  EXPECT_TRUE(torch::equal(sums[0], sums[2]));
}

TEST(C10dProcessGroupTest, BroadcastTakesTheRootsValues) {
  AsRanks(2, [](ProcessGroup& group) {
    const Tensor contiguous = torch::full({2, 3}, group.rank());
    const Tensor strided = torch::full({2, 3}, group.rank()).t();
    ASSERT_OK(group.Broadcast({contiguous, strided}, /*root=*/1));
    EXPECT_TRUE((contiguous == 1).all().item<bool>());
    EXPECT_TRUE((strided == 1).all().item<bool>());
  });
}

TEST(C10dProcessGroupTest, AKilledPeerIsNamed) {
  const uint16_t port = FreePort();
  // The child must not inherit LibTorch's threads, so it is forked before the first use of them.
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto group = Join(/*rank=*/1, /*world_size=*/2, port);
    if (group.ok()) (*group)->Barrier().IgnoreError();
    raise(SIGKILL);
  }
  ASSERT_OK_AND_ASSIGN(const auto group, Join(/*rank=*/0, /*world_size=*/2, port));
  ASSERT_OK(group->Barrier());
  const absl::Status status = group->Barrier();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, "rank 1 is lost: barrier failed"));
  waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace longlora::trainer
