//! Files that hold a secret: made where they are missing, for their owner only.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What `file` holds, up to `bytes_max` octets.
pub fn read(file: &Path, bytes_max: u64) -> Result<String> {
    let mut text = String::new();
    File::open(file)?.take(bytes_max).read_to_string(&mut text)?;
    Ok(text)
}

/// The same; where there is no file, makes one of `new`, on disk once this returns.
pub fn read_or_make(file: &Path, bytes_max: u64, new: impl FnOnce() -> String) -> Result<String> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Ok(mut made) => {
            let text = new();
            made.write_all(text.as_bytes())?;
            made.sync_all()?;
            Ok(text)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(file, bytes_max),
        Err(error) => Err(error),
    }
}
