//! What accounts use, on all shards together: recipients of the day (`daily_limit`, UTC), connections at a time
//! (`[limits] connections_per_account_max`), and wrong credentials ([`Guesses`]).
//!
//! Counters are shared by all shards: atomic numbers, no lock. A connection counts from its login to its end. A
//! recipient is reserved at RCPT, so that sessions side by side cannot exceed the limit together; what a transaction
//! does not spend is given back at its end. The final dot makes sure of the reservation: it counts for the day of
//! acceptance, also over midnight. At the start every shard adds what its queue accepted today (`queue::submitted`,
//! which survives crashes); until all have, accounts with a limit are put off. A reload keeps the counters, and those
//! of accounts that it takes away.
//! Limits: two counters per account that was configured since the start.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use shards::Timestamp;

use super::guesses::Guesses;
use crate::config::{Account, Config};
use crate::queue::submitted::{Elsewhere, day_of, goes_on};
use crate::smtp::reply::{self, Reply};

/// The counters of all accounts.
#[derive(Debug, Default)]
pub struct Quotas {
    /// By their names as they are configured.
    accounts: HashMap<Box<str>, Arc<Quota>>,
    guesses: Arc<Guesses>,
    /// What shards have counted today that are not opened any more.
    elsewhere: Arc<Elsewhere>,
}

/// What an account has used of its day, and uses now.
#[derive(Debug)]
struct Quota {
    /// Connections that are logged in.
    connections: AtomicUsize,
    /// The day in the upper half, its recipients in the lower: both change in one step.
    used: AtomicU64,
    /// Shards that have not yet said what they accepted before.
    unheard: AtomicUsize,
}

impl Quotas {
    /// Counters for a process that starts.
    pub fn new(config: &Config) -> Arc<Quotas> {
        Quotas::default().follow(config)
    }

    /// The same, with what was counted `elsewhere`.
    pub fn after(elsewhere: Arc<Elsewhere>, config: &Config) -> Arc<Quotas> {
        Quotas { elsewhere, ..Quotas::default() }.follow(config)
    }

    /// The same counters, and new ones for new accounts.
    pub fn follow(&self, config: &Config) -> Arc<Quotas> {
        let mut accounts = self.accounts.clone();
        for account in &config.accounts {
            let of_elsewhere = self.elsewhere.recipients.get(&account.name).map_or(0, |number| *number);
            accounts.entry(account.name.clone()).or_insert_with(|| {
                let quota = Quota::unheard_of(config.shards);
                quota.reserve(of_elsewhere, (0, 0), None, self.elsewhere.day);
                Arc::new(quota)
            });
        }
        Arc::new(Quotas { accounts, guesses: self.guesses.clone(), elsewhere: self.elsewhere.clone() })
    }

    /// Wrong credentials.
    pub(super) fn guesses(&self) -> Arc<Guesses> {
        self.guesses.clone()
    }

    /// A place for one more connection of `account`, which may have `connections_max`.
    pub(super) fn enter(&self, account: &Account, connections_max: usize) -> Result<Place, Reply> {
        let quota = self.accounts.get(&account.name).ok_or_else(|| reply::STARTING.reply())?;
        let one_more = |open| (open < connections_max).then_some(open + 1);
        let entered = quota.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        entered.map_err(|_| reply::account_connections(connections_max))?;
        Ok(Place(quota.clone()))
    }

    /// A shard adds what it accepted before, `submitted`, to every counter that it does not know yet.
    pub(super) fn hear(&self, known: &Quotas, now: Timestamp, submitted: impl Fn(&str) -> u64) {
        for (account, quota) in self.accounts.iter().filter(|(account, _)| !known.accounts.contains_key(*account)) {
            quota.reserve(submitted(account), (0, 0), None, day_of(now));
            quota.unheard.fetch_sub(1, Ordering::Release);
        }
    }
}

impl Quota {
    fn unheard_of(shards: usize) -> Quota {
        let connections = AtomicUsize::new(0);
        Quota { connections, used: AtomicU64::new(0), unheard: AtomicUsize::new(shards) }
    }

    /// Makes what `held` holds a grant of `recipients` unless that exceeds `limit`; the day on which they count.
    fn reserve(&self, recipients: u64, held: (u32, u64), limit: Option<u64>, day: u32) -> Option<u32> {
        let after = |packed| {
            let (counted, used) = unpack(packed);
            let (day, used) = if goes_on(counted, day) { (counted, used) } else { (day, 0) };
            // What is held of another day is not among those that are used.
            let held = if held.0 == day { held.1 } else { 0 };
            let sum = used.saturating_sub(held).saturating_add(recipients);
            limit.is_none_or(|limit| sum <= limit).then(|| pack(day, sum))
        };
        let before = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, after).ok()?;
        after(before).map(|packed| unpack(packed).0)
    }

    /// Gives back what was reserved on `day`, if that still goes on.
    fn give_back(&self, recipients: u64, day: u32) {
        let after = |packed| {
            let (counted, used) = unpack(packed);
            (counted == day).then(|| pack(day, used.saturating_sub(recipients)))
        };
        // An error says that the day is over.
        let _ = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, after);
    }
}

/// A connection's place among those of its account; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Quota>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn pack(day: u32, recipients: u64) -> u64 {
    (u64::from(day) << 32) | recipients.min(u64::from(u32::MAX))
}

fn unpack(packed: u64) -> (u32, u64) {
    ((packed >> 32) as u32, packed & u64::from(u32::MAX))
}

/// Recipients that a transaction has been granted; given back when this ends, unless they are spent.
#[derive(Debug, Default)]
pub(super) struct Grant {
    quota: Option<Arc<Quota>>,
    day: u32,
    recipients: u64,
}

impl Grant {
    /// One recipient more.
    pub(super) fn one_more(&mut self, quotas: &Quotas, account: &Account, now: Timestamp) -> Result<(), Reply> {
        self.hold(self.recipients + 1, quotas, account, now)
    }

    /// Makes it a grant of so many recipients on the day of `now`. Where that is too many, it stays as it was.
    pub(super) fn hold(
        &mut self,
        recipients: u64,
        quotas: &Quotas,
        account: &Account,
        now: Timestamp,
    ) -> Result<(), Reply> {
        let quota = quotas.accounts.get(&account.name).ok_or_else(|| reply::STARTING.reply())?;
        if account.daily_limit.is_some() && quota.unheard.load(Ordering::Acquire) > 0 {
            return Err(reply::STARTING.reply());
        }
        let reserved = quota.reserve(recipients, (self.day, self.recipients), account.daily_limit, day_of(now));
        self.day = reserved.ok_or_else(|| reply::daily_limit(account.daily_limit.unwrap_or(0)))?;
        self.quota = Some(quota.clone());
        self.recipients = recipients;
        Ok(())
    }

    /// Gives back what is held.
    pub(super) fn give_back(&mut self) {
        if let Some(quota) = self.quota.take() {
            quota.give_back(self.recipients, self.day);
        }
        self.recipients = 0;
    }

    /// The recipients were accepted: nothing is to be given back.
    pub(super) fn spend(&mut self) {
        self.quota = None;
        self.recipients = 0;
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Notices;

    /// A configuration without accounts.
    const TEXT: &str = "[server]\nhostname = \"mta.test\"\ndata_dir = \"/data\"\nshards = 1\n[[listener]]\n\
                        kind = \"relay\"\naddress = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"127.0.0.0/8\"]\n";

    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    fn account(daily_limit: Option<u64>) -> Account {
        Account {
            name: "user@example.org".into(),
            password: "".into(),
            senders: vec![],
            smtp: true,
            daily_limit,
            scheduled_send: false,
            return_path: false,
            notify: Notices { failed: true, delayed: true, delivered: false },
            standard: Default::default(),
        }
    }

    fn quotas(shards: usize) -> Quotas {
        let accounts = HashMap::from([(account(None).name, Arc::new(Quota::unheard_of(shards)))]);
        Quotas { accounts, ..Quotas::default() }
    }

    fn at(day: u64) -> Timestamp {
        Timestamp::from_millis(DAY_MS * day + 1)
    }

    /// What the only account has used.
    fn used(quotas: &Quotas) -> (u32, u64) {
        unpack(quotas.accounts["user@example.org"].used.load(Ordering::Acquire))
    }

    #[test]
    fn what_is_not_spent_is_given_back() {
        let (quotas, account) = (quotas(0), account(Some(3)));
        let (mut one, mut other) = (Grant::default(), Grant::default());
        assert_eq!(one.hold(2, &quotas, &account, at(7)), Ok(()));
        assert_eq!(other.one_more(&quotas, &account, at(7)), Ok(()));
        assert_eq!(other.one_more(&quotas, &account, at(7)), Err(reply::daily_limit(3)));
        assert_eq!(used(&quotas), (7, 3));
        drop(one);
        assert_eq!(used(&quotas), (7, 1));
        other.spend();
        drop(other);
        assert_eq!(used(&quotas), (7, 1));
    }

    #[test]
    fn over_midnight_a_grant_counts_for_the_day_of_acceptance() {
        let (quotas, account) = (quotas(0), account(Some(3)));
        let (mut late, mut early) = (Grant::default(), Grant::default());
        late.hold(2, &quotas, &account, at(7)).expect("they are left");
        early.hold(2, &quotas, &account, at(8)).expect("it is a new day");
        assert_eq!(late.hold(2, &quotas, &account, at(8)), Err(reply::daily_limit(3)));
        late.give_back();
        assert_eq!(used(&quotas), (8, 2));
        // A shard whose clock is a little behind counts for the day that has begun.
        late.hold(1, &quotas, &account, at(7)).expect("one is left");
        assert_eq!(used(&quotas), (8, 3));
    }

    #[test]
    fn nobody_is_granted_anything_before_every_shard_was_heard() {
        let (quotas, limited, unlimited) = (quotas(2), account(Some(10)), account(None));
        let mut grant = Grant::default();
        for accepted_before in [4, 5] {
            assert_eq!(grant.one_more(&quotas, &limited, at(7)), Err(reply::STARTING.reply()));
            assert_eq!(Grant::default().one_more(&quotas, &unlimited, at(7)), Ok(()));
            quotas.hear(&Quotas::default(), at(7), |_| accepted_before);
            quotas.hear(&quotas, at(7), |_| panic!("it was heard"));
        }
        assert_eq!(grant.one_more(&quotas, &limited, at(7)), Ok(()));
        assert_eq!(grant.one_more(&quotas, &limited, at(7)), Err(reply::daily_limit(10)));
    }

    #[test]
    fn what_shards_counted_that_are_no_longer_opened_counts_today() {
        let more = "[tls]\ncertificate = \"c\"\nprivate_key = \"k\"\n[[account]]\nname = \"user@example.org\"\n\
                    password = \"$argon2id$...\"\nsenders = [\"user@example.org\"]\n";
        let config = Config::parse(&format!("{TEXT}{more}"), std::path::Path::new("/")).expect("good");
        for (day, left) in [(7, 1), (8, 3)] {
            let recipients = HashMap::from([("user@example.org".into(), 2)]);
            let quotas = Quotas::after(Arc::new(Elsewhere { day: 7, recipients }), &config);
            quotas.hear(&Quotas::default(), at(day), |_| 0);
            let (mut grant, account) = (Grant::default(), account(Some(3)));
            assert_eq!(grant.hold(left, &quotas, &account, at(day)), Ok(()), "day {day}");
            assert_eq!(grant.one_more(&quotas, &account, at(day)), Err(reply::daily_limit(3)), "day {day}");
            assert!(quotas.follow(&config).accounts.contains_key("user@example.org"));
        }
    }

    #[test]
    fn connections_are_bounded_over_all_threads_and_places_come_back() {
        const MAX: usize = 3;
        let (quotas, account) = (quotas(0), account(None));
        let most = AtomicUsize::new(0);
        let session = || {
            let mut refused = 0;
            for _ in 0..10_000 {
                match quotas.enter(&account, MAX) {
                    Ok(place) => {
                        most.fetch_max(place.0.connections.load(Ordering::Relaxed), Ordering::Relaxed);
                    }
                    Err(reply) => {
                        assert_eq!(reply, reply::account_connections(MAX));
                        refused += 1;
                    }
                }
            }
            refused
        };
        let refused: usize = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(session));
            threads.map(|thread| thread.join().expect("it ends")).iter().sum()
        });
        println!("{refused} of 40000 found no place");
        assert!(most.into_inner() <= MAX);
        let places: Vec<Place> = std::iter::from_fn(|| quotas.enter(&account, MAX).ok()).collect();
        assert_eq!(places.len(), MAX, "all places came back");
        assert!(
            quotas.follow(&Config::parse(TEXT, std::path::Path::new("/")).expect("good")).enter(&account, MAX).is_err()
        );
        drop(places);
        assert!(quotas.enter(&account, MAX).is_ok());
    }

    #[test]
    fn threads_side_by_side_never_exceed_the_limit() {
        let (quotas, account) = (quotas(0), account(Some(10_000)));
        let session = || {
            let mut accepted = 0;
            for round in 0..10_000 {
                let mut grant = Grant::default();
                if grant.one_more(&quotas, &account, at(7)).is_ok() && round % 3 > 0 {
                    grant.spend();
                    accepted += 1;
                }
            }
            accepted
        };
        let accepted: u64 = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(session));
            threads.map(|thread| thread.join().expect("it ends")).iter().sum()
        });
        assert_eq!((accepted, used(&quotas)), (10_000, (7, 10_000)));
    }
}
