//! C interface to Hugging Face tokenizers; `longlora_text.h` documents it.
//!
//! Nothing unwinds into C++: every function catches panics and reports them like any other error.

use std::ffi::{c_char, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::{ptr, slice};

use tokenizers::Tokenizer;

const JSON_BYTES_MAX: usize = 256 << 20;
const TEXT_BYTES_MAX: usize = 1 << 30;

pub struct LongloraTokenizer(Tokenizer);

/// Runs `work`; on an error or a panic leaves the reason in `*error` and returns None.
unsafe fn guard<T>(error: *mut *mut c_char, work: impl FnOnce() -> Result<T, String>) -> Option<T> {
    let message = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(message)) => message,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("unknown cause");
            format!("the tokenizer library panicked: {text}")
        }
    };
    if !error.is_null() {
        // NUL cannot be carried in a C string.
        let text = message.replace('\0', " ");
        *error = CString::new(text).unwrap_or_default().into_raw();
    }
    None
}

/// The UTF-8 behind a C pointer and length.
unsafe fn text_of<'a>(data: *const u8, size: usize, size_max: usize) -> Result<&'a str, String> {
    if size > size_max {
        return Err(format!("{size} bytes are more than the {size_max} allowed"));
    }
    if size == 0 {
        return Ok("");
    }
    std::str::from_utf8(slice::from_raw_parts(data, size))
        .map_err(|e| format!("not UTF-8 from byte {}", e.valid_up_to()))
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
/// `tokenizer` is alive; `text` points to `size` bytes; `ids`, `num_ids` are writable; `error` is null or
/// writable.
#[no_mangle]
pub unsafe extern "C" fn longlora_tokenizer_encode(
    tokenizer: *const LongloraTokenizer,
    text: *const u8,
    size: usize,
    ids: *mut *mut u32,
    num_ids: *mut usize,
    error: *mut *mut c_char,
) -> bool {
    let encoded = guard(error, || {
        let text = text_of(text, size, TEXT_BYTES_MAX)?;
        let encoding = (*tokenizer).0.encode_fast(text, false).map_err(|e| e.to_string())?;
        Ok(encoding.get_ids().to_vec().into_boxed_slice())
    });
    match encoded {
        Some(boxed) => {
            *num_ids = boxed.len();
            *ids = Box::into_raw(boxed) as *mut u32;
            true
        }
        None => false,
    }
}

/// # Safety
/// `ids` and `num_ids` come from one call of `longlora_tokenizer_encode`.
#[no_mangle]
pub unsafe extern "C" fn longlora_ids_free(ids: *mut u32, num_ids: usize) {
    if !ids.is_null() {
        drop(Box::from_raw(ptr::slice_from_raw_parts_mut(ids, num_ids)));
    }
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

/// # Safety
/// `text` is an error message of this library, freed once, or null.
#[no_mangle]
pub unsafe extern "C" fn longlora_string_free(text: *mut c_char) {
    if !text.is_null() {
        drop(CString::from_raw(text));
    }
}
