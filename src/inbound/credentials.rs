//! Whether credentials are right, without letting anyone find out by trying.
//!
//! A verification takes tens of milliseconds of a core on purpose. It runs off the reactor; what was right is remembered
//! for [`REMEMBERED`], under a keyed hash, so that a client that connects for every message pays once. What was wrong is
//! never remembered, and answered the later the more often it came from the same address.
//! Limits: [`REMEMBERED_MAX`] entries, [`VERIFYING_MAX`] verifications at a time, [`ADDRESSES_MAX`] addresses.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use shards::{Instant, Reactor};

use super::admit::neighbourhood;
use crate::policy::{Accounts, Authorized};

/// How long right credentials are remembered: as long as a revoked password may still work.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Credentials that are remembered at a time.
const REMEMBERED_MAX: usize = 1024;
/// Verifications that may be under way or waiting; each takes the memory that its hash demands.
const VERIFYING_MAX: usize = 64;
/// How long a failure counts against its address.
const FAILURE_COUNTS: Duration = Duration::from_secs(10 * 60);
/// Addresses whose failures are counted; when there are more, counting begins anew.
const ADDRESSES_MAX: usize = 4096;
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
    failures: RefCell<HashMap<IpAddr, (u32, Instant)>>,
}

/// An answer about credentials.
pub(super) enum Verified {
    Right(Authorized),
    Wrong,
    /// Too many verifications are under way.
    Busy,
}

impl Credentials {
    /// Finds out. Unknown names cost the same time as wrong passwords.
    pub(super) async fn verify(
        &self,
        reactor: &Reactor,
        accounts: &Accounts,
        user: &str,
        password: Box<str>,
    ) -> Verified {
        let fingerprint = self.remembered.borrow().fingerprint(user, &password);
        if let Some(rights) = self.remembered.borrow().find(fingerprint, reactor.now()) {
            return Verified::Right(rights);
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

    /// Counts a failure of `client`; how long its reply must wait.
    pub(super) fn failed(&self, client: IpAddr, now: Instant) -> Duration {
        let mut failures = self.failures.borrow_mut();
        let key = neighbourhood(client);
        if failures.len() >= ADDRESSES_MAX && !failures.contains_key(&key) {
            failures.clear();
        }
        let (count, last) = failures.entry(key).or_insert((0, now));
        if now.since(*last) > FAILURE_COUNTS {
            *count = 0;
        }
        *last = now;
        *count = count.saturating_add(1);
        FAILURE_DELAY * 2_u32.pow((*count - 1).min(DOUBLINGS_MAX))
    }

    /// Remembers nothing any more: the accounts have changed.
    pub(super) fn forget(&self) {
        *self.remembered.borrow_mut() = Remembered::default();
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
    fn fingerprint(&self, user: &str, password: &str) -> u128 {
        let credentials = (user.to_ascii_lowercase(), password);
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
        network::relay(&[everywhere], IpAddr::from([192, 0, 2, 1])).expect("inside")
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn what_was_right_is_remembered_for_a_while() {
        let mut remembered = Remembered::default();
        let known = remembered.fingerprint("User@x", "secret");
        assert_eq!(known, remembered.fingerprint("user@X", "secret"));
        for (user, password) in [("user@x", "Secret"), ("user@x", "secret "), ("user@xsecret", ""), ("", "")] {
            assert_ne!(known, remembered.fingerprint(user, password));
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
    fn failures_of_an_address_are_answered_ever_later() {
        let credentials = Credentials::default();
        let client = IpAddr::from([192, 0, 2, 1]);
        let delays: Vec<u64> = (0..6).map(|_| credentials.failed(client, at(0)).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 8, 8]);
        assert_eq!(credentials.failed(IpAddr::from([192, 0, 2, 2]), at(0)).as_secs(), 1);
        assert_eq!(credentials.failed(client, at(601)).as_secs(), 1);
    }

    #[test]
    fn addresses_are_bounded() {
        let credentials = Credentials::default();
        for number in 0..3 * ADDRESSES_MAX as u32 {
            credentials.failed(std::net::Ipv4Addr::from_bits(number).into(), at(0));
            assert!(credentials.failures.borrow().len() <= ADDRESSES_MAX);
        }
    }
}
