//! What a receiving server says: to our client session, and to the judge of its replies.

use std::sync::Arc;

use ringpost::bounce::classify::{Action, Context, classify as classify_reply, classify_text, names_address};
use ringpost::smtp::client::{
    Credentials, Failure, Patience, Phase, Result, Session, Settings, Step, Tls, Transaction,
};
use ringpost::smtp::envelope::{Body, Notify, Recipient, Sender};
use ringpost::smtp::path::{Mailbox, ReversePath};
use ringpost::smtp::remote::{ReplyReader, TEXT_BYTES_MAX};
use ringpost::smtp::reply::Reply;

use super::pieces;

/// What replies are made of.
pub const WORDS: &[&str] = &[
    "220 mx.test ESMTP\r\n",
    "250-mx.test\r\n",
    "250 OK\r\n",
    "250-PIPELINING\r\n",
    "250-SIZE 1000\r\n",
    "250-8BITMIME\r\n",
    "250-SMTPUTF8\r\n",
    "250-CHUNKING\r\n",
    "250-DSN\r\n",
    "250-STARTTLS\r\n",
    "250-AUTH PLAIN LOGIN\r\n",
    "250-LIMITS RCPTMAX=1 MAILMAX=1\r\n",
    "250 HELP\r\n",
    "354 go ahead\r\n",
    "221 bye\r\n",
    "421 4.3.2 closing\r\n",
    "450 4.2.1 ",
    "550 5.1.1 ",
    "552 5.2.2 ",
    "554-",
    "235 ok\r\n",
    "mailbox full",
    "spam",
    "blocked using zen.spamhaus.org",
    "[192.0.2.1]",
    "smtp; ",
    "said: ",
    "greylisted",
    "(in reply to RCPT TO command)",
    "#5.7.1",
    "\r\n",
    "\n",
    "try again later",
    "http://x/?ip=192.0.2.1",
];

/// Transactions of a session.
const TRANSACTIONS: usize = 2;
const CONTENT: &[u8] = b"Subject: x\r\n\r\n.dot\r\n";

/// What became of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    said: String,
    results: Vec<Vec<Result>>,
    failure: Option<(Phase, Failure)>,
    handshakes: usize,
}

/// The first byte says how the client behaves; the rest is the server's. There is a result for every recipient, the same
/// one however the bytes are cut, and the client says commands only.
pub fn replies(data: &[u8]) {
    let Some((shape, input)) = data.split_first() else { return };
    // Line by line: a reply that comes together with the one before it was said unasked.
    let lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
    let whole = play(*shape, &lines);
    let cut: Vec<&[u8]> = lines.iter().flat_map(|line| pieces(line, u64::from(*shape), 40)).collect();
    let cut = play(*shape, &cut);
    play(*shape, &[input]);
    // What comes before the handshake is not believed after it.
    if whole.handshakes + cut.handshakes == 0 {
        assert_eq!(whole, cut, "in pieces the same bytes came to something else");
    }
    let replies = read(&[input]);
    assert_eq!(replies, read(&pieces(input, u64::from(*shape), 7)));
    for reply in &replies {
        assert!(reply.text.len() <= TEXT_BYTES_MAX, "a text without bound");
        written_and_read(reply);
        let verdict = classify_reply(reply, &Context::default());
        assert_eq!(verdict.action == Action::Deliver, reply.code / 100 == 2, "{reply:?}");
    }
}

/// All replies up to the first thing that is none.
fn read(parts: &[&[u8]]) -> Vec<Reply> {
    let mut reader = ReplyReader::default();
    let mut replies = Vec::new();
    for part in parts {
        reader.receive(part);
        loop {
            match reader.next_reply() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(_) => return replies,
            }
        }
    }
    replies
}

/// A reply that we write, as a server of ours would, is one reply, of the same code.
fn written_and_read(reply: &Reply) {
    let mut bytes = Vec::new();
    reply.write(&mut bytes);
    let again = read(&[&bytes]);
    assert_eq!(again.len(), 1, "{}", bytes.escape_ascii());
    assert_eq!(again[0].code, reply.code);
}

fn play(shape: u8, reads: &[&[u8]]) -> Seen {
    let credentials = Credentials { user: "u".into(), password: "p".into() };
    let settings = Settings {
        hostname: "me.test".into(),
        tls: [Tls::Off, Tls::Opportunistic, Tls::Required, Tls::Off][usize::from(shape & 3)],
        credentials: (shape & 4 != 0).then_some(credentials),
        pipelining: shape & 8 != 0,
        chunking: shape & 16 != 0,
        patience: Patience::default(),
    };
    let mut session = Session::new(Arc::new(settings), shape & 32 != 0);
    let mut seen = Seen::default();
    let (mut reads, mut to_do) = (reads.iter(), TRANSACTIONS);
    loop {
        match session.next() {
            Step::Send => seen.said.push_str(&String::from_utf8_lossy(&std::mem::take(session.output()))),
            Step::Read(_) => match reads.next() {
                Some(read) => session.receive(read),
                None => session.lost("the end"),
            },
            Step::StartTls => {
                seen.handshakes += 1;
                session.tls_started();
            }
            Step::Ready if to_do > 0 => {
                to_do -= 1;
                session.transact(transaction(1 + usize::from(shape >> 6)));
            }
            Step::Ready => session.quit(),
            Step::Done(results) => {
                assert_eq!(results.len(), 1 + usize::from(shape >> 6), "not one result for each recipient");
                seen.results.push(results);
            }
            Step::Failed(phase, failure) => {
                seen.failure = Some((phase, failure));
                break;
            }
            Step::Closed => break,
        }
        assert!(seen.said.len() < 4096, "it says too much: {}", seen.said);
    }
    seen
}

fn transaction(recipients: usize) -> Transaction {
    let mailbox = |text: &str| Mailbox::parse(text, true).expect("a mailbox");
    let path = ReversePath::Mailbox(mailbox("s@a.test"));
    let sender = Sender {
        path,
        body: Body::EightBitMime,
        smtputf8: false,
        size: None,
        ret: None,
        envid: None,
        requiretls: false,
    };
    let recipient =
        |number| Recipient { path: mailbox(&format!("r{number}@b.test")), notify: Notify::default(), orcpt: None };
    Transaction { sender, recipients: (0..recipients).map(recipient).collect(), content: Arc::new(CONTENT.to_vec()) }
}

/// The first line is the name of a host and an address, the rest is what was said. The same words mean the same, a code is
/// kept, and acceptance is told by 2xx alone.
pub fn classify(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (context, text) = text.split_once('\n').unwrap_or(("", &text));
    let (mx, address) = context.split_once(' ').unwrap_or((context, ""));
    let mx = Some(mx).filter(|mx| !mx.is_empty());
    let context = Context { mx, address: address.parse().ok(), ..Context::default() };
    let _ = names_address(text, context.address);
    let verdict = classify_text(text, &context);
    assert_eq!(verdict, classify_text(text, &context));
    let Some(verdict) = verdict else { return };
    let is_of_class = |class| {
        verdict.code.map_or(verdict.status.map(|status| u16::from(status.0)), |code| Some(code / 100)) == Some(class)
    };
    assert_eq!(verdict.action == Action::Deliver, is_of_class(2), "{verdict:?}");
    assert!(verdict.code.is_none_or(|code| (200..600).contains(&code)), "{verdict:?}");
    if let (Some(code), Some(status)) = (verdict.code, verdict.status) {
        assert_eq!(code / 100, u16::from(status.0), "contradictory codes: {verdict:?}");
    }
    assert!(verdict.action == Action::Deliver || !verdict.kumomta().is_empty() && !verdict.powermta().is_empty());
}
