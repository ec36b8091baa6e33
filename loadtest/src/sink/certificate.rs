//! The certificate that a sink makes for itself.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use shards::tls::server_config;

use super::script::Certificate;
use crate::Failure;

/// Names that clients reach a sink by.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// The name of a certificate that is for another one.
const OTHER_NAME: &str = "another.ringload.test";

/// Makes a self-signed certificate, and writes it to `file` where one is given.
///
/// # Errors
/// [`Failure::Usage`] where the file cannot be written; [`Failure::Failed`] where there is no certificate to be had.
pub(super) fn make(kind: Certificate, file: Option<&Path>) -> Result<Arc<rustls::ServerConfig>, Failure> {
    let failed = |error: &dyn Display| Failure::Failed(format!("certificate: {error}"));
    let names =
        if kind == Certificate::OtherName { vec![OTHER_NAME.to_owned()] } else { NAMES.map(String::from).to_vec() };
    let mut params = CertificateParams::new(names).map_err(|error| failed(&error))?;
    if kind == Certificate::Expired {
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    }
    let key = KeyPair::generate().map_err(|error| failed(&error))?;
    let cert = params.self_signed(&key).map_err(|error| failed(&error))?;
    if let Some(file) = file {
        std::fs::write(file, cert.pem()).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    }
    server_config(cert.pem().as_bytes(), key.serialize_pem().as_bytes()).map_err(|error| failed(&error))
}
