//! The secrets that requests are signed with.
//!
//! A file holds one secret a line, as Standard Webhooks writes them: `whsec_` and base64 of 24 to 64 random octets. While
//! one is being replaced there are two, and every request carries both signatures.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use argon2::password_hash::rand_core::{OsRng, RngCore};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::config::unreadable;
use crate::control::secret_file;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Octets of a secret that we make.
const RANDOM_BYTES: usize = 32;
/// Octets of a secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets at a time.
const SECRETS_MAX: usize = 4;
/// Octets of the file that are read.
const FILE_BYTES_MAX: u64 = 4096;

/// Why there is no secret. Never shows one.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file system.
    #[error("{0}: {why}", why = unreadable(.1))]
    Io(PathBuf, std::io::Error),
    /// What the file holds is none.
    #[error(
        "{0}: line {1} is no secret: write `{PREFIX}` and base64 of 24 to 64 random bytes; remove the file to get a new one"
    )]
    Bad(PathBuf, usize),
    /// Too few or too many.
    #[error("{0}: must hold 1 to {SECRETS_MAX} secrets, each in a line of its own; remove the file to get a new one")]
    Count(PathBuf),
}

/// One webhook's secrets.
#[derive(Clone)]
pub struct Secrets(Arc<[hmac::Key]>);

impl Secrets {
    /// Reads the secrets of `file`; where there is no file, makes one with a random secret, readable by its owner only.
    pub fn read_or_make(file: &Path) -> Result<Secrets, SecretError> {
        Self::understood(file, secret_file::read_or_make(file, FILE_BYTES_MAX, new))
    }

    /// Reads the secrets of `file`.
    pub fn read(file: &Path) -> Result<Secrets, SecretError> {
        Self::understood(file, secret_file::read(file, FILE_BYTES_MAX))
    }

    fn understood(file: &Path, text: std::io::Result<String>) -> Result<Secrets, SecretError> {
        Self::parse(&text.map_err(|error| SecretError::Io(file.to_owned(), error))?, file)
    }

    fn parse(text: &str, file: &Path) -> Result<Secrets, SecretError> {
        let lines = (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty());
        let key = |(number, line): (usize, &str)| {
            let octets = STANDARD.decode(line.strip_prefix(PREFIX).unwrap_or(line)).ok();
            let octets = octets.filter(|octets| SECRET_BYTES.contains(&octets.len()));
            let octets = octets.ok_or_else(|| SecretError::Bad(file.to_owned(), number))?;
            Ok(hmac::Key::new(hmac::HMAC_SHA256, &octets))
        };
        let keys: Vec<hmac::Key> = lines.map(key).collect::<Result<_, _>>()?;
        if !(1..=SECRETS_MAX).contains(&keys.len()) {
            return Err(SecretError::Count(file.to_owned()));
        }
        Ok(Secrets(keys.into()))
    }

    /// The value of `webhook-signature`: for each secret `v1,` and base64 of HMAC-SHA256 over `ID.TIME.BODY`.
    pub fn sign(&self, id: &str, time_s: u64, body: &[u8]) -> String {
        let sign = |key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{time_s}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        self.0.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

/// A random secret, as a file holds it.
fn new() -> String {
    let mut random = [0; RANDOM_BYTES];
    OsRng.fill_bytes(&mut random);
    format!("{PREFIX}{}\n", STANDARD.encode(random))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Octets 0 to 23.
    const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

    fn parse(text: &str) -> Result<Secrets, SecretError> {
        Secrets::parse(text, Path::new("file"))
    }

    /// Computed by `openssl dgst -sha256 -mac HMAC` over `evt_1.1795420000.{"events":[]}`.
    #[test]
    fn a_signature_is_what_others_compute() {
        let signature = "v1,g/nbbGwmJfxNd1ufkvvIhyKBB33S3RcKk2pbHysVmok=";
        let sign = |text| parse(text).expect("good").sign("evt_1", 1_795_420_000, b"{\"events\":[]}");
        assert_eq!(sign(SECRET), signature);
        assert_eq!(sign(SECRET.trim_start_matches(PREFIX)), signature);
        let other = format!("{PREFIX}{}", STANDARD.encode([7; 24]));
        let both = sign(&format!("{other}\n\n{SECRET}\n"));
        assert_eq!(both.split(' ').nth(1), Some(signature), "{both}");
    }

    #[test]
    fn an_absent_file_gets_a_random_secret_that_only_its_owner_reads() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("crm.secret");
        let made = Secrets::read_or_make(&file).expect("a secret").sign("a", 1, b"b");
        assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
        assert_eq!(Secrets::read_or_make(&file).expect("the same").sign("a", 1, b"b"), made);
        let other = Secrets::read_or_make(&folder.path().join("other")).expect("a secret").sign("a", 1, b"b");
        assert_ne!(made, other);
    }

    #[test]
    fn what_is_no_secret_is_named_by_its_line_and_not_shown() {
        for (text, why) in [
            ("", "1 to 4 secrets"),
            ("whsec_c2hvcnQ=\n", "line 1 is no secret"),
            (&format!("{SECRET}\nwhsec_not base64 at all\n"), "line 2 is no secret"),
            (&format!("{SECRET}\n").repeat(5), "1 to 4 secrets"),
        ] {
            let error = parse(text).err().expect("no secret").to_string();
            assert!(error.contains(why) && !error.contains("not base64 at all"), "{error}");
        }
    }
}
