//! Hugging Face tokenizers.

use std::ffi::c_char;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;

use tokenizers::Tokenizer;

use crate::{give, guard, take_back, text_of};

const JSON_BYTES_MAX: usize = 256 << 20;
const TEXT_BYTES_MAX: usize = 1 << 30;

pub struct LongloraTokenizer(Tokenizer);

#[repr(C)]
pub struct LongloraEncoding {
    ids: *mut u32,
    spans: *mut u32,
    num_ids: usize,
}

/// # Safety
/// `json` points to `size` bytes; `error` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn longlora_tokenizer_new(
    json: *const u8,
    size: usize,
    error: *mut *mut c_char,
) -> *mut LongloraTokenizer {
    guard(error, || {
        let text = text_of(json, size, JSON_BYTES_MAX)?;
        let mut tokenizer: Tokenizer = text.parse().map_err(|e: tokenizers::Error| e.to_string())?;
        // A file may carry the settings of whoever saved it last; training data is never cut silently.
        tokenizer.with_truncation(None).map_err(|e| e.to_string())?;
        tokenizer.with_padding(None);
        Ok(Box::into_raw(Box::new(LongloraTokenizer(tokenizer))))
    })
    .unwrap_or(ptr::null_mut())
}

/// # Safety
/// `tokenizer` comes from `longlora_tokenizer_new`, once, or is null.
#[no_mangle]
pub unsafe extern "C" fn longlora_tokenizer_free(tokenizer: *mut LongloraTokenizer) {
    if !tokenizer.is_null() {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(tokenizer))));
    }
}

/// # Safety
/// `tokenizer` is alive; `text` points to `size` bytes; `encoding` is writable; `error` is null or
/// writable.
#[no_mangle]
pub unsafe extern "C" fn longlora_tokenizer_encode(
    tokenizer: *const LongloraTokenizer,
    text: *const u8,
    size: usize,
    add_special_tokens: bool,
    with_spans: bool,
    encoding: *mut LongloraEncoding,
    error: *mut *mut c_char,
) -> bool {
    let encoded = guard(error, || {
        let text = text_of(text, size, TEXT_BYTES_MAX)?;
        let tokenizer = &(*tokenizer).0;
        // encode() gives bytes, encode_char_offsets() characters; encode_fast() neither.
        let found = if with_spans {
            tokenizer.encode(text, add_special_tokens)
        } else {
            tokenizer.encode_fast(text, add_special_tokens)
        }
        .map_err(|e| e.to_string())?;
        let spans = match with_spans {
            true => found.get_offsets().iter().flat_map(|&(b, e)| [b as u32, e as u32]).collect(),
            false => Vec::new(),
        };
        Ok((found.get_ids().to_vec(), spans))
    });
    let Some((ids, spans)) = encoded else { return false };
    let (ids, num_ids) = give(ids);
    let spans = if with_spans { give(spans).0 } else { ptr::null_mut() };
    *encoding = LongloraEncoding { ids, spans, num_ids };
    true
}

/// # Safety
/// `encoding` was filled by `longlora_tokenizer_encode` and is freed once.
#[no_mangle]
pub unsafe extern "C" fn longlora_encoding_free(encoding: *mut LongloraEncoding) {
    let LongloraEncoding { ids, spans, num_ids } = ptr::read(encoding);
    take_back(ids, num_ids);
    take_back(spans, 2 * num_ids);
}

/// # Safety
/// `tokenizer` is alive; `token` points to `size` bytes.
#[no_mangle]
pub unsafe extern "C" fn longlora_tokenizer_token_to_id(
    tokenizer: *const LongloraTokenizer,
    token: *const u8,
    size: usize,
) -> i64 {
    guard(ptr::null_mut(), || {
        let token = text_of(token, size, TEXT_BYTES_MAX)?;
        (*tokenizer).0.token_to_id(token).map(i64::from).ok_or_else(String::new)
    })
    .unwrap_or(-1)
}

/// # Safety
/// `tokenizer` is alive.
#[no_mangle]
pub unsafe extern "C" fn longlora_tokenizer_vocab_size(tokenizer: *const LongloraTokenizer) -> usize {
    guard(ptr::null_mut(), || Ok((*tokenizer).0.get_vocab_size(true))).unwrap_or(0)
}
