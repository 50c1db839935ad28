// Goal: flags and the config file mean the same, and mistakes are named. Method: command lines by
// hand.
#include "server/server_config.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

std::variant<ServerConfig, DataCopyCommand, int> Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "longlora-server");
  return ParseServerConfig(static_cast<int>(arguments.size()), arguments.data());
}

TEST(ServerConfigTest, FlagsAreRead) {
  const auto parsed = Parse({"--data-dir", "/d", "--listen", "127.0.0.1:1", "--lease-duration",
                             "90s", "--max-file-bytes", "2mb", "--allow-plaintext",
                             "--ready-timeout", "20m", "--queues", "/q.yaml", "--max-job-events",
                             "5000", "--event-retention", "72h", "--failed-attempts-max", "7"});
  ASSERT_TRUE(std::holds_alternative<ServerConfig>(parsed));
  const ServerConfig& config = std::get<ServerConfig>(parsed);
  EXPECT_EQ(config.data_dir, "/d");
  EXPECT_EQ(config.listen, "127.0.0.1:1");
  EXPECT_EQ(config.scheduler.lease_duration, absl::Seconds(90));
  EXPECT_EQ(config.max_file_bytes, 2 << 20);
  EXPECT_EQ(config.scheduler.failed_attempts_max, 7);
  EXPECT_TRUE(config.security.allow_plaintext);
  EXPECT_EQ(config.scheduler.ready_timeout, absl::Minutes(20));
  EXPECT_EQ(config.queues, "/q.yaml");
  EXPECT_EQ(config.retention.events_max, 5000);
  EXPECT_EQ(config.retention.age_max, absl::Hours(72));
}

TEST(ServerConfigTest, AddressForReadsNeedsTheStoreThatItReads) {
  const auto parsed =
      Parse({"--data-dir", "/d", "--read-listen", "127.0.0.1:2", "--store", "postgresql://h/d"});
  ASSERT_TRUE(std::holds_alternative<ServerConfig>(parsed));
  EXPECT_EQ(std::get<ServerConfig>(parsed).read_listen, "127.0.0.1:2");
  EXPECT_EQ(std::get<int>(Parse({"--data-dir", "/d", "--read-listen", "127.0.0.1:2"})), 2);
}

TEST(ServerConfigTest, LimitsAreRead) {
  const auto parsed = Parse({"--data-dir",
                             "/d",
                             "--max-spec-bytes",
                             "1kb",
                             "--max-message-bytes",
                             "8mb",
                             "--max-unfinished-jobs",
                             "7",
                             "--max-creates-per-second",
                             "0.5",
                             "--max-creates-burst",
                             "3",
                             "--max-calls",
                             "11",
                             "--max-transfers",
                             "12",
                             "--max-watches",
                             "13",
                             "--max-watches-per-client",
                             "14",
                             "--watch-stall",
                             "90s"});
  ASSERT_TRUE(std::holds_alternative<ServerConfig>(parsed));
  const ServerConfig& config = std::get<ServerConfig>(parsed);
  EXPECT_EQ(config.limits.spec_bytes, 1024);
  EXPECT_EQ(config.limits.message_bytes, 8 << 20);
  EXPECT_EQ(config.scheduler.live_jobs_max, 7);
  EXPECT_EQ(config.limits.creates_per_second, 0.5);
  EXPECT_EQ(config.limits.creates_burst, 3);
  EXPECT_EQ(config.limits.calls, 11);
  EXPECT_EQ(config.limits.transfers, 12);
  EXPECT_EQ(config.limits.watches, 13);
  EXPECT_EQ(config.limits.watches_per_client, 14);
  EXPECT_EQ(config.limits.watch_stall, absl::Seconds(90));
}

TEST(ServerConfigTest, FileHasTheSameKeysAndFlagsWin) {
  testing::TemporaryDirectory directory;
  const std::string path = directory / "server.toml";
  std::ofstream(path)
      << "data-dir = \"/from-file\"\nlease-duration = \"5s\"\nlisten = \"[::1]:2\"\n";
  const auto parsed = Parse({"--config", path.c_str(), "--listen", "127.0.0.1:3"});
  ASSERT_TRUE(std::holds_alternative<ServerConfig>(parsed));
  const ServerConfig& config = std::get<ServerConfig>(parsed);
  EXPECT_EQ(config.data_dir, "/from-file");
  EXPECT_EQ(config.scheduler.lease_duration, absl::Seconds(5));
  EXPECT_EQ(config.listen, "127.0.0.1:3");
}

TEST(ServerConfigTest, BackupAndRestoreNameBothDirectories) {
  for (const std::vector<const char*>& arguments :
       std::vector<std::vector<const char*>>{{"backup", "--data-dir", "/d", "--to", "/b"},
                                             {"--data-dir", "/d", "backup", "--to", "/b"}}) {
    const auto parsed = Parse(arguments);
    ASSERT_TRUE(std::holds_alternative<DataCopyCommand>(parsed));
    EXPECT_FALSE(std::get<DataCopyCommand>(parsed).restore);
    EXPECT_EQ(std::get<DataCopyCommand>(parsed).from, "/d");
    EXPECT_EQ(std::get<DataCopyCommand>(parsed).to, "/b");
  }
  const auto parsed = Parse({"restore", "--from", "/b", "--data-dir", "/d"});
  ASSERT_TRUE(std::holds_alternative<DataCopyCommand>(parsed));
  EXPECT_TRUE(std::get<DataCopyCommand>(parsed).restore);
  EXPECT_EQ(std::get<DataCopyCommand>(parsed).from, "/b");
  EXPECT_EQ(std::get<DataCopyCommand>(parsed).to, "/d");
}

TEST(ServerConfigTest, MistakesAreBadUsage) {
  testing::TemporaryDirectory directory;
  const std::string path = directory / "server.toml";
  std::ofstream(path) << "data-dir = \"/d\"\nlisen = \"127.0.0.1:1\"\n";
  for (const std::vector<const char*>& arguments :
       std::vector<std::vector<const char*>>{{},
                                             {"--data-dir", "/d", "--lease-duration", "0s"},
                                             {"--data-dir", "/d", "--lease-duration", "soon"},
                                             {"--data-dir", "/d", "--lease-duration", "-5s"},
                                             {"--data-dir", "/d", "--ready-timeout", "1s"},
                                             {"--data-dir", "/d", "--event-retention", "0s"},
                                             {"--data-dir", "/d", "--max-job-events", "-1"},
                                             {"--data-dir", "/d", "--max-file-bytes", "0"},
                                             {"--data-dir", "/d", "--max-calls", "0"},
                                             {"--data-dir", "/d", "--max-message-bytes", "1kb"},
                                             {"--data-dir", "/d", "--watch-stall", "1ms"},
                                             {"--data-dir", "/d", "--max-creates-per-second", "-1"},
                                             {"--data-dir", "/d", "--log-level", "loud"},
                                             {"--data-dir", "/d", "--unknown"},
                                             {"backup", "--data-dir", "/d"},
                                             {"--data-dir", "/d", "--store", "mysql://h/d"},
                                             {"restore", "--from", "/b"},
                                             {"backup", "restore", "--data-dir", "/d"},
                                             {"--config", path.c_str()},
                                             {"--config", "/absent"}}) {
    const auto parsed = Parse(arguments);
    ASSERT_TRUE(std::holds_alternative<int>(parsed)) << arguments.size();
    EXPECT_EQ(std::get<int>(parsed), 2);
  }
  EXPECT_EQ(std::get<int>(Parse({"--version"})), 0);
}

}  // namespace
}  // namespace longlora::server
