//! What mail that is due stands behind: the owner's side. Made when an operator looks; nothing is kept for it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dispatcher, Inner, SharedTurns};
use crate::outbound::turns::Turns;
use crate::outbound::way;
use crate::queue::behind::{Behind, Stage, WayThere};

/// Lanes that are looked at before others of the shard have their turn.
const LANES_PER_TURN: usize = 10_000;

impl Dispatcher {
    /// Where the mail of these lanes goes next, as far as it has a destination.
    pub async fn behind(&self, lanes: &BTreeSet<Box<str>>) -> Vec<Behind> {
        let inner = &self.0;
        let mut found: BTreeMap<Box<str>, Behind> = BTreeMap::new();
        let sites: Vec<SharedTurns> = inner.sites.borrow().values().cloned().collect();
        let mut looked_at = 0;
        for shared in sites {
            if looked_at >= LANES_PER_TURN {
                looked_at = 0;
                inner.reactor.yield_now().await;
            }
            let turns = shared.borrow();
            looked_at += turns.lanes().count() + 1;
            for lane in turns.lanes().filter(|lane| lanes.contains(*lane)) {
                let stage = if turns.is_in_line(lane) { Stage::Crowded } else { Stage::Turns };
                found.insert(lane.into(), inner.behind(lane, &turns, stage));
            }
        }
        for out in inner.out.borrow().values() {
            let lane = &*out.domain;
            if lanes.contains(lane) && !found.contains_key(lane) {
                found.insert(lane.into(), inner.behind(lane, &out.turns.borrow(), Stage::UnderWay));
            }
        }
        found.into_values().collect()
    }
}

impl Inner {
    fn behind(&self, lane: &str, turns: &Turns, stage: Stage) -> Behind {
        let (now, wall) = (self.reactor.now(), self.reactor.wall());
        let ways = turns.ways.iter().map(|known| {
            let known = known.borrow();
            let rest = known.rest(now).map(|rest| (wall + rest.pause, (*rest.why).into()));
            WayThere { source: known.source.name.clone(), name: way::key(&known.source, &turns.site).into(), rest }
        });
        Behind { lane: lane.into(), destination: (*turns.name()).into(), ways: ways.collect(), stage }
    }
}
