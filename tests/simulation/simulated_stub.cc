#include "tests/simulation/simulated_stub.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace grpc::testing {

// gRPC lets a class of this name look inside: whether a call was cancelled is told to nobody else
// before there is a real call.
class InteropClientContextInspector {
 public:
  static bool IsCancelled(const grpc::ClientContext& context) { return context.call_canceled_; }
};

}  // namespace grpc::testing

namespace longlora::simulation {
namespace {

namespace seam = ::longlora::worker::v1;
using grpc::testing::InteropClientContextInspector;

// The whole of a file goes in one message: real ones are cut into pieces of a MiB, and no simulated
// file is so large.
template <typename Response>
class Pieces : public grpc::ClientReaderInterface<Response> {
 public:
  Pieces(grpc::Status status, std::string data, bool cut)
      : status_(std::move(status)), data_(std::move(data)), cut_(cut) {}

  bool NextMessageSize(uint32_t* size) override {
    *size = static_cast<uint32_t>(data_.size());
    return !read_;
  }
  bool Read(Response* response) override {
    if (read_ || !status_.ok()) return false;
    read_ = true;
    response->set_data(data_);
    return true;
  }
  void WaitForInitialMetadata() override {}
  grpc::Status Finish() override {
    return cut_ && status_.ok() ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "stream broke")
                                : status_;
  }

 private:
  const grpc::Status status_;
  const std::string data_;
  const bool cut_;
  bool read_ = false;
};

class Upload : public grpc::ClientWriterInterface<seam::UploadArtifactRequest> {
 public:
  using Send = std::function<grpc::Status(const seam::ArtifactRef&, int64_t, const std::string&)>;
  explicit Upload(Send send) : send_(std::move(send)) {}

  bool Write(const seam::UploadArtifactRequest& request, grpc::WriteOptions) override {
    if (request.has_header()) {
      header_ = request.header();
    } else {
      data_ += request.data();
    }
    return true;
  }
  bool WritesDone() override { return true; }
  grpc::Status Finish() override { return send_(header_.artifact(), header_.offset(), data_); }

 private:
  const Send send_;
  seam::UploadArtifactHeader header_;
  std::string data_;
};

class SimulatedStub : public seam::WorkerService::StubInterface {
 public:
  SimulatedStub(Link link, Network* network, SimulatedServer* server, common::Clock* clock)
      : link_(link), network_(network), server_(server), clock_(clock) {}

  grpc::Status Synchronize(grpc::ClientContext* context, const seam::SynchronizeRequest& request,
                           seam::SynchronizeResponse* response) override {
    return Unary(context, "Synchronize", request, response);
  }
  grpc::Status ReportEvents(grpc::ClientContext* context, const seam::ReportEventsRequest& request,
                            seam::ReportEventsResponse* response) override {
    const grpc::Status status = Unary(context, "ReportEvents", request, response);
    if (status.ok()) {
      server_->audit().OnEventsAcknowledged(request.job(), request.attempt(),
                                            response->acknowledged_sequence());
    }
    return status;
  }
  grpc::Status GetArtifactStatus(grpc::ClientContext* context,
                                 const seam::GetArtifactStatusRequest& request,
                                 seam::GetArtifactStatusResponse* response) override {
    return Unary(context, "GetArtifactStatus", request, response);
  }
  grpc::Status CommitArtifacts(grpc::ClientContext* context,
                               const seam::CommitArtifactsRequest& request,
                               seam::CommitArtifactsResponse* response) override {
    return Unary(context, "CommitArtifacts", request, response);
  }

 private:
  CallOptions Options(grpc::ClientContext* context, std::string what) const {
    const absl::Duration timeout = absl::FromChrono(context->deadline()) - clock_->Now();
    return {
        .what = std::move(what),
        .timeout = std::max(timeout, absl::ZeroDuration()),
        .cancelled = [context] { return InteropClientContextInspector::IsCancelled(*context); }};
  }

  template <typename Request, typename Response>
  grpc::Status Unary(grpc::ClientContext* context, std::string what, const Request& request,
                     Response* response) {
    return network_->Call<Response>(
        link_, Options(context, std::move(what)),
        [server = server_, request](Response* answer) { return server->Handle(request, answer); },
        response);
  }

  template <typename Request, typename Response>
  grpc::ClientReaderInterface<Response>* Fetch(grpc::ClientContext* context, std::string what,
                                               const Request& request) {
    std::string content;
    const grpc::Status status = network_->Call<std::string>(
        link_, Options(context, std::move(what)),
        [server = server_, request](std::string* answer) { return server->Read(request, answer); },
        &content);
    const bool cut = status.ok() && network_->Cuts();
    if (cut)
      content.resize(static_cast<size_t>(network_->CutAt(static_cast<int64_t>(content.size()))));
    return new Pieces<Response>(status, std::move(content), cut);
  }

  grpc::ClientWriterInterface<seam::UploadArtifactRequest>* UploadArtifactRaw(
      grpc::ClientContext* context, seam::UploadArtifactResponse* response) override {
    return new Upload([this, context, response](const seam::ArtifactRef& ref, int64_t offset,
                                                const std::string& data) {
      const bool cut = network_->Cuts();
      const std::string sent =
          cut ? data.substr(0,
                            static_cast<size_t>(network_->CutAt(static_cast<int64_t>(data.size()))))
              : data;
      return network_->Call<seam::UploadArtifactResponse>(
          link_, Options(context, "UploadArtifact"),
          [server = server_, ref, offset, sent, cut](seam::UploadArtifactResponse* answer) {
            return server->Upload(ref, offset, sent, cut, answer);
          },
          response);
    });
  }
  grpc::ClientReaderInterface<seam::FetchFileResponse>* FetchFileRaw(
      grpc::ClientContext* context, const seam::FetchFileRequest& request) override {
    return Fetch<seam::FetchFileRequest, seam::FetchFileResponse>(context, "FetchFile", request);
  }
  grpc::ClientReaderInterface<seam::FetchArtifactResponse>* FetchArtifactRaw(
      grpc::ClientContext* context, const seam::FetchArtifactRequest& request) override {
    return Fetch<seam::FetchArtifactRequest, seam::FetchArtifactResponse>(context, "FetchArtifact",
                                                                          request);
  }

// The asynchronous calls that the interface asks for, too.
#define LONGLORA_NO_ASYNC_UNARY(method)                                                        \
  grpc::ClientAsyncResponseReaderInterface<seam::method##Response>* Async##method##Raw(        \
      grpc::ClientContext*, const seam::method##Request&, grpc::CompletionQueue*) override {   \
    std::abort();                                                                              \
  }                                                                                            \
  grpc::ClientAsyncResponseReaderInterface<seam::method##Response>* PrepareAsync##method##Raw( \
      grpc::ClientContext*, const seam::method##Request&, grpc::CompletionQueue*) override {   \
    std::abort();                                                                              \
  }
#define LONGLORA_NO_ASYNC_READER(method)                                                     \
  grpc::ClientAsyncReaderInterface<seam::method##Response>* Async##method##Raw(              \
      grpc::ClientContext*, const seam::method##Request&, grpc::CompletionQueue*, void*)     \
      override {                                                                             \
    std::abort();                                                                            \
  }                                                                                          \
  grpc::ClientAsyncReaderInterface<seam::method##Response>* PrepareAsync##method##Raw(       \
      grpc::ClientContext*, const seam::method##Request&, grpc::CompletionQueue*) override { \
    std::abort();                                                                            \
  }
  LONGLORA_NO_ASYNC_UNARY(Synchronize)
  LONGLORA_NO_ASYNC_UNARY(ReportEvents)
  LONGLORA_NO_ASYNC_UNARY(GetArtifactStatus)
  LONGLORA_NO_ASYNC_UNARY(CommitArtifacts)
  LONGLORA_NO_ASYNC_READER(FetchFile)
  LONGLORA_NO_ASYNC_READER(FetchArtifact)
#undef LONGLORA_NO_ASYNC_UNARY
#undef LONGLORA_NO_ASYNC_READER
  grpc::ClientAsyncWriterInterface<seam::UploadArtifactRequest>* AsyncUploadArtifactRaw(
      grpc::ClientContext*, seam::UploadArtifactResponse*, grpc::CompletionQueue*, void*) override {
    std::abort();
  }
  grpc::ClientAsyncWriterInterface<seam::UploadArtifactRequest>* PrepareAsyncUploadArtifactRaw(
      grpc::ClientContext*, seam::UploadArtifactResponse*, grpc::CompletionQueue*) override {
    std::abort();
  }

  const Link link_;
  Network* const network_;
  SimulatedServer* const server_;
  common::Clock* const clock_;
};

}  // namespace

std::unique_ptr<worker::ServerLink::Stub> MakeSimulatedStub(Link link, Network* network,
                                                            SimulatedServer* server,
                                                            common::Clock* clock) {
  return std::make_unique<SimulatedStub>(link, network, server, clock);
}

}  // namespace longlora::simulation
