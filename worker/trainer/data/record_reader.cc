#include "worker/trainer/data/record_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/io/files.h"
#include "common/status/status_macros.h"
#include "text/longlora_text.h"
#include "worker/trainer/data/byte_source.h"
#include "worker/trainer/data/line_reader.h"
#include "worker/trainer/data/text_error.h"

namespace longlora::trainer {
namespace {

class LineRecords : public RecordReader {
 public:
  explicit LineRecords(LineReader lines) : lines_(std::move(lines)) {}
  absl::StatusOr<bool> Next(std::string& record) override { return lines_.Next(record); }
  int64_t number() const override { return lines_.line_number(); }
  std::string PlaceOf(int64_t number) const override { return lines_.PlaceOf(number); }

 private:
  LineReader lines_;
};

class ParquetRecords : public RecordReader {
 public:
  ParquetRecords(std::string path, LongloraParquet* parquet, int64_t record_bytes_max)
      : path_(std::move(path)), parquet_(parquet), record_bytes_max_(record_bytes_max) {}
  ~ParquetRecords() override { longlora_parquet_close(parquet_); }

  absl::StatusOr<bool> Next(std::string& record) override {
    ++number_;
    uint8_t* json = nullptr;
    size_t size = 0;
    char* error = nullptr;
    const int32_t found = longlora_parquet_next(parquet_, &json, &size, &error);
    if (found == 0) return false;
    if (found < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(PlaceOf(number_), ": broken Parquet file: ", TakeTextError(error)));
    }
    record.assign(reinterpret_cast<const char*>(json), size);
    longlora_bytes_free(json, size);
    if (static_cast<int64_t>(size) <= record_bytes_max_) return true;
    return absl::InvalidArgumentError(absl::StrCat(PlaceOf(number_), ": longer than ",
                                                   record_bytes_max_,
                                                   " bytes: split the document into several rows"));
  }
  int64_t number() const override { return number_; }
  std::string PlaceOf(int64_t number) const override {
    return absl::StrCat(path_, " row ", number);
  }

 private:
  const std::string path_;
  LongloraParquet* const parquet_;
  const int64_t record_bytes_max_;
  int64_t number_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RecordReader>> RecordReader::Open(const std::string& path,
                                                                 int64_t record_bytes_max) {
  LONGLORA_ASSIGN_OR_RETURN(const Container container, ContainerOfFile(path));
  if (container != Container::kParquet) {
    LONGLORA_ASSIGN_OR_RETURN(LineReader lines, LineReader::Open(path, record_bytes_max));
    return std::make_unique<LineRecords>(std::move(lines));
  }
  char* error = nullptr;
  LongloraParquet* parquet =
      longlora_parquet_open(reinterpret_cast<const uint8_t*>(path.data()), path.size(), &error);
  if (parquet == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": broken Parquet file: ", TakeTextError(error)));
  }
  return std::make_unique<ParquetRecords>(path, parquet, record_bytes_max);
}

}  // namespace longlora::trainer
