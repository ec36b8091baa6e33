//! What is in the way on paths at the moment: the home's side, for operators who look. Nothing is counted for it.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};
use shards::Timestamp;

use super::{Inner, Pool};
use crate::message::date::rfc3339;
use crate::outbound::Rest;
use crate::outbound::budget::{Budget, UsedUp};
use crate::queue::behind::Obstacles;

/// The longest rest on the way to each group, by source and group.
pub(super) type Rests = HashMap<String, Rest>;

impl Pool {
    /// What mail on these ways waits for here, as far as anything is in its way.
    pub fn obstacles(&self, ways: &BTreeSet<Box<str>>) -> Obstacles {
        let (now, wall) = (self.0.reactor.now(), self.0.reactor.wall());
        let paths = self.0.paths.borrow();
        let obstacles = ways.iter().filter_map(|way| {
            let path = paths.get(way)?.borrow();
            let mut told = path.budgets.obstacles(!path.is_unconnected(), now, wall);
            if told.is_empty() {
                told.extend(path.holds_back(now));
            }
            (!told.is_empty()).then(|| (way.clone(), told.join("; ").into()))
        });
        obstacles.collect()
    }
}

impl Inner {
    /// What rests now.
    pub(super) fn rests(&self) -> Rests {
        let now = self.reactor.now();
        let mut rests = Rests::new();
        for path in self.paths.borrow().values() {
            let path = path.borrow();
            let Some(rest) = path.rest(now) else { continue };
            let key = format!("{} {}", path.source.name, path.site.group());
            if rests.get(&key).is_none_or(|known| known.pause < rest.pause) {
                rests.insert(key, rest);
            }
        }
        rests
    }

    /// Adds what is left of a budget now. Whether anything is in the way.
    pub(super) fn add_present(&self, shown: &mut Value, budget: &Budget, rest: Option<&Rest>) -> bool {
        let (now, wall) = (self.reactor.now(), self.reactor.wall());
        let (connections, max) = budget.connections();
        let used_up: Vec<Value> = budget.used_up(now).iter().map(|used| used_up(used, wall)).collect();
        let fails = shown["source"].as_str().is_some_and(|source| self.failed_sources.borrow().contains(source));
        let is_full = connections >= max;
        let in_the_way = is_full || !used_up.is_empty() || rest.is_some() || fails;
        shown["connections"] = connections.into();
        if is_full {
            shown["full"] = true.into();
        }
        if !used_up.is_empty() {
            shown["used_up"] = used_up.into();
        }
        if let Some(rest) = rest {
            shown["rests_until"] = rfc3339(wall + rest.pause).into();
            shown["rests_because"] = (*rest.why).into();
        }
        if fails {
            shown["source_failed"] = true.into();
        }
        in_the_way
    }
}

fn used_up(used: &UsedUp, wall: Timestamp) -> Value {
    let UsedUp { limit, rate, by, wait } = used;
    json!({ "limit": limit, "value": rate, "from": by, "until": rfc3339(wall + *wait) })
}
