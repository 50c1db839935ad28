// Goal: an event that becomes durable just after a watcher found nothing new, and just before it
// goes to sleep, wakes it. Method: a store that lets the job change at exactly that moment, behind
// the real service.
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>
#include <utility>

#include "common/ids/id_generator.h"
#include "common/time/clock.h"
#include "server/api/fine_tune_service.h"
#include "server/store/sqlite_job_store.h"
#include "tests/server/store/forwarding_job_store.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temporary_directory.h"

namespace longlora::server {
namespace {

// Passes everything on; calls `on_nothing_new` once, after an empty page was read and before it is
// returned.
class RacingStore : public ForwardingJobStore {
 public:
  using ForwardingJobStore::ForwardingJobStore;
  std::function<void()> on_nothing_new;

  absl::StatusOr<EventPage> ReadEvents(absl::string_view id, int64_t after,
                                       int32_t limit) override {
    absl::StatusOr<EventPage> page = inner().ReadEvents(id, after, limit);
    if (page.ok() && page->events.empty() && on_nothing_new) {
      std::exchange(on_nothing_new, nullptr)();
    }
    return page;
  }
};

TEST(WatchRaceTest, ChangeBetweenReadingAndSleepingIsSeen) {
  testing::TemporaryDirectory directory;
  ASSERT_OK_AND_ASSIGN(auto store, OpenSqliteJobStore(directory / "jobs.sqlite"));
  EventHub hub;
  Scheduler::Dependencies dependencies;
  dependencies.store = store.get();
  dependencies.hub = &hub;
  dependencies.clock = &common::Clock::Real();
  dependencies.ids = &common::IdGenerator::Real();
  ASSERT_OK_AND_ASSIGN(auto scheduler, Scheduler::Create({}, dependencies));
  worker::v1::SynchronizeRequest worker;
  worker.set_worker("w1");
  worker.set_incarnation("first");
  worker.add_models("tiny");
  ASSERT_OK(scheduler->Synchronize(worker));
  SubmitRequest submit;
  submit.spec.set_base_model("tiny");
  ASSERT_OK_AND_ASSIGN(const v1::FineTuneJob job, scheduler->Submit(submit));

  RacingStore racing(*store);
  racing.on_nothing_new = [&] { EXPECT_OK(scheduler->Ask(JobTrigger::kCancel, job.name(), "")); };
  EventLog events(racing, hub);
  WatchStreams watches(scheduler.get(), &events, Limits(), &common::Clock::Real());
  FineTuneServiceHandler::Dependencies services;
  services.reader = scheduler.get();
  services.watches = &watches;
  FineTuneServiceHandler service(services);
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  auto stub = v1::FineTuneService::NewStub(server->InProcessChannel({}));

  v1::WatchFineTuneJobRequest request;
  request.set_name(job.name());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  auto reader = stub->WatchFineTuneJob(&context, request);
  v1::WatchFineTuneJobResponse update;
  while (reader->Read(&update)) {
  }
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(update.event().state_changed().state(), v1::FineTuneJob::CANCELLED);
  server->Shutdown();
}

}  // namespace
}  // namespace longlora::server
