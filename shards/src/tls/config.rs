//! TLS configurations from PEM. The cryptography is given explicitly (aws-lc-rs): no process-wide default is needed.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ServerSessionMemoryCache;
use rustls::{
    ClientConfig, DigitallySignedStruct, InconsistentKeys, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};

/// What is spoken.
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// Sessions that a server remembers for clients which resume without tickets.
const SERVER_SESSIONS_MAX: usize = 4096;

/// Servers whose sessions a client remembers.
const CLIENT_SESSIONS_MAX: usize = 4096;

/// PEM from which no configuration can be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or cut off.
    #[error("the certificate file is not valid PEM: {0}")]
    CertificatePem(String),
    /// PEM of something else.
    #[error("the certificate file holds no certificate (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// A certificate that cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Certificate(rustls::Error),
    /// Not PEM, or cut off.
    #[error("the private key file is not valid PEM: {0}")]
    KeyPem(String),
    /// PEM of something else.
    #[error(
        "the private key file holds no private key (-----BEGIN PRIVATE KEY-----; encrypted keys are not supported)"
    )]
    NoKey,
    /// The key of another certificate.
    #[error("the private key does not belong to the first certificate of the certificate file")]
    KeyOfAnother,
    /// Anything else.
    #[error("the certificate and the private key cannot be used: {0}")]
    Refused(rustls::Error),
}

/// A server's configuration: TLS 1.2 and 1.3, one certificate chain (the server's own first), resumption by tickets
/// whose keys are random and replaced every 6 hours.
pub fn server_config(cert_chain_pem: &[u8], key_pem: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(cert_chain_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => TlsError::NoKey,
        error => TlsError::KeyPem(error.to_string()),
    })?;
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS);
    let builder = builder.map_err(TlsError::Refused)?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::KeyOfAnother,
        rustls::Error::InvalidCertificate(_) => TlsError::Certificate(error),
        error => TlsError::Refused(error),
    })?;
    config.session_storage = ServerSessionMemoryCache::new(SERVER_SESSIONS_MAX);
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Refused)?;
    Ok(Arc::new(config))
}

/// A client's configuration for opportunistic TLS (RFC 7435): any certificate is as good as none, which protects
/// from those who listen only. Sessions are resumed.
pub fn client_config_unverified() -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .expect("the provider supports both versions");
    let verifier = Arc::new(AnyCertificate(provider()));
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(CLIENT_SESSIONS_MAX);
    Arc::new(config)
}

/// A client's configuration that leaves the judgement of certificates to `verifier`. No session is resumed, so each is
/// judged.
pub fn client_config_verified_by(verifier: Arc<dyn ServerCertVerifier>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .expect("the provider supports both versions");
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// What a client that takes any signature offers: what `provider` verifies, and what old servers still sign with.
pub fn every_scheme(provider: &CryptoProvider) -> Vec<SignatureScheme> {
    let mut schemes = provider.signature_verification_algorithms.supported_schemes();
    schemes.extend([SignatureScheme::ECDSA_SHA1_Legacy, SignatureScheme::RSA_PKCS1_SHA1]);
    schemes
}

/// The authorities in `ca_pem`, at least one.
pub fn authorities(ca_pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca_pem)? {
        roots.add(certificate).map_err(TlsError::Certificate)?;
    }
    Ok(roots)
}

/// A client's configuration that trusts the authorities in `ca_pem` alone, and demands the server's name.
pub fn client_config_trusting(ca_pem: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
    client_config_with_roots(authorities(ca_pem)?)
}

/// A client's configuration that trusts these authorities alone, and demands the server's name.
pub fn client_config_with_roots(roots: impl Into<Arc<RootCertStore>>) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS);
    let builder = builder.map_err(TlsError::Refused)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(CLIENT_SESSIONS_MAX);
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The certificates of a PEM file, at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(TlsError::NoCertificate),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(TlsError::CertificatePem(error.to_string())),
    }
}

/// Accepts every certificate and does not ask whether the server has its key: an attacker in the middle could have one
/// of its own anyway, and certificates that are too old or too odd to be parsed still encrypt.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        every_scheme(&self.0)
    }
}
