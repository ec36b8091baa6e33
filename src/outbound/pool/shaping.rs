//! What replies and plans make of the limits: the pool's side of `throttle` and `warm_up`.
//!
//! Each change is told to the log with its reason, counted, and kept ([`Known`]), with what was spent of a plan and with
//! how long a source is blocked; so a restart goes on where the process before was. Where no reply ever was a signal this
//! costs a message a count, and nothing is looked up.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Inner, Pool, SharedPath};
use crate::config::Source;
use crate::events::Event;
use crate::message::date::rfc3339;
use crate::outbound::budget::{Budget, Budgets};
use crate::outbound::known::Known;
use crate::outbound::metrics::count;
use crate::outbound::throttle::{Change, Signal};
use crate::outbound::warm_up::Warming;

/// Paths of one answer to an operator.
const SHOWN_MAX: usize = 1_000;

impl Inner {
    pub(super) fn wall_s(&self) -> u64 {
        self.reactor.wall().as_secs()
    }

    /// Gives the budget of the whole group what is known of it, and the plan that `source` warms up by now.
    pub(super) fn shape(&self, budgets: &Budgets, source: &Source) {
        let Some(whole) = budgets.whole() else { return };
        let (mut budget, now) = (whole.borrow_mut(), self.reactor.now());
        if budget.kept.is_none()
            && let Some(queue) = &self.queue
        {
            let path: Box<str> = format!("{} {}", source.name, budget.name()).into();
            budget.kept = Some((queue.clone(), path));
            let known = known(&budget);
            budget.resume(known.throttle, now);
            budget.blocked_until_s = known.blocked_until_s;
        }
        if !self.config.borrow().shaping.adaptive {
            budget.resume(None, now);
        }
        let kept = source.warm_up.as_ref().map(|_| known(&budget));
        match (&source.warm_up, &mut budget.warming) {
            (None, warming) => *warming = None,
            (Some(plan), Some(warming)) => warming.follow(plan),
            (Some(plan), warming) => {
                let spent = kept.and_then(|known| known.spent);
                let new = Warming::new(&source.name, plan.clone(), spent, self.reactor.wall(), now);
                *warming = Some(Box::new(new));
            }
        }
    }

    /// A path to a peer that wanted nothing of the source before a restart rests for what is left of that.
    pub(super) fn resume_block(&self, path: &SharedPath) {
        let blocked_until_s = path.borrow().budgets.whole().map_or(0, |whole| whole.borrow().blocked_until_s);
        let Some(left_s) = blocked_until_s.checked_sub(self.wall_s()).filter(|left_s| *left_s > 0) else { return };
        // No longer than it is now, also where the clock was ahead, or the pause was longer.
        let pause = self.config.borrow().retry.block_pause.min(Duration::from_secs(left_s));
        path.borrow_mut().parks(pause, 0, self.reactor.now());
        let said = path.borrow().budgets.whole().and_then(|whole| {
            whole.borrow().throttle().and_then(|throttle| throttle.heard().map(|(_, why, _)| why.to_owned()))
        });
        path.borrow_mut()
            .rests(pause, said.as_deref().unwrap_or("it wanted nothing of this source before the restart"));
    }

    /// The peer has said how it finds what it is sent; nothing is sent for `pause` because of it.
    pub(super) fn hear(&self, path: &SharedPath, heard: Option<(Signal, &str)>, pause: Duration) {
        let Some((signal, why)) = heard else { return };
        let (config, wall_s) = (self.config.borrow().clone(), self.wall_s());
        let Some(whole) = path.borrow().budgets.whole().cloned() else { return };
        let mut budget = whole.borrow_mut();
        if signal == Signal::Reputation {
            budget.blocked_until_s = budget.blocked_until_s.max(wall_s.saturating_add(pause.as_secs()));
        }
        let changes = if config.shaping.adaptive {
            budget.hear((signal, why), pause, &config.shaping, (self.reactor.now(), wall_s))
        } else {
            Vec::new()
        };
        if !changes.is_empty() {
            count(&self.metrics.limits_lowered[signal as usize]);
        }
        if !changes.is_empty() || signal == Signal::Reputation {
            tell(self, path, &budget, &changes);
        }
    }

    /// So many transactions were accepted.
    pub(super) fn went_well(&self, path: &SharedPath, transactions: u64) {
        let state = path.borrow();
        let Some(whole) = state.budgets.whole() else { return };
        let (mut budget, now) = (whole.borrow_mut(), self.reactor.now());
        budget.lately.add(transactions, now);
        if budget.throttle().is_none() && budget.blocked_until_s == 0 {
            return;
        }
        let wall_s = self.wall_s();
        let was_blocked = budget.blocked_until_s > 0 && state.closed_for(now).is_none();
        if was_blocked {
            budget.blocked_until_s = 0;
        }
        let changes = budget.went_well(transactions, &self.config.borrow().shaping, (now, wall_s));
        if !changes.is_empty() {
            count(&self.metrics.limits_raised);
        }
        if was_blocked || !changes.is_empty() {
            tell(self, path, &budget, &changes);
        }
    }

    /// What plans have left is known exactly when nothing more is sent.
    pub(super) fn end_plans(&self) {
        for budget in self.budgets.borrow().values() {
            let budget = &mut *budget.borrow_mut();
            if let Some(warming) = &mut budget.warming {
                warming.end();
                keep(budget);
            }
        }
    }
}

/// What is kept of a budget.
fn known(budget: &Budget) -> Known {
    let kept = budget.kept.as_ref().and_then(|(queue, path)| queue.learned(path));
    kept.map(|value| Known::decode(&value)).unwrap_or_default()
}

/// Tells the log what has changed, and keeps it.
fn tell(pool: &Inner, path: &SharedPath, budget: &Budget, changes: &[Change]) {
    for change in changes {
        let source = path.borrow().source.name.clone();
        pool.log.emit(&Event::LimitAdjusted {
            source: &source,
            destination: budget.name(),
            limit: change.limit,
            lowered: change.is_lower(),
            // What was not adjusted before was what is configured.
            from: change.from.or_else(|| budget.configured(change.limit)),
            to: change.to,
            why: &change.why,
        });
    }
    keep(budget);
}

/// Keeps what is known. Where there is no room for it, it holds until the restart.
fn keep(budget: &Budget) {
    if let Some((queue, path)) = &budget.kept {
        let _ = queue.learn(path, Known::of(budget).encode().as_deref());
    }
}

impl Pool {
    /// What replies and plans have made of the limits at `destination`, or everywhere: for operators.
    pub fn adjusted(&self, destination: Option<&str>) -> Vec<Value> {
        let budgets = self.0.budgets.borrow();
        let kept = self.0.queue.as_ref().map(|queue| queue.all_learned(SHOWN_MAX, |path| is_of(path, destination)));
        let kept = kept.unwrap_or_default().into_iter().filter(|(path, _)| !budgets.contains_key(path));
        let is_adjusted = |path: &Value| path.as_object().is_some_and(|path| path.len() > 2);
        let moment = (self.0.wall_s(), self.0.config.borrow().shaping.recovery_step.as_secs().max(1));
        let kept = kept.map(|(path, value)| describe(&path, &Known::decode(&value), None, moment)).filter(is_adjusted);
        let rests = self.0.rests();
        let known = budgets.iter().filter(|(path, _)| is_of(path, destination)).filter_map(|(path, budget)| {
            let budget = budget.borrow();
            let mut shown = describe(path, &Known::of(&budget), budget.warming.as_deref(), moment);
            let is_adjusted = is_adjusted(&shown);
            let in_the_way = self.0.add_present(&mut shown, &budget, rests.get(&**path));
            // Who asks for one destination is shown also what is not used up.
            (is_adjusted || in_the_way || destination.is_some()).then_some(shown)
        });
        known.chain(kept).take(SHOWN_MAX).collect()
    }
}

/// Whether a path, a source and a destination, leads to `destination`, or is a part of what goes there.
fn is_of(path: &str, destination: Option<&str>) -> bool {
    let leads_there = |wanted: &str| {
        let rest = path.split_once(' ').and_then(|(_, destination)| destination.strip_prefix(wanted));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
    };
    destination.is_none_or(leads_there)
}

/// What is known of a path now, where a step up takes so long.
fn describe(path: &str, known: &Known, warming: Option<&Warming>, (now_s, step_s): (u64, u64)) -> Value {
    let time = |at_s: u64| json!(rfc3339(shards::Timestamp::from_millis(at_s.saturating_mul(1000))));
    let (source, destination) = path.split_once(' ').unwrap_or_default();
    let mut shown = json!({ "source": source, "destination": destination });
    if let Some(throttle) = known.throttle.as_ref().filter(|throttle| throttle.limits()) {
        shown["message_rate"] = json!(throttle.rate().map(|rate| format!("{rate:.2}/1s")));
        shown["connections_max"] = json!(throttle.connections());
        if let Some((signal, why, at_s)) = throttle.heard() {
            shown["signal"] = json!(signal.name());
            shown["why"] = json!(why);
            shown["since"] = time(at_s);
        }
        let [rate, connections] = throttle.grow_at_s(step_s);
        for (key, at_s) in [("message_rate_grows_at", rate), ("connections_max_grows_at", connections)] {
            if let Some(at_s) = at_s.filter(|at_s| *at_s > now_s) {
                shown[key] = time(at_s);
            }
        }
    }
    if known.blocked_until_s > now_s {
        shown["blocked_until"] = time(known.blocked_until_s);
    }
    if let Some(warming) = warming
        && let Some(allowance) = warming.allowance()
    {
        shown["warm_up"] = match warming.begins() {
            Some(day) => json!({ "begins": day }),
            None => json!({ "messages_today": warming.sent().messages, "messages_max": allowance }),
        };
    }
    shown
}
