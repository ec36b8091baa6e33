//! `[retry]`: when what was deferred is tried again.

use std::time::Duration;

use super::Retry;
use super::read::{Reading, Section, text};
use super::validate::{positive_duration, values};

/// Steps of a retry schedule; the last repeats, so more say nothing new.
const SCHEDULE_STEPS_MAX: usize = 100;

/// Reads `[retry]`.
pub(super) fn retry(document: &mut Section<'_>, reading: &mut Reading) -> Retry {
    let default = Retry::default();
    let mut section = document.section_or_empty("retry", reading);
    let schedule = waits(&mut section, "schedule", reading).unwrap_or(default.schedule);
    // Whoever retries faster than all this wants it so here too.
    let longest = schedule.iter().max().copied().unwrap_or_default();
    let unless_slower = |default: Vec<Duration>| if default[0] > longest { schedule.clone() } else { default };
    let greylist = waits(&mut section, "greylist", reading).unwrap_or_else(|| unless_slower(default.greylist));
    let mailbox_full =
        waits(&mut section, "mailbox_full", reading).unwrap_or_else(|| unless_slower(default.mailbox_full));
    let rate_pause = waits(&mut section, "rate_pause", reading).unwrap_or_else(|| unless_slower(default.rate_pause));
    let lifetime = section.optional("lifetime", reading, text(positive_duration));
    let notice_after = section.optional("delay_notice_after", reading, text(positive_duration));
    let block_pause = section.optional("block_pause", reading, text(positive_duration));
    section.end(reading);
    let lifetime = lifetime.map_or(default.lifetime, |lifetime| lifetime.value);
    if let Some(notice) = notice_after.as_ref().filter(|notice| notice.value > lifetime) {
        reading.mistake(notice.line, "retry.delay_notice_after is longer than retry.lifetime: it would never be sent");
    }
    let delay_notice_after = notice_after.map_or(default.delay_notice_after, |notice| notice.value);
    let block_pause = block_pause.map_or(default.block_pause, |pause| pause.value);
    Retry { schedule, lifetime, delay_notice_after, greylist, mailbox_full, block_pause, rate_pause }
}

/// A list of waits, of which the last repeats.
fn waits<'t>(section: &mut Section<'t>, key: &'static str, reading: &mut Reading) -> Option<Vec<Duration>> {
    let list = section.list(key, reading, text(positive_duration))?;
    if list.value.len() > SCHEDULE_STEPS_MAX {
        reading.mistake(list.line, format!("retry.{key}: at most {SCHEDULE_STEPS_MAX} steps; the last repeats"));
    }
    Some(values(list.value))
}
