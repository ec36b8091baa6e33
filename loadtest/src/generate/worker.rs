//! One connection's part of the load: message after message, on a kept connection or on new ones.

use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ringpost::smtp::client::{Failure, Phase, Result, Transaction};
use shards::Instant;

use super::connection::{NotOpen, Open, Sent};
use super::pace::Ticket;
use super::thread::Thread;
use crate::message::Id;

/// The pause after a connection could not be made, so that a server that is down is not hammered.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

struct Worker {
    thread: Rc<Thread>,
    number: u32,
    connection: Option<Open>,
}

/// Connection `number` of the load: sends until the pace has no more tickets.
///
/// # Errors
/// Where ids cannot be written.
pub(super) async fn run(thread: Rc<Thread>, number: u32) -> io::Result<()> {
    let mut worker = Worker { thread, number, connection: None };
    while let Some(ticket) = worker.thread.ticket().await {
        worker.send(ticket).await?;
    }
    if let Some(connection) = worker.connection.take() {
        connection.close(&worker.thread).await;
    }
    Ok(())
}

impl Worker {
    async fn send(&mut self, ticket: Ticket) -> io::Result<()> {
        let id = Id::new(self.thread.run, self.thread.number, ticket.number);
        let content = self.thread.content(id, ticket.due);
        let transaction = Transaction {
            sender: self.thread.plan.sender.clone(),
            recipients: self.thread.plan.recipients(ticket.number),
            content: content.bytes.clone(),
        };
        match self.transact(&transaction).await {
            Ok(sent) => self.count(id, ticket.due, &transaction, &sent)?,
            Err(not_open) => {
                let results = not_open.results(transaction.recipients.len());
                self.count(id, ticket.due, &transaction, &Sent { results, dot: None })?;
                self.thread.reactor.sleep(RECONNECT_PAUSE).await;
            }
        }
        drop(transaction);
        self.thread.take_back(content);
        Ok(())
    }

    /// Sends on the kept connection or a new one. A kept connection that turns out to be gone says nothing about the
    /// message, which then gets a new one.
    async fn transact(&mut self, transaction: &Transaction) -> std::result::Result<Sent, NotOpen> {
        if let Some(kept) = self.connection.take_if(|open| !open.can_transact(&self.thread.plan)) {
            kept.close(&self.thread).await;
        }
        if let Some(mut kept) = self.connection.take() {
            let sent = kept.transact(&self.thread, transaction.clone()).await;
            if !(kept.is_used() && was_gone(&sent)) {
                self.connection = Some(kept);
                return Ok(sent);
            }
        }
        let mut fresh = Open::new(&self.thread, self.number).await?;
        let sent = fresh.transact(&self.thread, transaction.clone()).await;
        self.connection = Some(fresh);
        Ok(sent)
    }

    fn count(&self, id: Id, due: Instant, transaction: &Transaction, sent: &Sent) -> io::Result<()> {
        let mut tally = self.thread.tally.borrow_mut();
        let progress = &self.thread.plan.progress;
        if !tally.count(&sent.results) {
            progress.failed.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        progress.accepted.fetch_add(1, Ordering::Relaxed);
        tally.time(due, sent.dot, self.thread.reactor.now());
        let pairs = transaction.recipients.iter().zip(&sent.results);
        let takers = pairs.filter(|(_, result)| matches!(result, Result::Accepted(_)));
        self.thread.ids.borrow_mut().note(id, takers.map(|(recipient, _)| recipient.path.as_str()))
    }
}

/// Whether the connection had ended before the peer could have seen the message.
fn was_gone(sent: &Sent) -> bool {
    sent.results.iter().all(|result| match result {
        Result::Lost(Phase::Idle | Phase::Mail, _) => true,
        Result::Refused(Phase::Mail, reply) => reply.code == 421,
        _ => false,
    })
}

impl NotOpen {
    /// What it means for each recipient.
    pub(super) fn results(self, recipients: usize) -> Vec<Result> {
        let result = match self.failure {
            Failure::Reply(reply) => Result::Refused(self.phase, reply),
            Failure::Lost(why) => Result::Lost(self.phase, why),
        };
        vec![result; recipients]
    }
}
