#include "bench/scheduler_load/preparation.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "absl/strings/str_cat.h"
#include "common/io/sha256.h"
#include "common/status/status_macros.h"
#include "longlora/v1/file_service.grpc.pb.h"
#include "rpc/grpc_status.h"

namespace longlora::bench {
namespace {

absl::StatusOr<std::string> UploadDataset(const std::shared_ptr<grpc::Channel>& channel) {
  const std::string text = "{\"text\": \"some words to train on\"}\n";
  const std::string name = absl::StrCat("files/", common::Sha256Hex(text));
  grpc::ClientContext context;
  v1::File file;
  const auto stub = v1::FileService::NewStub(channel);
  const auto writer = stub->UploadFile(&context, &file);
  v1::UploadFileRequest request;
  request.mutable_header()->set_name(name);
  request.mutable_header()->set_size_bytes(static_cast<int64_t>(text.size()));
  writer->Write(request);
  request.set_data(text);
  writer->Write(request);
  writer->WritesDone();
  LONGLORA_RETURN_IF_ERROR(rpc::FromGrpcStatus(writer->Finish()));
  return name;
}

}  // namespace

absl::StatusOr<std::vector<std::shared_ptr<grpc::Channel>>> Connect(const std::string& server,
                                                                    int count) {
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (int i = 0; i < count; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt("bench.number", i);  // equal channels would share one connection
    channels.push_back(
        grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments));
    if (!channels.back()->WaitForConnected(absl::ToChronoTime(absl::Now() + absl::Seconds(10)))) {
      return absl::UnavailableError(absl::StrCat("cannot reach ", server));
    }
  }
  return channels;
}

worker::v1::SynchronizeRequest MakeReport(const std::string& name, int devices) {
  worker::v1::SynchronizeRequest report;
  report.set_worker(name);
  report.set_incarnation("bench");
  report.set_version("bench");
  report.add_models(kModel);
  for (int i = 0; i < devices; ++i) {
    v1::Device& device = *report.add_devices();
    device.set_id(absl::StrCat("cpu:", i));
    device.set_kind("cpu");
  }
  return report;
}

absl::StatusOr<v1::FineTuneSpec> Prepare(const std::string& server,
                                         std::shared_ptr<grpc::Channel> channel) {
  grpc::ClientContext context;
  worker::v1::SynchronizeResponse response;
  const auto stub = worker::v1::WorkerService::NewStub(channel);
  LONGLORA_RETURN_IF_ERROR(rpc::FromGrpcStatus(
      stub->Synchronize(&context, MakeReport("without-devices", 0), &response)));
  v1::FineTuneSpec spec;
  LONGLORA_ASSIGN_OR_RETURN(*spec.mutable_dataset()->mutable_training(), UploadDataset(channel));
  spec.set_display_name("load");
  spec.set_base_model(kModel);
  spec.set_max_sequence_length(16);
  spec.mutable_training()->set_max_steps(1000);
  spec.mutable_resources()->set_device("cpu");
  return spec;
}

}  // namespace longlora::bench
