// longlora.v1.FileService over FileStore. Stateless; thread-safe.
#ifndef LONGLORA_SERVER_API_FILE_SERVICE_H_
#define LONGLORA_SERVER_API_FILE_SERVICE_H_

#include "longlora/v1/file_service.grpc.pb.h"
#include "server/api/transfer.h"
#include "server/api/unary_calls.h"
#include "server/artifacts/file_store.h"

namespace longlora::server {

class FileServiceHandler final
    : public v1::FileService::WithCallbackMethod_GetFile<v1::FileService::Service> {
 public:
  FileServiceHandler(FileStore* files, TransferLimit* transfers, UnaryCalls* calls)
      : files_(files), transfers_(transfers), calls_(calls) {}

  grpc::ServerUnaryReactor* GetFile(grpc::CallbackServerContext* context,
                                    const v1::GetFileRequest* request, v1::File* response) override;
  grpc::Status UploadFile(grpc::ServerContext* context,
                          grpc::ServerReader<v1::UploadFileRequest>* reader,
                          v1::File* response) override;

 private:
  absl::StatusOr<v1::File> Get(const std::string& name) const;
  absl::StatusOr<v1::File> Upload(grpc::ServerContext* context,
                                  grpc::ServerReader<v1::UploadFileRequest>* reader);

  FileStore* const files_;
  TransferLimit* const transfers_;
  UnaryCalls* const calls_;
};

}  // namespace longlora::server

#endif  // LONGLORA_SERVER_API_FILE_SERVICE_H_
