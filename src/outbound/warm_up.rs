//! What a source that warms up has used of its day's plan at one group of sites. Decides and counts only.
//!
//! What may be sent is granted some at a time, and each grant is on disk before it is used: so no crash makes a day longer
//! than its plan. It costs the day what was left of the last grant, a [`GRANT_SHARE`]th of the plan at most.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shards::{Instant, Timestamp};

use super::budget::WAIT_MAX;
use crate::config::WarmUp;
use crate::message::date::rfc3339;
use crate::queue::submitted::{day_of, goes_on};

/// One in so many of a day's messages is granted at a time.
const GRANT_SHARE: u64 = 20;
/// A path that has used up its day is looked at again after this at the latest: the plan may be changed.
const REST_MAX: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What counts as sent on a day, as it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spent {
    /// UTC, counted from the epoch.
    pub day: u32,
    /// Messages.
    pub messages: u64,
    /// … that an operator has allowed beside the plan.
    #[serde(default)]
    pub beside: u64,
}

/// Whether one more message may be sent today.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// It counts from now on.
    Sent,
    /// Once this is kept for good.
    AfterGrant(Spent),
    /// Not today.
    UsedUp,
}

/// The plan of one source at one group, and what was sent today.
#[derive(Debug)]
pub(super) struct Warming {
    source: Box<str>,
    plan: WarmUp,
    sent: Spent,
    /// Messages of the day for which there is a grant, and for which one was asked.
    granted: u64,
    asked: u64,
    day_ends: Instant,
}

impl Warming {
    /// By the `plan` of `source`, going on from what was `kept`.
    pub fn new(source: &str, plan: WarmUp, kept: Option<Spent>, wall: Timestamp, now: Instant) -> Self {
        let sent = kept.unwrap_or_default();
        let (granted, asked) = (sent.messages, sent.messages);
        let mut warming = Self { source: source.into(), plan, sent, granted, asked, day_ends: now };
        warming.look(wall, now);
        warming
    }

    /// Follows `plan` from now on.
    pub fn follow(&mut self, plan: &WarmUp) {
        if self.plan != *plan {
            self.plan = plan.clone();
        }
    }

    fn look(&mut self, wall: Timestamp, now: Instant) {
        let day = day_of(wall);
        if !goes_on(self.sent.day, day) {
            (self.sent, self.granted, self.asked) = (Spent { day, ..Spent::default() }, 0, 0);
        }
        let midnight =
            Timestamp::from_millis(u64::try_from(DAY.as_millis()).unwrap_or(u64::MAX) * (u64::from(day) + 1));
        self.day_ends = now + midnight.since(wall);
    }

    /// Asks for one more message.
    pub fn ask(&mut self, wall: Timestamp, now: Instant) -> Leave {
        self.look(wall, now);
        let Some(allowance) = self.allowance() else { return Leave::Sent };
        if self.sent.messages >= allowance {
            return Leave::UsedUp;
        }
        if self.sent.messages < self.granted.min(allowance) {
            self.sent.messages += 1;
            return Leave::Sent;
        }
        let messages = (self.granted + (allowance / GRANT_SHARE).max(1)).min(allowance);
        self.asked = self.asked.max(messages);
        Leave::AfterGrant(Spent { messages, ..self.sent })
    }

    /// The grant is kept for good.
    pub fn grant(&mut self, grant: Spent) {
        if grant.day == self.sent.day {
            self.granted = self.granted.max(grant.messages);
        }
    }

    /// No grant can be kept: nothing more goes today.
    pub fn stop(&mut self) {
        self.sent.messages = self.sent.messages.max(self.allowance().unwrap_or_default());
    }

    /// What was sent, and on which day.
    pub fn sent(&self) -> Spent {
        self.sent
    }

    /// What is to be kept: what was sent, and what may be by a grant that is or will be kept. None once the source is warm.
    pub fn to_keep(&self) -> Option<Spent> {
        self.allowance().map(|_| Spent { messages: self.sent.messages.max(self.granted).max(self.asked), ..self.sent })
    }

    /// Nothing more is sent before a restart: what is left of the grants is given back.
    pub fn end(&mut self) {
        (self.granted, self.asked) = (self.sent.messages, self.sent.messages);
    }

    /// An operator allows the day's plan once more, where it is used up; `false`: there is none today.
    pub fn lift(&mut self) -> bool {
        let plan = self.plan.allowance(self.sent.day).map_or(0, u64::from);
        self.sent.beside += plan;
        plan > 0
    }

    /// Messages of the day; `None`: as many as there are.
    pub fn allowance(&self) -> Option<u64> {
        self.plan.allowance(self.sent.day).map(|plan| u64::from(plan) + self.sent.beside)
    }

    /// The plan's first day, while it is to come.
    pub fn begins(&self) -> Option<String> {
        (self.sent.day < self.plan.first_day).then(|| self.first_day())
    }

    /// `YYYY-MM-DD`.
    fn first_day(&self) -> String {
        let begin = Timestamp::from_millis(u64::from(self.plan.first_day) * DAY.as_millis() as u64);
        rfc3339(begin).chars().take(10).collect()
    }

    /// Which day of the plan it is, from 1.
    fn day_number(&self) -> u32 {
        self.sent.day.saturating_sub(self.plan.first_day).saturating_add(1)
    }

    /// How long nothing goes because the day is used up, and why.
    pub fn rest(&self, group: &str, now: Instant) -> Option<(Duration, String)> {
        let source = &self.source;
        let allowance = self.allowance().filter(|allowance| self.sent.messages >= *allowance && now < self.day_ends)?;
        let why = if self.sent.day < self.plan.first_day {
            format!("the warm-up of {source} has not begun: it begins on {}", self.first_day())
        } else {
            let (day, days) = (self.day_number(), self.plan.plan.len());
            format!(
                "the warm-up of {source} allows {group} {allowance} messages on day {day} of {days}, which are used up \
                 until 00:00 UTC"
            )
        };
        // It is longer than what is waited for in place, also in the last seconds of the day.
        let pause = self.day_ends.since(now).clamp(WAIT_MAX + Duration::from_secs(1), REST_MAX);
        Some((pause, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 12 * 60 * 60 * 1000;

    fn at(day: u64, millis: u64) -> Timestamp {
        Timestamp::from_millis(day * DAY.as_millis() as u64 + millis)
    }

    /// Sends all that may be sent at that time, keeping each grant.
    fn send_all(warming: &mut Warming, kept: &mut Option<Spent>, wall: Timestamp) -> u64 {
        let mut sent = 0;
        loop {
            match warming.ask(wall, Instant::default()) {
                Leave::Sent => sent += 1,
                Leave::UsedUp => return sent,
                Leave::AfterGrant(grant) => {
                    *kept = Some(grant);
                    warming.grant(grant);
                }
            }
        }
    }

    fn plan() -> WarmUp {
        WarmUp { first_day: 100, plan: [50, 1000].into() }
    }

    #[test]
    fn each_day_has_its_plan_however_often_it_crashes() {
        let mut kept = None;
        let mut warming = Warming::new("s1", plan(), None, at(99, NOON), Instant::default());
        assert_eq!(send_all(&mut warming, &mut kept, at(99, NOON)), 0);
        assert!(
            warming
                .rest("gmail", Instant::default())
                .expect("it waits")
                .1
                .contains("has not begun: it begins on 1970-04-11")
        );
        for (day, allowance) in [(100, 50), (101, 1000)] {
            let mut sent = 0;
            for round in 0..10 {
                let mut warming = Warming::new("s1", plan(), kept, at(day, NOON + round), Instant::default());
                for _ in 0..7 {
                    match warming.ask(at(day, NOON), Instant::default()) {
                        Leave::Sent => sent += 1,
                        Leave::UsedUp => break,
                        Leave::AfterGrant(grant) => {
                            kept = Some(grant);
                            warming.grant(grant);
                        }
                    }
                }
            }
            let mut warming = Warming::new("s1", plan(), kept, at(day, NOON), Instant::default());
            sent += send_all(&mut warming, &mut kept, at(day, NOON));
            assert!(sent <= allowance && sent >= allowance / 3, "{sent} of {allowance}");
            let (pause, why) = warming.rest("gmail", Instant::default()).expect("it waits");
            assert!(why.contains(&format!("{allowance} messages on day {} of 2", day - 99)), "{why}");
            assert_eq!(pause, REST_MAX);
        }
        let mut warming = Warming::new("s1", plan(), kept, at(102, NOON), Instant::default());
        assert_eq!((warming.ask(at(102, NOON), Instant::default()), warming.allowance()), (Leave::Sent, None));
    }

    #[test]
    fn a_plan_that_is_lifted_is_there_once_more_today_and_over_a_crash() {
        let mut kept = None;
        let mut warming = Warming::new("s1", plan(), None, at(99, NOON), Instant::default());
        assert_eq!((warming.ask(at(99, NOON), Instant::default()), warming.lift()), (Leave::UsedUp, false));
        assert_eq!(send_all(&mut warming, &mut kept, at(100, NOON)), 50);
        assert!(warming.lift());
        kept = warming.to_keep();
        assert_eq!((kept, warming.rest("gmail", Instant::default())), (Some(warming.sent()), None));
        let mut again = Warming::new("s1", plan(), kept, at(100, NOON), Instant::default());
        assert_eq!(send_all(&mut again, &mut kept, at(100, NOON)), 50);
        let mut again = Warming::new("s1", plan(), kept, at(100, NOON), Instant::default());
        assert_eq!(send_all(&mut again, &mut kept, at(100, NOON)), 0);
        assert_eq!(send_all(&mut again, &mut kept, at(101, NOON)), 1000, "of the next day's nothing is different");
    }

    #[test]
    fn midnight_begins_a_new_day_and_a_clock_set_back_over_it_none() {
        let mut kept = None;
        let mut warming = Warming::new("s1", plan(), None, at(100, NOON), Instant::default());
        assert_eq!(send_all(&mut warming, &mut kept, at(100, 2 * NOON - 1)), 50);
        let (pause, _) = warming.rest("gmail", Instant::default()).expect("it waits");
        assert!(pause > WAIT_MAX, "{pause:?}");
        assert_eq!(send_all(&mut warming, &mut kept, at(101, 0)), 1000);
        assert_eq!(send_all(&mut warming, &mut kept, at(100, 2 * NOON - 1)), 0);
        assert_eq!(warming.sent(), Spent { day: 101, messages: 1000, beside: 0 });
    }

    #[test]
    fn what_cannot_be_kept_is_not_sent() {
        let mut warming = Warming::new("s1", plan(), None, at(100, NOON), Instant::default());
        assert!(matches!(warming.ask(at(100, NOON), Instant::default()), Leave::AfterGrant(_)));
        warming.stop();
        assert_eq!(warming.ask(at(100, NOON), Instant::default()), Leave::UsedUp);
        assert!(warming.rest("gmail", Instant::default()).is_some());
    }
}
