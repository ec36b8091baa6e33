//! What went wrong with hosts and addresses lately, so that not every connection learns it anew.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use shards::Instant;

/// Keys that are remembered, at most.
const KEYS_MAX: usize = 4096;

/// Keys of which something is known for a while, and what.
pub(super) struct Remembered<K, V = ()> {
    until: RefCell<HashMap<K, (Instant, V)>>,
    memory: Duration,
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    /// Remembers each key for `memory`.
    pub fn new(memory: Duration) -> Self {
        Self { until: RefCell::default(), memory }
    }

    /// What is remembered of `key`.
    pub fn of<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.until.borrow().get(key).filter(|(until, _)| now < *until).map(|(_, what)| what.clone())
    }

    /// Remembers `what` of `key` from now on.
    pub fn remember(&self, key: K, what: V, now: Instant) {
        let mut keys = self.until.borrow_mut();
        if keys.len() >= KEYS_MAX {
            keys.retain(|_, (until, _)| now < *until);
        }
        // Still full: one that is not remembered costs one failure a connection.
        if keys.len() < KEYS_MAX {
            keys.insert(key, (now + self.memory, what));
        }
    }

    /// It is no longer so.
    pub fn forget<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.until.borrow_mut().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Duration = Duration::from_secs(3600);

    #[test]
    fn a_key_is_remembered_for_a_while_or_until_it_is_forgotten() {
        let hosts: Remembered<Box<str>, u8> = Remembered::new(MEMORY);
        let now = Instant::from_nanos(7);
        hosts.remember("mx.test".into(), 7, now);
        assert_eq!(hosts.of("mx.test", now + MEMORY / 2), Some(7));
        assert_eq!(hosts.of("mx.test", now + MEMORY), None);
        assert_eq!(hosts.of("other.test", now), None);
        hosts.forget("mx.test");
        assert_eq!(hosts.of("mx.test", now), None);
    }

    #[test]
    fn the_memory_is_bounded_and_makes_room_of_what_has_passed() {
        let hosts: Remembered<Box<str>, u8> = Remembered::new(MEMORY);
        let now = Instant::from_nanos(7);
        (0..2 * KEYS_MAX).for_each(|n| hosts.remember(format!("mx{n}.test").into(), 7, now));
        assert_eq!(hosts.until.borrow().len(), KEYS_MAX);
        hosts.remember("late.test".into(), 8, now + MEMORY);
        assert_eq!(hosts.of("late.test", now + MEMORY), Some(8));
        assert_eq!(hosts.until.borrow().len(), 1);
    }
}
