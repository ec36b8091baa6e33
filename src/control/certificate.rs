//! The server's certificate and key, from their files to what TLS connections use.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsFiles;

/// A certificate or key that cannot be used; the text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// It cannot be read, or is not PEM.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, rustls::pki_types::pem::Error),
    /// There is no certificate in it.
    #[error("{0}: holds no certificate (PEM, `BEGIN CERTIFICATE`)")]
    Empty(PathBuf),
    /// They do not belong together, or are of no kind that TLS can use.
    #[error("{0} with {1}: {2}")]
    Unusable(PathBuf, PathBuf, rustls::Error),
}

/// Reads `files` into a configuration for TLS 1.2 and 1.3 with resumption.
pub fn load(files: &TlsFiles) -> Result<Arc<rustls::ServerConfig>, CertificateError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |error| CertificateError::Unreadable(path, error)
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable(&files.certificate))?;
    if chain.is_empty() {
        return Err(CertificateError::Empty(files.certificate.clone()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.private_key).map_err(unreadable(&files.private_key))?;
    let unusable = |error| CertificateError::Unusable(files.certificate.clone(), files.private_key.clone(), error);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    // Tickets need no memory here and work on every shard.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(unusable)?;
    Ok(Arc::new(config))
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
            load(&TlsFiles { certificate: certificate.into(), private_key: private_key.into() })
        };
        assert!(of(&certificate, &private_key).is_ok());
        assert!(matches!(of(&certificate, &foreign), Err(CertificateError::Unusable(..))));
        assert!(matches!(of(&empty, &private_key), Err(CertificateError::Empty(_))));
        let error = of(&certificate, &folder.path().join("none.pem")).expect_err("no such file");
        assert!(error.to_string().contains("none.pem"), "{error}");
    }
}
