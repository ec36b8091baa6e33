//! Conversations with a session, driven in memory.

mod authentication;
mod conversations;
mod garbage;
mod smuggling;
mod whole;

use std::sync::Arc;

use super::*;
use crate::smtp::command;
use crate::smtp::reply::{self, codes};

/// Everything that came out of a session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    output: String,
    messages: Vec<(Envelope, Vec<u8>)>,
    wants_tls: bool,
    closed: bool,
    own_refusals: Vec<OwnRefusal>,
}

/// A driver whose policy is written into the addresses: local part `full`, `unknown`, `banned`, and so on.
struct Driver {
    session: Session,
    seen: Seen,
    patience: Duration,
}

struct Numbered(usize);

impl Acceptance for Numbered {
    fn text(&self) -> String {
        format!("<id@x> queued as {}", self.0)
    }
}

fn settings() -> Settings {
    Settings {
        hostname: "mta.example".into(),
        starttls: false,
        tls_required: false,
        auth_required: false,
        message_bytes_max: 1000,
        recipients_max: 3,
        messages_max: 0,
        errors_max: 5,
    }
}

fn submission() -> Settings {
    Settings { starttls: true, tls_required: true, auth_required: true, ..settings() }
}

impl Driver {
    fn new(settings: Settings, tls: bool) -> Driver {
        Driver::of(Session::new(Arc::new(settings), tls))
    }

    fn of(session: Session) -> Driver {
        let mut driver = Driver { session, seen: Seen::default(), patience: Duration::ZERO };
        driver.run();
        driver
    }

    /// One read of the socket.
    fn read(&mut self, bytes: &[u8]) {
        if !self.seen.closed && !self.seen.wants_tls {
            self.session.receive(bytes);
            self.run();
        }
    }

    /// Everything that came out since the last call.
    fn take(&mut self) -> String {
        std::mem::take(&mut self.seen.output)
    }

    fn run(&mut self) {
        loop {
            match self.session.next() {
                Step::Send => {
                    self.seen.own_refusals.extend(self.session.take_own_refusals());
                    let output = std::mem::take(self.session.output());
                    assert!(!output.is_empty(), "nothing to send");
                    self.seen.output.push_str(std::str::from_utf8(&output).expect("replies are UTF-8"));
                }
                Step::Read(patience) => {
                    self.patience = patience;
                    return;
                }
                Step::Ask(question) => self.answer(question),
                Step::StartTls => {
                    self.seen.wants_tls = true;
                    return;
                }
                Step::Close => {
                    self.seen.closed = true;
                    return;
                }
            }
        }
    }

    fn answer(&mut self, question: Question) {
        let answer = match question {
            Question::Authenticate { user, password } if &*user == "user@x" && &*password == "pa$$ w=rd ü" => Ok(()),
            Question::Authenticate { user, .. } if &*user == "later@x" => Err(reply::AUTH_UNAVAILABLE.reply()),
            Question::Authenticate { .. } => Err(reply::BAD_CREDENTIALS.reply()),
            Question::Sender(sender) => judge(&sender.path.to_string()),
            Question::Recipient(recipient) => {
                assert!(self.session.sender().is_some(), "a recipient without a sender");
                judge(recipient.path.as_str())
            }
            Question::Content => {
                match self.session.sender().expect("content belongs to a transaction").path.to_string() {
                    path if path.starts_with("full@") => Err(reply::NO_STORAGE.reply()),
                    _ => Ok(()),
                }
            }
            Question::Message(envelope, content) => return self.keep(envelope, content),
        };
        self.session.answer(match answer {
            Ok(()) => Answer::Accept,
            Err(reply) => Answer::Refuse(reply),
        });
    }

    fn keep(&mut self, envelope: Envelope, content: Vec<u8>) {
        if content.starts_with(b"X-Refuse") {
            return self.session.refused(codes(554, 5, 7, 1).say("Refused by its content"));
        }
        self.seen.messages.push((envelope, content));
        self.session.accepted(&Numbered(self.seen.messages.len()));
    }
}

fn judge(path: &str) -> Result<(), Reply> {
    match path.split('@').next().unwrap_or_default() {
        "unknown" => Err(codes(550, 5, 1, 1).say("No such user")),
        "banned" => Err(codes(421, 4, 7, 0).say("Go away")),
        _ => Ok(()),
    }
}

/// Plays a conversation. `C: ` lines are sent with CRLF, `C! ` lines as they are after their escapes (`\r \n \0 \\`);
/// lines that stand together are one read. `S: ` lines must be the beginnings of the reply lines since then, all of
/// them. `TLS` and `CLOSE` are what the session must want; `SHUT DOWN`, `EXPIRE` and `GONE` what befalls it.
fn converse(driver: &mut Driver, script: &str) -> Vec<(Envelope, Vec<u8>)> {
    let mut read = Vec::new();
    for line in script.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        if let Some(line) = line.strip_prefix("C: ").or(line.strip_prefix("C:")) {
            read.extend_from_slice(format!("{line}\r\n").as_bytes());
            continue;
        }
        if let Some(raw) = line.strip_prefix("C! ") {
            read.extend_from_slice(&unescape(raw));
            continue;
        }
        if !read.is_empty() {
            driver.read(&std::mem::take(&mut read));
        }
        obey(driver, line, script);
    }
    assert!(read.is_empty(), "the conversation ends with the client's words:\n{script}");
    assert_eq!(driver.take(), "", "the session says more than expected:\n{script}");
    std::mem::take(&mut driver.seen.messages)
}

fn obey(driver: &mut Driver, line: &str, script: &str) {
    if let Some(expected) = line.strip_prefix("S: ") {
        let output = driver.take();
        let (said, rest) = output.split_once("\r\n").unwrap_or((&output, ""));
        assert!(said.starts_with(expected), "expected {expected:?}, got {said:?} in\n{script}");
        driver.seen.output = rest.to_owned();
        return;
    }
    match line {
        "TLS" => {
            assert!(std::mem::take(&mut driver.seen.wants_tls), "no handshake wanted in\n{script}");
            driver.session.tls_started();
        }
        "CLOSE" => assert!(driver.seen.closed, "not closed in\n{script}"),
        "SHUT DOWN" => driver.session.shut_down(),
        "EXPIRE" => driver.session.expire(),
        "GONE" => driver.session.receive(b""),
        _ => panic!("what is {line:?}?"),
    }
    if line != "CLOSE" {
        driver.run();
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            (_, Some('r')) => bytes.push(b'\r'),
            (_, Some('n')) => bytes.push(b'\n'),
            (_, Some('0')) => bytes.push(0),
            (_, Some(other)) => panic!("unknown escape {other}"),
            (c, None) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// A conversation with a relay listener.
fn relay(script: &str) -> Vec<(Envelope, Vec<u8>)> {
    converse(&mut Driver::new(settings(), false), script)
}
