//! One number that replies adjust: what it is, what was too much, and when it may grow again. Pure.

use serde::{Deserialize, Serialize};

/// A tenth of the mark comes back with each step.
const RECOVERY_SHARE: f64 = 0.1;
/// So much of what was confirmed is stayed at.
const SETTLED_SHARE: f64 = 0.97;
/// A mark that is confirmed rises by this share of the difference: what came out of a full bucket makes one too high.
const TRUST_SHARE: f64 = 0.5;
/// The first step beyond a mark that was not confirmed, and beyond one that was, as a share of it.
const PROBE_SHARES: [f64; 2] = [0.1, 0.02];
/// How much longer each further one is: a peer may take a while to find that it is too much.
const STRIDES: [f64; 2] = [2.0, 1.15];
/// Confirmations that make the step down smaller.
const CONFIRMED_MAX: usize = 3;
/// Steps that a mark is stayed below, by how often it was confirmed; the last repeats.
pub(super) const HELD_STEPS: [u64; 5] = [0, 15, 30, 60, 120];
/// What was in use counts as at least this share of what was allowed: after a rest little was.
const USED_SHARE_MIN: f64 = 0.75;

/// What is heard at one time of one number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// What is left of it.
    pub share: f64,
    /// How much was in use.
    pub used: f64,
    /// It is made no lower than this.
    pub min: f64,
    /// Seconds of a step.
    pub step_s: u64,
    /// Nothing is sent for so long because of it.
    pub pause_s: u64,
    /// For so long the same is no news.
    pub episode_s: u64,
    /// When it is heard.
    pub now_s: u64,
}

/// A number that replies adjust.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Level {
    pub value: f64,
    /// What was too much last.
    mark: f64,
    /// How often in a row about the same was.
    confirmed: usize,
    pub lowered_s: u64,
    /// It has come back to what is configured, and limits nothing; what was too much is still known.
    lifted: bool,
    /// The next step beyond the mark, as a share of it.
    stride: f64,
    /// What it was before the last step, and when that was: so much went well.
    proven: f64,
    raised_s: u64,
    /// What the running episode has left of it, and what is heard before is of the same one.
    share: f64,
    calm_s: u64,
    /// Messages that were accepted since it was last looked at whether more may be allowed, and when that was.
    accepted: u64,
    looked_s: u64,
}

impl Level {
    /// It was too much: whether that is news. What many replies say at once is heard once, but for something worse, which
    /// takes what is left to take.
    pub fn hear(level: &mut Option<Level>, heard: &Heard) -> bool {
        let mut lowered = match level.take() {
            Some(same) if heard.now_s < same.calm_s && heard.share >= same.share => {
                // What is still too much is no reason to allow more.
                *level = Some(Level { looked_s: same.looked_s.max(heard.now_s), accepted: 0, ..same });
                return false;
            }
            Some(same) if heard.now_s < same.calm_s => {
                Level { value: (same.value * heard.share / same.share).max(heard.min), ..same }
            }
            before => Level::lowered(before.as_ref(), heard),
        };
        (lowered.lifted, lowered.share) = (false, heard.share);
        lowered.calm_s = heard.now_s.saturating_add(heard.episode_s);
        (lowered.accepted, lowered.looked_s) = (0, heard.now_s.saturating_add(heard.pause_s));
        *level = Some(lowered);
        true
    }

    fn lowered(before: Option<&Level>, heard: &Heard) -> Level {
        let Heard { share, used, min, step_s, now_s, .. } = *heard;
        let in_use = |level: &Level| {
            let was_just_raised = now_s < level.raised_s.saturating_add(step_s + step_s / 2);
            let proven = if was_just_raised { level.proven } else { 0.0 };
            used.clamp(level.value * USED_SHARE_MIN, level.value).max(proven)
        };
        let mark = before.map_or(used, in_use).max(min);
        let is_about = |level: &&Level| {
            let had_recovered = level.value >= level.mark * (SETTLED_SHARE - RECOVERY_SHARE);
            had_recovered && (2.0 / 3.0..=1.5).contains(&(mark / level.mark))
        };
        let (mark, confirmed) = match before.filter(is_about) {
            Some(level) => {
                (mark.min(level.mark + (mark - level.mark) * TRUST_SHARE), level.confirmed.saturating_add(1))
            }
            None => (mark, 0),
        };
        // The more often about this was too much the better it is known how much goes, and a smaller step down is enough.
        let share = share.powf(1.0 / (confirmed.min(CONFIRMED_MAX) as f64 + 1.0));
        let (value, stride) = ((mark * share).max(min), PROBE_SHARES[usize::from(confirmed > 0)]);
        Level { value, mark, confirmed, lowered_s: now_s, stride, ..Level::default() }
    }

    /// So many messages were accepted: how many since the last look, and in how many seconds, where it is time for one.
    pub fn look(&mut self, messages: u64, step_s: u64, now_s: u64) -> Option<(u64, u64)> {
        let elapsed_s = now_s.checked_sub(self.looked_s)?;
        self.accepted += messages;
        if elapsed_s < step_s {
            return None;
        }
        self.looked_s = now_s;
        Some((std::mem::take(&mut self.accepted), elapsed_s))
    }

    /// One step up, unless about this was too much again and again, and it is not yet time to try more.
    pub fn raise(&mut self, step_s: u64, now_s: u64) {
        let (before, settled) = (self.value, self.settled());
        if self.lifted {
            return;
        } else if self.value < settled {
            self.value = (self.value + self.mark * RECOVERY_SHARE).min(settled);
        } else if now_s < self.held_until_s(step_s) {
            return;
        } else {
            self.value += self.mark * self.stride;
            self.stride *= STRIDES[usize::from(self.confirmed > 0)];
        }
        (self.proven, self.raised_s) = (before, now_s);
    }

    /// It has reached what is configured.
    pub fn lift(&mut self, max: f64) {
        (self.lifted, self.value) = (true, max);
    }

    /// Itself, as long as it limits anything.
    pub fn in_force(&self) -> Option<&Level> {
        Some(self).filter(|level| !level.lifted)
    }

    /// When the next step up may come at the earliest, if what is allowed is used until then.
    pub fn grows_at_s(&self, step_s: u64) -> u64 {
        let looks_at_s = self.looked_s.saturating_add(step_s);
        if self.value < self.settled() { looks_at_s } else { looks_at_s.max(self.held_until_s(step_s)) }
    }

    /// How far it comes back before more is tried.
    fn settled(&self) -> f64 {
        if self.confirmed > 0 { self.mark * SETTLED_SHARE } else { self.mark }
    }

    fn held_until_s(&self, step_s: u64) -> u64 {
        let steps = HELD_STEPS[self.confirmed.min(HELD_STEPS.len() - 1)];
        self.lowered_s.saturating_add(steps.saturating_mul(step_s))
    }

    /// A wall clock that was ahead must not keep it as it was until then.
    pub fn mend_clock(&mut self, now_s: u64) {
        for time_s in [&mut self.lowered_s, &mut self.raised_s] {
            *time_s = (*time_s).min(now_s);
        }
        (self.calm_s, self.looked_s) = (now_s, now_s);
    }
}
