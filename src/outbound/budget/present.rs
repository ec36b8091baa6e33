//! What a budget leaves at the moment, for operators who look. Nothing is counted for it.

use std::time::Duration;

use shards::{Instant, Timestamp};

use super::{Budget, Budgets, Limited};
use crate::message::date::rfc3339;
use crate::queue::behind::clock;

/// Beyond this a time is told with its day.
const SAME_DAY: Duration = Duration::from_secs(12 * 60 * 60);

/// A rate of which nothing is left now.
#[derive(Debug, PartialEq)]
pub struct UsedUp {
    /// Which.
    pub limit: &'static str,
    /// What it is.
    pub rate: String,
    /// Who says so.
    pub by: String,
    /// When the next one goes.
    pub wait: Duration,
}

impl Budget {
    /// Connections in use, and permitted now.
    pub fn connections(&self) -> (u32, u32) {
        (self.connections, self.connections_now_max())
    }

    /// What is configured of a limit that replies adjust, as a number.
    pub fn configured(&self, limit: &str) -> Option<f64> {
        match limit {
            "connections_max" => Some(self.connections_max).filter(|max| *max < u32::MAX).map(f64::from),
            _ => self.messages.as_ref().map(|limited| limited.rate.per_s()),
        }
    }

    /// The rates of which nothing is left now.
    pub fn used_up(&self, now: Instant) -> Vec<UsedUp> {
        let of = |limit, limited: &Option<Limited>| {
            let Limited { rate, by, tokens } = limited.as_ref()?;
            Some(UsedUp { limit, rate: rate.to_string(), by: by.to_string(), wait: tokens.wait(now) })
        };
        let lowered = self.adjusted.as_ref().and_then(|adjusted| {
            let wait = adjusted.messages.as_ref()?.wait(now);
            let by = adjusted.throttle.heard().map(|(_, said, _)| format!("it said: {said}"));
            let rate = format!("{:.2}/1s", adjusted.throttle.rate()?);
            Some(UsedUp { limit: "message_rate", rate, by: by.unwrap_or_default(), wait })
        });
        let all = [of("connection_rate", &self.new_connections), of("message_rate", &self.messages), lowered];
        all.into_iter().flatten().filter(|used| !used.wait.is_zero()).collect()
    }
}

impl Budgets {
    /// What the next message waits for, in words. `with_connection`: one stands already.
    pub fn obstacles(&self, with_connection: bool, now: Instant, wall: Timestamp) -> Vec<String> {
        let mut told = Vec::new();
        for budget in &self.0 {
            let budget = budget.borrow();
            let used_up = budget.used_up(now).into_iter();
            let counts = |used: &UsedUp| used.limit == "message_rate" || !with_connection;
            told.extend(used_up.filter(counts).map(|UsedUp { limit, rate, wait, .. }| {
                format!("{limit} {rate} of {} is used up until {}", budget.name(), at(wall, wait))
            }));
        }
        for budget in &self.0 {
            let budget = budget.borrow();
            let (connections, max) = budget.connections();
            if connections >= max {
                told.push(format!("waits for a connection to {}: {connections} of {max} in use", budget.name()));
            }
        }
        told
    }
}

/// Since what was said; who says it is named once.
pub fn since(said: &str) -> String {
    if said.contains(" said: ") { format!("since {said}") } else { format!("since it said: {said}") }
}

/// When a wait is over, for people: with the second that it ends in over, too.
fn at(wall: Timestamp, wait: Duration) -> String {
    let time = wall + wait + Duration::from_millis(999);
    if wait < SAME_DAY { clock(time) } else { rfc3339(time) }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::config::limit::Rate;
    use crate::route::{Effective, Said};

    #[test]
    fn what_is_used_up_or_in_use_is_told_with_its_end() {
        fn said<T>(value: T) -> Option<Said<T>> {
            Some(Said { value, by: "a test".into() })
        }
        let limits = |name: &str, connections_max, message_rate| Effective {
            name: name.into(),
            connections_max,
            messages_per_connection_max: None,
            connection_rate: None,
            message_rate,
            idle_timeout: None,
        };
        let (start, wall) = (Instant::default(), Timestamp::from_millis(0));
        let slow = Rate { number: 20, per: Duration::from_secs(60) };
        let whole = Budget::new(&limits("gmail", said(1), None), start);
        let part = Budget::new(&limits("gmail (tenant acme)", None, said(slow)), start);
        let budgets = Budgets([whole, part].map(|budget| Rc::new(RefCell::new(budget))).into());
        let later = start + Duration::from_secs(60);
        assert_eq!(budgets.obstacles(true, later, wall), Vec::<String>::new());
        let _place = budgets.begin_connection(later);
        budgets.0[1].borrow_mut().take_message(later);
        let told = budgets.obstacles(true, later, wall);
        assert_eq!(
            told,
            [
                "message_rate 20/1m of gmail (tenant acme) is used up until 00:00:04 UTC",
                "waits for a connection to gmail: 1 of 1 in use"
            ]
        );
    }
}
