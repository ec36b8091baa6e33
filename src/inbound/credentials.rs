//! Whether credentials are right, without letting anyone find out by trying.
//!
//! A verification takes tens of milliseconds of a core on purpose. It runs off the reactor; what was right is remembered
//! for [`REMEMBERED`], under a keyed hash, so that a client that connects for every message pays once. What was wrong is
//! never remembered, and answered the later the more often it came from the same address or named the same account.
//! After `[limits] auth_failures_per_address_max` failures of an address, or `auth_failures_per_account_max` about an
//! account, in [`FAILURE_COUNTS`], everything is answered 421, right or wrong, so that trying on tells nothing. Failures
//! count by the name that was tried, whether or not there is such an account, on all shards together ([`Guesses`]): no
//! more are verified than the limit, and one that each other shard is about to. Who has just logged in from an address
//! goes on to do so there though others attack the account.
//! The rest is the shard's own, as an address always meets the same shard.
//! Limits: [`REMEMBERED_MAX`] entries, [`VERIFYING_MAX`] verifications waiting, one at a time; [`COUNTED_MAX`] addresses.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use shards::{Instant, Reactor};

use super::admit::neighbourhood;
use super::guesses::{FAILURE_COUNTS, Guesses};
use crate::config::Limits;
use crate::policy::{Accounts, Authorized};

/// How long right credentials are remembered: as long as a revoked password may still work.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Credentials that are remembered at a time.
const REMEMBERED_MAX: usize = 1024;
/// Verifications that may be under way or waiting; each takes the memory that its hash demands.
pub(super) const VERIFYING_MAX: usize = 64;
/// Addresses whose failures are counted. When there are more, those with a single failure are forgotten first, then all.
const COUNTED_MAX: usize = 4096;
/// How long the 421 of someone who is throttled waits.
pub(super) const THROTTLED_DELAY: Duration = Duration::from_secs(8);
/// The delay of a first failure's reply; each further one doubles it.
const FAILURE_DELAY: Duration = Duration::from_secs(1);
/// How often the delay doubles at most.
const DOUBLINGS_MAX: u32 = 3;

/// The shard's knowledge of credentials.
#[derive(Default)]
pub(super) struct Credentials {
    remembered: RefCell<Remembered>,
    verifying: Cell<usize>,
    /// One verification at a time: the threads that do them also flush the journal.
    turn: futures::lock::Mutex<()>,
    by_address: RefCell<Failures>,
    by_name: Arc<Guesses>,
    max: Cell<FailuresMax>,
}

/// Failures in [`FAILURE_COUNTS`] after which nothing is verified any more.
#[derive(Clone, Copy, Debug, Default)]
struct FailuresMax {
    per_address: u32,
    per_account: u32,
}

/// An answer about credentials.
pub(super) enum Verified {
    Right(Authorized),
    Wrong,
    /// Too many failures before.
    Throttled,
    /// Too many verifications are under way.
    Busy,
}

impl Credentials {
    /// Knows nothing yet but what all shards know of `guesses`.
    pub(super) fn new(guesses: Arc<Guesses>) -> Credentials {
        Credentials { by_name: guesses, ..Credentials::default() }
    }

    /// Uses these limits from now on, and remembers nothing any more: the accounts may have changed.
    pub(super) fn configure(&self, limits: &Limits) {
        self.max.set(FailuresMax {
            per_address: limits.auth_failures_per_address_max,
            per_account: limits.auth_failures_per_account_max,
        });
        *self.remembered.borrow_mut() = Remembered::default();
    }

    /// Finds out. Unknown names cost the same time as wrong passwords.
    pub(super) async fn verify(
        &self,
        reactor: &Reactor,
        accounts: &Accounts,
        client: IpAddr,
        user: &str,
        password: Box<str>,
    ) -> Verified {
        if self.address_failures(client, reactor.now()) >= self.max.get().per_address {
            return Verified::Throttled;
        }
        let fingerprint = self.remembered.borrow().fingerprint(client, user, &password);
        if let Some(rights) = self.remembered.borrow().find(fingerprint, reactor.now()) {
            return Verified::Right(rights);
        }
        if self.by_name.recent(user, reactor.wall()) >= self.max.get().per_account {
            return Verified::Throttled;
        }
        if self.verifying.get() >= VERIFYING_MAX {
            return Verified::Busy;
        }
        let challenge = accounts.challenge(user);
        let verifying = Verifying::new(&self.verifying);
        let turn = self.turn.lock().await;
        // Whoever was before may have had the same credentials: a sender's sessions come together.
        if let Some(rights) = self.remembered.borrow().find(fingerprint, reactor.now()) {
            return Verified::Right(rights);
        }
        // Nor do guesses that came side by side get more tries than those that come one after the other.
        if self.is_throttled(client, user, reactor) {
            return Verified::Throttled;
        }
        let verdict = reactor.blocking(move || challenge.verify(password.as_bytes())).await;
        drop((turn, verifying));
        match verdict {
            Some(rights) => {
                self.remembered.borrow_mut().insert(fingerprint, rights.clone(), reactor.now());
                Verified::Right(rights)
            }
            None => Verified::Wrong,
        }
    }

    /// Counts a failure of `client` about `user`; how long its reply must wait.
    pub(super) fn failed(&self, client: IpAddr, user: &str, reactor: &Reactor) -> Duration {
        let of_address = self.by_address.borrow_mut().add(neighbourhood(client), reactor.now());
        let of_name = self.by_name.add(user, reactor.wall());
        FAILURE_DELAY * 2_u32.pow((of_address.max(of_name) - 1).min(DOUBLINGS_MAX))
    }

    fn is_throttled(&self, client: IpAddr, user: &str, reactor: &Reactor) -> bool {
        let max = self.max.get();
        self.address_failures(client, reactor.now()) >= max.per_address
            || self.by_name.recent(user, reactor.wall()) >= max.per_account
    }

    fn address_failures(&self, client: IpAddr, now: Instant) -> u32 {
        self.by_address.borrow().recent(&neighbourhood(client), now)
    }
}

/// How often each of some addresses has failed lately, and when last.
#[derive(Default)]
struct Failures(HashMap<IpAddr, (u32, Instant)>);

impl Failures {
    fn recent(&self, key: &IpAddr, now: Instant) -> u32 {
        self.0.get(key).filter(|(_, last)| now.since(*last) <= FAILURE_COUNTS).map_or(0, |(count, _)| *count)
    }

    /// One more; how many that makes.
    fn add(&mut self, key: IpAddr, now: Instant) -> u32 {
        let count = self.recent(&key, now).saturating_add(1);
        if self.0.len() >= COUNTED_MAX && !self.0.contains_key(&key) {
            self.0.retain(|_, (count, last)| *count > 1 && now.since(*last) <= FAILURE_COUNTS);
        }
        if self.0.len() >= COUNTED_MAX && !self.0.contains_key(&key) {
            self.0.clear();
        }
        self.0.insert(key, (count, now));
        count
    }
}

/// Counts itself among the verifications as long as it lives, also when its conversation is dropped.
struct Verifying<'a>(&'a Cell<usize>);

impl<'a> Verifying<'a> {
    fn new(count: &'a Cell<usize>) -> Verifying<'a> {
        count.set(count.get() + 1);
        Verifying(count)
    }
}

impl Drop for Verifying<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Credentials that were right, by two keyed hashes whose keys never leave the process: 128 bits that tell nothing of
/// the password.
#[derive(Default)]
struct Remembered {
    keys: [RandomState; 2],
    rights: HashMap<u128, (Authorized, Instant)>,
    /// Oldest first.
    order: VecDeque<u128>,
}

impl Remembered {
    fn fingerprint(&self, client: IpAddr, user: &str, password: &str) -> u128 {
        let credentials = (neighbourhood(client), user.to_ascii_lowercase(), password);
        let [high, low] = &self.keys;
        (u128::from(high.hash_one(&credentials)) << 64) | u128::from(low.hash_one(&credentials))
    }

    fn find(&self, fingerprint: u128, now: Instant) -> Option<Authorized> {
        let (rights, since) = self.rights.get(&fingerprint)?;
        (now.since(*since) < REMEMBERED).then(|| rights.clone())
    }

    fn insert(&mut self, fingerprint: u128, rights: Authorized, now: Instant) {
        if self.rights.insert(fingerprint, (rights, now)).is_some() {
            self.order.retain(|other| *other != fingerprint);
        }
        self.order.push_back(fingerprint);
        while self.order.len() > REMEMBERED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.rights.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::network;

    fn rights() -> Authorized {
        let everywhere = crate::config::Network { address: IpAddr::from([0, 0, 0, 0]), prefix: 0 };
        network::relay(&[everywhere], &Default::default(), IpAddr::from([192, 0, 2, 1])).expect("inside")
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn what_was_right_is_remembered_for_a_while() {
        let mut remembered = Remembered::default();
        let client = IpAddr::from([192, 0, 2, 1]);
        let known = remembered.fingerprint(client, "User@x", "secret");
        assert_eq!(known, remembered.fingerprint(client, "user@X", "secret"));
        assert_ne!(known, remembered.fingerprint(IpAddr::from([192, 0, 2, 2]), "user@X", "secret"));
        for (user, password) in [("user@x", "Secret"), ("user@x", "secret "), ("user@xsecret", ""), ("", "")] {
            assert_ne!(known, remembered.fingerprint(client, user, password));
        }
        assert!(remembered.find(known, at(0)).is_none());
        remembered.insert(known, rights(), at(0));
        assert!(remembered.find(known, at(59)).is_some());
        assert!(remembered.find(known, at(60)).is_none());
        remembered.insert(known, rights(), at(60));
        assert!(remembered.find(known, at(61)).is_some());
        assert_eq!(remembered.order.len(), 1);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut remembered = Remembered::default();
        for number in 0..REMEMBERED_MAX as u128 + 10 {
            remembered.insert(number, rights(), at(0));
        }
        assert_eq!((remembered.rights.len(), remembered.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert!(remembered.find(9, at(0)).is_none() && remembered.find(10, at(0)).is_some());
    }

    #[test]
    fn what_is_counted_is_bounded_and_who_fails_often_stays() {
        let mut failures = Failures::default();
        let client = |number: usize| IpAddr::from((number as u32).to_be_bytes());
        failures.add(client(usize::MAX), at(0));
        failures.add(client(usize::MAX), at(0));
        for number in 0..3 * COUNTED_MAX {
            failures.add(client(number), at(0));
            assert!(failures.0.len() <= COUNTED_MAX);
        }
        assert_eq!(failures.recent(&client(usize::MAX), at(0)), 2);
        for number in 0..2 * COUNTED_MAX {
            failures.add(client(number), at(0));
            failures.add(client(number), at(0));
            assert!(failures.0.len() <= COUNTED_MAX);
        }
    }
}
