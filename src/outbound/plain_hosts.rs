//! Hosts that offer STARTTLS and break the handshake: remembered, so that not every connection fails first.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use shards::Instant;

/// Hosts that are remembered, at most.
const HOSTS_MAX: usize = 1024;

/// How long a host is spoken to in plain text after a handshake with it has failed.
const MEMORY: Duration = Duration::from_secs(3600);

/// Hosts to which TLS is not tried for now.
#[derive(Default)]
pub(super) struct PlainHosts(RefCell<HashMap<Box<str>, Instant>>);

impl PlainHosts {
    /// Whether a handshake with `host` has failed lately.
    pub fn contains(&self, host: &str, now: Instant) -> bool {
        self.0.borrow().get(host).is_some_and(|until| now < *until)
    }

    /// A handshake with `host` has failed and plain text worked.
    pub fn remember(&self, host: &str, now: Instant) {
        let mut hosts = self.0.borrow_mut();
        if hosts.len() >= HOSTS_MAX {
            hosts.retain(|_, until| now < *until);
        }
        // Still full: a host that is not remembered costs one failed handshake a connection.
        if hosts.len() < HOSTS_MAX {
            hosts.insert(host.into(), now + MEMORY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_remembered_for_a_while() {
        let hosts = PlainHosts::default();
        let now = Instant::from_nanos(7);
        hosts.remember("mx.test", now);
        assert!(hosts.contains("mx.test", now + MEMORY / 2));
        assert!(!hosts.contains("mx.test", now + MEMORY));
        assert!(!hosts.contains("other.test", now));
    }

    #[test]
    fn the_memory_is_bounded_and_makes_room_of_what_has_passed() {
        let hosts = PlainHosts::default();
        let now = Instant::from_nanos(7);
        (0..2 * HOSTS_MAX).for_each(|n| hosts.remember(&format!("mx{n}.test"), now));
        assert_eq!(hosts.0.borrow().len(), HOSTS_MAX);
        hosts.remember("late.test", now + MEMORY);
        assert!(hosts.contains("late.test", now + MEMORY));
        assert_eq!(hosts.0.borrow().len(), 1);
    }
}
