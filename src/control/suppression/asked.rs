//! What is asked of the shards for suppressed recipients: to keep to the lists as they are now.

use std::sync::Arc;

use futures::channel::oneshot;

use crate::control::desk::{Desk, LOOK_PATIENCE, Trouble};
use crate::crossing::Crossing;
use crate::suppression::Lists;

impl Desk {
    /// Gives the lists of suppressed recipients to every shard; it has them when this returns.
    pub async fn suppress(&self, lists: &Arc<Lists>) -> Result<(), Trouble> {
        let given = (0..self.shards()).map(|shard| async move {
            let (answer, answered) = oneshot::channel();
            self.send(shard, Crossing::Suppress(lists.clone(), answer)).await?;
            match tokio::time::timeout(LOOK_PATIENCE, answered).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(oneshot::Canceled)) => Err(Trouble::Stopping),
                Err(_) => Err(Trouble::Silent(shard)),
            }
        });
        futures::future::try_join_all(given).await.map(drop)
    }
}
