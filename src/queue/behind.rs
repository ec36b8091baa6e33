//! What mail that is due stands behind, as an operator who looks is told: the words of the question and its answer, for the
//! shards that they cross. What is in the way outbound knows: the owner which ways a lane may go, each way's home what it
//! waits for there. Pure.

use std::collections::{BTreeSet, HashMap};

use shards::Timestamp;

use crate::message::date;

/// Lanes that are asked about at once, at most.
pub const LANES_MAX: usize = 1_000;

/// What the homes of ways say: what a way lets mail wait for, by the way's name.
pub type Obstacles = HashMap<Box<str>, Box<str>>;

/// Where a lane's mail that is due goes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The lane.
    pub lane: Box<str>,
    /// The provider, or the hosts.
    pub destination: Box<str>,
    /// From where it may go there.
    pub ways: Vec<WayThere>,
    /// How far it is.
    pub stage: Stage,
}

/// How far a lane's mail is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It takes turns with other lanes.
    Turns,
    /// … but all that may be under way from this shard at once is.
    Crowded,
    /// All that is due was given to its way.
    UnderWay,
}

/// From where a lane's mail may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayThere {
    /// The source; empty: the host as it is.
    pub source: Box<str>,
    /// The way's name.
    pub name: Box<str>,
    /// Until when it is left alone, and why.
    pub rest: Option<(Timestamp, Box<str>)>,
}

impl Behind {
    /// The ways of all of them, by name.
    pub fn ways(all: &[Behind]) -> BTreeSet<Box<str>> {
        all.iter().flat_map(|behind| &behind.ways).map(|way| way.name.clone()).collect()
    }

    /// What a message waits for, in words; `leased`: it was given to its way already.
    pub fn words(&self, obstacles: &Obstacles, leased: bool) -> String {
        let why = self.obstacle(obstacles);
        let destination = &self.destination;
        match (leased || self.stage == Stage::UnderWay, why) {
            (true, None) => format!("under way to {destination}"),
            (true, Some(why)) => format!("under way to {destination}, or next: {why}"),
            (false, Some(why)) => why,
            (false, None) if self.stage == Stage::Crowded => {
                "waits behind other mail: as much is under way as this shard may have".into()
            }
            (false, None) => format!("waits behind others for {destination}"),
        }
    }

    /// What is in the way on each of the ways there; said once where it is the same on all.
    fn obstacle(&self, obstacles: &Obstacles) -> Option<String> {
        let of_way = |way: &WayThere| match &way.rest {
            Some((until, why)) => Some(format!("left alone until {}, because: {why}", clock(*until))),
            None => obstacles.get(&way.name).map(ToString::to_string),
        };
        let said: Vec<(&str, String)> = self.ways.iter().filter_map(|way| Some((&*way.source, of_way(way)?))).collect();
        let (_, first) = said.first()?;
        if self.ways.len() == 1 || (said.len() == self.ways.len() && said.iter().all(|(_, why)| why == first)) {
            return Some(first.clone());
        }
        let of_each: Vec<String> = said.iter().map(|(source, why)| format!("from {source}: {why}")).collect();
        Some(of_each.join("; "))
    }
}

/// A time of today, or tomorrow, for people.
pub fn clock(time: Timestamp) -> String {
    let time = date::rfc3339(time);
    format!("{} UTC", time.get(11..19).unwrap_or(&time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(stage: Stage, sources: &[&str]) -> Behind {
        let way =
            |source: &&str| WayThere { source: (*source).into(), name: format!("{source} gmail").into(), rest: None };
        Behind { lane: "a.test".into(), destination: "gmail".into(), ways: sources.iter().map(way).collect(), stage }
    }

    #[test]
    fn mail_that_waits_says_for_what() {
        let full = "waits for a connection to gmail: 8 of 8 in use";
        let obstacles = Obstacles::from([("s1 gmail".into(), full.into())]);
        let one = behind(Stage::Turns, &["s1"]);
        assert_eq!(one.words(&obstacles, false), full);
        assert_eq!(one.words(&obstacles, true), format!("under way to gmail, or next: {full}"));
        assert_eq!(one.words(&Obstacles::default(), false), "waits behind others for gmail");
        assert!(
            behind(Stage::Crowded, &["s1"]).words(&Obstacles::default(), false).contains("under way as this shard")
        );
        assert_eq!(behind(Stage::UnderWay, &["s1"]).words(&Obstacles::default(), false), "under way to gmail");
    }

    #[test]
    fn of_several_sources_each_says_its_own_unless_it_is_the_same() {
        let mut two = behind(Stage::Turns, &["s1", "s2"]);
        two.ways[0].rest = Some((Timestamp::from_millis(65_000), "554 listed".into()));
        let obstacles = Obstacles::from([("s2 gmail".into(), "full".into())]);
        let told = "from s1: left alone until 00:01:05 UTC, because: 554 listed; from s2: full";
        assert_eq!(two.words(&obstacles, false), told);
        let both = Obstacles::from([("s1 gmail".into(), "full".into()), ("s2 gmail".into(), "full".into())]);
        assert_eq!(behind(Stage::Turns, &["s1", "s2"]).words(&both, false), "full");
        assert_eq!(Behind::ways(&[two.clone(), two]).len(), 2);
    }
}
