//! The server's certificate and key: read from their files, checked, and handed to the shards.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shards::Timestamp;
use shards::tls::{TlsError, Validity, validities};

use crate::config::{Config, Mistake, TlsFiles, unreadable};
use crate::crossing::Certificate;

/// A certificate that is valid no longer than this should be renewed by now.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// A certificate or key that cannot be used; the text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be read.
    #[error("{0}: {why}", why = unreadable(.1))]
    Unreadable(PathBuf, std::io::Error),
    /// They do not belong together, or are of no kind that TLS can use.
    #[error("{0} with {1}: {2}")]
    Unusable(PathBuf, PathBuf, TlsError),
}

impl CertificateError {
    /// As a mistake of the configuration that names `files`: about the certificate's line, or the key's.
    pub fn mistake(&self, files: &TlsFiles) -> Mistake {
        let about_key = match self {
            CertificateError::Unreadable(path, _) => *path == files.private_key && *path != files.certificate,
            CertificateError::Unusable(.., why) => {
                matches!(why, TlsError::KeyPem(_) | TlsError::NoKey | TlsError::KeyOfAnother)
            }
        };
        let key = if about_key { "tls.private_key" } else { "tls.certificate" };
        Mistake { line: files.lines[usize::from(about_key)], text: format!("{key}: {self}") }
    }
}

/// What a configuration names, if it names any.
///
/// # Errors
/// What cannot be used is a mistake, on its line.
pub fn of(config: &Config) -> Result<Option<Arc<Certificate>>, Mistake> {
    let load = |files| load(files).map_err(|error| error.mistake(files));
    config.tls.as_ref().map(load).transpose()
}

/// Reads `files` and makes sure that TLS can use them.
pub fn load(files: &TlsFiles) -> Result<Arc<Certificate>, CertificateError> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| CertificateError::Unreadable(path.to_owned(), error));
    let certificate = Certificate { chain_pem: read(&files.certificate)?, key_pem: read(&files.private_key)? };
    shards::tls::server_config(&certificate.chain_pem, &certificate.key_pem)
        .map_err(|error| CertificateError::Unusable(files.certificate.clone(), files.private_key.clone(), error))?;
    Ok(Arc::new(certificate))
}

/// When the files were changed last; what cannot be seen counts as never.
pub fn changed(files: &TlsFiles) -> [Option<SystemTime>; 2] {
    [&files.certificate, &files.private_key].map(|path| std::fs::metadata(path).and_then(|found| found.modified()).ok())
}

/// Certificates of the chain that clients refuse at `now`, or will soon: a sentence about each, for people.
pub fn times(certificate: &Certificate, now: Timestamp) -> Vec<String> {
    let validities = match validities(&certificate.chain_pem) {
        Ok(validities) => validities,
        Err(why) => return vec![why.to_string()],
    };
    let warning = |(number, validity): (usize, &Validity)| {
        let which = match number {
            0 => "the certificate".to_owned(),
            _ => format!("certificate {} of the chain", number + 1),
        };
        Some(match *validity {
            Validity { until, .. } if until <= now => {
                format!("{which} expired on {}: clients refuse it; renew it", date(until))
            }
            Validity { from, .. } if from > now => format!("{which} is not valid before {}", date(from)),
            Validity { until, .. } if until.since(now) <= SOON => {
                let days = until.since(now).as_secs() / 86_400;
                format!("{which} expires on {}, in {days} days: renew it", date(until))
            }
            _ => return None,
        })
    };
    validities.iter().enumerate().filter_map(warning).collect()
}

fn date(time: Timestamp) -> String {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis);
    time.map_or_else(|_| "a day beyond the calendar".into(), |time| time.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    #[test]
    fn a_pair_is_loaded_and_what_is_wrong_names_its_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
        let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
        let certificate = write(folder.path(), "chain.pem", &made.cert.pem());
        let private_key = write(folder.path(), "key.pem", &made.signing_key.serialize_pem());
        let foreign = write(folder.path(), "foreign.pem", &other.signing_key.serialize_pem());
        let empty = write(folder.path(), "empty.pem", "");
        let of = |certificate: &Path, private_key: &Path| {
            load(&TlsFiles { lines: [8, 9], certificate: certificate.into(), private_key: private_key.into() })
        };
        assert!(of(&certificate, &private_key).is_ok());
        assert!(matches!(of(&certificate, &foreign), Err(CertificateError::Unusable(.., TlsError::KeyOfAnother))));
        assert!(matches!(of(&empty, &private_key), Err(CertificateError::Unusable(.., TlsError::NoCertificate))));
        let error = of(&certificate, &folder.path().join("none.pem")).err().expect("no such file");
        assert!(error.to_string().contains("none.pem"), "{error}");
    }

    const DAY_MS: u64 = 86_400_000;

    #[test]
    fn what_is_over_soon_over_or_yet_to_come_is_told() {
        let mut parameters = rcgen::CertificateParams::new(["mx.test".into()]).expect("parameters");
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = parameters.self_signed(&key).expect("a certificate").pem();
        let chain = Certificate { chain_pem: [pem.clone(), pem].concat().into(), key_pem: Vec::new() };
        let april = 1_775_001_600_000;
        let told = |millis: u64| times(&chain, Timestamp::from_millis(millis));
        assert!(told(april - 15 * DAY_MS).is_empty());
        let soon = told(april - 10 * DAY_MS);
        assert_eq!(soon[0], "the certificate expires on 2026-04-01, in 10 days: renew it");
        assert!(soon[1].contains("certificate 2 of the chain expires on"), "{soon:?}");
        let over = told(april);
        assert!(over[0].ends_with("the certificate expired on 2026-04-01: clients refuse it; renew it"), "{over:?}");
        let early = told(april - 120 * DAY_MS);
        assert!(early[0].ends_with("the certificate is not valid before 2026-01-01"), "{early:?}");
    }
}
