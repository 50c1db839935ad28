// C interface of the Rust library in this folder: Hugging Face tokenizers. Only worker/trainer/data
// calls it. No function throws or unwinds. Where a function takes `error`, a failure leaves a
// message there that the caller frees with longlora_string_free; pass NULL to do without. Text is
// UTF-8 with a length, no NUL.
#ifndef LONGLORA_TEXT_LONGLORA_TEXT_H_
#define LONGLORA_TEXT_LONGLORA_TEXT_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Immutable; every function but _free may be called from several threads at once.
typedef struct LongloraTokenizer LongloraTokenizer;

// Parses the content of a tokenizer.json (at most 256 MiB). Its truncation and padding settings are
// switched off. NULL on failure.
LongloraTokenizer* longlora_tokenizer_new(const uint8_t* json, size_t size, char** error);
void longlora_tokenizer_free(LongloraTokenizer* tokenizer);

// Token ids of `text` (at most 1 GiB), without added special tokens. On success `*ids` belongs to
// the caller, who gives it back with longlora_ids_free; on failure `*ids` and `*num_ids` are
// untouched.
bool longlora_tokenizer_encode(const LongloraTokenizer* tokenizer, const uint8_t* text, size_t size,
                               uint32_t** ids, size_t* num_ids, char** error);
void longlora_ids_free(uint32_t* ids, size_t num_ids);

// Id of a token written as in the vocabulary, or -1.
int64_t longlora_tokenizer_token_to_id(const LongloraTokenizer* tokenizer, const uint8_t* token,
                                       size_t size);
// Entries of the vocabulary, added tokens included.
size_t longlora_tokenizer_vocab_size(const LongloraTokenizer* tokenizer);

void longlora_string_free(char* text);

#ifdef __cplusplus
}
#endif

#endif  // LONGLORA_TEXT_LONGLORA_TEXT_H_
