#include "server/api/call_observer.h"

#include <google/protobuf/descriptor.h>

#include <string>
#include <utility>

#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "common/time/clock.h"

namespace longlora::server {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::ServerRpcInfo;

std::string KnownMethod(absl::string_view path) {
  const std::string method(absl::StripPrefix(path, "/"));
  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  const std::string full_name = absl::StrReplaceAll(method, {{"/", "."}});
  return pool->FindMethodByName(full_name) == nullptr ? "unknown" : method;
}

class CallInterceptor : public grpc::experimental::Interceptor {
 public:
  CallInterceptor(const CallObserver& observer, const ServerRpcInfo& info)
      : observer_(observer),
        method_(KnownMethod(info.method())),
        start_(common::Clock::Real().MonotonicNow()) {}

  ~CallInterceptor() override {
    if (!observed_) Observe(absl::StatusCode::kCancelled);
  }

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      Observe(static_cast<absl::StatusCode>(methods->GetSendStatus().error_code()));
    }
    methods->Proceed();
  }

 private:
  void Observe(absl::StatusCode code) {
    observed_ = true;
    observer_(method_, absl::StatusCodeToString(code),
              common::Clock::Real().MonotonicNow() - start_);
  }

  const CallObserver& observer_;
  const std::string method_;
  const common::MonotonicTime start_;
  bool observed_ = false;
};

class CallInterceptorFactory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit CallInterceptorFactory(CallObserver observer) : observer_(std::move(observer)) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    return new CallInterceptor(observer_, *info);
  }

 private:
  const CallObserver observer_;
};

}  // namespace

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallObserver(
    CallObserver observer) {
  return std::make_unique<CallInterceptorFactory>(std::move(observer));
}

}  // namespace longlora::server
