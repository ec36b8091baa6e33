//! What lies on the network's wires, for tests that count what a host is sent: when it was sent, however late it arrives,
//! and whether its sender still holds the connection, which the host may not know.

use std::net::SocketAddr;
use std::rc::Rc;

use super::World;
use crate::time::{Instant, Timestamp};

/// The wires of a simulation; a cheap handle.
#[derive(Clone)]
pub struct Wire(pub(super) Rc<World>);

impl Wire {
    /// When the connection of `client` to `host` was begun, if one of them still has it.
    pub fn begun(&self, client: SocketAddr, host: SocketAddr) -> Option<Instant> {
        self.0.network.borrow().begun(client, host)
    }

    /// Whether `client` holds its connection to `host`.
    pub fn is_held(&self, client: SocketAddr, host: SocketAddr) -> bool {
        self.0.network.borrow().is_held(client, host)
    }

    /// When `client` sent what `host` has read last, if one of them still has the connection.
    pub fn sent(&self, client: SocketAddr, host: SocketAddr) -> Option<Instant> {
        self.0.network.borrow().sent(client, host)
    }

    /// What the wall clock said at a moment that has been.
    pub fn wall_at(&self, then: Instant) -> Timestamp {
        let ago = self.0.timers.now().since(then);
        let millis = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_millis(self.0.timers.wall().as_millis().saturating_sub(millis))
    }
}
