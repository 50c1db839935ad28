// C interface of the Rust library in this folder: Hugging Face tokenizers, chat templates as
// transformers renders them, rows of Parquet files. Only worker/trainer/data calls it. No function
// throws or unwinds. Where a function takes `error`, a failure leaves a message there that the
// caller frees with longlora_string_free; pass NULL to do without. Text is UTF-8 with a length, no
// NUL.
#ifndef LONGLORA_TEXT_LONGLORA_TEXT_H_
#define LONGLORA_TEXT_LONGLORA_TEXT_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Changes whenever this library or a crate it is built from does: part of the key of token caches.
uint64_t longlora_text_digest(void);

// Immutable; every function but _free may be called from several threads at once.
typedef struct LongloraTokenizer LongloraTokenizer;

// Parses the content of a tokenizer.json (at most 256 MiB). Its truncation and padding settings are
// switched off. NULL on failure.
LongloraTokenizer* longlora_tokenizer_new(const uint8_t* json, size_t size, char** error);
void longlora_tokenizer_free(LongloraTokenizer* tokenizer);

typedef struct {
  uint32_t* ids;    // [num_ids]
  uint32_t* spans;  // [num_ids][2]: bytes [begin, end) of the text; empty for added special tokens
  size_t num_ids;
} LongloraEncoding;

// Token ids of `text` (at most 1 GiB), with the special tokens that the tokenizer's post-processor
// adds if `add_special_tokens`; `spans` is NULL unless `with_spans`. On success `*encoding` belongs
// to the caller, who gives it back with longlora_encoding_free; on failure it is untouched.
bool longlora_tokenizer_encode(const LongloraTokenizer* tokenizer, const uint8_t* text, size_t size,
                               bool add_special_tokens, bool with_spans, LongloraEncoding* encoding,
                               char** error);
void longlora_encoding_free(LongloraEncoding* encoding);

// Id of a token written as in the vocabulary, or -1.
int64_t longlora_tokenizer_token_to_id(const LongloraTokenizer* tokenizer, const uint8_t* token,
                                       size_t size);
// Entries of the vocabulary, added tokens included.
size_t longlora_tokenizer_vocab_size(const LongloraTokenizer* tokenizer);

// A chat template. Immutable; every function but _free may be called from several threads at once.
typedef struct LongloraTemplate LongloraTemplate;

// `source` is Jinja2 (at most 16 MiB), `special_tokens` a JSON object {"bos_token": "...", ...}
// that the template sees as variables, `now_seconds` the time since 1970 that strftime_now prints,
// in UTC. NULL on failure.
LongloraTemplate* longlora_template_new(const uint8_t* source, size_t source_size,
                                        const uint8_t* special_tokens, size_t special_tokens_size,
                                        int64_t now_seconds, char** error);
void longlora_template_free(LongloraTemplate* tmpl);

typedef struct {
  uint8_t* text;
  size_t text_size;
  size_t* answers;  // [num_answers][2]: bytes [begin, end) of the text, ascending
  size_t num_answers;
  size_t head_size;  // bytes that the leading system message takes; 0: none, or it cannot be told
} LongloraChat;

enum {
  LONGLORA_ANSWERS_IGNORED = 0,
  LONGLORA_ANSWERS_IF_POSSIBLE = 1,  // none found is no failure
  LONGLORA_ANSWERS_REQUIRED = 2,
};

// The text of `example`, a JSON object {"messages": [{"role", "content"}], "tools"?, "documents"?},
// as transformers' apply_chat_template gives it with add_generation_prompt=False. Answers are what
// the template's {% generation %} blocks wrote; if it has none, what it writes for each message of
// the role assistant after the prompt for it, which must not depend on later messages. On success
// `*chat` belongs to the caller, who gives it back with longlora_chat_free; on failure it is
// untouched.
bool longlora_template_render(const LongloraTemplate* tmpl, const uint8_t* example, size_t size,
                              int32_t answers, LongloraChat* chat, char** error);
void longlora_chat_free(LongloraChat* chat);

// Rows of a Parquet file in order. Not thread-safe.
typedef struct LongloraParquet LongloraParquet;

// NULL on failure.
LongloraParquet* longlora_parquet_open(const uint8_t* path, size_t size, char** error);
// The next row as a JSON object. 1: `*json` belongs to the caller, who gives it back with
// longlora_bytes_free. 0: there is none. -1: failed.
int32_t longlora_parquet_next(LongloraParquet* parquet, uint8_t** json, size_t* size, char** error);
void longlora_bytes_free(uint8_t* bytes, size_t size);
void longlora_parquet_close(LongloraParquet* parquet);

void longlora_string_free(char* text);

#ifdef __cplusplus
}
#endif

#endif  // LONGLORA_TEXT_LONGLORA_TEXT_H_
