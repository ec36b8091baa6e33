//! `daily_limit`: recipients that an account may have in a day (UTC).
//!
//! Counted per shard: a client's address always meets the same one, so an account that sends from one place is counted
//! exactly. After a restart the day begins anew.
//! Limits: one number per account that has a limit and was used today.

use std::cell::RefCell;
use std::collections::HashMap;

use shards::Timestamp;

use crate::config::Account;

const DAY_S: u64 = 24 * 60 * 60;

/// What was used of the limits.
#[derive(Default)]
pub(super) struct Quotas(RefCell<Day>);

#[derive(Default)]
struct Day {
    number: u64,
    recipients: HashMap<Box<str>, u64>,
}

impl Quotas {
    /// Recipients that `account` may still have today; `None`: any number.
    pub(super) fn left(&self, account: &Account, now: Timestamp) -> Option<u64> {
        let limit = account.daily_limit?;
        Some(limit.saturating_sub(self.0.borrow_mut().at(now).get(&account.name).copied().unwrap_or(0)))
    }

    /// `account` has had this many more.
    pub(super) fn spend(&self, account: &Account, recipients: u64, now: Timestamp) {
        if account.daily_limit.is_some() {
            *self.0.borrow_mut().at(now).entry(account.name.clone()).or_default() += recipients;
        }
    }
}

impl Day {
    fn at(&mut self, now: Timestamp) -> &mut HashMap<Box<str>, u64> {
        let today = now.as_secs() / DAY_S;
        if today != self.number {
            *self = Day { number: today, recipients: HashMap::new() };
        }
        &mut self.recipients
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Notices;

    fn account(daily_limit: Option<u64>) -> Account {
        Account {
            name: "user@example.org".into(),
            password: "".into(),
            senders: vec![],
            smtp: true,
            daily_limit,
            notify: Notices { failed: true, delayed: true, delivered: false },
        }
    }

    #[test]
    fn a_day_has_its_limit_and_ends() {
        let (quotas, account) = (Quotas::default(), account(Some(3)));
        let noon = Timestamp::from_millis(DAY_S * 1000 * 100 + 1);
        assert_eq!(quotas.left(&account, noon), Some(3));
        quotas.spend(&account, 2, noon);
        assert_eq!(quotas.left(&account, noon), Some(1));
        quotas.spend(&account, 2, noon);
        assert_eq!(quotas.left(&account, noon), Some(0));
        assert_eq!(quotas.left(&account, Timestamp::from_millis(DAY_S * 1000 * 101)), Some(3));
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let (quotas, account) = (Quotas::default(), account(None));
        quotas.spend(&account, 5, Timestamp::default());
        assert_eq!(quotas.left(&account, Timestamp::default()), None);
        assert!(quotas.0.borrow().recipients.is_empty());
    }
}
