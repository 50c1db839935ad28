#include "worker/trainer/distributed/rendezvous.h"

#include <exception>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "worker/trainer/distributed/peer_processes.h"

namespace longlora::trainer {
namespace {

std::string KeyOfRank(int rank) { return absl::StrCat("process/", rank); }

// c10d's messages carry a C++ stack behind the first line.
std::string FirstLine(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

}  // namespace

absl::StatusOr<Rendezvous> MeetPeers(const RankEnvironment& environment) {
  try {
    c10d::TCPStoreOptions options;
    options.port = environment.master_port;
    options.isServer = environment.rank == 0 && !environment.launcher_hosts_store;
    options.waitWorkers = false;
    options.timeout = kRendezvousTimeout;
    auto tcp_store = c10::make_intrusive<c10d::TCPStore>(environment.master_address, options);

    Rendezvous rendezvous;
    rendezvous.store = c10::make_intrusive<c10d::PrefixStore>("longlora", std::move(tcp_store));
    const std::string self = DescribeThisProcess();
    rendezvous.store->set(KeyOfRank(environment.rank),
                          std::vector<uint8_t>(self.begin(), self.end()));
    for (int rank = 0; rank < environment.world_size; ++rank) {
      const std::vector<uint8_t> bytes = rendezvous.store->get(KeyOfRank(rank));
      rendezvous.processes.emplace_back(bytes.begin(), bytes.end());
    }
    return rendezvous;
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat("rank ", environment.rank, " did not meet the other ",
                     environment.world_size - 1, " rank(s) at ", environment.master_address, ":",
                     environment.master_port, ": ", FirstLine(error)));
  }
}

absl::StatusOr<c10::intrusive_ptr<c10d::Backend>> CreateGlooCommunicator(
    const Rendezvous& rendezvous, const RankEnvironment& environment) {
  try {
    const std::string& master = environment.master_address;
    const bool loopback =
        master == "localhost" || master == "::1" || absl::StartsWith(master, "127.");
    auto options = c10d::ProcessGroupGloo::Options::create(kCollectiveTimeout);
    options->devices.push_back(loopback ? c10d::ProcessGroupGloo::createDeviceForHostname(master)
                                        : c10d::ProcessGroupGloo::createDefaultDevice());
    return c10::intrusive_ptr<c10d::Backend>(c10::make_intrusive<c10d::ProcessGroupGloo>(
        rendezvous.store, environment.rank, environment.world_size, std::move(options)));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("rank ", environment.rank,
                                               " cannot connect to its peers: ", FirstLine(error)));
  }
}

}  // namespace longlora::trainer
