//! How a session with a host is protected: what is demanded of it, and the TLS configuration that demands it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use shards::tls::{client_config_unverified, client_config_verified_by, client_config_with_roots};

use crate::assurance::dane::Tlsa;
use crate::assurance::sts::{Announced, Mode};
use crate::assurance::{AskedBy, Assurance, Channel, DaneVerifier, Observer, Plain, Policy, Security, Trust, Verified};
use crate::config::TlsLevel;

/// What a session with one host needs for its handshake.
#[derive(Clone)]
pub(super) struct Protection {
    /// `None`: STARTTLS is not used.
    pub config: Option<Arc<ClientConfig>>,
    /// What the host is called in the handshake.
    pub name: ServerName<'static>,
    /// Without it there is no session.
    pub demanded: bool,
    policy: Policy,
    asked_by: AskedBy,
    verified: Verified,
    /// Why TLS is given up.
    fallback: Option<Arc<str>>,
    /// Looks at a certificate that nobody demands.
    observer: Option<Arc<Observer>>,
}

impl Protection {
    /// The same host, in plain text: its handshake fails, and `why`.
    pub fn given_up(&self, why: Arc<str>) -> Protection {
        Protection { config: None, demanded: false, verified: Verified::No, fallback: Some(why), ..self.clone() }
    }

    /// What a handshake that succeeded came to.
    pub fn encrypted(&self, facts: &shards::tls::TlsFacts) -> Security {
        let (protocol, cipher) = (facts.protocol.into(), facts.cipher.into());
        self.came_to(Channel::Encrypted { protocol, cipher, verified: self.verified })
    }

    /// What a session without a handshake came to.
    pub fn plain(&self) -> Security {
        self.came_to(Channel::Plain(match (&self.fallback, &self.config) {
            (Some(why), _) => Plain::Fallback(why.clone()),
            (None, None) => Plain::Off,
            (None, Some(_)) => Plain::NotOffered,
        }))
    }

    /// What a host came to that gave less than is asked.
    pub fn refused(&self) -> Security {
        self.came_to(Channel::Refused)
    }

    /// What kind of policy asks.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// What is wrong with the certificate of a session whose domain only tests its policy.
    pub fn observed(&self) -> Option<String> {
        self.observer.as_ref().and_then(|observer| observer.found()).map(ToString::to_string)
    }

    fn came_to(&self, channel: Channel) -> Security {
        Security { policy: self.policy, asked_by: self.asked_by, channel }
    }
}

/// The TLS configurations of a shard's connections. Each remembers sessions of its own, so none is resumed by whom it
/// proves too little to.
pub(super) struct Protections {
    unverified: Arc<ClientConfig>,
    usual: Arc<ClientConfig>,
    by_file: BTreeMap<Arc<Path>, Arc<ClientConfig>>,
    nobody: Arc<ClientConfig>,
    authorities: Arc<RootCertStore>,
}

impl Protections {
    /// Those that trust whom `trust` names.
    pub fn new(trust: &Trust) -> Self {
        let by_file = trust.by_file.iter().map(|(file, roots)| (file.clone(), trusting(roots.clone())));
        Self {
            unverified: client_config_unverified(),
            usual: trusting(trust.usual.clone()),
            by_file: by_file.collect(),
            nobody: trusting(Arc::new(RootCertStore::empty())),
            authorities: trust.usual.clone(),
        }
    }

    /// The protection of a session with `host` at `address`, of whose TLSA records `tlsa` are known and heeded.
    pub fn of(&self, assurance: &Assurance, host: &str, address: IpAddr, tlsa: Option<&Tlsa>) -> Protection {
        let usable = tlsa.map(Tlsa::usable);
        let asked = (assurance.policy, assurance.asked_by);
        let by_tlsa = (Policy::Dane, AskedBy::Tlsa);
        let (config, demanded, (policy, asked_by), verified) = match (assurance.level, tlsa, usable) {
            (TlsLevel::Off, ..) => (None, false, asked, Verified::No),
            (_, Some(tlsa), Some(usable)) if !usable.is_empty() => {
                let names =
                    [&*tlsa.base, host].into_iter().filter_map(|name| ServerName::try_from(name.to_owned()).ok());
                let verifier = Arc::new(DaneVerifier::new(usable, names.collect()));
                let name = server_name(&tlsa.base, address);
                let config = Some(client_config_verified_by(verifier));
                let ((policy, asked_by), verified) = (by_tlsa, Verified::Dane);
                return Protection {
                    config,
                    name,
                    demanded: true,
                    policy,
                    asked_by,
                    verified,
                    fallback: None,
                    observer: None,
                };
            }
            (TlsLevel::Verified, ..) => (Some(self.of_authorities(assurance)), true, asked, Verified::Authority),
            (TlsLevel::Required, ..) => (Some(self.unverified.clone()), true, asked, Verified::No),
            (TlsLevel::Opportunistic, Some(_), _) => (Some(self.unverified.clone()), true, by_tlsa, Verified::No),
            (TlsLevel::Opportunistic, None, _) => (Some(self.unverified.clone()), false, asked, Verified::No),
        };
        let name = server_name(host, address);
        let is_tested = matches!(&assurance.sts, Some(Announced::Policy(policy)) if policy.mode == Mode::Testing);
        let observer = (is_tested && config.is_some() && verified == Verified::No)
            .then(|| Arc::new(Observer::new(self.authorities.clone())));
        let config = observer.clone().map_or(config, |observer| Some(client_config_verified_by(observer)));
        Protection { config, name, demanded, policy, asked_by, verified, fallback: None, observer }
    }

    fn of_authorities(&self, assurance: &Assurance) -> Arc<ClientConfig> {
        match &assurance.ca_file {
            None => self.usual.clone(),
            // All files that the configuration names are read before it is in force.
            Some(file) => self.by_file.get(file).unwrap_or(&self.nobody).clone(),
        }
    }
}

fn trusting(roots: Arc<RootCertStore>) -> Arc<ClientConfig> {
    client_config_with_roots(roots).expect("the provider supports both versions")
}

/// What a host is called in the handshake; its address where its name is none that TLS knows.
fn server_name(host: &str, address: IpAddr) -> ServerName<'static> {
    ServerName::try_from(host.to_owned()).unwrap_or(ServerName::IpAddress(address.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assurance::dane::Record;

    fn tlsa(records: &[(u8, usize)]) -> Tlsa {
        let record =
            |&(usage, size): &(u8, usize)| Record { usage, selector: 1, matching: 1, data: vec![7; size].into() };
        Tlsa { base: "base.example.org".into(), records: records.iter().map(record).collect() }
    }

    #[test]
    fn what_is_known_of_a_host_decides_in_order() {
        let protections = Protections::new(&Trust::default());
        let usual = Assurance::usual;
        let (usable, useless) = (tlsa(&[(3, 32), (0, 32)]), tlsa(&[(0, 32), (3, 31)]));
        use Policy::{Dane, MtaSts, Opportunistic, Required};
        let cases = [
            (usual(TlsLevel::Off), None, (false, false, Policy::Off, Verified::No)),
            (usual(TlsLevel::Opportunistic), None, (true, false, Opportunistic, Verified::No)),
            (usual(TlsLevel::Opportunistic), Some(&useless), (true, true, Dane, Verified::No)),
            (usual(TlsLevel::Opportunistic), Some(&usable), (true, true, Dane, Verified::Dane)),
            (usual(TlsLevel::Required), None, (true, true, Required, Verified::No)),
            (usual(TlsLevel::Required), Some(&usable), (true, true, Dane, Verified::Dane)),
            (Assurance::enforced(), None, (true, true, MtaSts, Verified::Authority)),
            (Assurance::enforced(), Some(&useless), (true, true, MtaSts, Verified::Authority)),
            (Assurance::enforced(), Some(&usable), (true, true, Dane, Verified::Dane)),
            (usual(TlsLevel::Verified), None, (true, true, Policy::Verified, Verified::Authority)),
        ];
        let address = "192.0.2.1".parse().expect("an address");
        for (assurance, tlsa, expected) in cases {
            let found = protections.of(&assurance, "mx.example.org", address, tlsa);
            let shape = (found.config.is_some(), found.demanded, found.policy, found.verified);
            assert_eq!(shape, expected, "{assurance:?} {tlsa:?}");
            let name = if found.verified == Verified::Dane { "base.example.org" } else { "mx.example.org" };
            assert_eq!(found.name.to_str(), name);
        }
    }

    #[test]
    fn odd_host_names_fall_back_to_the_address() {
        let address = "192.0.2.1".parse().expect("an address");
        assert_eq!(server_name("mx_1.example.org", address).to_str(), "mx_1.example.org");
        assert_eq!(server_name("192.0.2.9", address).to_str(), "192.0.2.9");
        assert_eq!(server_name("-", address).to_str(), "192.0.2.1");
    }
}
