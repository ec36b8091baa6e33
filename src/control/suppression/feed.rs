//! What a shard tells of failures and complaints goes to the keeper.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Keeper, Refused};
use crate::config::Config;
use crate::control::desk::{Desk, Trouble};
use crate::control::{clock, vital};
use crate::events::Event;
use crate::events::log::Channel;
use crate::queue::webhook::{self, SUPPRESSION};

/// Events that are asked for at once.
const BATCH_MAX: usize = 1000;
/// After something failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The feeds at work; they end when this is dropped.
#[derive(Default)]
pub struct Feeds(Vec<JoinHandle<()>>);

impl Feeds {
    /// Starts one for each shard, where recipients are suppressed.
    pub fn start(config: &Config, keeper: &Keeper, desk: &Desk, log: &Arc<Channel>) -> Feeds {
        let shards = if config.suppression.is_some() { desk.shards() } else { 0 };
        let feed = |shard| {
            let feed = Feed { shard, keeper: keeper.clone(), desk: desk.clone(), log: log.clone() };
            vital::spawn("a feed of suppressions", feed.run())
        };
        Feeds((0..shards).map(feed).collect())
    }
}

impl Drop for Feeds {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

struct Feed {
    shard: usize,
    keeper: Keeper,
    desk: Desk,
    log: Arc<Channel>,
}

impl Feed {
    /// Takes events until the shard ends.
    async fn run(self) {
        let mut told = None;
        loop {
            let events = match self.desk.take_events(self.shard, SUPPRESSION, told, BATCH_MAX).await {
                Ok(events) => events,
                Err(Trouble::Stopping) => return,
                Err(why) => {
                    self.say(&Event::Trouble(&why));
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let mut decoded = Vec::with_capacity(events.len());
            for (_, octets) in &events {
                match webhook::Event::decode(octets) {
                    Ok(event) => decoded.push(event),
                    Err(why) => self.say(&Event::Trouble(&why)),
                }
            }
            self.learn(decoded).await;
            told = events.last().map(|(id, _)| *id).or(told);
        }
    }

    /// Until the keeper has it: what a full disk does not take now, it takes later.
    async fn learn(&self, events: Vec<webhook::Event>) {
        let mut is_told = false;
        while !events.is_empty() {
            match self.keeper.learn(events.clone()).await {
                // The lists have it; a shard that was busy gets them as soon as it can.
                Ok(()) | Err(Refused::NotEverywhere) => return,
                Err(why) => {
                    if !std::mem::replace(&mut is_told, true) {
                        self.say(&Event::Trouble(&why));
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn say(&self, event: &Event<'_>) {
        self.log.say(clock::now(), event);
    }
}
