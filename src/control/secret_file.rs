//! Files that hold a secret: made where they are missing, for their owner only.

use std::fs::File;
use std::io::{ErrorKind, Read, Result};
use std::path::Path;

use super::whole_file;

/// What `file` holds, up to `bytes_max` octets.
pub fn read(file: &Path, bytes_max: u64) -> Result<String> {
    let mut text = String::new();
    File::open(file)?.take(bytes_max).read_to_string(&mut text)?;
    Ok(text)
}

/// The same; where there is no file, makes one of `new`, on disk once this returns.
pub fn read_or_make(file: &Path, bytes_max: u64, new: impl FnOnce() -> String) -> Result<String> {
    match read(file, bytes_max) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        done => return done,
    }
    let text = new();
    match whole_file::make_secret(file, text.as_bytes()) {
        Ok(()) => Ok(text),
        // Another process was quicker.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(file, bytes_max),
        Err(error) => Err(error),
    }
}
