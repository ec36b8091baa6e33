//! What is remembered for a while, in bounded room: two generations. Pure: the time is an argument.
//!
//! What is asked for again moves to the young generation. When that is full, the old one is forgotten and the young
//! one takes its place; so the room is bounded, and forgetting costs nothing per entry.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use crate::Instant;

/// A bounded memory of values, each until a time of its own.
pub struct Memory<K, V> {
    young: HashMap<K, Entry<V>>,
    old: HashMap<K, Entry<V>>,
    generation_max: usize,
}

struct Entry<V> {
    value: V,
    valid_until: Instant,
}

impl<K: Eq + Hash, V: Clone> Memory<K, V> {
    /// Room for at most `entries_max` values.
    pub fn new(entries_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation_max: (entries_max / 2).max(1) }
    }

    /// The value of `key`, while it holds.
    pub fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if let Some(entry) = self.young.get(key) {
            return (now < entry.valid_until).then(|| entry.value.clone());
        }
        let (key, entry) = self.old.remove_entry(key)?;
        if now >= entry.valid_until {
            return None;
        }
        let value = entry.value.clone();
        self.keep(key, entry);
        Some(value)
    }

    /// Remembers `value` before `valid_until`.
    pub fn put(&mut self, key: K, value: V, valid_until: Instant) {
        self.old.remove(&key);
        self.keep(key, Entry { value, valid_until });
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    fn keep(&mut self, key: K, entry: Entry<V>) {
        if self.young.len() >= self.generation_max && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, entry);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_value_holds_until_its_time() {
        let mut memory = Memory::new(10);
        memory.put("key", 7, at(160));
        assert_eq!(memory.get("key", at(159)), Some(7));
        assert_eq!(memory.get("key", at(160)), None);
        memory.clear();
        assert_eq!(memory.get("key", at(159)), None);
    }

    #[test]
    fn the_room_is_bounded_and_keeps_what_is_used() {
        let mut memory = Memory::new(10);
        for n in 0..1000 {
            memory.put(n, (), at(1));
            assert!(memory.len() <= 10, "{}", memory.len());
            assert!(memory.get(&0, at(0)).is_some(), "forgotten although asked for each time ({n})");
        }
        assert!(memory.get(&1, at(0)).is_none());
    }

    #[test]
    fn a_newer_value_replaces_an_older_one_of_either_generation() {
        let mut memory = Memory::new(2);
        memory.put(1, "old", at(9));
        memory.put(2, "old", at(9));
        memory.put(1, "new", at(9));
        assert_eq!(memory.get(&1, at(2)), Some("new"));
    }
}
