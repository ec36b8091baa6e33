//! Lifting what keeps mail from a destination: every shard twice, and one answer.

use serde_json::Value;

use super::{Desk, Trouble, unexpected};
use crate::queue::orders::{Lift, Lifted, Order, Reopen, Report};

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was done.
    Lifted {
        /// The provider, or the hosts.
        destination: Box<str>,
        /// What was in the way, or still is, by source; see [`Lifted::Done`].
        paths: Vec<Value>,
        /// Recipients that go on now.
        recipients: u64,
    },
    /// There is no such source or pool, but these.
    NoSource(Vec<Box<str>>),
    /// The domain leads nowhere; for people.
    Nowhere(String),
}

impl Desk {
    /// Lifts what keeps mail from a destination, once: first at the homes of its paths, then where mail waits for it.
    pub async fn lift(&self, lift: &Lift) -> Result<Outcome, Trouble> {
        let _turn = self.turn().await?;
        let answers = (0..self.shards()).map(|shard| async move {
            match self.ask(shard, Order::Lift(lift.clone())).await? {
                Report::Lifted(lifted) => Ok(lifted),
                other => Err(unexpected(shard, other)),
            }
        });
        let (mut at, mut all, mut refused) = (None, Vec::new(), Outcome::Nowhere("no shard answered".into()));
        let mut reopened = Reopen::default();
        for lifted in futures::future::try_join_all(answers).await? {
            match lifted {
                Lifted::Done { destination, paths, reopen } => {
                    all.extend(paths);
                    reopened.sources.extend(reopen.sources);
                    reopened.destinations.extend(reopen.destinations);
                    at = Some(destination);
                }
                Lifted::NoSource(names) => refused = Outcome::NoSource(names),
                Lifted::Nowhere(why) => refused = Outcome::Nowhere(why),
            }
        }
        let Some(destination) = at else { return Ok(refused) };
        let was_in_the_way = |path: &Value| path["lifted"].as_array().is_some_and(|lifted| !lifted.is_empty());
        reopened.domain = all.iter().any(was_in_the_way).then(|| lift.domain.clone());
        let recipients = self.reopen(&reopened).await?;
        Ok(Outcome::Lifted { destination, paths: all, recipients })
    }

    /// Lets go what waits; gives how many recipients.
    async fn reopen(&self, reopen: &Reopen) -> Result<u64, Trouble> {
        let answers = (0..self.shards()).map(|shard| async move {
            match self.ask(shard, Order::Reopen(reopen.clone())).await? {
                Report::Count(recipients) => Ok(recipients),
                other => Err(unexpected(shard, other)),
            }
        });
        Ok(futures::future::try_join_all(answers).await?.into_iter().sum())
    }
}
