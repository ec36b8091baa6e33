//! How many recipients each account has submitted to this shard today (UTC), kept across restarts.
//!
//! A checkpoint commits what changed together with the journal's position, and the messages behind that position are
//! counted again when they are replayed: so the numbers after a crash are exactly those of the messages that survived
//! it, whatever retention has left of them. The numbers of shards that a lower `[server] shards` no longer opens stay there,
//! and each start adds them up ([`Elsewhere`]).
//! Limits: one number per account that submitted today; the numbers of a day before go when the next one's first comes.

use std::collections::{HashMap, HashSet};

use shards::Timestamp;

use crate::spool::encode::{Corrupt, Reader, put_number};

const DAY_S: u64 = 24 * 60 * 60;

/// The UTC day of `time`, counted from the epoch.
pub fn day_of(time: Timestamp) -> u32 {
    u32::try_from(time.as_secs() / DAY_S).unwrap_or(u32::MAX)
}

/// Whether numbers of the day `counted` go on at `day`. A clock may be set back a little over midnight, which must not
/// renew what is used up; one that was days ahead must not keep it used up until then.
pub fn goes_on(counted: u32, day: u32) -> bool {
    counted == day || counted == day.saturating_add(1)
}

/// A row of the index: an account's name and its value, or that it has none any more.
pub type Change = (Box<str>, Option<Vec<u8>>);

/// The numbers of one day.
#[derive(Default)]
pub struct Submitted {
    day: u32,
    recipients: HashMap<Box<str>, u64>,
    /// Accounts that the index does not have like this.
    changed: HashSet<Box<str>>,
}

/// What shards have counted that are not opened any more.
#[derive(Debug, Default)]
pub struct Elsewhere {
    /// The UTC day, counted from the epoch.
    pub day: u32,
    /// Recipients, by account.
    pub recipients: HashMap<Box<str>, u64>,
}

impl Elsewhere {
    /// Adds what one of them has counted today.
    pub fn add(&mut self, submitted: &Submitted, now: Timestamp) {
        self.day = day_of(now);
        for account in submitted.recipients.keys() {
            *self.recipients.entry(account.clone()).or_default() += submitted.today(account, now);
        }
    }
}

impl Submitted {
    /// `account` submitted a message to so many recipients.
    pub fn add(&mut self, account: &str, recipients: u64, at: Timestamp) {
        let day = day_of(at);
        if !goes_on(self.day, day) {
            self.day = day;
            self.changed.extend(self.recipients.drain().map(|(account, _)| account));
        }
        match self.recipients.get_mut(account) {
            Some(number) => *number += recipients,
            None => _ = self.recipients.insert(account.into(), recipients),
        }
        if !self.changed.contains(account) {
            self.changed.insert(account.into());
        }
    }

    /// Recipients that `account` has submitted on the day of `now`.
    pub fn today(&self, account: &str, now: Timestamp) -> u64 {
        if !goes_on(self.day, day_of(now)) {
            return 0;
        }
        self.recipients.get(account).copied().unwrap_or(0)
    }

    /// Whether something changed since the last checkpoint began.
    pub fn is_dirty(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What the next checkpoint has to commit.
    pub fn begin_checkpoint(&mut self) -> Vec<Change> {
        let day = u64::from(self.day);
        let value = |number: &u64| {
            let mut out = Vec::new();
            put_number(&mut out, day);
            put_number(&mut out, *number);
            out
        };
        let mut changes = Vec::with_capacity(self.changed.len());
        for account in self.changed.drain() {
            let value = self.recipients.get(&account).map(value);
            changes.push((account, value));
        }
        changes
    }

    /// The checkpoint failed: what it held is to be committed by the next one.
    pub fn abandon_checkpoint(&mut self, changes: Vec<Change>) {
        self.changed.extend(changes.into_iter().map(|(account, _)| account));
    }

    /// Reads a row of the index, at the start.
    pub fn load(&mut self, account: &[u8], value: &[u8]) -> Result<(), Corrupt> {
        let account = std::str::from_utf8(account).map_err(|_| Corrupt("an account's name is not text"))?;
        let mut reader = Reader::new(value);
        let (day, number) = (reader.number_u32()?, reader.number()?);
        reader.end()?;
        if !self.recipients.is_empty() && day != self.day {
            return Err(Corrupt("accounts' recipients of two days"));
        }
        self.day = day;
        self.recipients.insert(account.into(), number);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: u64) -> Timestamp {
        Timestamp::from_millis(day * DAY_S * 1000 + 1)
    }

    /// The rows after these checkpoints, read again.
    fn reloaded(checkpoints: Vec<Vec<Change>>) -> Submitted {
        let mut rows = HashMap::new();
        for (account, value) in checkpoints.into_iter().flatten() {
            match value {
                Some(value) => _ = rows.insert(account, value),
                None => _ = rows.remove(&account),
            }
        }
        let mut submitted = Submitted::default();
        rows.iter().for_each(|(account, value)| submitted.load(account.as_bytes(), value).expect("it is whole"));
        submitted
    }

    #[test]
    fn what_was_counted_is_read_again_and_goes_on() {
        let mut submitted = Submitted::default();
        submitted.add("a", 2, at(7));
        submitted.add("b", 300, at(7));
        let first = submitted.begin_checkpoint();
        assert!(!submitted.is_dirty());
        submitted.add("a", 1, at(7));
        let mut again = reloaded(vec![first, submitted.begin_checkpoint()]);
        again.add("a", 4, at(7));
        assert_eq!((again.today("a", at(7)), again.today("b", at(7)), again.today("c", at(7))), (7, 300, 0));
    }

    #[test]
    fn a_new_day_begins_at_nothing_and_removes_the_old_rows() {
        let mut submitted = Submitted::default();
        submitted.add("a", 2, at(7));
        submitted.add("b", 2, at(7));
        let first = submitted.begin_checkpoint();
        assert_eq!(submitted.today("a", at(8)), 0);
        submitted.add("a", 1, at(8));
        let again = reloaded(vec![first, submitted.begin_checkpoint()]);
        assert_eq!((again.recipients.len(), again.today("a", at(8)), again.today("b", at(8))), (1, 1, 0));
    }

    #[test]
    fn a_clock_set_back_renews_nothing_and_one_far_ahead_blocks_nothing() {
        let mut submitted = Submitted::default();
        submitted.add("a", 2, at(8));
        submitted.add("a", 1, at(7));
        assert_eq!((submitted.today("a", at(7)), submitted.today("a", at(8))), (3, 3));
        submitted.add("a", 5, at(900));
        submitted.add("a", 1, at(8));
        assert_eq!(submitted.today("a", at(8)), 1);
    }

    #[test]
    fn an_abandoned_checkpoint_is_made_again() {
        let mut submitted = Submitted::default();
        submitted.add("a", 2, at(7));
        let abandoned = submitted.begin_checkpoint();
        submitted.abandon_checkpoint(abandoned);
        assert_eq!(reloaded(vec![submitted.begin_checkpoint()]).today("a", at(7)), 2);
    }

    #[test]
    fn damaged_rows_are_errors() {
        let mut submitted = Submitted::default();
        submitted.load(b"a", &[7, 1]).expect("it is whole");
        for (account, value) in [(&b"\xff"[..], &[7, 1][..]), (b"b", &[7]), (b"b", &[7, 1, 1]), (b"b", &[8, 1])] {
            assert!(submitted.load(account, value).is_err(), "{account:?} {value:?}");
        }
    }
}
