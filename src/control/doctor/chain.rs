//! The certificate as clients see it: its name, its times, and the way from it to an authority that they trust.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore};
use shards::Timestamp;

use super::{Finding, error, fine, warning};
use crate::config::TlsFiles;
use crate::control::{certificate, clock};

/// Looks at the certificate that `files` hold, with the authorities that this system trusts.
pub(super) fn examine(files: &TlsFiles, hostname: &str) -> Vec<Finding> {
    let loaded = match certificate::load(files) {
        Ok(loaded) => loaded,
        Err(why) => return vec![error(why.to_string(), "name a PEM chain, leaf first, and its key in [tls]")],
    };
    let chain: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(&loaded.chain_pem).collect();
    let Ok([leaf, between @ ..]) = chain.as_deref() else {
        return vec![error("the certificate cannot be read", "name a PEM chain, leaf first, in [tls]")];
    };
    let now = clock::now();
    let mut findings = vec![name(leaf, hostname)];
    let times = certificate::times(&loaded, now);
    findings.extend(times.into_iter().map(|what| warning(what, "renew it; ringpost takes up the new one by itself")));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    findings.push(trust(leaf, between, roots, now));
    findings
}

fn name(leaf: &CertificateDer<'_>, hostname: &str) -> Finding {
    let covers = ServerName::try_from(hostname).ok().is_some_and(|name| is_for(leaf, &name));
    if covers {
        return fine(format!("the certificate is for {hostname}"));
    }
    warning(
        format!("the certificate is not for {hostname}: clients that connect by that name refuse it"),
        "get one for the name that your clients connect to",
    )
}

fn is_for(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    ParsedCertificate::try_from(leaf).is_ok_and(|leaf| rustls::client::verify_server_name(&leaf, name).is_ok())
}

/// Whether a client finds its way from the leaf through the others to one of `roots`; whatever the leaf's name.
fn trust(leaf: &CertificateDer<'_>, between: &[CertificateDer<'_>], roots: RootCertStore, now: Timestamp) -> Finding {
    if roots.is_empty() {
        return warning(
            "this system has no certificate authorities, so the chain cannot be checked",
            "install the package ca-certificates",
        );
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = match WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() {
        Ok(verifier) => verifier,
        Err(why) => {
            return warning(format!("the chain cannot be checked: {why}"), "install the package ca-certificates");
        }
    };
    // The name comes last: who complains of that alone has found the way.
    let nobody = ServerName::from(IpAddr::from([0, 0, 0, 0]));
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now.as_millis()));
    match verifier.verify_server_cert(leaf, between, &nobody, &[], now) {
        Ok(_)
        | Err(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => fine("the certificate's chain ends at an authority that this system trusts"),
        Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature))
            if between.is_empty() =>
        {
            warning(
                "the certificate stands alone, and no authority that this system trusts has issued it: clients refuse it",
                "put the authority's intermediate certificates behind it in the same file (certbot: fullchain.pem); a self-signed \
             one is for clients that know it",
            )
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            warning(
                "the certificate's chain leads to no authority that this system trusts: clients refuse it",
                "put the certificates of its issuers behind it, each signed by the next, up to one of a public authority",
            )
        }
        Err(rustls::Error::InvalidCertificate(CertificateError::Other(why)))
            if why.to_string().contains("CaUsedAsEndEntity") =>
        {
            warning(
                "the certificate is one for authorities (CA:TRUE), not for servers: clients that do not know it refuse it",
                "get one from a public authority",
            )
        }
        Err(why) => warning(
            format!("clients refuse the certificate: {why}"),
            "get one from a public authority, for servers (extended key usage serverAuth)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    fn parameters(name: &str, is_ca: IsCa) -> CertificateParams {
        let mut parameters = CertificateParams::new([name.to_owned()]).expect("parameters");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.is_ca = is_ca;
        parameters
    }

    /// A root, an intermediate that it signed, and a leaf that this signed.
    fn issued() -> [CertificateDer<'static>; 3] {
        let ca = || IsCa::Ca(BasicConstraints::Unconstrained);
        let keys = [(); 3].map(|()| KeyPair::generate().expect("a key"));
        let [root_key, between_key, leaf_key] = keys;
        let root = parameters("root.test", ca());
        let root_certificate = root.self_signed(&root_key).expect("a root").der().clone();
        let between = parameters("between.test", ca());
        let signed = between.signed_by(&between_key, &Issuer::new(root, root_key)).expect("signed").der().clone();
        let leaf = parameters("mta.example.org", IsCa::NoCa);
        let leaf = leaf.signed_by(&leaf_key, &Issuer::new(between, between_key)).expect("signed").der().clone();
        [root_certificate, signed, leaf]
    }

    #[test]
    fn a_chain_is_whole_or_it_is_told_what_is_missing() {
        let [root, between, leaf] = issued();
        let roots = |root: &CertificateDer<'static>| {
            let mut roots = RootCertStore::empty();
            roots.add(root.clone()).expect("a root");
            roots
        };
        let now = clock::now();
        let whole = std::slice::from_ref(&between);
        assert!(matches!(trust(&leaf, whole, roots(&root), now), Finding::Fine(_)));
        let alone = trust(&leaf, &[], roots(&root), now);
        assert!(
            matches!(&alone, Finding::Warning(what, remedy) if what.contains("stands alone") && remedy.contains("fullchain"))
        );
        let [foreign, ..] = issued();
        let unknown = trust(&leaf, whole, roots(&foreign), now);
        assert!(matches!(&unknown, Finding::Warning(what, _) if what.contains("leads to no authority")), "{unknown}");
        let authority = trust(&between, &[], roots(&root), now);
        assert!(matches!(&authority, Finding::Warning(what, _) if what.contains("for authorities")), "{authority}");
        let far = Timestamp::from_millis(now.as_millis() + 4_000 * 365 * 86_400_000);
        assert!(matches!(trust(&leaf, whole, roots(&root), far), Finding::Warning(..)), "it is too old by then");
        let none = trust(&leaf, whole, RootCertStore::empty(), now);
        assert!(matches!(&none, Finding::Warning(what, _) if what.contains("no certificate authorities")), "{none}");
    }

    #[test]
    fn a_certificate_is_for_its_names() {
        let [_, _, leaf] = issued();
        assert!(matches!(name(&leaf, "mta.example.org"), Finding::Fine(_)));
        assert!(matches!(name(&leaf, "mx.example.org"), Finding::Warning(..)));
        let files = TlsFiles { lines: [1, 2], certificate: "none.pem".into(), private_key: "none.pem".into() };
        assert!(matches!(&examine(&files, "mta.example.org")[..], [Finding::Error(..)]), "there is none");
    }
}
