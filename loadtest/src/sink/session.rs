//! One connection of a sink: drives the server session and plays the script's faults.

use std::io;
use std::iter;
use std::time::Duration;

use ringpost::smtp::envelope::Envelope;
use ringpost::smtp::server::{Acceptance, Answer, Question, Session, Step};
use shards::net::Stream;
use shards::tls::Connection;

use super::faults::Event;
use super::script::{Action, At};
use super::shard::Shard;
use crate::TlsOption;

/// How long a block of replies may take to go out.
const SEND_PATIENCE: Duration = Duration::from_secs(180);
/// How long a handshake may take.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(60);
/// How long a peer that gets no answer may stay.
const SILENCE: Duration = Duration::from_secs(24 * 3600);

/// What the 250 says of a message.
struct Receipt(String);

impl Acceptance for Receipt {
    fn text(&self) -> String {
        format!("{} received", self.0)
    }
}

/// How a conversation ends.
enum End {
    Close,
    Drop,
    Reset,
    Silent,
}

struct Conversation<'a> {
    shard: &'a Shard,
    /// `None` once a handshake has failed.
    connection: Option<Connection>,
    session: Session,
    /// The fault at EHLO had its occasion.
    greeted: bool,
    /// The end that comes with the content's first bytes.
    in_content: Option<End>,
}

/// Serves one connection to its end.
pub(super) async fn serve(shard: &Shard, stream: Stream) {
    let event = shard.faults.borrow_mut().choose(At::Connect, iter::empty());
    pause(shard, event.delay).await;
    let mut connection = Connection::plain(stream);
    let implicit = shard.shared.tls.as_ref().filter(|(how, _)| *how == TlsOption::Implicit);
    if let Some((_, config)) = implicit {
        match connection.accept_tls(&shard.reactor, config.clone(), HANDSHAKE_PATIENCE).await {
            Ok(encrypted) => connection = encrypted,
            Err(_) => return,
        }
    }
    let settings = shard.shared.settings.clone();
    let (session, ended) = match event.action {
        Some(Action::Reply(reply)) => (Session::refusing(settings, reply), None),
        action => (Session::new(settings, implicit.is_some()), action.and_then(end_of)),
    };
    let mut conversation =
        Conversation { shard, connection: Some(connection), session, greeted: false, in_content: None };
    let end = match ended {
        Some(end) => end,
        // A connection that fails needs no one's attention here: the peer's accounts show it.
        None => conversation.run().await.unwrap_or(End::Drop),
    };
    conversation.end(end).await;
}

async fn pause(shard: &Shard, delay: Duration) {
    if !delay.is_zero() {
        shard.reactor.sleep(delay).await;
    }
}

/// The end that an action means; a reply is none.
fn end_of(action: Action) -> Option<End> {
    match action {
        Action::Reply(_) => None,
        Action::Reset => Some(End::Reset),
        Action::Drop => Some(End::Drop),
        Action::Silent => Some(End::Silent),
    }
}

impl Conversation<'_> {
    async fn run(&mut self) -> io::Result<End> {
        loop {
            let end = match self.session.next() {
                Step::Send => self.send().await?,
                Step::Read(patience) => self.read(patience).await?,
                Step::Ask(question) => self.answer(question).await?,
                Step::StartTls => self.shake_hands().await?,
                Step::Close => Some(End::Close),
            };
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }

    async fn send(&mut self) -> io::Result<Option<End>> {
        if !self.greeted && self.session.client_name().is_some() {
            self.greeted = true;
            match self.event(At::Ehlo, iter::empty()).await.action {
                Some(Action::Reply(reply)) => {
                    self.session.output().clear();
                    reply.write(self.session.output());
                }
                Some(action) => return Ok(end_of(action)),
                None => {}
            }
        }
        let connection = self.connection.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        connection.send(self.session.output(), SEND_PATIENCE).await?;
        Ok(None)
    }

    async fn shake_hands(&mut self) -> io::Result<Option<End>> {
        let (Some(connection), Some((_, config))) = (self.connection.take(), &self.shard.shared.tls) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let handshake = connection.accept_tls(&self.shard.reactor, config.clone(), HANDSHAKE_PATIENCE);
        self.connection = Some(handshake.await?);
        self.session.tls_started();
        Ok(None)
    }

    async fn read(&mut self, patience: Duration) -> io::Result<Option<End>> {
        let connection = self.connection.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        match connection.receive(patience).await {
            Ok(_) if self.in_content.is_some() => Ok(self.in_content.take()),
            Ok(chunk) => {
                self.session.receive(&chunk);
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.session.expire();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn answer(&mut self, question: Question) -> io::Result<Option<End>> {
        match question {
            Question::Authenticate { .. } => {
                self.session.answer(Answer::Accept);
                Ok(None)
            }
            Question::Sender(_) => {
                let event = self.event(At::Mail, iter::empty()).await;
                Ok(self.accept_unless(event))
            }
            Question::Recipient(recipient) => {
                let event = self.event(At::Rcpt, iter::once(recipient.path.as_str())).await;
                Ok(self.accept_unless(event))
            }
            Question::Content => Ok(self.content().await),
            Question::Message(envelope, content) => self.message(&envelope, &content).await,
        }
    }

    /// DATA or the first BDAT. An end that belongs into the content waits for its first bytes.
    async fn content(&mut self) -> Option<End> {
        let event = self.event(At::Data, iter::empty()).await;
        if event.action.is_some() {
            return self.accept_unless(event);
        }
        self.session.answer(Answer::Accept);
        match self.event(At::Content, iter::empty()).await.action {
            Some(Action::Reply(reply)) => self.session.refuse_content(reply),
            action => self.in_content = action.and_then(end_of),
        }
        None
    }

    async fn message(&mut self, envelope: &Envelope, content: &[u8]) -> io::Result<Option<End>> {
        if self.in_content.is_some() {
            return Ok(self.in_content.take());
        }
        let recipients = envelope.recipients.iter().map(|recipient| recipient.path.as_str());
        let event = self.event(At::Dot, recipients).await;
        if let Some(Action::Reply(reply)) = event.action {
            self.session.refused(reply);
            return Ok(None);
        }
        let end = event.action.and_then(end_of);
        if end.is_some() && !event.accept {
            return Ok(end);
        }
        let id = self.shard.take(envelope, content)?;
        if end.is_none() {
            self.session.accepted(&Receipt(id));
        }
        Ok(end)
    }

    /// Chooses what happens here, and lets its delay pass.
    async fn event<'a>(&self, at: At, recipients: impl Iterator<Item = &'a str> + Clone) -> Event {
        let event = self.shard.faults.borrow_mut().choose(at, recipients);
        pause(self.shard, event.delay).await;
        event
    }

    fn accept_unless(&mut self, event: Event) -> Option<End> {
        match event.action {
            None => self.session.answer(Answer::Accept),
            Some(Action::Reply(reply)) => self.session.answer(Answer::Refuse(reply)),
            Some(action) => return end_of(action),
        }
        None
    }

    async fn end(self, end: End) {
        let Some(mut connection) = self.connection else { return };
        match end {
            End::Close => connection.close().await,
            End::Drop => drop(connection),
            End::Reset => connection.reset(),
            End::Silent => while connection.receive(SILENCE).await.is_ok_and(|chunk| !chunk.is_empty()) {},
        }
    }
}
