//! The paths that every message takes through pure code, ready to be run again and again.
//!
//! One table serves two instruments: `benches/paths.rs` measures their time (criterion), and `tests/instructions.rs`
//! counts their instructions (callgrind), which no busy machine can change. What meets a disk or another core stands in
//! `benches/machine.rs`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ringpost::authentication::{Key, Signer, canonical, sign};
use ringpost::bounce::classify::{Context, classify};
use ringpost::config::Retry;
use ringpost::message::{Trace, scan};
use ringpost::queue::{MessageId, schedule};
use ringpost::smtp::client;
use ringpost::smtp::envelope::{Body, Envelope, Notify, Recipient, Sender};
use ringpost::smtp::path::{Mailbox, ReversePath};
use ringpost::smtp::reply::{EnhancedCode, Reply};
use ringpost::smtp::server::{Acceptance, Answer, Question, Session, Settings, Step};
use ringpost::spool::record::message_head;
use ringpost::spool::{Client, Message};
use shards::Timestamp;

/// Bytes of the message that is sent, scanned and stored.
pub const CONTENT_BYTES: usize = 10 * 1024;

/// Some time in 2026.
const NOW: Timestamp = Timestamp::from_millis(1_795_420_000_000);

/// A path: its name, and what makes a closure that takes it once each time it is called.
pub struct Path {
    /// How it is asked for.
    pub name: &'static str,
    /// Sets it up.
    pub prepare: fn() -> Box<dyn FnMut()>,
}

/// All of them.
pub const PATHS: &[Path] = &[
    Path { name: "server-session", prepare: server_session },
    Path { name: "client-session", prepare: client_session },
    Path { name: "content-scan", prepare: content_scan },
    Path { name: "trace-fields", prepare: trace_fields },
    Path { name: "record", prepare: record },
    Path { name: "schedule", prepare: next_attempt },
    Path { name: "classification", prepare: classification },
    Path { name: "signed-form", prepare: signed_form },
    Path { name: "signing-ed25519", prepare: || signing(ED25519) },
    Path { name: "signing-rsa", prepare: || signing(RSA) },
];

/// Keys that sign nothing but benchmarks; made once, so that counts can be compared.
const ED25519: &str = include_str!("../keys/ed25519.pem");
/// 2048 bits.
const RSA: &str = include_str!("../keys/rsa.pem");

struct Taken;

impl Acceptance for Taken {
    fn text(&self) -> String {
        "<a@b> queued as 0000000000000001".into()
    }
}

fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        hostname: "mta.example".into(),
        starttls: false,
        tls_required: false,
        auth_required: false,
        message_bytes_max: 50 << 20,
        recipients_max: 1000,
        messages_max: 0,
        errors_max: 20,
    })
}

/// A message of [`CONTENT_BYTES`].
pub fn content() -> Vec<u8> {
    let mut content = b"From: a@example.org\r\nSubject: hello\r\nDate: now\r\nMessage-ID: <1@a>\r\n\r\n".to_vec();
    while content.len() < CONTENT_BYTES {
        content.extend_from_slice(b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab\r\n");
    }
    content
}

fn mailbox(address: &str) -> Mailbox {
    Mailbox::parse(address, false).expect("an address")
}

fn sender() -> Sender {
    Sender {
        path: ReversePath::Mailbox(mailbox("a@example.org")),
        body: Body::SevenBit,
        smtputf8: false,
        size: None,
        ret: None,
        envid: None,
        requiretls: false,
    }
}

fn recipients() -> Vec<Recipient> {
    vec![Recipient { path: mailbox("b@example.net"), notify: Notify::default(), orcpt: None }]
}

/// A message as the queue takes it over.
pub fn message(id: MessageId) -> Message {
    Message {
        id,
        arrival: NOW,
        envelope: Envelope { sender: sender(), recipients: recipients() },
        account: Some("a@example.org".into()),
        client: Some(Client { address: IpAddr::V4(Ipv4Addr::LOCALHOST), name: "client.example".into() }),
        tagged: ringpost::spool::record::Tagged::default(),
        content: content(),
    }
}

/// Drives a session over `input`, read in pieces of 16 KiB; returns how many messages it accepted.
fn converse(session: &mut Session, input: &[u8]) -> usize {
    let mut accepted = 0;
    for chunk in input.chunks(16 * 1024) {
        session.receive(chunk);
        loop {
            match session.next() {
                Step::Send => session.output().clear(),
                Step::Ask(Question::Message(envelope, content)) => {
                    black_box((envelope, content));
                    accepted += 1;
                    session.accepted(&Taken);
                }
                Step::Ask(_) => session.answer(Answer::Accept),
                Step::Read(_) | Step::Close | Step::StartTls => break,
            }
        }
    }
    accepted
}

/// One message, pipelined, through the server's session.
fn server_session() -> Box<dyn FnMut()> {
    let mut input = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n".to_vec();
    input.extend_from_slice(&content());
    input.extend_from_slice(b".\r\n");
    let mut session = Session::new(settings(), false);
    converse(&mut session, b"EHLO client.example\r\n");
    Box::new(move || assert_eq!(converse(&mut session, black_box(&input)), 1))
}

/// One message, pipelined, through the client's session, with the peer's replies.
fn client_session() -> Box<dyn FnMut()> {
    let settings = client::Settings {
        hostname: "mta.example".into(),
        tls: client::Tls::Off,
        credentials: None,
        pipelining: true,
        chunking: false,
        patience: client::Patience::default(),
    };
    let mut session = client::Session::new(Arc::new(settings), false);
    hear(&mut session, b"220 mx.example ESMTP\r\n");
    let ready = hear(&mut session, b"250-mx.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
    assert!(matches!(ready, client::Step::Ready));
    let content = Arc::new(content());
    Box::new(move || {
        let (sender, recipients) = (sender(), recipients());
        session.transact(client::Transaction { sender, recipients, content: black_box(content.clone()) });
        hear(&mut session, b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go ahead\r\n");
        let step = hear(&mut session, b"250 2.0.0 queued as 17\r\n");
        assert!(matches!(step, client::Step::Done(results) if results.len() == 1));
        assert!(matches!(session.next(), client::Step::Ready));
    })
}

/// Writes what the session has to say, gives it `replies`, and goes on until it wants something else.
fn hear(session: &mut client::Session, replies: &[u8]) -> client::Step {
    let mut replies = Some(replies);
    loop {
        match session.next() {
            client::Step::Send => session.output().clear(),
            client::Step::Read(patience) => match replies.take() {
                Some(replies) => session.receive(replies),
                None => return client::Step::Read(patience),
            },
            step => return step,
        }
    }
}

/// The header and the line ends of a content.
fn content_scan() -> Box<dyn FnMut()> {
    let content = content();
    Box::new(move || drop(black_box(scan(black_box(&content)))))
}

/// What goes before the content.
fn trace_fields() -> Box<dyn FnMut()> {
    let content = content();
    Box::new(move || {
        let trace = Trace {
            client_name: "client.example",
            client_address: Ipv4Addr::LOCALHOST.into(),
            hostname: "mta.example",
            protocol: "ESMTP",
            tls: None,
            id: "0000000000000001",
            time: NOW,
            looks_like_spam: false,
        };
        black_box(black_box(&trace).fields(&scan(&content)));
    })
}

/// A message's record for the journal, without its content.
fn record() -> Box<dyn FnMut()> {
    let message = message(MessageId::new(0, 1));
    Box::new(move || drop(black_box(message_head(black_box(&message)))))
}

/// When a deferred recipient is tried again.
fn next_attempt() -> Box<dyn FnMut()> {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let retry = Retry {
        schedule: vec![minutes(1), minutes(5), minutes(10)],
        lifetime: minutes(60 * 24 * 5),
        delay_notice_after: minutes(60),
        ..Retry::default()
    };
    let mut random = 0_u64;
    Box::new(move || {
        random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        black_box(schedule::next(black_box(&retry), None, 2, NOW, NOW, random));
    })
}

/// What a refusal means.
fn classification() -> Box<dyn FnMut()> {
    let text = "The mailbox of this recipient holds as much as it may, so the message was not stored; \
                see https://mx.example.net/full or write to postmaster@example.net";
    let reply = Reply { code: 552, enhanced: Some(EnhancedCode(5, 2, 2)), text: text.into() };
    let context =
        Context { mx: Some("mx.example.net"), address: Some(Ipv4Addr::LOCALHOST.into()), ..Context::default() };
    Box::new(move || {
        black_box(classify(black_box(&reply), &context));
    })
}

/// What a signature covers of a body: all of DKIM's cost but the cryptography.
fn signed_form() -> Box<dyn FnMut()> {
    let line = b"Words as people write them, some of them long, with a space between two\r\n";
    let body = line.repeat(CONTENT_BYTES / line.len());
    Box::new(move || {
        let mut bytes = 0;
        canonical::body(black_box(&body), |piece| bytes += piece.len());
        assert_eq!(black_box(bytes), body.len());
    })
}

/// A whole signature: what is covered, two hashes, the key's work, the field.
fn signing(key: &str) -> Box<dyn FnMut()> {
    let signers = [Signer::new("example.org", "s1", Key::from_pem(key.as_bytes()).expect("a key"))];
    let content = content();
    Box::new(move || {
        let mut content = content.clone();
        sign(black_box(&signers), NOW, &mut content).expect("signed");
        black_box(content);
    })
}
