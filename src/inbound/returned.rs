//! What comes back to the return path: whom it is for, what it says, and its way to the shard that owns the message.
//!
//! Nothing is ever sent in answer, and nothing goes on from here: so there is no loop, and nobody to relay for.
//! Limits: [`RECIPIENTS_MAX`] return paths in one transaction; what the mesh's credits allow on their way to owners, after
//! which 451 is said; [`PATIENCE`] for an owner.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use futures::channel::oneshot;
use shards::mesh::Credit;

use super::converse::Conversation;
use super::screen::Refusal;
use crate::bounce::report::{self, Finding, Report};
use crate::bounce::return_path::{Addressee, Token};
use crate::events::Event;
use crate::message::scan;
use crate::policy::{Authorized, Verdict};
use crate::queue::returned::Taken;
use crate::smtp::envelope::{Envelope, Recipient};
use crate::smtp::path::ReversePath;
use crate::smtp::reply::{self, Reply};
use crate::smtp::server::Acceptance;
use crate::spool::record::{Return, Said, What};

/// Return paths that one message may come to: each is one recipient's, so few servers have reason for more than one.
pub(super) const RECIPIENTS_MAX: usize = 10;
/// How long the shard that owns a message may take to record a report.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a report to the shard that owns its message, under a number. `None`: there is no way now, or no such shard.
type Send = Box<dyn Fn(Return, u64) -> Option<Credit>>;

/// The way to the shards that own messages; a cheap handle.
#[derive(Clone)]
pub struct Returns(Rc<Way>);

struct Way {
    shards: usize,
    send: Send,
    last: Cell<u64>,
    /// Who waits for which answer. A credit is held until it has come, whoever still waits.
    waiting: RefCell<HashMap<u64, (oneshot::Sender<Taken>, Credit)>>,
}

impl Returns {
    /// The way that `send` goes, to so many shards.
    pub fn new(shards: usize, send: impl Fn(Return, u64) -> Option<Credit> + 'static) -> Returns {
        Returns(Rc::new(Way { shards, send: Box::new(send), last: Cell::new(0), waiting: RefCell::default() }))
    }

    /// The owner's answer to the report of that number.
    pub fn answer(&self, number: u64, taken: Taken) {
        if let Some((waiting, credit)) = self.0.waiting.borrow_mut().remove(&number) {
            // Whoever brought it may be gone; it is recorded all the same.
            let _ = waiting.send(taken);
            drop(credit);
        }
    }

    /// Has a report recorded by the owner of its message.
    async fn record(&self, came: Return, reactor: &shards::Reactor) -> Taken {
        if came.message.shard() >= self.0.shards {
            return Taken::Unknown;
        }
        let number = self.0.last.get() + 1;
        self.0.last.set(number);
        let Some(credit) = (self.0.send)(came, number) else { return Taken::Full };
        let (answer, answered) = oneshot::channel();
        self.0.waiting.borrow_mut().insert(number, (answer, credit));
        match reactor.timeout(PATIENCE, answered).await {
            Ok(Ok(taken)) => taken,
            _ => Taken::Broken,
        }
    }
}

/// Everything that the message says is recorded, or needs not be.
struct Noted;

impl Acceptance for Noted {
    fn text(&self) -> String {
        "taken note of".into()
    }
}

impl Conversation {
    /// Whether this conversation is with someone who brings what comes back.
    pub(super) fn is_about_returns(&self) -> bool {
        self.rights.as_ref().is_some_and(Authorized::is_to_return)
    }

    /// RCPT: only a return path that we have made, and not too long ago.
    pub(super) fn return_recipient(&self, recipient: &Recipient) -> Result<(), Reply> {
        let inner = &self.inbound.0;
        let current = inner.current.borrow();
        let Some(return_path) = &current.return_path else { return Err(reply::NOT_RELAYED.reply()) };
        if !return_path.is_at(&recipient.path) {
            return Err(reply::NOT_RELAYED.reply());
        }
        let known = return_path.addressee(&recipient.path, inner.reactor.wall());
        known.map(|_| ()).ok_or_else(|| reply::NO_SUCH_RETURN_PATH.reply())
    }

    /// Reads what came back and has it recorded; 250 once that is on disk.
    pub(super) async fn take_return(&mut self, envelope: &Envelope, content: &[u8]) -> Result<(), Refusal> {
        let facts = scan(content);
        let rights = self.rights.clone().ok_or_else(|| reply::AUTH_REQUIRED.reply())?;
        if let Verdict::Refuse(reply) = rights.content(content, &facts) {
            return Err(reply.into());
        }
        let report = report::read(content, envelope.sender.path == ReversePath::Null);
        let mut tokens = Vec::with_capacity(1);
        for recipient in &envelope.recipients {
            tokens.push(self.token_of(recipient, content));
        }
        tokens.sort_unstable_by_key(|token| token.map(|token| (token.message, token.index)));
        tokens.dedup();
        for token in tokens {
            self.take_one(token, &report).await?;
        }
        self.session.accepted(&Noted);
        Ok(())
    }

    /// Which recipient of ours it is about that came to `recipient`; complaints say it in their content.
    fn token_of(&self, recipient: &Recipient, content: &[u8]) -> Option<Token> {
        let inner = &self.inbound.0;
        let (current, now) = (inner.current.borrow(), inner.reactor.wall());
        let return_path = current.return_path.as_ref()?;
        match return_path.addressee(&recipient.path, now)? {
            Addressee::Recipient(token) => Some(token),
            Addressee::Feedback => return_path.find(&content[..content.len().min(report::READ_BYTES_MAX)], now),
        }
    }

    /// Nothing changes by it.
    fn ignore(&self, token: Option<Token>, what: &'static str) {
        let inner = &self.inbound.0;
        inner.counts.note(|counts| counts.returns_ignored += 1);
        let id = token.map(|token| token.message);
        inner.log.emit(&Event::ReturnIgnored { client: self.client, id, what });
    }

    async fn take_one(&self, token: Option<Token>, report: &Report) -> Result<(), Refusal> {
        let inner = &self.inbound.0;
        let (token, what, finding) = match (token, report) {
            (Some(token), Report::Bounced(finding)) => (token, What::Bounced, finding),
            (Some(token), Report::Complaint(finding)) => (token, What::Complaint, finding),
            (token, other) => {
                self.ignore(token, other.name());
                return Ok(());
            }
        };
        let said = said(finding, inner.reactor.wall());
        let came = Return { message: token.message, index: token.index, what, said };
        match inner.returns.record(came, &inner.reactor).await {
            Taken::Recorded => Ok(()),
            Taken::Again => {
                self.ignore(Some(token), "repeated");
                Ok(())
            }
            Taken::Unknown => Err(reply::NO_SUCH_RETURN_PATH.reply().into()),
            Taken::Full => Err(reply::NO_STORAGE.reply().into()),
            Taken::Broken => Err(reply::LOCAL_ERROR.reply().into()),
        }
    }
}

fn said(finding: &Finding, now: shards::Timestamp) -> Said {
    Said {
        status: finding.status,
        text: finding.text.clone(),
        remote: finding.reporter.clone(),
        at_s: u32::try_from(now.as_secs()).unwrap_or(u32::MAX),
        replied: finding.text.starts_with(|c: char| c.is_ascii_digit()),
        reason: finding.reason.clone(),
        tls: None,
    }
}
