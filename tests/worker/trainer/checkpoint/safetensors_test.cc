// Goal: tensors come back from disk bit for bit, single or sharded, and broken files are named.
// Method: write, read, compare; then damage. That files agree with the reference library is in
// adapter_test.py.
#include "worker/trainer/checkpoint/safetensors.h"

#include <limits>
#include <string>

#include "common/io/files.h"
#include "gmock/gmock.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"
#include "worker/trainer/torch.h"

namespace longlora::trainer {
namespace {

using ::longlora::testing::StatusIs;
using ::testing::ElementsAre;

class SafetensorsTest : public ::testing::Test {
 protected:
  std::string Bytes(const std::string& name) {
    auto bytes = common::ReadFile(directory_ / name, 1 << 20);
    EXPECT_OK(bytes);
    return *bytes;
  }
  void Write(const std::string& name, const std::string& bytes) {
    ASSERT_OK(common::AtomicWriteFile(directory_ / name, bytes));
  }
  testing::TemporaryDirectory directory_;
};

TEST_F(SafetensorsTest, EveryTypeComesBackBitForBit) {
  torch::manual_seed(1);
  TensorMap tensors;
  for (const auto type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt,
                          at::kShort, at::kChar, at::kByte, at::kBool}) {
    tensors[std::string("t.") + c10::toString(type)] = (torch::randn({3, 5}) * 50).abs().to(type);
  }
  tensors["scalar"] = torch::tensor(2.5);
  tensors["transposed"] = torch::randn({4, 6}).t();
  ASSERT_OK(WriteSafetensors(directory_ / "a.safetensors", tensors, {{"format", "pt"}}));
  ASSERT_OK_AND_ASSIGN(const SafetensorsFile file,
                       SafetensorsFile::Open(directory_ / "a.safetensors"));
  ASSERT_EQ(file.entries().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    ASSERT_OK_AND_ASSIGN(const at::Tensor read, file.Get(name));
    EXPECT_EQ(read.scalar_type(), tensor.scalar_type());
    EXPECT_TRUE(at::equal(read, tensor)) << name;
  }
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_THAT(file.Get("absent"), StatusIs(absl::StatusCode::kNotFound, "no tensor \"absent\""));
}

TEST_F(SafetensorsTest, SameTensorsGiveTheSameBytes) {
  const TensorMap tensors = {
      {"b", torch::ones({3})}, {"a", torch::ones({2}, at::kBFloat16)}, {"c", torch::ones({1})}};
  ASSERT_OK(WriteSafetensors(directory_ / "1", tensors, {}));
  std::vector<TensorSource> sources;
  for (auto it = tensors.rbegin(); it != tensors.rend(); ++it) {
    sources.push_back({it->first, it->second.scalar_type(), it->second.sizes().vec(),
                       [tensor = it->second]() -> absl::StatusOr<at::Tensor> { return tensor; }});
  }
  ASSERT_OK(WriteSafetensors(directory_ / "2", sources, {}));
  EXPECT_EQ(Bytes("1"), Bytes("2"));
}

TEST_F(SafetensorsTest, ViewsOutliveTheirFileObjectAndNeverWriteToDisk) {
  ASSERT_OK(WriteSafetensors(directory_ / "a", TensorMap{{"t", torch::ones({4})}}, {}));
  at::Tensor view;
  {
    ASSERT_OK_AND_ASSIGN(const SafetensorsFile file, SafetensorsFile::Open(directory_ / "a"));
    ASSERT_OK_AND_ASSIGN(view, file.Get("t"));
  }
  view.fill_(7);
  EXPECT_EQ(view.sum().item<float>(), 28);
  ASSERT_OK_AND_ASSIGN(const SafetensorsFile again, SafetensorsFile::Open(directory_ / "a"));
  EXPECT_EQ(again.Get("t")->sum().item<float>(), 4);
}

// The format allows a header of any length, so data may lie at odd addresses.
TEST_F(SafetensorsTest, MisalignedDataIsCopied) {
  const std::string header = R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  for (size_t blanks = 0; blanks < 8; ++blanks) {
    std::string file(8, '\0');
    file[0] = static_cast<char>(header.size() + blanks);
    const float values[] = {1.5f, -2.0f};
    file +=
        header + std::string(blanks, ' ') + std::string(reinterpret_cast<const char*>(values), 8);
    Write("odd", file);
    ASSERT_OK_AND_ASSIGN(const SafetensorsFile opened, SafetensorsFile::Open(directory_ / "odd"));
    ASSERT_OK_AND_ASSIGN(const at::Tensor tensor, opened.Get("t"));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 4, 0u);
    EXPECT_TRUE(at::equal(tensor, torch::tensor({1.5f, -2.0f})));
  }
}

TEST_F(SafetensorsTest, BrokenFilesAreNamed) {
  ASSERT_OK(WriteSafetensors(directory_ / "a", TensorMap{{"weight", torch::ones({4})}}, {}));
  const std::string whole = Bytes("a");
  Write("short", whole.substr(0, whole.size() - 1));
  EXPECT_THAT(SafetensorsFile::Open(directory_ / "short"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "/short: tensor \"weight\": its data ends at byte 16"));
  Write("long", whole + "x");
  EXPECT_THAT(SafetensorsFile::Open(directory_ / "long"),
              StatusIs(absl::StatusCode::kInvalidArgument, "/long: "));
  Write("empty", "");
  EXPECT_THAT(SafetensorsFile::Open(directory_ / "empty"),
              StatusIs(absl::StatusCode::kInvalidArgument, "/empty: truncated"));
  EXPECT_THAT(SafetensorsFile::Open(directory_ / "absent"),
              StatusIs(absl::StatusCode::kNotFound, "/absent"));
  EXPECT_THAT(SafetensorsFile::Open(directory_.path()),
              StatusIs(absl::StatusCode::kInvalidArgument, "not a regular file"));
}

TEST_F(SafetensorsTest, UnwritableTensorsAreRefused) {
  const auto source = [](std::string name, at::Tensor announced, at::Tensor given) {
    return TensorSource{std::move(name), announced.scalar_type(), announced.sizes().vec(),
                        [given]() -> absl::StatusOr<at::Tensor> { return given; }};
  };
  const auto write = [&](const std::vector<TensorSource>& sources) {
    return WriteSafetensors(directory_ / "a", sources, {});
  };
  const at::Tensor one = torch::ones({1});
  const at::Tensor complex = torch::ones({1}, at::kComplexFloat);
  EXPECT_THAT(write({source("t", one, one), source("t", one, one)}),
              StatusIs(absl::StatusCode::kInvalidArgument, "\"t\" is there twice"));
  EXPECT_THAT(write({source("t", one, torch::ones({2}))}),
              StatusIs(absl::StatusCode::kInvalidArgument, "another type or shape than announced"));
  EXPECT_THAT(write({source("t", complex, complex)}),
              StatusIs(absl::StatusCode::kInvalidArgument, "ComplexFloat cannot be written"));
  EXPECT_THAT(WriteSafetensors(directory_ / "no/such/folder/a", TensorMap{{"t", one}}, {}),
              StatusIs(absl::StatusCode::kNotFound, "no/such/folder"));
}

TEST_F(SafetensorsTest, VerifyFindsWhatShouldNotBeThere) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  ASSERT_OK(WriteSafetensors(directory_ / "a", TensorMap{{"t", torch::ones({2})}}, {}));
  EXPECT_OK(VerifySafetensors(directory_ / "a", {"t"}));
  EXPECT_THAT(VerifySafetensors(directory_ / "a", {"t", "u"}),
              StatusIs(absl::StatusCode::kDataLoss, "holds 1 tensors, 2 were written"));
  ASSERT_OK(WriteSafetensors(directory_ / "a", TensorMap{{"t", torch::tensor({1.0f, nan})}}, {}));
  EXPECT_THAT(VerifySafetensors(directory_ / "a", {"t"}),
              StatusIs(absl::StatusCode::kDataLoss, "\"t\" holds a NaN"));
  ASSERT_OK(WriteSafetensors(directory_ / "a", TensorMap{{"t", torch::ones({0, 3})}}, {}));
  EXPECT_THAT(VerifySafetensors(directory_ / "a", {"t"}),
              StatusIs(absl::StatusCode::kDataLoss, "\"t\" is empty"));
}

class SafetensorsDirectoryTest : public SafetensorsTest {
 protected:
  void WriteShards() {
    ASSERT_OK(WriteSafetensors(
        directory_ / "s-1", TensorMap{{"a", torch::ones({2})}, {"b", torch::ones({3}) * 2}}, {}));
    ASSERT_OK(WriteSafetensors(directory_ / "s-2", TensorMap{{"c", torch::ones({1}) * 3}}, {}));
    WriteIndex(R"({"a": "s-1", "b": "s-1", "c": "s-2"})");
  }
  void WriteIndex(const std::string& map) {
    Write("model.safetensors.index.json", R"({"metadata": {}, "weight_map": )" + map + "}");
  }
  absl::StatusOr<SafetensorsDirectory> Open() {
    return SafetensorsDirectory::Open(directory_.path());
  }
};

TEST_F(SafetensorsDirectoryTest, ShardsAndSingleFilesReadAlike) {
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kNotFound, "holds neither model.safetensors nor"));
  ASSERT_OK(
      WriteSafetensors(directory_ / "model.safetensors", TensorMap{{"a", torch::ones({2})}}, {}));
  ASSERT_OK_AND_ASSIGN(const SafetensorsDirectory single, Open());
  EXPECT_THAT(single.names(), ElementsAre("a"));
  WriteShards();
  ASSERT_OK_AND_ASSIGN(const SafetensorsDirectory sharded, Open());
  EXPECT_THAT(sharded.names(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(sharded.total_bytes(), 24);
  EXPECT_TRUE(sharded.Contains("c"));
  EXPECT_EQ(sharded.Get("c")->item<float>(), 3);
  EXPECT_THAT(sharded.Find("b")->shape, ElementsAre(3));
  EXPECT_THAT(sharded.Get("d"), StatusIs(absl::StatusCode::kNotFound, "no tensor \"d\""));
  EXPECT_THAT(sharded.Find("d"), StatusIs(absl::StatusCode::kNotFound, "no tensor \"d\""));
}

TEST_F(SafetensorsDirectoryTest, LyingIndexesAreRefused) {
  WriteShards();
  const auto expect = [&](const std::string& map, const std::string& reason) {
    WriteIndex(map);
    EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kInvalidArgument, reason)) << map;
  };
  expect(R"({"a": "s-1", "b": "s-1", "c": "../s-2"})", "no file inside the directory");
  expect(R"({"a": "s-1", "b": "s-1", "c": "/etc/passwd"})", "no file inside the directory");
  expect(R"({"a": "s-1", "b": "s-1", "c": 5})", "no file inside the directory");
  expect(R"({"a": "s-1", "b": "s-1", "c": "s-3"})", "names the shard s-3, which is not there");
  expect(R"({"a": "s-1", "b": "s-2", "c": "s-2"})", "tensor \"b\" is not in s-2 as it says");
  expect(R"({"a": "s-1", "b": "s-1", "c": "s-2", "d": "s-2"})", "tensor \"d\" is not in s-2");
  expect(R"({"a": "s-1", "c": "s-2"})", "tensor \"b\" is not in the index");
  expect("{}", "\"weight_map\" is missing, empty");
  expect("[]", "\"weight_map\" is missing, empty or not an object");
}

}  // namespace
}  // namespace longlora::trainer
