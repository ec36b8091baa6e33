//! The verification of a server's certificate by its TLSA records (RFC 7672 §3.1 and §3.2, RFC 7671 §5).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::dane::Record;

/// Accepts the certificates that a host's TLSA records name, and no others.
///
/// * DANE-EE(3): the server's own certificate matches. Its names and dates do not matter (RFC 7672 §3.1.1).
/// * DANE-TA(2): it descends from a certificate that matches, which the server sent or the record holds; one of `names`
///   is among its names, and it has not expired (§3.1.2, §3.2.2).
///
/// Certificates before X.509 version 3 match nothing.
#[derive(Debug)]
pub struct DaneVerifier {
    records: Vec<Record>,
    names: Vec<ServerName<'static>>,
    cryptography: Arc<CryptoProvider>,
}

impl DaneVerifier {
    /// A verifier by `records`, all of them usable, for a host that goes by `names`.
    pub fn new(records: Vec<Record>, names: Vec<ServerName<'static>>) -> Self {
        Self { records, names, cryptography: Arc::new(aws_lc_rs::default_provider()) }
    }

    /// The authorities that the records name: those that the server sent, and those that records hold.
    fn authorities(&self, sent: &[CertificateDer<'_>]) -> RootCertStore {
        let mut authorities = RootCertStore::empty();
        let records = || self.records.iter().filter(|record| record.is_of_authority());
        for certificate in sent {
            let Ok(parsed) = ParsedCertificate::try_from(certificate) else { continue };
            let key = parsed.subject_public_key_info();
            if records().any(|record| record.names(certificate, &key)) {
                // One that cannot be an authority makes no chain.
                let _ = authorities.add(certificate.clone());
            }
        }
        for whole in records().filter_map(Record::authority) {
            let _ = authorities.add(CertificateDer::from(whole));
        }
        authorities
    }
}

impl ServerCertVerifier for DaneVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let key = parsed.subject_public_key_info();
        let mut of_end_entity = self.records.iter().filter(|record| record.is_of_end_entity());
        if of_end_entity.any(|record| record.names(end_entity, &key)) {
            return Ok(ServerCertVerified::assertion());
        }
        let authorities = self.authorities(intermediates);
        if authorities.is_empty() {
            return Err(Error::General("the certificate is none that the host's TLSA records name".into()));
        }
        let algorithms = self.cryptography.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &authorities, intermediates, now, algorithms)?;
        if self.names.iter().any(|name| verify_server_name(&parsed, name).is_ok()) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.cryptography.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.cryptography.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.cryptography.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ::aws_lc_rs::digest::{SHA256, digest};
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    /// 2026-01-01.
    const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_767_225_600));

    /// An authority, and a server's certificate from it.
    struct Chain {
        leaf: CertificateDer<'static>,
        authority: CertificateDer<'static>,
    }

    fn chain(name: &str, expires: i32) -> Chain {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("made");
        let mut params = CertificateParams::new([name.to_owned()]).expect("parameters");
        params.not_after = rcgen::date_time_ymd(expires, 1, 1);
        let leaf = params.signed_by(&KeyPair::generate().expect("a key"), &authority).expect("made");
        Chain { leaf: leaf.der().clone(), authority: authority.der().clone() }
    }

    fn key(certificate: &CertificateDer<'_>) -> Vec<u8> {
        let parsed = ParsedCertificate::try_from(certificate).expect("a certificate");
        parsed.subject_public_key_info().to_vec()
    }

    fn record(usage: u8, selector: u8, matching: u8, certificate: &CertificateDer<'_>) -> Record {
        let selected = if selector == 0 { certificate.to_vec() } else { key(certificate) };
        let data = if matching == 0 { selected } else { digest(&SHA256, &selected).as_ref().to_vec() };
        Record { usage, selector, matching, data: data.into() }
    }

    fn verify(records: Vec<Record>, leaf: &CertificateDer<'_>, sent: &[CertificateDer<'_>]) -> Result<(), Error> {
        let name = ServerName::try_from("mx.example.com").expect("a name");
        let verifier = DaneVerifier::new(records, vec![name.clone()]);
        verifier.verify_server_cert(leaf, sent, &name, &[], NOW).map(|_| ())
    }

    #[test]
    fn dane_ee_names_the_certificate_whatever_it_says() {
        let old = chain("another.example.org", 2020);
        for (selector, matching) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let records = vec![record(3, selector, matching, &old.leaf)];
            assert_eq!(verify(records, &old.leaf, &[]), Ok(()), "3 {selector} {matching}");
        }
        let other = chain("mx.example.com", 2040);
        let refused = verify(vec![record(3, 1, 1, &old.leaf)], &other.leaf, &[other.authority]);
        assert!(refused.is_err_and(|why| why.to_string().contains("TLSA")));
    }

    #[test]
    fn dane_ta_names_an_authority_that_the_server_sent_or_the_record_holds() {
        let chain = chain("mx.example.com", 2040);
        for (selector, matching) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let records = vec![record(2, selector, matching, &chain.authority)];
            let sent = [chain.authority.clone()];
            assert_eq!(verify(records.clone(), &chain.leaf, &sent), Ok(()), "2 {selector} {matching}");
            // RFC 7672 §3.1.2: only a record that holds it makes up for what the server does not send.
            assert_eq!(verify(records, &chain.leaf, &[]).is_ok(), (selector, matching) == (0, 0));
        }
    }

    #[test]
    fn dane_ta_wants_the_name_and_the_dates_right() {
        let misnamed = chain("another.example.org", 2040);
        let refused = verify(
            vec![record(2, 0, 1, &misnamed.authority)],
            &misnamed.leaf,
            std::slice::from_ref(&misnamed.authority),
        );
        assert!(matches!(refused, Err(Error::InvalidCertificate(CertificateError::NotValidForName))), "{refused:?}");
        let expired = chain("mx.example.com", 2020);
        let refused =
            verify(vec![record(2, 0, 1, &expired.authority)], &expired.leaf, std::slice::from_ref(&expired.authority));
        assert!(matches!(refused, Err(Error::InvalidCertificate(_))), "{refused:?}");
    }

    #[test]
    fn an_authority_that_signed_nothing_does_not_help() {
        let (ours, theirs) = (chain("mx.example.com", 2040), chain("mx.example.com", 2040));
        let sent = [theirs.authority.clone(), ours.authority];
        assert!(verify(vec![record(2, 0, 1, &theirs.authority)], &ours.leaf, &sent).is_err());
    }
}
