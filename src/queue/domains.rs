//! What waits for each domain, and which domains rest, until when and why: the queue as an operator looks at it first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use shards::Timestamp;

use super::Queue;
use super::lane::Lane;
use super::ready::Look;
use crate::message::date;

/// Domains looked at before other work gets its turn.
const DOMAINS_PER_TURN: u32 = 10_000;
/// Lanes of a domain that are looked at for what they wait for.
const LANES_SHOWN_MAX: usize = 4;
/// Domains in one report.
const LIST_MAX: usize = 1000;

/// Which domains; every given condition must hold.
#[derive(Clone, Debug, Default)]
pub struct Domains {
    /// This one, lower case.
    pub domain: Option<Box<str>>,
    /// Those that rest because of this destination.
    pub destination: Option<Box<str>>,
    /// Those that rest.
    pub resting: bool,
}

/// What waits for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Lower case.
    pub domain: Box<str>,
    /// Queued recipients, in any state.
    pub recipients: u64,
    /// Messages that are due now; after orders, about.
    pub due: u64,
    /// Where it is left alone for a while.
    pub rest: Option<Resting>,
    /// Lanes of it that do not rest, the first [`LANES_SHOWN_MAX`] of each shard.
    pub lanes: BTreeSet<Box<str>>,
    /// What those wait for, in words; who asks the shards adds it.
    pub waits_for: Option<Box<str>>,
}

/// Why nothing is tried at a domain, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resting {
    /// The end.
    pub until: Timestamp,
    /// What its hosts said last, or what happened instead.
    pub why: Arc<str>,
    /// The destination that gave the reason: other domains may share it. Empty: the DNS did.
    pub destination: Arc<str>,
}

impl Domains {
    fn admits(&self, look: &Look<'_>) -> bool {
        let destination = look.parked.map(|(.., destination)| &**destination);
        self.domain.as_deref().is_none_or(|wanted| wanted == Lane::of(look.name).domain)
            && self.destination.as_deref().is_none_or(|wanted| destination == Some(wanted))
            && (!self.resting || look.parked.is_some())
    }
}

impl Waiting {
    /// The same domain as two shards see it.
    pub fn and(self, other: Waiting) -> Waiting {
        let later = |one: Resting, other: Resting| if one.until >= other.until { one } else { other };
        let rest = match (self.rest, other.rest) {
            (Some(one), Some(other)) => Some(later(one, other)),
            (one, other) => one.or(other),
        };
        let mut lanes = self.lanes;
        lanes.extend(other.lanes);
        let (recipients, due) = (self.recipients + other.recipients, self.due + other.due);
        Waiting { domain: self.domain, recipients, due, rest, lanes, waits_for: self.waits_for.or(other.waits_for) }
    }

    /// As `--json` prints it: `domain`, `recipients`, `due`; where it rests `rests_until`, `why`, and `destination` if one
    /// gave the reason; `waits_for` where it is due and something is in its way.
    pub fn json(&self) -> Value {
        let mut object = json!({ "domain": self.domain, "recipients": self.recipients, "due": self.due });
        if let Some(rest) = &self.rest {
            object["rests_until"] = date::rfc3339(rest.until).into();
            object["why"] = (*rest.why).into();
            if !rest.destination.is_empty() {
                object["destination"] = (*rest.destination).into();
            }
        }
        if let Some(waits_for) = &self.waits_for {
            object["waits_for"] = (**waits_for).into();
        }
        object
    }
}

impl Queue {
    /// The first `limit` of these domains after `after`, by name.
    pub(super) async fn domains(&self, domains: &Domains, after: Option<&str>, limit: usize) -> Vec<Waiting> {
        let limit = limit.clamp(1, LIST_MAX);
        let mut page: BTreeMap<Box<str>, Waiting> = BTreeMap::new();
        self.look_at_domains(|queue, look| {
            let domain = Lane::of(look.name).domain;
            let is_beyond = page.len() >= limit && page.last_key_value().is_some_and(|(last, _)| *domain > **last);
            if is_beyond || after.is_some_and(|after| domain <= after) || !domains.admits(&look) {
                return;
            }
            let (now, wall) = (queue.core.reactor.now(), queue.now());
            let rest = look.parked.map(|(until, why, destination)| Resting {
                until: wall + until.since(now),
                why: why.clone(),
                destination: destination.clone(),
            });
            let due = (look.ready as u64).min(look.queued);
            let known = page.remove(domain);
            let lanes_known = known.as_ref().map_or(0, |known| known.lanes.len());
            let lane = (rest.is_none() && look.ready > 0 && lanes_known < LANES_SHOWN_MAX).then(|| look.name.into());
            let lanes = lane.into_iter().collect();
            let waiting = Waiting { domain: domain.into(), recipients: look.queued, due, rest, lanes, waits_for: None };
            let sum = match known {
                Some(other) => other.and(waiting),
                None => waiting,
            };
            page.insert(domain.into(), sum);
            if page.len() > limit {
                page.pop_last();
            }
        })
        .await;
        page.into_values().collect()
    }

    /// Queued recipients at domains that rest because of `destination`.
    pub(super) async fn queued_behind(&self, destination: &str) -> u64 {
        let domains = Domains { destination: Some(destination.into()), ..Domains::default() };
        let mut recipients = 0;
        self.look_at_domains(|_, look| recipients += if domains.admits(&look) { look.queued } else { 0 }).await;
        recipients
    }

    /// Looks at every domain that has queued recipients.
    async fn look_at_domains(&self, mut look: impl FnMut(&Queue, Look<'_>)) {
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.core.state.borrow().ready.look_at(from, DOMAINS_PER_TURN, &mut |seen| {
                if seen.queued > 0 {
                    look(self, seen);
                }
            });
            if next.is_some() {
                self.core.reactor.yield_now().await;
            }
        }
    }
}
