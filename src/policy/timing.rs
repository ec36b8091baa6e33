//! When a message goes out: at once, or at its Date where the account schedules by it.

use std::time::Duration;

use shards::Timestamp;

use super::Authorized;
use crate::message::{date, scan};
use crate::smtp::reply::{self, Reply};

/// How far ahead a message can be scheduled.
pub const AHEAD_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

impl Authorized {
    /// The time before which a message is not tried: that of its first `Date:`, if it is to come and the account has
    /// `scheduled_send`. A Date that cannot be read schedules nothing.
    pub fn scheduled(&self, header: &[u8], now: Timestamp) -> Result<Option<Timestamp>, Reply> {
        if !self.account().is_some_and(|account| account.scheduled_send) {
            return Ok(None);
        }
        let field = scan::fields(header).find(|field| field.is("Date"));
        match field.and_then(|field| date::parse(field.value)).filter(|time| *time > now) {
            Some(time) if time > now + AHEAD_MAX => {
                Err(reply::scheduled_too_late(&date::rfc5322(time), &date::rfc5322(now + AHEAD_MAX)))
            }
            time => Ok(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Rights, tests::account};
    use super::*;
    use crate::config::Account;

    const NOW: Timestamp = Timestamp::from_millis(1_795_420_000_000);

    fn scheduled(scheduled_send: bool, date: &str) -> Result<Option<Timestamp>, Reply> {
        let account = Account { scheduled_send, ..(*account(&["user@example.org"])).clone() };
        let rights = Authorized(Rights::Account(Arc::new(account)));
        rights.scheduled(format!("Subject: x\r\nDATE: {date}\r\n\r\n").as_bytes(), NOW)
    }

    fn ahead(duration: Duration) -> String {
        date::rfc5322(NOW + duration)
    }

    #[test]
    fn a_date_to_come_schedules_up_to_thirty_days_ahead() {
        for seconds in [1, 3600, AHEAD_MAX.as_secs()] {
            let wait = Duration::from_secs(seconds);
            assert_eq!(scheduled(true, &ahead(wait)), Ok(Some(NOW + wait)), "{seconds} s");
        }
        let refusal = scheduled(true, &ahead(AHEAD_MAX + Duration::from_secs(1))).expect_err("refused").to_string();
        assert!(refusal.starts_with("550 5.6.0 ") && refusal.contains("Wed, 23 Dec 2026 07:46:40"), "{refusal}");
    }

    #[test]
    fn now_the_past_and_what_is_no_date_go_at_once() {
        let past = date::rfc5322(NOW - Duration::from_secs(1));
        for date in [&*ahead(Duration::ZERO), &past, "tomorrow at nine", ""] {
            assert_eq!(scheduled(true, date), Ok(None), "{date}");
        }
    }

    #[test]
    fn without_the_accounts_key_no_date_changes_anything() {
        for days in [1, 31] {
            assert_eq!(scheduled(false, &ahead(Duration::from_secs(days * 24 * 3600))), Ok(None));
        }
        assert_eq!(
            Authorized(Rights::Relay(Default::default()))
                .scheduled(b"Date: Wed, 1 Jan 2098 00:00:00 +0000\r\n\r\n", NOW),
            Ok(None)
        );
    }
}
