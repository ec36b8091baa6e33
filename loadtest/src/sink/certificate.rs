//! The certificate that a sink makes for itself.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use rcgen::CertifiedKey;
use shards::tls::server_config;

use crate::Failure;

/// Names that clients reach a sink by.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// Makes a self-signed certificate, and writes it to `file` where one is given.
///
/// # Errors
/// [`Failure::Usage`] where the file cannot be written; [`Failure::Failed`] where there is no certificate to be had.
pub(super) fn make(file: Option<&Path>) -> Result<Arc<rustls::ServerConfig>, Failure> {
    let failed = |error: &dyn Display| Failure::Failed(format!("certificate: {error}"));
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(NAMES.map(String::from)).map_err(|error| failed(&error))?;
    if let Some(file) = file {
        std::fs::write(file, cert.pem()).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    }
    server_config(cert.pem().as_bytes(), signing_key.serialize_pem().as_bytes()).map_err(|error| failed(&error))
}
