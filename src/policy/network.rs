//! Address blocks: who may use a relay listener.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Authorized, Rights};
use crate::config::{Network, Standard};

/// The right to relay, for a client of one of the listener's networks; `standard`: what it may say of its messages.
pub fn relay(networks: &[Network], standard: &Arc<Standard>, client: IpAddr) -> Option<Authorized> {
    networks.iter().any(|network| network.contains(client)).then(|| Authorized(Rights::Relay(standard.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(address: &str, prefix: u8) -> Network {
        Network { address: address.parse().expect("an address"), prefix }
    }

    #[test]
    fn only_the_listeners_networks_relay() {
        let networks = [block("10.0.0.0", 8), block("::1", 128)];
        assert!(relay(&networks, &Arc::default(), "10.1.2.3".parse().expect("an address")).is_some());
        assert!(relay(&networks, &Arc::default(), "192.0.2.1".parse().expect("an address")).is_none());
        assert!(relay(&[], &Arc::default(), "127.0.0.1".parse().expect("an address")).is_none());
    }
}
