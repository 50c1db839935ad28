// Goal: uploads over the wire end stored and right, or not at all; the limits hold. The cases of
// the store itself are in tests/server/artifacts. Method: a server in this process, hostile and
// broken streams.
#include <gtest/gtest.h>

#include "common/io/files.h"
#include "common/io/sha256.h"
#include "tests/server/api/test_server.h"
#include "tests/testing/status_matchers.h"

namespace longlora::server {
namespace {

std::string NameOf(const std::string& content) { return "files/" + common::Sha256Hex(content); }

class FileServiceTest : public ::testing::Test {
 protected:
  FileServiceTest() : server_([](ServerConfig& config) { config.max_file_bytes = 5'000'000; }) {}

  grpc::Status Get(const std::string& name, v1::File* file) {
    v1::GetFileRequest request;
    request.set_name(name);
    grpc::ClientContext context;
    return server_.files().GetFile(&context, request, file);
  }
  // Sends `messages` as they are.
  grpc::Status Send(const std::vector<v1::UploadFileRequest>& messages) {
    grpc::ClientContext context;
    v1::File file;
    auto writer = server_.files().UploadFile(&context, &file);
    for (const auto& message : messages) {
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }

  TestServer server_;
};

TEST_F(FileServiceTest, UploadedFileIsStoredOnceAndFound) {
  const std::string content(3'000'000, 'b');
  const auto size = static_cast<int64_t>(content.size());
  v1::File file;
  EXPECT_EQ(ReasonOf(Get(NameOf(content), &file)), "FILE_NOT_FOUND");
  ASSERT_TRUE(server_.Upload(NameOf(content), size, content).ok());
  ASSERT_TRUE(Get(NameOf(content), &file).ok());
  EXPECT_EQ(file.name(), NameOf(content));
  EXPECT_TRUE(file.complete());
  EXPECT_EQ(file.size_bytes(), size);
  EXPECT_EQ(file.received_bytes(), size);
  EXPECT_TRUE(server_.Upload(NameOf(content), size, content).ok());
  EXPECT_EQ(common::ListFiles(server_.config().data_dir + "/files").value().size(), 1u);
}

TEST_F(FileServiceTest, CutUploadIsResumedByOffset) {
  const std::string content = "one two three";
  const auto size = static_cast<int64_t>(content.size());
  EXPECT_EQ(ReasonOf(server_.Upload(NameOf(content), size, "one ")), "SIZE_MISMATCH");
  v1::File file;
  ASSERT_TRUE(Get(NameOf(content), &file).ok());
  EXPECT_FALSE(file.complete());
  EXPECT_EQ(file.received_bytes(), 4);
  EXPECT_EQ(file.size_bytes(), size);
  EXPECT_EQ(ReasonOf(server_.Upload(NameOf(content), size, "xx", 3)), "OFFSET_INVALID");
  server_.Restart();
  EXPECT_TRUE(server_.Upload(NameOf(content), size, content.substr(4), 4).ok());
}

TEST_F(FileServiceTest, CorruptUploadIsNotStored) {
  const grpc::Status status = server_.Upload(NameOf("right"), 5, "wrong");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(status), "DIGEST_MISMATCH");
  v1::File file;
  EXPECT_EQ(ReasonOf(Get(NameOf("right"), &file)), "FILE_NOT_FOUND");
}

TEST_F(FileServiceTest, TooLargeFileIsRefusedBeforeItIsSent) {
  const grpc::Status status = server_.Upload(NameOf("x"), 5'000'001, "");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(status), "FILE_TOO_LARGE");
}

TEST_F(FileServiceTest, MoreThanAnnouncedIsRefused) {
  EXPECT_EQ(ReasonOf(server_.Upload(NameOf("1234567890"), 9, "1234567890")), "SIZE_MISMATCH");
}

TEST_F(FileServiceTest, NamesCannotLeaveTheStore) {
  v1::File file;
  for (const char* name :
       {"", "files/", "files/../jobs.sqlite", "files/partial", "/etc/passwd",
        "files/ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789"}) {
    EXPECT_EQ(ReasonOf(Get(name, &file)), "NAME_INVALID") << name;
    EXPECT_EQ(ReasonOf(server_.Upload(name, 1, "x")), "NAME_INVALID") << name;
  }
}

TEST_F(FileServiceTest, StreamsThatBreakTheProtocolAreRefused) {
  v1::UploadFileRequest header;
  header.mutable_header()->set_name(NameOf("ab"));
  header.mutable_header()->set_size_bytes(2);
  v1::UploadFileRequest data;
  data.set_data("a");
  v1::UploadFileRequest large;
  large.set_data(std::string((1 << 20) + 1, 'x'));
  EXPECT_EQ(ReasonOf(Send({})), "UPLOAD_INVALID");
  EXPECT_EQ(ReasonOf(Send({data})), "UPLOAD_INVALID");
  EXPECT_EQ(ReasonOf(Send({header, header})), "UPLOAD_INVALID");
  EXPECT_EQ(ReasonOf(Send({header, large})), "UPLOAD_INVALID");
  EXPECT_TRUE(Send({header, data, data}).error_code() == grpc::StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace longlora::server
