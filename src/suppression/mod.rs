//! Whom nothing is sent to any more: lists of addresses, what brings an address onto one, and what mail to it meets. Pure.
//!
//! Owns: the [`Lists`] (everybody's, one of each account, one of relayed mail), how they are written ([`change`] on disk,
//! [`table`] for people), the rules that fill them ([`rule`]), and a shard's [`Gate`], which knows the newest.
//! Never: keeps the file (`control::suppression` does), or ends a recipient (`inbound` and `outbound` do, as it says).
//!
//! Addresses are compared without regard to letter case on either side of the `@`, domains in their ASCII form (RFC 5891):
//! RFC 5321 §2.4 lets a host tell `Jo` from `jo`, and hosts do not. Nothing else is folded: `jo+news` is not `jo`.
//!
//! Lists never change: a changed one is a new one that shares its unchanged leaves with the old. So a shard's answer takes
//! no lock and no allocation, O(log n), and a change costs the leaves that it touches.
//! Limits: `[suppression] entries_max` for each list, so that nobody fills another's, and `entries_total_max`; 16 bytes
//! an entry and its address.

pub mod change;
mod gate;
mod key;
mod list;
pub mod rule;
pub mod table;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use change::Change;
pub use gate::{Gate, Whose};
pub use key::Key;
pub use list::List;

use crate::config::suppression::Cause;

/// Why and how long an address is on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Why.
    pub cause: Cause,
    /// Since when, in seconds since the epoch; of one that is still counted up: the last time.
    pub since_s: u32,
    /// Until when; [`FOR_EVER`]: until it is taken from the list.
    pub until_s: u32,
    /// How often it has happened, where that is not often enough yet; 0: it suppresses.
    pub strikes: u8,
}

/// No end.
pub const FOR_EVER: u32 = u32::MAX;

impl Entry {
    /// Whether it still means anything.
    pub fn is_current(&self, now_s: u32) -> bool {
        now_s < self.until_s
    }

    /// Whether it suppresses.
    pub fn suppresses(&self, now_s: u32) -> bool {
        self.strikes == 0 && self.is_current(now_s)
    }
}

/// Whose mail a list is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Everybody's.
    Everyone,
    /// What comes through relay listeners.
    Relayed,
    /// An account's; its name in lower case.
    Account(Box<str>),
}

impl Scope {
    /// That of an account.
    pub fn account(name: &str) -> Scope {
        Scope::Account(name.to_lowercase().into())
    }
}

/// All lists; a cheap copy of what does not change.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    everyone: List,
    relayed: List,
    accounts: BTreeMap<Box<str>, List>,
}

impl Lists {
    /// Whether nobody is on any.
    pub fn is_empty(&self) -> bool {
        self.everyone.is_empty() && self.relayed.is_empty() && self.accounts.is_empty()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.everyone.len() + self.relayed.len() + self.accounts.values().map(List::len).sum::<usize>()
    }

    /// The list of a scope; an empty one if there is none.
    pub fn of(&self, scope: &Scope) -> &List {
        const NONE: &List = &List::EMPTY;
        match scope {
            Scope::Everyone => &self.everyone,
            Scope::Relayed => &self.relayed,
            Scope::Account(name) => self.accounts.get(name).unwrap_or(NONE),
        }
    }

    /// Each scope that has a list, in order.
    pub fn scopes(&self) -> impl Iterator<Item = (Scope, &List)> {
        let accounts = self.accounts.iter().map(|(name, list)| (Scope::Account(name.clone()), list));
        let all = [(Scope::Everyone, &self.everyone), (Scope::Relayed, &self.relayed)].into_iter().chain(accounts);
        all.filter(|(_, list)| !list.is_empty())
    }

    /// Why mail of `whose` to an address goes nowhere now, and by which list.
    pub fn find(&self, whose: Whose<'_>, key: &Key, now_s: u32) -> Option<Entry> {
        let own = match whose {
            Whose::Account(name) => self.of_account(name),
            Whose::Relay => Some(&self.relayed),
            Whose::Notice => None,
        };
        let found = |list: &List| list.get(key.as_str()).filter(|entry| entry.suppresses(now_s));
        own.and_then(found).or_else(|| found(&self.everyone))
    }

    fn of_account(&self, name: &str) -> Option<&List> {
        if name.chars().any(char::is_uppercase) {
            return self.accounts.get(&*name.to_lowercase());
        }
        self.accounts.get(name)
    }

    /// The lists with `changes` made, of which each is the last about its address.
    #[must_use]
    pub fn with(&self, changes: &Pending) -> Lists {
        let mut lists = self.clone();
        for (scope, changes) in &changes.0 {
            let list = lists.of(scope).with(changes);
            match scope {
                Scope::Everyone => lists.everyone = list,
                Scope::Relayed => lists.relayed = list,
                Scope::Account(name) if list.is_empty() => _ = lists.accounts.remove(name),
                Scope::Account(name) => _ = lists.accounts.insert(name.clone(), list),
            }
        }
        lists
    }

    /// The lists without what means nothing any more.
    #[must_use]
    pub fn current(&self, now_s: u32) -> Lists {
        Lists {
            everyone: self.everyone.current(now_s),
            relayed: self.relayed.current(now_s),
            accounts: self
                .accounts
                .iter()
                .map(|(name, list)| (name.clone(), list.current(now_s)))
                .filter(|(_, list)| !list.is_empty())
                .collect(),
        }
    }
}

/// Changes that are to be made, by scope and address; the later one about an address counts.
#[derive(Clone, Debug, Default)]
pub struct Pending(BTreeMap<Scope, BTreeMap<Box<str>, Option<Entry>>>);

impl Pending {
    /// Adds a change.
    pub fn add(&mut self, change: Change) {
        self.0.entry(change.scope).or_default().insert(change.address, change.entry);
    }

    /// What it makes of an address, if it says anything about it.
    pub fn get(&self, scope: &Scope, key: &str) -> Option<Option<Entry>> {
        self.0.get(scope).and_then(|changes| changes.get(key)).copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Scope, &str, Option<Entry>)> {
        let of = |(scope, changes)| {
            let changes: &BTreeMap<Box<str>, Option<Entry>> = changes;
            changes.iter().map(move |(address, entry)| (scope, &**address, *entry))
        };
        self.0.iter().flat_map(of)
    }

    /// What would have more entries than it may, and more than it has.
    pub fn overfull(&self, lists: &Lists, entries_max: usize, entries_total_max: usize) -> Option<Overfull> {
        let (mut added, mut removed) = (0, 0);
        for (scope, changes) in &self.0 {
            let list = lists.of(scope);
            let is_new = |address: &str| list.get(address).is_none();
            let comes = changes.iter().filter(|(address, entry)| entry.is_some() && is_new(address)).count();
            let goes = changes.iter().filter(|(address, entry)| entry.is_none() && !is_new(address)).count();
            if comes > goes && list.len() + comes - goes > entries_max {
                return Some(Overfull::One(scope.clone()));
            }
            (added, removed) = (added + comes, removed + goes);
        }
        (added > removed && lists.len() + added - removed > entries_total_max).then_some(Overfull::Together)
    }
}

/// What has no room for some changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overfull {
    /// A list.
    One(Scope),
    /// All lists together.
    Together,
}
