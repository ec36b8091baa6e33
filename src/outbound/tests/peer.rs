//! A scripted next hop: an SMTP server that says what the test wants, and records what it got.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use shards::Reactor;
use shards::tls::Connection;

/// Longer than any test takes.
const PATIENT: Duration = Duration::from_secs(60);

/// What the peer does at some point.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// What a good server does.
    Usual,
    /// Says this instead.
    Say(&'static str),
    /// Says this and closes.
    SayAndClose(&'static str),
    /// Says this, and then nothing until the other side gives up.
    SayAndStall(&'static str),
    /// Resets the connection.
    Reset,
    /// Says nothing until the other side gives up.
    Silence,
    /// Waits for the test's [`Record::released`], then does the usual.
    Wait,
    /// Answers STARTTLS with 220 and then speaks no TLS.
    Garbage,
}

/// When an act is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment<'a> {
    /// The connection's number, from 1.
    pub connection: u32,
    /// The line that came; "" is the greeting's moment, "." the end of the content.
    pub line: &'a str,
}

/// What the peer has seen.
#[derive(Default)]
pub(super) struct Record {
    pub connections: Cell<u32>,
    pub connections_now: Cell<u32>,
    pub connections_most: Cell<u32>,
    pub released: Cell<bool>,
    /// Every line, the content's aside, with its connection's number.
    pub lines: RefCell<Vec<(u32, String)>>,
    /// Recipients and content of each message that was accepted, and whether it came over TLS.
    pub messages: RefCell<Vec<(Vec<String>, String, bool)>>,
}

impl Record {
    /// How often a line with this beginning came.
    pub fn count(&self, beginning: &str) -> usize {
        self.lines.borrow().iter().filter(|(_, line)| line.starts_with(beginning)).count()
    }
}

/// A scripted peer that listens.
pub(super) struct Peer {
    pub address: SocketAddr,
    pub record: Rc<Record>,
}

type Script = Rc<dyn Fn(Moment<'_>) -> Act>;

impl Peer {
    /// A peer on 127.0.0.1 and a free port.
    pub fn start(reactor: &Reactor, script: impl Fn(Moment<'_>) -> Act + 'static) -> Peer {
        Peer::start_at(reactor, (Ipv4Addr::LOCALHOST, 0).into(), script)
    }

    pub fn start_at(reactor: &Reactor, at: SocketAddr, script: impl Fn(Moment<'_>) -> Act + 'static) -> Peer {
        let listener = reactor.listen(at).expect("listens");
        let (address, record, script) = (listener.address(), Rc::new(Record::default()), Rc::new(script) as Script);
        let (seen, spawner, tls) = (record.clone(), reactor.clone(), tls());
        let accept = async move {
            while let Ok(stream) = listener.accept().await {
                let number = seen.connections.get() + 1;
                seen.connections.set(number);
                let visit = Visit {
                    reactor: spawner.clone(),
                    connection: Some(Connection::plain(stream)),
                    number,
                    tls: tls.clone(),
                    encrypted: false,
                    unread: Vec::new(),
                    recipients: Vec::new(),
                    record: seen.clone(),
                    script: script.clone(),
                };
                spawner.spawn(visit.run()).detach();
            }
        };
        reactor.spawn(accept).detach();
        Peer { address, record }
    }
}

fn tls() -> Arc<rustls::ServerConfig> {
    let names = vec!["somebody.else.test".to_string()];
    let own = rcgen::generate_simple_self_signed(names).expect("a certificate");
    shards::tls::server_config(own.cert.pem().as_bytes(), own.signing_key.serialize_pem().as_bytes())
        .expect("a configuration")
}

/// One connection to the peer.
struct Visit {
    reactor: Reactor,
    connection: Option<Connection>,
    number: u32,
    tls: Arc<rustls::ServerConfig>,
    encrypted: bool,
    unread: Vec<u8>,
    recipients: Vec<String>,
    record: Rc<Record>,
    script: Script,
}

impl Visit {
    async fn run(mut self) {
        let now = &self.record.connections_now;
        now.set(now.get() + 1);
        self.record.connections_most.set(self.record.connections_most.get().max(now.get()));
        let mut going = self.act("", "220 peer.test ready").await.is_some();
        while going {
            let Some(line) = self.line(b"\r\n").await else { break };
            self.record.lines.borrow_mut().push((self.number, line.clone()));
            going = self.command(&line).await.is_some();
        }
        let now = &self.record.connections_now;
        now.set(now.get() - 1);
    }

    /// Answers one command; none: the connection has ended.
    async fn command(&mut self, line: &str) -> Option<()> {
        let verb = line.split([' ', ':']).next().unwrap_or_default();
        match verb {
            "EHLO" => self.act(line, "250-peer.test\r\n250-PIPELINING\r\n250 STARTTLS").await.map(drop),
            "STARTTLS" => {
                if self.act(line, "220 go on").await? {
                    self.encrypt().await?;
                }
                Some(())
            }
            "RCPT" => {
                if self.act(line, "250 2.1.5 fine").await? {
                    self.recipients.push(line.to_owned());
                }
                Some(())
            }
            "DATA" if self.recipients.is_empty() => self.act(line, "554 no valid recipients").await.map(drop),
            "DATA" => {
                if self.act(line, "354 go on").await? {
                    self.content().await?;
                }
                Some(())
            }
            "QUIT" => {
                self.act(line, "221 bye").await;
                None
            }
            _ => self.act(line, "250 2.0.0 fine").await.map(drop),
        }
    }

    async fn content(&mut self) -> Option<()> {
        // Half of it may be the point at which the script breaks off.
        if !self.act("content", "").await? {
            return None;
        }
        let content = self.line(b"\r\n.\r\n").await?;
        let recipients = std::mem::take(&mut self.recipients);
        if self.act(".", "250 2.0.0 taken").await? {
            self.record.messages.borrow_mut().push((recipients, content, self.encrypted));
        }
        Some(())
    }

    async fn encrypt(&mut self) -> Option<()> {
        let plain = self.connection.take()?;
        self.connection = plain.accept_tls(&self.reactor, self.tls.clone(), PATIENT).await.ok();
        self.encrypted = true;
        self.recipients.clear();
        self.connection.is_some().then_some(())
    }

    /// Does what the script says, or says `usual`. Some(true): the usual; none: the connection has ended.
    async fn act(&mut self, line: &str, usual: &str) -> Option<bool> {
        match (self.script)(Moment { connection: self.number, line }) {
            Act::Usual if usual.is_empty() => Some(true),
            Act::Usual => self.say(usual).await.map(|()| true),
            Act::Say(reply) => self.say(reply).await.map(|()| false),
            Act::SayAndClose(reply) => {
                self.say(reply).await;
                None
            }
            Act::Reset => {
                self.connection.take()?.reset();
                None
            }
            Act::SayAndStall(reply) => {
                self.say(reply).await;
                while self.line(b"\r\n").await.is_some() {}
                None
            }
            Act::Silence => {
                while self.line(b"\r\n").await.is_some() {}
                None
            }
            Act::Wait => {
                while !self.record.released.get() {
                    self.reactor.sleep(Duration::from_millis(1)).await;
                }
                self.say(usual).await.map(|()| true)
            }
            Act::Garbage => {
                self.say("220 go on").await?;
                // Not before the client has begun: what comes earlier is discarded (RFC 3207 §4.2).
                self.connection.as_mut()?.receive(PATIENT).await.ok()?;
                self.say("this is no handshake").await?;
                None
            }
        }
    }

    async fn say(&mut self, reply: &str) -> Option<()> {
        let mut bytes = format!("{reply}\r\n").into_bytes();
        self.connection.as_mut()?.send(&mut bytes, PATIENT).await.ok()
    }

    /// What comes up to `end`, without it; none at the end of the connection.
    async fn line(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                let line = String::from_utf8_lossy(&self.unread[..at]).into_owned();
                self.unread.drain(..at + end.len());
                return Some(line);
            }
            let bytes = self.connection.as_mut()?.receive(PATIENT).await.ok()?;
            if bytes.is_empty() {
                return None;
            }
            self.unread.extend_from_slice(&bytes);
        }
    }
}
