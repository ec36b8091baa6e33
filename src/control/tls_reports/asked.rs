//! What the shards do for reports: they count sessions, and queue what is sent by mail.

use std::time::Duration;

use futures::channel::oneshot;
use futures::future::join_all;

use crate::assurance::report::Counts;
use crate::control::desk::{Desk, Trouble};
use crate::queue::orders::{Order, Report};
use crate::smtp::path::Mailbox;

/// The question to each shard that it has not answered yet. A shard gives its counts away with its answer, so the place
/// where that arrives is kept until it is there, however late; meanwhile the shard is asked nothing more.
pub(super) struct Questions(Vec<Option<oneshot::Receiver<Report>>>);

impl Questions {
    /// To so many shards.
    pub fn new(shards: usize) -> Questions {
        Questions((0..shards).map(|_| None).collect())
    }

    /// What sessions came to since the last time, as far as shards say so within `patience`.
    pub async fn ask(&mut self, desk: &Desk, patience: Duration) -> Vec<Counts> {
        let answers = self.0.iter_mut().enumerate().map(async |(shard, asked)| {
            if asked.is_none() {
                // What a shard that takes no question has counted it still has.
                *asked = desk.put(shard, Order::TlsSessions).await.ok();
            }
            let answer = tokio::time::timeout(patience, asked.as_mut()?).await.ok()?;
            *asked = None;
            answer.ok().and_then(counts)
        });
        join_all(answers).await.into_iter().flatten().collect()
    }

    /// What shards answered that have ended since.
    pub fn answered(&mut self) -> Vec<Counts> {
        let answers = self.0.iter_mut().filter_map(Option::take);
        answers.filter_map(|mut asked| asked.try_recv().ok().flatten().and_then(counts)).collect()
    }
}

fn counts(report: Report) -> Option<Counts> {
    match report {
        Report::TlsSessions(counts) => Some(*counts),
        _ => None,
    }
}

impl Desk {
    /// Queues a message of our own, from the null reverse-path.
    pub async fn submit(&self, recipient: Mailbox, content: Vec<u8>) -> Result<(), Trouble> {
        self.ask(0, Order::Submit(recipient, content)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use shards::mesh::mesh;

    use super::*;
    use crate::assurance::report::Policy;
    use crate::crossing::Crossing;

    fn one(domain: &str) -> Counts {
        let mut counts = Counts::default();
        counts.add(Policy::none(domain), None);
        counts
    }

    #[tokio::test]
    async fn what_a_shard_answers_late_or_at_its_end_is_not_lost() {
        const SHORT: Duration = Duration::from_millis(1);
        let (mut ports, inlet) = mesh(1, 1, 4);
        let port = ports.pop().expect("one");
        let (desk, mut questions) = (Desk::new(inlet), Questions::new(1));
        let say = |answer: oneshot::Sender<Report>, domain: &str| {
            assert!(answer.send(Report::TlsSessions(Box::new(one(domain)))).is_ok(), "it is waited for");
        };
        assert_eq!(questions.ask(&desk, SHORT).await, []);
        assert_eq!(questions.ask(&desk, SHORT).await, []);
        let (_, Crossing::Order(_, answer)) = port.receive().await else { panic!("no question") };
        say(answer, "late.test");
        assert_eq!(questions.ask(&desk, SHORT).await, [one("late.test")]);
        assert_eq!(questions.ask(&desk, SHORT).await, [], "a second question, which is not answered yet");
        let (_, Crossing::Order(_, answer)) = port.receive().await else { panic!("no question") };
        say(answer, "last.test");
        drop(port);
        assert_eq!(questions.answered(), [one("last.test")]);
        assert_eq!(questions.answered(), []);
    }
}
