//! Rows of a Parquet file as JSON text.

use std::ffi::c_char;
use std::fs::File;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;

use parquet::file::serialized_reader::SerializedFileReader;
use parquet::record::reader::RowIter;

use crate::{give, guard, take_back, text_of};

const PATH_BYTES_MAX: usize = 1 << 16;

pub struct LongloraParquet(RowIter<'static>);

/// # Safety
/// `path` points to `size` bytes; `error` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn longlora_parquet_open(
    path: *const u8,
    size: usize,
    error: *mut *mut c_char,
) -> *mut LongloraParquet {
    guard(error, || {
        let path = text_of(path, size, PATH_BYTES_MAX)?;
        let file = File::open(path).map_err(|e| e.to_string())?;
        let reader = SerializedFileReader::new(file).map_err(|e| e.to_string())?;
        let rows = RowIter::from_file_into(Box::new(reader));
        Ok(Box::into_raw(Box::new(LongloraParquet(rows))))
    })
    .unwrap_or(ptr::null_mut())
}

/// # Safety
/// `parquet` is alive; `json` and `size` are writable; `error` is null or writable.
#[no_mangle]
pub unsafe extern "C" fn longlora_parquet_next(
    parquet: *mut LongloraParquet,
    json: *mut *mut u8,
    size: *mut usize,
    error: *mut *mut c_char,
) -> i32 {
    let row = guard(error, || match (*parquet).0.next() {
        None => Ok(None),
        Some(Err(e)) => Err(e.to_string()),
        Some(Ok(row)) => Ok(Some(row.to_json_value().to_string().into_bytes())),
    });
    match row {
        None => -1,
        Some(None) => 0,
        Some(Some(text)) => {
            (*json, *size) = give(text);
            1
        }
    }
}

/// # Safety
/// `json` and `size` come from one call of `longlora_parquet_next`.
#[no_mangle]
pub unsafe extern "C" fn longlora_bytes_free(json: *mut u8, size: usize) {
    take_back(json, size);
}

/// # Safety
/// `parquet` comes from `longlora_parquet_open`, once, or is null.
#[no_mangle]
pub unsafe extern "C" fn longlora_parquet_close(parquet: *mut LongloraParquet) {
    if !parquet.is_null() {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(parquet))));
    }
}
