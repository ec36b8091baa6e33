//! What the shards do for reports: they count sessions, and queue what is sent by mail.

use crate::assurance::report;
use crate::control::desk::{Desk, LOOK_PATIENCE, Trouble, unexpected};
use crate::queue::orders::{Order, Report};
use crate::smtp::path::Mailbox;

impl Desk {
    /// What sessions came to since the last time, by shard.
    pub async fn tls_sessions(&self) -> Result<Vec<report::Counts>, Trouble> {
        let mut all = Vec::new();
        for shard in 0..self.shards() {
            match self.exchange(shard, Order::TlsSessions, LOOK_PATIENCE).await {
                Ok(Report::TlsSessions(counts)) => all.push(*counts),
                Ok(other) => return Err(unexpected(shard, other)),
                // What it has counted it still has.
                Err(_) => {}
            }
        }
        Ok(all)
    }

    /// Queues a message of our own, from the null reverse-path.
    pub async fn submit(&self, recipient: Mailbox, content: Vec<u8>) -> Result<(), Trouble> {
        self.ask(0, Order::Submit(recipient, content)).await.map(drop)
    }
}
