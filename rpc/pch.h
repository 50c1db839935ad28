// What nearly every file of server, worker and client includes, compiled once.
#include <grpcpp/grpcpp.h>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "longlora/v1/fine_tune_service.grpc.pb.h"
