//! The server's certificate and key: read from their files, checked, and handed to the shards.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use shards::tls::TlsError;

use crate::config::{Config, TlsFiles};
use crate::crossing::Certificate;

/// A certificate or key that cannot be used; the text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be read.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// They do not belong together, or are of no kind that TLS can use.
    #[error("{0} with {1}: {2}")]
    Unusable(PathBuf, PathBuf, TlsError),
}

impl CertificateError {
    /// The line of `files` that it is about.
    pub fn line(&self, files: &TlsFiles) -> usize {
        let about_key = match self {
            CertificateError::Unreadable(path, _) => *path == files.private_key && *path != files.certificate,
            CertificateError::Unusable(.., why) => {
                matches!(why, TlsError::KeyPem(_) | TlsError::NoKey | TlsError::KeyOfAnother)
            }
        };
        files.lines[usize::from(about_key)]
    }
}

/// What a configuration names, if it names any.
pub fn of(config: &Config) -> Result<Option<Arc<Certificate>>, CertificateError> {
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
}
