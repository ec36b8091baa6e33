//! `[shaping]`: how limits follow what replies say; and the plan by which a `[[source]]` warms up.

use std::time::Duration;

use super::limit::{self, Rate};
use super::read::{Placed, Reading, Section, number, text, truth};
use super::validate::{positive_duration, to_u32};

/// Days of a plan.
const PLAN_DAYS_MAX: usize = 365;
/// Messages of one day of a plan.
const DAY_MESSAGES_MAX: u64 = 1_000_000_000;
/// A day's messages for those who write no plan of their own: twice as many each day.
const USUAL_PLAN: &[u32] = &[50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400];
/// Seconds of a day.
const DAY_S: i64 = 24 * 60 * 60;

/// `[shaping]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shaping {
    /// `adaptive`: replies adjust the limits.
    pub adaptive: bool,
    /// `message_rate_min`: they make it no lower than this.
    pub message_rate_min: Rate,
    /// `recovery_step`: how long a step back up takes.
    pub recovery_step: Duration,
}

impl Default for Shaping {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { adaptive: true, message_rate_min: Rate { number: 1, per: minute }, recovery_step: minute }
    }
}

/// By which plan a source warms up: so many messages a day to each destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmUp {
    /// `warm_up_from`: the first day, UTC, counted from the epoch.
    pub first_day: u32,
    /// `warm_up_plan`: messages of each day.
    pub plan: Box<[u32]>,
}

impl WarmUp {
    /// Messages that a destination may have on `day` (UTC, counted from the epoch): none before the first one.
    /// `None`: the source is warm.
    pub fn allowance(&self, day: u32) -> Option<u32> {
        match day.checked_sub(self.first_day) {
            None => Some(0),
            Some(passed) => self.plan.get(passed as usize).copied(),
        }
    }
}

/// Reads `[shaping]`.
pub(super) fn shaping(document: &mut Section<'_>, reading: &mut Reading) -> Shaping {
    let default = Shaping::default();
    let mut section = document.section_or_empty("shaping", reading);
    let adaptive = section.optional("adaptive", reading, truth);
    let message_rate_min = section.optional("message_rate_min", reading, text(limit::rate));
    let recovery_step = section.optional("recovery_step", reading, text(positive_duration));
    section.end(reading);
    Shaping {
        adaptive: adaptive.map_or(default.adaptive, |adaptive| adaptive.value),
        message_rate_min: message_rate_min.map_or(default.message_rate_min, |rate| rate.value),
        recovery_step: recovery_step.map_or(default.recovery_step, |step| step.value),
    }
}

/// Reads `warm_up_from` and `warm_up_plan` of a `[[source]]`.
pub(super) fn warm_up(source: &mut Section<'_>, reading: &mut Reading) -> Option<WarmUp> {
    let from = source.optional("warm_up_from", reading, text(day));
    let plan = source.list("warm_up_plan", reading, number(1..=DAY_MESSAGES_MAX));
    if let Some(plan) = &plan {
        if from.is_none() {
            reading.mistake(plan.line, "source.warm_up_plan: write warm_up_from = \"YYYY-MM-DD\" too, its first day");
        }
        if plan.value.len() > PLAN_DAYS_MAX {
            reading.mistake(plan.line, format!("source.warm_up_plan: at most {PLAN_DAYS_MAX} days"));
        }
    }
    let days = |plan: Placed<Vec<Placed<u64>>>| plan.value.into_iter().map(to_u32).collect();
    Some(WarmUp { first_day: from?.value, plan: plan.map_or_else(|| USUAL_PLAN.into(), days) })
}

/// `2026-12-01`, as days since the epoch.
fn day(text: &str) -> Result<u32, String> {
    let wanted = || format!("`{text}` is not a day: write it like \"2026-12-01\" (UTC)");
    let date: jiff::civil::Date = text.parse().map_err(|_| wanted())?;
    let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wanted())?;
    u32::try_from(midnight.timestamp().as_second() / DAY_S).map_err(|_| wanted())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    use super::*;

    fn parse(more: &str) -> Result<Config, String> {
        let base = "[server]\nhostname = \"mta.example.org\"\ndata_dir = \"data\"\n[[listener]]\nkind = \"relay\"\n\
                    address = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"::1\"]\n";
        let told = |mistakes: Vec<crate::config::Mistake>| mistakes.into_iter().map(|mistake| mistake.text).collect();
        Config::parse(&format!("{base}{more}"), Path::new("/nowhere")).map_err(told)
    }

    fn source(more: &str) -> Result<Option<WarmUp>, String> {
        let config = parse(&format!("[[source]]\nname = \"s1\"\naddresses = [\"192.0.2.1\"]\n{more}"))?;
        Ok(config.pool("s1").expect("it is there").members[0].source.warm_up.clone())
    }

    #[test]
    fn a_plan_has_an_allowance_for_each_of_its_days() {
        let plan = source("warm_up_from = \"1970-01-11\"\nwarm_up_plan = [50, 70]\n").expect("good").expect("a plan");
        let allowances: Vec<_> = (8..14).map(|day| plan.allowance(day)).collect();
        assert_eq!(allowances, [Some(0), Some(0), Some(50), Some(70), None, None]);
        let usual = source("warm_up_from = \"2026-12-01\"\n").expect("good").expect("a plan");
        assert_eq!((usual.allowance(usual.first_day), usual.plan.len()), (Some(50), USUAL_PLAN.len()));
        assert_eq!(source("").expect("good"), None);
    }

    #[test]
    fn mistakes_are_told_with_what_to_write() {
        assert!(source("warm_up_plan = [50]\n").expect_err("no day").contains("warm_up_from"));
        assert!(source("warm_up_from = \"1.12.2026\"\n").expect_err("no day").contains("2026-12-01"));
        assert!(source("warm_up_from = \"2026-12-01\"\nwarm_up_plan = []\n").is_err());
        assert!(parse("[shaping]\nmessage_rate_min = \"slow\"\n").expect_err("no rate").contains("rate"));
        assert!(!parse("[shaping]\nadaptive = false\n").expect("good").shaping.adaptive);
        assert_eq!(parse("").expect("good").shaping, Shaping::default());
    }
}
