//! The look at a certificate that nobody demands: a domain only tests its policy, and is told what would have failed.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use shards::tls::every_scheme;

/// Accepts every certificate and signature, as opportunistic TLS does (it must break no handshake that this takes), and
/// remembers what is wrong with those that it saw. For one session.
#[derive(Debug)]
pub struct Observer {
    roots: Arc<RootCertStore>,
    found: OnceLock<Error>,
    cryptography: Arc<CryptoProvider>,
}

impl Observer {
    /// Looks for a certificate that these vouch for.
    pub fn new(roots: Arc<RootCertStore>) -> Observer {
        Observer { roots, found: OnceLock::new(), cryptography: Arc::new(aws_lc_rs::default_provider()) }
    }

    /// What is wrong with the certificate or the signature by its key, if anything is.
    pub fn found(&self) -> Option<&Error> {
        self.found.get()
    }

    /// Remembers what is wrong; the first thing is the session's.
    fn note<T>(&self, judged: Result<T, Error>) {
        if let Err(error) = judged {
            let _ = self.found.set(error);
        }
    }

    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.cryptography.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        verify_server_name(&parsed, name)
    }
}

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.note(self.judge(end_entity, intermediates, name, now));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.cryptography.signature_verification_algorithms;
        self.note(verify_tls12_signature(message, certificate, signed, algorithms));
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.cryptography.signature_verification_algorithms;
        self.note(verify_tls13_signature(message, certificate, signed, algorithms));
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        every_scheme(&self.cryptography)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::sign::{self, SingleCertAndKey};
    use rustls::version::{TLS12, TLS13};
    use rustls::{ClientConnection, Connection, ServerConfig, ServerConnection, SupportedProtocolVersion};
    use shards::tls::client_config_verified_by;

    use super::*;

    const NAME: &str = "mx.example.org";

    fn own() -> CertifiedKey<rcgen::KeyPair> {
        generate_simple_self_signed([NAME.to_owned()]).expect("a certificate")
    }

    /// A handshake in which the observer looks at a server that shows `certificate` and signs with `key`.
    fn observed(
        certificate: &CertificateDer<'static>,
        key: &rcgen::KeyPair,
        version: &'static SupportedProtocolVersion,
    ) -> Arc<Observer> {
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let key = aws_lc_rs::sign::any_supported_type(&key).expect("a key");
        let shown = SingleCertAndKey::from(sign::CertifiedKey::new(vec![certificate.clone()], key));
        let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let server = server.with_protocol_versions(&[version]).expect("a version").with_no_client_auth();
        let server = ServerConnection::new(Arc::new(server.with_cert_resolver(Arc::new(shown)))).expect("a server");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("an authority");
        let observer = Arc::new(Observer::new(Arc::new(roots)));
        let config = client_config_verified_by(observer.clone());
        let client = ClientConnection::new(config, ServerName::try_from(NAME).expect("a name")).expect("a client");
        let (mut client, mut server): (Connection, Connection) = (client.into(), server.into());
        while client.is_handshaking() || server.is_handshaking() {
            pass(&mut client, &mut server);
            pass(&mut server, &mut client);
        }
        observer
    }

    /// What one side has to say reaches the other one.
    fn pass(from: &mut Connection, to: &mut Connection) {
        let mut bytes = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut bytes).expect("written");
        }
        let mut bytes = &bytes[..];
        while !bytes.is_empty() {
            to.read_tls(&mut bytes).expect("read");
            to.process_new_packets().expect("the handshake goes on");
        }
    }

    #[test]
    fn a_signature_by_another_key_is_found_and_breaks_no_handshake() {
        let (ours, theirs) = (own(), own());
        for version in [&TLS12, &TLS13] {
            let observer = observed(ours.cert.der(), &ours.signing_key, version);
            assert_eq!(observer.found(), None, "{version:?}");
            let observer = observed(ours.cert.der(), &theirs.signing_key, version);
            let found = observer.found().expect("the signature is wrong").to_string();
            assert!(found.contains("BadSignature"), "{version:?}: {found}");
        }
    }

    #[test]
    fn it_offers_what_opportunistic_tls_offers() {
        let offered = Observer::new(Arc::new(RootCertStore::empty())).supported_verify_schemes();
        assert!(offered.contains(&SignatureScheme::RSA_PKCS1_SHA1), "{offered:?}");
        assert_eq!(offered, every_scheme(&aws_lc_rs::default_provider()));
    }
}
