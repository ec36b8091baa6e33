//! What the operator's commands ask DNS of this host and its mail: the world as `preflight` looks at it.
//!
//! Owns: a resolver for as long as a command runs. Never: judges what comes back.
//! Limits: [`PATIENCE`] for each try of a question.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_resolver::TokioResolver;

use super::resolver;
use crate::config::Config;
use crate::dns::{question, records};
use crate::preflight::host::is_public;
use crate::preflight::{Kind, Zone};

/// How long one try of a question may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Addresses for documentation (RFC 5737, 3849): the way to them is the way to the world, and nothing is sent.
const AFAR: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 25),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 25),
];

/// The servers that a configuration names, or the system's.
pub struct World {
    resolver: TokioResolver,
    /// Their names, for people.
    asked: String,
}

impl World {
    /// Does `work` with the world's DNS, on a runtime of its own.
    ///
    /// # Errors
    /// There is no resolver; why, for people.
    pub fn visit<T>(config: &Config, work: impl AsyncFnOnce(&World) -> T) -> Result<T, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|why| why.to_string())?;
        let world = {
            let _inside = runtime.enter();
            let resolver = resolver::build(&config.dns_servers, PATIENCE)?;
            World { resolver, asked: resolver::names_of(&config.dns_servers) }
        };
        Ok(runtime.block_on(work(&world)))
    }

    /// The addresses of a host, of both families.
    ///
    /// # Errors
    /// There was no answer; why, for people.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let mut found = Vec::new();
        for kind in [Kind::A, Kind::Aaaa] {
            found.extend(self.ask(name, kind).await?.iter().filter_map(|text| text.parse::<IpAddr>().ok()));
        }
        Ok(found)
    }
}

impl Zone for World {
    async fn ask(&self, name: &str, kind: Kind) -> Result<Vec<String>, String> {
        match question(name, kind) {
            Some(question) => {
                let answer = resolver::look_up(&self.resolver, &question).await;
                records(kind, &resolver::naming(&self.asked, answer))
            }
            None => Ok(Vec::new()),
        }
    }
}

/// The addresses that the world sees: this host's, and (behind NAT these alone) those of its name.
pub fn egress(own: &[IpAddr]) -> Vec<IpAddr> {
    let seen: BTreeSet<IpAddr> = chosen().into_iter().chain(own.iter().copied()).collect();
    seen.into_iter().filter(|address| is_public(*address)).collect()
}

/// The addresses that this host takes for the way to the world, as far as the world sees them; none behind NAT.
pub fn chosen() -> Vec<IpAddr> {
    let way = |afar: &SocketAddr| {
        let any: IpAddr = if afar.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(afar).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    AFAR.iter().filter_map(way).filter(|address| is_public(*address)).collect()
}
