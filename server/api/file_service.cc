#include "server/api/file_service.h"

#include <memory>
#include <string>

#include "common/status/status_macros.h"
#include "server/api/edge_status.h"
#include "server/api/file_name.h"

namespace longlora::server {

absl::StatusOr<v1::File> FileServiceHandler::Get(const std::string& name) const {
  LONGLORA_ASSIGN_OR_RETURN(const std::string sha256, ParseFileName(name));
  LONGLORA_ASSIGN_OR_RETURN(const StoredFile stored, files_->Get(sha256));
  v1::File file;
  file.set_name(name);
  file.set_size_bytes(stored.size_bytes);
  file.set_received_bytes(stored.received_bytes);
  file.set_complete(stored.complete);
  return file;
}

absl::StatusOr<v1::File> FileServiceHandler::Upload(
    grpc::ServerContext* context, grpc::ServerReader<v1::UploadFileRequest>* reader) {
  LONGLORA_ASSIGN_OR_RETURN(const TransferLimit::Slot slot, transfers_->Take());
  v1::UploadFileRequest first;
  if (!reader->Read(&first) || !first.has_header()) return HeaderMissing();
  const v1::UploadFileHeader& header = first.header();
  LONGLORA_ASSIGN_OR_RETURN(const std::string sha256, ParseFileName(header.name()));
  LONGLORA_ASSIGN_OR_RETURN(std::unique_ptr<ResumableUpload> upload,
                            files_->Begin(sha256, header.size_bytes(), header.offset()));
  if (upload != nullptr) {
    LONGLORA_RETURN_IF_ERROR(Receive(context, reader, *upload, [] { return absl::OkStatus(); }));
  }
  return Get(header.name());
}

grpc::ServerUnaryReactor* FileServiceHandler::GetFile(grpc::CallbackServerContext* context,
                                                      const v1::GetFileRequest* request,
                                                      v1::File* response) {
  return calls_->Start(context, request, response,
                       [this, request] { return Get(request->name()); });
}

grpc::Status FileServiceHandler::UploadFile(grpc::ServerContext* context,
                                            grpc::ServerReader<v1::UploadFileRequest>* reader,
                                            v1::File* response) {
  return ToReply(Upload(context, reader), response);
}

}  // namespace longlora::server
