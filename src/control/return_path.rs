//! The keys of the return path.
//!
//! A file holds one key a line: 64 hex digits. The first makes addresses; the others still check what they have made.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use argon2::password_hash::rand_core::{OsRng, RngCore};

use super::{named, secret_file};
use crate::bounce::return_path::{KEY_BYTES, ReturnPath};
use crate::config::{Config, Mistake, unreadable};

/// The key in the configuration that names the file.
const KEY: &str = "return_path.key_file";
/// Keys at a time.
const KEYS_MAX: usize = 4;
/// Digits of a key.
const KEY_DIGITS: usize = 2 * KEY_BYTES;
/// Octets of the file that are read.
const FILE_BYTES_MAX: u64 = 4096;

/// Why there is no key. Never shows one.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system.
    #[error("{0}: {why}", why = unreadable(.1))]
    Io(PathBuf, std::io::Error),
    /// What the file holds is none.
    #[error(
        "{0}: must hold 1 to {KEYS_MAX} keys of {KEY_DIGITS} hex digits, each in a line of its own; remove \
         the file to get a new one (what was sent with the old one then bounces to nobody)"
    )]
    Bad(PathBuf),
}

/// The return path that `config` names, if it names one. Where its key's file is missing, one is made with a random key that
/// only its owner reads.
pub fn of(config: &Config) -> Result<Option<Arc<ReturnPath>>, Mistake> {
    let Some(section) = &config.return_path else { return Ok(None) };
    let file = &section.key_file;
    let keys =
        read_or_make(&file.path).map_err(|error| Mistake { line: file.line, text: format!("{KEY}: {error}") })?;
    Ok(Some(Arc::new(ReturnPath::new(&section.domain, &keys, section.valid_days, &section.feedback))))
}

/// What is wrong with the key's file; `None`: it can be used. A file that is not there is made by [`of`] alone.
pub fn mistake(config: &Config) -> Option<Mistake> {
    named::mistake(KEY, &config.return_path.as_ref()?.key_file, config, read)
}

fn read_or_make(file: &Path) -> Result<Vec<[u8; KEY_BYTES]>, KeyError> {
    understood(file, secret_file::read_or_make(file, FILE_BYTES_MAX, new))
}

fn read(file: &Path) -> Result<Vec<[u8; KEY_BYTES]>, KeyError> {
    understood(file, secret_file::read(file, FILE_BYTES_MAX))
}

fn understood(file: &Path, text: std::io::Result<String>) -> Result<Vec<[u8; KEY_BYTES]>, KeyError> {
    let text = text.map_err(|error| KeyError::Io(file.to_owned(), error))?;
    parse(&text).ok_or_else(|| KeyError::Bad(file.to_owned()))
}

/// A random key, as a file holds it.
fn new() -> String {
    let mut key = [0; KEY_BYTES];
    OsRng.fill_bytes(&mut key);
    let mut line = String::with_capacity(KEY_DIGITS + 1);
    for byte in key {
        let _ = write!(line, "{byte:02x}");
    }
    line.push('\n');
    line
}

fn parse(text: &str) -> Option<Vec<[u8; KEY_BYTES]>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Vec<_> = lines.map(key).collect::<Option<_>>()?;
    (1..=KEYS_MAX).contains(&keys.len()).then_some(keys)
}

fn key(line: &str) -> Option<[u8; KEY_BYTES]> {
    if line.len() != KEY_DIGITS || !line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (byte, digits) in key.iter_mut().zip(line.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_absent_key_is_made_once_for_its_owner_only() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("return_path.key");
        let made = read_or_make(&file).expect("a key");
        assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
        assert_eq!(read_or_make(&file).expect("the same"), made);
        assert_ne!(read_or_make(&folder.path().join("other")).expect("another"), made);
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        let good = "0f".repeat(KEY_BYTES);
        assert_eq!(parse(&format!("{good}\n\n{good}\n")), Some(vec![[15; KEY_BYTES]; 2]));
        let five = format!("{good}\n").repeat(5);
        for bad in ["", "s3cret", &good[2..], &five, &"+f".repeat(KEY_BYTES)] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let error = KeyError::Bad("file".into()).to_string();
        assert!(error.contains("64 hex digits"), "{error}");
    }
}
