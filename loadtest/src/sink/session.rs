//! One connection of a sink: drives the server session and plays the script's faults.

use std::io;
use std::net::IpAddr;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ringpost::smtp::envelope::{Envelope, Recipient};
use ringpost::smtp::server::{Acceptance, Answer, Question, Session, Step};
use shards::net::Stream;
use shards::tls::Connection;

use super::faults::{Event, Occasion};
use super::script::{Action, At};
use super::shard::Shard;
use crate::TlsOption;

/// How long a block of replies may take to go out.
const SEND_PATIENCE: Duration = Duration::from_secs(180);
/// How long a handshake may take.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(60);
/// How long a peer that gets no answer may stay.
const SILENCE: Duration = Duration::from_secs(24 * 3600);
/// What a peer hears that expects TLS.
const GARBAGE: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\n";

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
    Garbage,
}

struct Conversation<'a> {
    shard: &'a Shard,
    /// `None` once a handshake has failed.
    connection: Option<Connection>,
    client: IpAddr,
    session: Session,
    /// Messages that it has brought.
    messages: u32,
    /// STARTTLS was refused: nothing more is expected.
    ends_after_reply: bool,
    /// The fault at EHLO had its occasion.
    greeted: bool,
    /// The end that comes with the content's first bytes.
    in_content: Option<End>,
}

/// Serves one connection to its end.
pub(super) async fn serve(shard: &Shard, stream: Stream) {
    let client = stream.peer().ip();
    let settings = shard.shared.settings.clone();
    let tls = shard.shared.tls.as_ref().filter(|(how, _)| *how == TlsOption::Implicit);
    let mut conversation = Conversation {
        shard,
        connection: Some(Connection::plain(stream)),
        client,
        session: Session::new(settings.clone(), tls.is_some()),
        messages: 0,
        ends_after_reply: false,
        greeted: false,
        in_content: None,
    };
    let event = conversation.event(At::Connect, &[]).await;
    let mut end = None;
    if let Some((_, config)) = tls {
        // A connection that fails needs no one's attention here: the peer's accounts show it.
        end = conversation.encrypt(config.clone()).await.unwrap_or(Some(End::Drop));
    }
    match event.action {
        Some(Action::Reply(reply)) => conversation.session = Session::refusing(settings, reply),
        action => end = end.or(action.and_then(end_of)),
    }
    let end = match end {
        Some(end) => end,
        None => conversation.run().await.unwrap_or(End::Drop),
    };
    conversation.end(end).await;
}

/// The end that an action means; a reply is none.
fn end_of(action: Action) -> Option<End> {
    match action {
        Action::Reply(_) => None,
        Action::Reset => Some(End::Reset),
        Action::Drop => Some(End::Drop),
        Action::Silent => Some(End::Silent),
        Action::Garbage => Some(End::Garbage),
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
        let greets = !self.greeted && self.session.client_name().is_some();
        let starts_tls = self.greeted && self.session.output().starts_with(b"220 ");
        if greets || starts_tls {
            self.greeted = true;
            let at = if greets { At::Ehlo } else { At::Starttls };
            match self.event(at, &[]).await.action {
                Some(Action::Reply(reply)) => {
                    self.session.output().clear();
                    reply.write(self.session.output());
                    self.ends_after_reply = starts_tls;
                }
                Some(action) => return Ok(end_of(action)),
                None => {}
            }
        }
        let connection = self.connection.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        connection.send(self.session.output(), SEND_PATIENCE).await?;
        Ok(self.ends_after_reply.then_some(End::Close))
    }

    async fn shake_hands(&mut self) -> io::Result<Option<End>> {
        let (_, config) = self.shard.shared.tls.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let end = self.encrypt(config.clone()).await?;
        self.session.tls_started();
        Ok(end)
    }

    /// The handshake, or the end that a fault makes of it.
    async fn encrypt(&mut self, config: Arc<rustls::ServerConfig>) -> io::Result<Option<End>> {
        if let Some(end) = self.event(At::Handshake, &[]).await.action.and_then(end_of) {
            return Ok(Some(end));
        }
        let connection = self.connection.take().ok_or(io::ErrorKind::NotConnected)?;
        self.connection = Some(connection.accept_tls(&self.shard.reactor, config, HANDSHAKE_PATIENCE).await?);
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
                let event = self.event(At::Mail, &[]).await;
                Ok(self.accept_unless(event))
            }
            Question::Recipient(recipient) => {
                let event = self.event(At::Rcpt, slice::from_ref(&recipient)).await;
                Ok(self.accept_unless(event))
            }
            Question::Content => Ok(self.content().await),
            Question::Message(envelope, content) => self.message(&envelope, &content).await,
        }
    }

    /// DATA or the first BDAT. An end that belongs into the content waits for its first bytes.
    async fn content(&mut self) -> Option<End> {
        let event = self.event(At::Data, &[]).await;
        if event.action.is_some() {
            return self.accept_unless(event);
        }
        self.session.answer(Answer::Accept);
        match self.event(At::Content, &[]).await.action {
            Some(Action::Reply(reply)) => self.session.refuse_content(reply),
            action => self.in_content = action.and_then(end_of),
        }
        None
    }

    async fn message(&mut self, envelope: &Envelope, content: &[u8]) -> io::Result<Option<End>> {
        if self.in_content.is_some() {
            return Ok(self.in_content.take());
        }
        self.messages += 1;
        let event = self.event(At::Dot, &envelope.recipients).await;
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
    async fn event(&self, at: At, recipients: &[Recipient]) -> Event {
        if self.shard.faultless {
            return Event::default();
        }
        let sender = self.session.sender().map(|sender| sender.path.to_string()).unwrap_or_default();
        let occasion = Occasion {
            at,
            now: self.shard.reactor.now(),
            client: self.client,
            sender: &sender,
            recipients,
            connections: self.shard.shared.connections.load(Ordering::Relaxed),
            messages: self.messages,
        };
        let event = self.shard.faults.borrow_mut().choose(&occasion);
        if !event.delay.is_zero() {
            self.shard.reactor.sleep(event.delay).await;
        }
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
            End::Garbage => {
                // It is about to be closed either way.
                let _ = connection.send(&mut GARBAGE.to_vec(), SEND_PATIENCE).await;
            }
            End::Silent => while connection.receive(SILENCE).await.is_ok_and(|chunk| !chunk.is_empty()) {},
        }
    }
}
