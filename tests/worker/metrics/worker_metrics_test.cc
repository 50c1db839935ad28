// Goal: a scrape of the worker is clean by promtool's rules and tells the truth, from the first
// moment on. Method: a real HTTP request to a server on port 0; promtool where it is installed
// (./dev test installs it).
#include "worker/metrics/worker_metrics.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/io/unique_fd.h"
#include "common/time/fake_clock.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "worker/metrics/metrics_server.h"

namespace longlora::worker {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::HasSubstr;

// The body of http://127.0.0.1:port/metrics.
std::string Scrape(int port) {
  const common::UniqueFd fd(socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
    return "[no connection]";
  const std::string request =
      "GET /metrics HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  if (write(fd.get(), request.data(), request.size()) < 0) return "[no request]";
  std::string answer;
  char buffer[4096];
  ssize_t got;
  while ((got = read(fd.get(), buffer, sizeof(buffer))) > 0)
    answer.append(buffer, static_cast<size_t>(got));
  const size_t body = answer.find("\r\n\r\n");
  return body == std::string::npos ? "[no body]" : answer.substr(body + 4);
}

class WorkerMetricsTest : public ::testing::Test {
 protected:
  WorkerMetricsTest() : metrics_("1.2.3", {{"cpu:0", "cpu"}, {"cpu:1", "cpu"}}, &clock_) {
    auto server = MetricsServer::Start("127.0.0.1:0", metrics_);
    EXPECT_OK(server);
    server_ = *std::move(server);
  }
  common::FakeClock clock_;
  WorkerMetrics metrics_;
  std::unique_ptr<MetricsServer> server_;
};

TEST_F(WorkerMetricsTest, EverythingExistsFromTheStart) {
  const std::string text = Scrape(server_->port());
  for (const char* line :
       {"longlora_build_info{version=\"1.2.3\"} 1\n", "longlora_worker_connected 0\n",
        "longlora_worker_lease_remaining_seconds 0\n", "longlora_worker_ranks 0\n",
        "longlora_worker_spooled_events 0\n", "longlora_worker_uploaded_bytes_total 0\n",
        "longlora_worker_device_info{device=\"cpu:1\",kind=\"cpu\"} 1\n",
        "longlora_worker_attempts_total{outcome=\"succeeded\"} 0\n",
        "longlora_worker_attempts_total{outcome=\"failed\"} 0\n",
        "longlora_worker_attempts_total{outcome=\"stopped\"} 0\n",
        "longlora_worker_attempts_total{outcome=\"abandoned\"} 0\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST_F(WorkerMetricsTest, ValuesFollow) {
  metrics_.SetConnected(true);
  metrics_.SetLease(clock_.MonotonicNow() + absl::Seconds(30));
  metrics_.AddRanks(4);
  metrics_.AddRanks(-1);
  metrics_.AddSpooledEvents(7);
  metrics_.AddUploadedBytes(1 << 20);
  metrics_.CountAttempt(AttemptOutcome::kFailed);
  clock_.Advance(absl::Seconds(10));
  const std::string text = Scrape(server_->port());
  EXPECT_THAT(text, HasSubstr("longlora_worker_connected 1\n"));
  EXPECT_THAT(text, HasSubstr("longlora_worker_lease_remaining_seconds 20\n"))
      << "computed when asked";
  EXPECT_THAT(text, HasSubstr("longlora_worker_ranks 3\n"));
  EXPECT_THAT(text, HasSubstr("longlora_worker_spooled_events 7\n"));
  EXPECT_THAT(text, HasSubstr("longlora_worker_uploaded_bytes_total 1048576\n"));
  EXPECT_THAT(text, HasSubstr("longlora_worker_attempts_total{outcome=\"failed\"} 1\n"));
  clock_.Advance(absl::Minutes(10));
  EXPECT_THAT(Scrape(server_->port()), HasSubstr("longlora_worker_lease_remaining_seconds 0\n"));
}

TEST_F(WorkerMetricsTest, PromtoolFindsNothingToSay) {
  if (std::system("command -v promtool >/dev/null") != 0) {
    GTEST_SKIP() << "promtool is not installed; ./dev test installs it (package prometheus)";
  }
  testing::TemporaryDirectory directory;
  std::ofstream(directory / "scrape") << Scrape(server_->port());
  const std::string command = absl::StrCat("promtool check metrics < ", directory / "scrape", " > ",
                                           directory / "out", " 2>&1");
  const int status = std::system(command.c_str());
  std::ifstream out(directory / "out");
  const std::string words((std::istreambuf_iterator<char>(out)), std::istreambuf_iterator<char>());
  EXPECT_EQ(status, 0) << words;
  EXPECT_EQ(words, "");
}

TEST_F(WorkerMetricsTest, PortInUseIsAClearError) {
  EXPECT_THAT(MetricsServer::Start(absl::StrCat("127.0.0.1:", server_->port()), metrics_),
              StatusIs(absl::StatusCode::kUnavailable, "--metrics-listen"));
}

}  // namespace
}  // namespace longlora::worker
