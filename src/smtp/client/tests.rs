//! Whole conversations of the client with a scripted peer.

mod conversations;
mod losses;
mod meeting;
mod setup;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::smtp::envelope::{Body, Notify, Return};
use crate::smtp::path::{Mailbox, ReversePath};
use crate::smtp::reply::EnhancedCode;

const CONTENT: &[u8] = b"Subject: x\r\n\r\n.dot\r\n";
const STUFFED: &str = "Subject: x\r\n\r\n..dot\r\n.\r\n";

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text, true).expect("a good mailbox")
}

/// A transaction from `s@a.test` to `r0@b.test`, `r1@b.test` and so on.
fn transaction(recipients: usize, content: &[u8]) -> Transaction {
    let sender = Sender {
        path: ReversePath::Mailbox(mailbox("s@a.test")),
        body: Body::SevenBit,
        smtputf8: false,
        size: None,
        ret: None,
        envid: None,
        requiretls: false,
    };
    let recipient =
        |number| Recipient { path: mailbox(&format!("r{number}@b.test")), notify: Notify::default(), orcpt: None };
    Transaction { sender, recipients: (0..recipients).map(recipient).collect(), content: Arc::new(content.to_vec()) }
}

fn settings() -> Settings {
    let patience = Patience {
        greeting: Duration::from_secs(1),
        command: Duration::from_secs(2),
        data: Duration::from_secs(3),
        block: Duration::from_secs(4),
        dot: Duration::from_secs(5),
    };
    Settings {
        hostname: "me.test".into(),
        tls: Tls::Off,
        credentials: None,
        pipelining: true,
        chunking: true,
        patience,
    }
}

fn reply(code: u16, enhanced: Option<(u8, u16, u16)>, text: &str) -> Reply {
    Reply { code, enhanced: enhanced.map(|(a, b, c)| EnhancedCode(a, b, c)), text: text.into() }
}

/// What the client is to say, and what the peer then answers.
type Exchange<'a> = (&'a str, &'a str);

/// Where an answer is cut in two on its way.
#[derive(Clone, Copy)]
enum Cut {
    Nowhere,
    At(usize),
    Everywhere,
}

/// Plays `script` to its end, and on to the step that follows the last answer.
fn play(session: &mut Session, script: &[Exchange<'_>], cut: Cut) -> Step {
    let mut script = script.iter();
    let mut said = Vec::new();
    loop {
        match session.next() {
            Step::Send => said.append(session.output()),
            Step::Read(_) => {
                let said = String::from_utf8(std::mem::take(&mut said)).expect("text");
                let Some((expected, answer)) = script.next() else { panic!("the script ends, said: {said:?}") };
                assert_eq!(&said, expected);
                feed(session, answer.as_bytes(), cut);
            }
            step => {
                assert!(said.is_empty(), "said {:?} and did not wait for an answer", said.escape_ascii().to_string());
                assert_eq!(script.next(), None, "the script goes on after {step:?}");
                return step;
            }
        }
    }
}

/// Hands over an answer in pieces; before the last piece the session must go on waiting.
fn feed(session: &mut Session, answer: &[u8], cut: Cut) {
    let pieces: Vec<&[u8]> = match cut {
        Cut::At(at) if at > 0 && at < answer.len() => vec![&answer[..at], &answer[at..]],
        Cut::Nowhere | Cut::At(_) => vec![answer],
        Cut::Everywhere => answer.chunks(1).collect(),
    };
    for (number, piece) in pieces.iter().enumerate() {
        if number > 0 {
            assert!(matches!(session.next(), Step::Read(_)), "{}", answer.escape_ascii());
        }
        session.receive(piece);
    }
}

/// Plays conversations of several transactions, cut at every byte of every answer in turn, and byte by byte.
fn play_all_cuts(check: impl Fn(Cut)) {
    check(Cut::Nowhere);
    check(Cut::Everywhere);
    (1..120).for_each(|at| check(Cut::At(at)));
}

/// A session that is `Ready` at a peer that offers `extensions` (each with its CRLF, lines without code).
fn ready(settings: Settings, extensions: &[&str]) -> Session {
    let mut session = Session::new(Arc::new(settings), false);
    let step = play(&mut session, &[("", "220 hi\r\n"), ("EHLO me.test\r\n", &ehlo_reply(extensions))], Cut::Nowhere);
    assert!(matches!(step, Step::Ready), "{step:?}");
    session
}

fn ehlo_reply(extensions: &[&str]) -> String {
    let lines: String = extensions.iter().map(|extension| format!("250-{extension}\r\n")).collect();
    format!("250-peer.test\r\n{lines}250 HELP\r\n")
}

fn results(step: Step) -> Vec<Result> {
    match step {
        Step::Done(results) => results,
        other => panic!("not done but {other:?}"),
    }
}

fn transact(session: &mut Session, transaction: Transaction, script: &[Exchange<'_>]) -> Vec<Result> {
    session.transact(transaction);
    results(play(session, script, Cut::Nowhere))
}

fn accepted(code: u16, text: &str) -> Result {
    Result::Accepted(reply(code, None, text))
}

fn refused(phase: Phase, code: u16, text: &str) -> Result {
    Result::Refused(phase, reply(code, None, text))
}

fn with_parameters() -> Transaction {
    let mut transaction = transaction(2, CONTENT);
    transaction.sender.body = Body::EightBitMime;
    transaction.sender.ret = Some(Return::Headers);
    transaction.sender.envid = Some("id+2B1".into());
    transaction.recipients[0].notify = Notify { success: true, delay: true, ..Notify::default() };
    transaction.recipients[0].orcpt = Some("rfc822;r0@old.test".into());
    transaction.recipients[1].notify = Notify { never: true, ..Notify::default() };
    transaction
}
