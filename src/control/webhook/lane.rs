//! One webhook's events of one shard, told in their order.

use std::sync::Arc;
use std::time::Duration;

use super::Endpoint;
use super::letter::Letter;
use super::post::Post;
use crate::control::clock;
use crate::control::desk::{Desk, Trouble};
use crate::events::Event;
use crate::events::log::Channel;

/// The wait after a first failure; each further one doubles it.
pub const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest wait.
pub const RETRY_MAX: Duration = Duration::from_secs(300);

/// A lane.
pub struct Lane {
    name: Box<str>,
    batch_max: usize,
    post: Post,
    shard: usize,
    desk: Desk,
    log: Arc<Channel>,
}

impl Lane {
    /// The lane from `shard` to an endpoint.
    pub fn new(endpoint: Endpoint, shard: usize, desk: Desk, log: Arc<Channel>) -> Lane {
        let (name, batch_max) = (endpoint.webhook.name.clone(), endpoint.webhook.batch_max);
        Lane { name, batch_max, post: Post::new(endpoint), shard, desk, log }
    }

    /// Tells events until the shard ends.
    pub async fn run(mut self) {
        let mut told = None;
        loop {
            let events = match self.desk.take_events(self.shard, &self.name, told, self.batch_max).await {
                Ok(events) => events,
                Err(Trouble::Stopping) => return,
                Err(why) => {
                    self.say(&Event::WebhookFailing { webhook: &self.name, why: &why });
                    tokio::time::sleep(RETRY_MIN).await;
                    continue;
                }
            };
            let (letter, corrupt) = Letter::new(&events);
            for why in corrupt {
                self.say(&Event::Trouble(&why));
            }
            if let Some(letter) = letter {
                self.deliver(&letter).await;
            }
            told = events.last().map(|(id, _)| *id).or(told);
        }
    }

    /// Posts a letter until the endpoint has taken it.
    async fn deliver(&mut self, letter: &Letter) {
        let mut failures = 0;
        while let Err(why) = self.post.send(letter, clock::now().as_secs()).await {
            if failures == 0 {
                self.say(&Event::WebhookFailing { webhook: &self.name, why: &why });
            }
            failures += 1;
            // A shard that does not count it any more is about to end.
            let _ = self.desk.count_failure(self.shard, &self.name).await;
            tokio::time::sleep(pause(failures, fastrand::f64())).await;
        }
        if failures > 0 {
            self.say(&Event::WebhookBack { webhook: &self.name, failures });
        }
    }

    fn say(&self, event: &Event<'_>) {
        self.log.say(clock::now(), event);
    }
}

/// How long to wait after so many failures in a row; `random` (0 to 1) moves it by 10 %, lest all come back at once.
fn pause(failures: u64, random: f64) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let pause = (RETRY_MIN * (1 << doublings)).min(RETRY_MAX);
    pause.mul_f64(0.9 + 0.2 * random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound() {
        let seconds = |failures| pause(failures, 0.5).as_secs_f64().round();
        assert_eq!([1, 2, 3, 9, 10, u64::MAX].map(seconds), [1.0, 2.0, 4.0, 256.0, 300.0, 300.0]);
        assert!(pause(1, 0.0) < RETRY_MIN && pause(1, 1.0) > RETRY_MIN);
    }
}
