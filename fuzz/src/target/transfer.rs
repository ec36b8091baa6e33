//! A message's way through us: what one client says is handed on by our client to a server of ours.

use std::sync::Arc;

use ringpost::smtp::client::{self, Patience, Tls, Transaction};
use ringpost::smtp::envelope::Envelope;
use ringpost::smtp::server::{Acceptance, Answer, Question, Session, Settings, Step};

use super::pieces;

struct Queued;

impl Acceptance for Queued {
    fn text(&self) -> String {
        "queued".into()
    }
}

/// The first byte says how; then a MAIL line, RCPT lines, an empty line, and content. Whoever we hand the message to gets the
/// same recipients, the same wishes and the same octets, by DATA and by BDAT alike.
pub fn transfer(data: &[u8]) {
    let Some((shape, input)) = data.split_first() else { return };
    let Some((envelope, content)) = taken(input) else { return };
    let transaction = Transaction {
        sender: envelope.sender.clone(),
        recipients: envelope.recipients.clone(),
        content: Arc::new(content),
    };
    let content = transaction.content.clone();
    let needs_smtputf8 = transaction.needs_smtputf8();
    let (results, received) = hand_over(*shape, transaction);
    assert_eq!(results.len(), envelope.recipients.len(), "not one result for each recipient");
    for result in &results {
        assert!(matches!(result, client::Result::Accepted(_)), "we would not take what we have taken: {result:?}");
    }
    let [(again, octets)] = &received[..] else { panic!("{} messages", received.len()) };
    assert_eq!(octets.escape_ascii().to_string(), content.escape_ascii().to_string());
    assert_eq!(again.recipients, envelope.recipients);
    let (before, after) = (&envelope.sender, &again.sender);
    assert_eq!((&before.path, before.ret, &before.envid), (&after.path, after.ret, &after.envid));
    assert_eq!(needs_smtputf8, after.smtputf8);
}

fn settings() -> Settings {
    Settings {
        hostname: "mta.example".into(),
        starttls: false,
        tls_required: false,
        auth_required: false,
        message_bytes_max: 1 << 20,
        recipients_max: 100,
        messages_max: 0,
        errors_max: 100,
    }
}

/// What our server takes of `input`: its content as BDAT, which knows no stuffing.
fn taken(input: &[u8]) -> Option<(Envelope, Vec<u8>)> {
    let end = input.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, content) = (&input[..end + 2], &input[end + 4..]);
    if head.split(|byte| *byte == b'\n').any(|line| line.get(..4).is_some_and(|verb| !is_of_envelope(verb))) {
        return None;
    }
    let stream = [b"EHLO c\r\n", head, format!("BDAT {} LAST\r\n", content.len()).as_bytes(), content].concat();
    let mut server = Server::new();
    server.session.receive(&stream);
    server.turn(&mut Vec::new());
    server.received.pop()
}

fn is_of_envelope(verb: &[u8]) -> bool {
    verb.eq_ignore_ascii_case(b"MAIL") || verb.eq_ignore_ascii_case(b"RCPT")
}

struct Server {
    session: Session,
    received: Vec<(Envelope, Vec<u8>)>,
}

impl Server {
    fn new() -> Server {
        Server { session: Session::new(Arc::new(settings()), false), received: Vec::new() }
    }

    /// Goes on until it needs the client; `said` is what it has to say.
    fn turn(&mut self, said: &mut Vec<u8>) {
        loop {
            match self.session.next() {
                Step::Send => said.append(self.session.output()),
                Step::Ask(Question::Message(envelope, content)) => {
                    self.received.push((envelope, content));
                    self.session.accepted(&Queued);
                }
                Step::Ask(_) => self.session.answer(Answer::Accept),
                Step::Read(_) | Step::StartTls | Step::Close => return,
            }
        }
    }
}

fn hand_over(shape: u8, transaction: Transaction) -> (Vec<client::Result>, Vec<(Envelope, Vec<u8>)>) {
    let settings = client::Settings {
        hostname: "me.test".into(),
        tls: Tls::Off,
        credentials: None,
        pipelining: shape & 1 != 0,
        chunking: shape & 2 != 0,
        patience: Patience::default(),
    };
    let mut session = client::Session::new(Arc::new(settings), false);
    let mut server = Server::new();
    let (mut transaction, mut said, mut answers) = (Some(transaction), Vec::new(), Vec::new());
    loop {
        match session.next() {
            client::Step::Send => said.append(session.output()),
            client::Step::Read(_) => {
                let said = std::mem::take(&mut said);
                for piece in pieces(&said, u64::from(shape), 1 << (shape >> 2 & 7)) {
                    server.session.receive(piece);
                    server.turn(&mut answers);
                }
                server.turn(&mut answers);
                assert!(!answers.is_empty(), "both wait for each other");
                session.receive(&std::mem::take(&mut answers));
            }
            client::Step::Ready => session.transact(transaction.take().expect("ready once")),
            client::Step::Done(results) => return (results, server.received),
            other => panic!("the session ended: {other:?}"),
        }
    }
}
