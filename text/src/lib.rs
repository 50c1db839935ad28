//! C interface to Hugging Face tokenizers, chat templates and Parquet files; `longlora_text.h`
//! documents it.
//!
//! Nothing unwinds into C++: every function catches panics and reports them like any other error.

mod chat;
mod parquet;
mod python;
mod template;
mod tokenizer;

use std::ffi::{c_char, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::{ptr, slice};

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
            format!("the text library panicked: {text}")
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

/// Gives a list away to C; `take_back` frees it.
fn give<T>(list: Vec<T>) -> (*mut T, usize) {
    let boxed = list.into_boxed_slice();
    let size = boxed.len();
    (Box::into_raw(boxed) as *mut T, size)
}

unsafe fn take_back<T>(data: *mut T, size: usize) {
    if !data.is_null() {
        drop(Box::from_raw(ptr::slice_from_raw_parts_mut(data, size)));
    }
}

/// FNV-1a of everything that decides what this library gives.
#[no_mangle]
pub extern "C" fn longlora_text_digest() -> u64 {
    let sources = [
        include_str!("../Cargo.lock"),
        include_str!("chat.rs"),
        include_str!("parquet.rs"),
        include_str!("python.rs"),
        include_str!("template.rs"),
        include_str!("tokenizer.rs"),
    ];
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    sources.iter().flat_map(|s| s.bytes()).fold(0xcbf2_9ce4_8422_2325, mix)
}

/// # Safety
/// `text` is an error message of this library, freed once, or null.
#[no_mangle]
pub unsafe extern "C" fn longlora_string_free(text: *mut c_char) {
    if !text.is_null() {
        drop(CString::from_raw(text));
    }
}
