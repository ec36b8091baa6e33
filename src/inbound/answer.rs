//! What only the driver can know: the answers to a session's questions, from policy, the quotas and the queue.

use std::fmt::Display;

use super::converse::Conversation;
use super::credentials::{THROTTLED_DELAY, Verified};
use super::screen::Refusal;
use super::sign::Unsigned;
use crate::authentication::Together;
use crate::config::Account;
use crate::events::Event;
use crate::message::{
    Demand, Facts, Trace, scan,
    scan::{remove_blind, remove_routing},
};
use crate::policy::{Authorized, Verdict};
use crate::queue::{AcceptError, MessageId};
use crate::smtp::envelope::{Body, Envelope, Recipient, Sender};
use crate::smtp::path::ReversePath;
use crate::smtp::reply::{self, Reply};
use crate::smtp::server::{Answer, OwnRefusal, Question};
use crate::spool::record::{MESSAGE_ID_BYTES_MAX, Tagged};
use crate::spool::{Client, Message};
use crate::suppression::Whose;

/// A question whose answer takes time.
pub(super) enum Lengthy {
    Authenticate { user: Box<str>, password: Box<str> },
    Sender(Sender),
    Message(Envelope, Vec<u8>),
}

impl Conversation {
    /// Answers at once, or gives back the question when that takes time.
    pub(super) fn answer(&mut self, question: Question) -> Option<Lengthy> {
        let (what, answer) = match question {
            Question::Sender(sender) if self.client_is_to_be_looked_up() => return Some(Lengthy::Sender(sender)),
            Question::Sender(sender) => ("mail", self.sender(&sender)),
            Question::Recipient(recipient) if self.is_about_returns() => ("rcpt", self.return_recipient(&recipient)),
            Question::Recipient(recipient) => ("rcpt", self.recipient(&recipient)),
            Question::Content => ("message", self.content()),
            Question::Authenticate { user, password } => return Some(Lengthy::Authenticate { user, password }),
            Question::Message(envelope, content) => return Some(Lengthy::Message(envelope, content)),
        };
        self.tell(what, answer.map_err(Refusal::from));
        None
    }

    /// Answers after a verification, a lookup, a scan or a flush.
    pub(super) async fn answer_lengthy(&mut self, question: Lengthy) {
        match question {
            Lengthy::Authenticate { user, password } => {
                let answer = self.authenticate(&user, password).await;
                if let Err(reply) = &answer {
                    self.log_refused("auth", Some(&user), reply, None);
                }
                self.session.answer(answer.map_or_else(Answer::Refuse, |()| Answer::Accept));
            }
            Lengthy::Sender(sender) => {
                let answer = self.sender_and_client(&sender).await;
                self.tell("mail", answer);
            }
            Lengthy::Message(envelope, content) => self.message(envelope, content).await,
        }
    }

    fn tell(&mut self, what: &'static str, answer: Result<(), Refusal>) {
        self.session.answer(match answer {
            Ok(()) => Answer::Accept,
            Err(refusal) => {
                self.log_refusal(what, &refusal);
                Answer::Refuse(refusal.reply)
            }
        });
    }

    async fn authenticate(&mut self, user: &str, password: Box<str>) -> Result<(), Reply> {
        let inner = &self.inbound.0;
        let accounts = inner.current.borrow().accounts.clone();
        let client = self.client.ip();
        match inner.credentials.verify(&inner.reactor, &accounts, client, user, password).await {
            Verified::Right(rights) => {
                if let Some(account) = rights.account() {
                    let current = inner.current.borrow();
                    let connections_max = current.config.limits.connections_per_account_max;
                    self.place = Some(current.quotas.enter(account, connections_max)?);
                }
                self.rights = Some(rights);
                Ok(())
            }
            Verified::Wrong => {
                inner.counts.note(|counts| counts.auth_failures += 1);
                let delay = inner.credentials.failed(client, user, &inner.reactor);
                inner.reactor.sleep(delay).await;
                Err(reply::BAD_CREDENTIALS.reply())
            }
            Verified::Throttled => {
                inner.counts.note(|counts| counts.auth_failures += 1);
                inner.reactor.sleep(THROTTLED_DELAY).await;
                Err(reply::TOO_MANY_AUTH_FAILURES.reply())
            }
            Verified::Busy => Err(reply::AUTH_UNAVAILABLE.reply()),
        }
    }

    pub(super) fn sender(&mut self, sender: &Sender) -> Result<(), Reply> {
        self.grant.give_back();
        let rights = self.rights.as_ref().ok_or_else(|| reply::AUTH_REQUIRED.reply())?;
        accepted(rights.sender(sender))?;
        self.expected = Some(self.inbound.0.queue.expect(sender.size.unwrap_or(0)).map_err(of_queue)?);
        Ok(())
    }

    fn recipient(&mut self, recipient: &Recipient) -> Result<(), Reply> {
        let inner = &self.inbound.0;
        let account = self.rights.as_ref().and_then(Authorized::account);
        let whose = Whose::of_client(account.map(|account| &*account.name));
        if let Some(reply) = inner.gate.refusal(whose, &recipient.path, || inner.reactor.wall()) {
            return Err(reply);
        }
        let Some(account) = account else { return Ok(()) };
        self.grant.one_more(&inner.current.borrow().quotas, account, inner.reactor.wall())
    }

    fn content(&self) -> Result<(), Reply> {
        if self.inbound.0.budget.is_exhausted() { Err(reply::NO_STORAGE.reply()) } else { Ok(()) }
    }

    /// Checks the content, has it screened, puts the trace and the signatures before it and hands it to the queue; 250
    /// comes with the queue's proof only.
    async fn message(&mut self, envelope: Envelope, content: Vec<u8>) {
        self.expected = None;
        let accepted = match self.is_about_returns() {
            true => self.take_return(&envelope, &content).await,
            false => self.accept(envelope, content).await,
        };
        if let Err(refusal) = accepted {
            self.log_refusal("message", &refusal);
            self.session.refused(refusal.reply);
        }
        self.grant.give_back();
        // Whatever became of the content, the conversation holds it no longer.
        let _ = self.memory.hold(0);
    }

    async fn accept(&mut self, mut envelope: Envelope, mut content: Vec<u8>) -> Result<(), Refusal> {
        let facts = scan(&content);
        let rights = self.rights.clone().ok_or_else(|| reply::AUTH_REQUIRED.reply())?;
        accepted(rights.content(&content, &facts))?;
        let scheduled = rights.scheduled(&content[..facts.body_start], self.inbound.0.reactor.wall())?;
        let signers = self.inbound.0.current.borrow().signers.of(&content[..facts.body_start]);
        let demand =
            Demand::of(envelope.sender.requiretls, envelope.sender.path == ReversePath::Null, facts.waives_tls);
        let mut origin = rights.origin(&content[..facts.body_start], &self.inbound.0.current.borrow().config)?;
        origin.demand = demand;
        if facts.has_blind {
            remove_blind(&mut content);
        }
        if facts.has_routing {
            remove_routing(&mut content);
        }

        let queue = self.inbound.0.queue.clone();
        let id = queue.reserve_id();
        let arrival = self.inbound.0.reactor.wall();
        if let Some(account) = rights.account() {
            let quotas = &self.inbound.0.current.borrow().quotas;
            self.grant.hold(envelope.recipients.len() as u64, quotas, account, arrival)?;
        }
        let screened = self.screen(id, &envelope, &content).await?;
        let screening = screened.verdict();
        let message_id = self.trace(id, arrival, facts, screened.is_marked(), &mut content);
        let preflight =
            self.preflight(id, &rights, &envelope, &content, signers.as_deref(), origin.pool.as_deref()).await?;
        let signed = signers.as_ref().map(|signers| signers[0].domain().to_owned());
        if let Some(signers) = signers {
            content = self.sign(signers, content, &mut envelope.sender.body, arrival).await?;
        }
        let (sender, recipients, bytes) = (envelope.sender.path.clone(), envelope.recipients.len(), content.len());
        let account = rights.account().map(|account| account.name.clone());
        let client = Client { address: self.client.ip(), name: self.session.client_name().unwrap_or_default().into() };
        let message = Message {
            id,
            arrival,
            envelope,
            account: account.clone(),
            client: Some(client),
            tagged: Tagged {
                screening: screening.clone(),
                preflight: preflight.clone(),
                scheduled,
                message_id: kept(&message_id),
                return_path: self.is_with_return_path(&rights),
                origin: origin.clone(),
                noted: false,
            },
            content,
        };
        let proof = queue.accept(message, &message_id).await.map_err(of_queue)?;

        self.grant.spend();
        self.session.accepted(&proof);
        self.inbound.0.counts.note(|counts| {
            counts.messages += 1;
            counts.bytes += bytes as u64;
        });
        self.inbound.0.log.emit(&Event::Accepted {
            id: proof.id(),
            message_id: &message_id,
            client: self.client,
            account: account.as_deref(),
            sender: &sender,
            recipients,
            bytes,
            screening: screening.as_deref(),
            preflight: preflight.as_deref(),
            dkim: signed.as_deref(),
            origin: &origin,
        });
        Ok(())
    }

    /// Whether what is handed in by these rights goes out with reverse-paths of ours.
    pub(super) fn is_with_return_path(&self, rights: &Authorized) -> bool {
        self.return_path || rights.account().is_some_and(|account| account.return_path)
    }

    /// Puts our signatures before the content, which must not change any more; `body` is what it is then.
    async fn sign(
        &self,
        signers: Together,
        content: Vec<u8>,
        body: &mut Body,
        time: shards::Timestamp,
    ) -> Result<Vec<u8>, Reply> {
        let inner = &self.inbound.0;
        let bytes_max = inner.current.borrow().config.limits.message_bytes_max;
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let signed = inner.signing.sign(&inner.reactor, signers, content, time, bytes_max).await;
        inner.counts.note(|counts| match signed {
            Ok(_) => counts.signed += 1,
            Err(_) => counts.not_signed += 1,
        });
        let signed = signed.map_err(|unsigned| match unsigned {
            Unsigned::Busy => reply::SIGNING_BUSY.reply(),
            Unsigned::Failed => reply::LOCAL_ERROR.reply(),
        })?;
        if signed.is_seven_bit {
            *body = Body::SevenBit;
        }
        Ok(signed.content)
    }

    /// Puts our fields before the content; gives its Message-ID.
    fn trace(
        &self,
        id: MessageId,
        time: shards::Timestamp,
        facts: Facts,
        looks_like_spam: bool,
        content: &mut Vec<u8>,
    ) -> Box<str> {
        let hostname = self.inbound.0.current.borrow().config.hostname.clone();
        let trace = Trace {
            client_name: self.session.client_name().unwrap_or_default(),
            client_address: self.client.ip(),
            hostname: &hostname,
            protocol: self.session.protocol(),
            tls: self.encryption.as_ref().map(|tls| (tls.protocol, tls.cipher)),
            id: &id.to_string(),
            time,
            looks_like_spam,
        };
        content.splice(0..0, trace.fields(&facts).into_bytes());
        facts.message_id.unwrap_or_else(|| trace.message_id().into())
    }

    pub(super) fn account(&self) -> Option<&Account> {
        self.rights.as_ref().and_then(Authorized::account).map(|account| &**account)
    }

    fn log_refusal(&self, what: &'static str, refusal: &Refusal) {
        self.log_refused(what, None, &refusal.reply, refusal.verdict.as_deref());
    }

    /// Logs what the session has refused without asking.
    pub(super) fn log_own_refusals(&mut self) {
        for OwnRefusal { is_about_content, reply } in self.session.take_own_refusals() {
            self.log_refused(if is_about_content { "message" } else { "command" }, None, &reply, None);
        }
    }

    fn log_refused(&self, what: &'static str, user: Option<&str>, reply: &dyn Display, screening: Option<&str>) {
        let account = self.account().map(|account| &*account.name);
        self.inbound.0.log.emit(&Event::Refused { client: self.client, account, user, what, reply, screening });
    }
}

/// A Message-ID that is kept with its message.
fn kept(message_id: &str) -> Option<Box<str>> {
    (message_id.len() <= MESSAGE_ID_BYTES_MAX).then(|| message_id.into())
}

fn accepted(verdict: Verdict) -> Result<(), Reply> {
    match verdict {
        Verdict::Accept => Ok(()),
        Verdict::Refuse(reply) => Err(reply),
    }
}

/// The one place where the queue's trouble becomes a reply: never a 5xx, as nothing of it is the client's fault.
fn of_queue(error: AcceptError) -> Reply {
    match error {
        AcceptError::Full => reply::NO_STORAGE.reply(),
        AcceptError::Broken => reply::LOCAL_ERROR.reply(),
    }
}
