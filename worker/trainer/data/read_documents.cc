#include "worker/trainer/data/read_documents.h"

#include <algorithm>
#include <deque>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/io/sha256.h"
#include "common/status/annotate.h"
#include "common/status/status_macros.h"
#include "worker/trainer/data/record_reader.h"
#include "worker/trainer/data/token_cache.h"

namespace longlora::trainer {
namespace {

// Raised whenever the same line would become another document than before.
constexpr int kMakerVersion = 1;

constexpr size_t kBatchBytes = size_t{1} << 20;
constexpr size_t kBatchRecords = 1024;

struct NumberedRecord {
  int64_t number = 0;
  std::string text;
};

struct MadeBatch {
  std::vector<Document> documents;
  std::vector<int64_t> skipped;  // numbers of records without anything to learn
  absl::Status error;            // of the first record that has one; those after it were not made
  int64_t error_number = 0;
};

MadeBatch MakeBatch(const ExampleMaker& maker, const std::vector<NumberedRecord>& records) {
  MadeBatch made;
  for (const NumberedRecord& record : records) {
    absl::StatusOr<std::optional<Document>> document = maker.Make(record.text);
    if (!document.ok()) {
      made.error = document.status();
      made.error_number = record.number;
      return made;
    }
    if (!document->has_value()) {
      made.skipped.push_back(record.number);
      continue;
    }
    (*document)->line = record.number;
    made.documents.push_back(**std::move(document));
  }
  return made;
}

// At most `threads` batches are in the making; their results are taken in the order of the file.
class Pipeline {
 public:
  Pipeline(const DocumentsOptions& options, RecordReader& reader, DocumentSink& sink)
      : maker_(options.example), reader_(reader), sink_(sink) {
    const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    num_threads_ = static_cast<size_t>(options.num_threads > 0 ? options.num_threads : cores);
  }

  absl::StatusOr<SkippedDocuments> Run() {
    bool more = true;
    while (more) {
      std::vector<NumberedRecord> records;
      const absl::StatusOr<bool> filled = Fill(records);
      more = filled.ok() && *filled;
      if (!records.empty()) {
        making_.push_back(std::async(std::launch::async, [this, records = std::move(records)] {
          return MakeBatch(maker_, records);
        }));
      }
      // A broken file is told after whatever is wrong in the lines before the break.
      while (!making_.empty() && (!more || making_.size() >= num_threads_)) {
        LONGLORA_RETURN_IF_ERROR(TakeOldest());
      }
      LONGLORA_RETURN_IF_ERROR(filled.status());
    }
    return skipped_;
  }

 private:
  // False at the end of the file. What was read before an error is in `records`.
  absl::StatusOr<bool> Fill(std::vector<NumberedRecord>& records) {
    size_t bytes = 0;
    std::string text;
    while (bytes < kBatchBytes && records.size() < kBatchRecords) {
      LONGLORA_ASSIGN_OR_RETURN(const bool more, reader_.Next(text));
      if (!more) return false;
      if (absl::StripAsciiWhitespace(text).empty()) continue;
      bytes += text.size();
      records.push_back({reader_.number(), std::move(text)});
    }
    return true;
  }

  absl::Status TakeOldest() {
    const MadeBatch made = making_.front().get();
    making_.pop_front();
    for (const Document& document : made.documents) LONGLORA_RETURN_IF_ERROR(sink_.Add(document));
    if (!made.skipped.empty()) {
      if (skipped_.count == 0) skipped_.first_line = made.skipped.front();
      skipped_.count += static_cast<int64_t>(made.skipped.size());
    }
    if (made.error.ok()) return absl::OkStatus();
    return common::Annotate(made.error, reader_.PlaceOf(made.error_number));
  }

  const ExampleMaker maker_;
  RecordReader& reader_;
  DocumentSink& sink_;
  size_t num_threads_ = 1;
  SkippedDocuments skipped_;
  // Last: a future waits for its thread when it goes, and the threads use the members above.
  std::deque<std::future<MadeBatch>> making_;
};

absl::StatusOr<SkippedDocuments> ReadInto(const DocumentsOptions& options, DocumentSink& sink) {
  LONGLORA_ASSIGN_OR_RETURN(const std::unique_ptr<RecordReader> reader,
                            RecordReader::Open(options.path, options.record_bytes_max));
  return Pipeline(options, *reader, sink).Run();
}

absl::StatusOr<Documents> ReadIntoMemory(const DocumentsOptions& options) {
  DocumentsBuilder builder;
  LONGLORA_ASSIGN_OR_RETURN(const SkippedDocuments skipped, ReadInto(options, builder));
  return builder.Build(skipped);
}

// Everything that decides the tokens: the same key, the same documents.
std::string CacheKey(const DocumentsOptions& options, const std::string& data_sha256) {
  const ExampleOptions& example = options.example;
  return common::Sha256Hex(
      absl::StrCat(kMakerVersion, " ", data_sha256, " ", static_cast<int>(example.format), " ",
                   example.vocab_size, " ", example.train_on_prompt, " ", options.record_bytes_max,
                   " ", example.tokenizer == nullptr ? "" : example.tokenizer->digest(), " ",
                   example.chat_template == nullptr ? "" : example.chat_template->digest()));
}

absl::StatusOr<Documents> ReadThroughCache(const DocumentsOptions& options,
                                           const std::string& data_sha256,
                                           std::vector<std::string>& warnings) {
  const TokenCache cache(options.cache_directory, CacheKey(options, data_sha256));
  const TokenCache::Lock lock = cache.TakeTurn();
  absl::StatusOr<Documents> kept = cache.Open();
  if (kept.ok()) return kept;
  if (!absl::IsNotFound(kept.status())) {
    warnings.push_back(absl::StrCat("the token cache cannot be used and is made again: ",
                                    std::string(kept.status().message())));
  }
  // What is wrong with the dataset goes to the caller, what is wrong with the disk does not.
  absl::Status of_cache;
  auto writer = cache.Create();
  if (writer.ok()) {
    const absl::StatusOr<SkippedDocuments> skipped = ReadInto(options, **writer);
    if (!skipped.ok() && (*writer)->status().ok()) return skipped.status();
    of_cache = skipped.ok() ? (*writer)->Commit(*skipped) : (*writer)->status();
    if (of_cache.ok()) kept = cache.Open();
    if (of_cache.ok() && kept.ok()) return kept;
    if (of_cache.ok()) of_cache = kept.status();
  } else {
    of_cache = writer.status();
  }
  warnings.push_back(absl::StrCat("the token cache cannot be written, so tokens stay in memory: ",
                                  std::string(of_cache.message())));
  return ReadIntoMemory(options);
}

absl::Status CheckOptions(const ExampleOptions& example) {
  if (example.format != common::DatasetFormat::kTokens && example.tokenizer == nullptr) {
    return absl::InternalError("a dataset of words was read without a tokenizer");
  }
  if (example.format == common::DatasetFormat::kChat && example.chat_template == nullptr) {
    return absl::InternalError("format chat was read without a chat template");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Documents> ReadDocuments(const DocumentsOptions& options,
                                        std::vector<std::string>* warnings, std::string* sha256) {
  LONGLORA_RETURN_IF_ERROR(CheckOptions(options.example));
  LONGLORA_ASSIGN_OR_RETURN(const std::string data_sha256, common::Sha256File(options.path));
  if (sha256 != nullptr) *sha256 = data_sha256;
  std::vector<std::string> ignored;
  LONGLORA_ASSIGN_OR_RETURN(
      Documents documents,
      options.cache_directory.empty()
          ? ReadIntoMemory(options)
          : ReadThroughCache(options, data_sha256, warnings == nullptr ? ignored : *warnings));
  if (documents.num_documents() > 0) return documents;
  const bool words = options.example.format == common::DatasetFormat::kText;
  return absl::InvalidArgumentError(absl::StrCat(options.path,
                                                 ": the dataset is empty: it holds no document",
                                                 documents.skipped().count == 0 ? ""
                                                 : words                        ? " with text in it"
                                                         : " with an answer in it"));
}

}  // namespace longlora::trainer
