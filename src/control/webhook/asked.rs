//! What is asked of the shards for webhooks: the next events, and how each endpoint stands.

use crate::control::desk::{Desk, LOOK_PATIENCE, Trouble, unexpected};
use crate::queue::orders::{Order, Report};
use crate::queue::webhook::{Counts, Encoded, EventId};

impl Desk {
    /// How each webhook stands, by shard.
    pub async fn webhooks(&self) -> Result<Vec<Vec<Counts>>, Trouble> {
        let _turn = self.look().await?;
        let answers = (0..self.shards()).map(|shard| async move {
            match self.exchange(shard, Order::Webhooks, LOOK_PATIENCE).await? {
                Report::Webhooks(counts) => Ok(counts),
                other => Err(unexpected(shard, other)),
            }
        });
        futures::future::try_join_all(answers).await
    }

    /// The next events of a shard that a webhook is to be told, once there are any; none after a while. It takes no turn:
    /// it waits most of the time.
    pub async fn take_events(
        &self,
        shard: usize,
        webhook: &str,
        told: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<Encoded>, Trouble> {
        match self.ask(shard, Order::TakeEvents { webhook: webhook.into(), told, limit }).await? {
            Report::Events(events) => Ok(events),
            other => Err(unexpected(shard, other)),
        }
    }

    /// A request to a webhook did not succeed.
    pub async fn count_failure(&self, shard: usize, webhook: &str) -> Result<(), Trouble> {
        self.ask(shard, Order::CountFailure(webhook.into())).await.map(drop)
    }
}
