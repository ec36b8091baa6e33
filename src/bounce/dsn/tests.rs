//! Notices as text. What mail software reads in them is tested in `tests/notices.rs`.

use super::*;
use crate::smtp::client::Phase;
use crate::smtp::envelope::Return;
use crate::smtp::path::Mailbox;
use crate::smtp::reply::{EnhancedCode, Reply};

fn sender(path: &str) -> Sender {
    let path = match path {
        "" => ReversePath::Null,
        path => ReversePath::Mailbox(Mailbox::parse(path, true).expect("a mailbox")),
    };
    let smtputf8 = !path.to_string().is_ascii();
    Sender { path, body: Body::EightBitMime, smtputf8, size: None, ret: None, envid: None }
}

fn recipient(path: &str) -> Recipient {
    Recipient { path: Mailbox::parse(path, true).expect("a mailbox"), notify: Notify::default(), orcpt: None }
}

fn answer(text: &str) -> Answer {
    let status = EnhancedCode(5, 1, 1);
    let reply = Reply { code: 550, enhanced: Some(status), text: text.into() };
    Answer {
        phase: Phase::Rcpt,
        status,
        text: reply.to_string().into(),
        reply: Some(reply),
        remote: Some("mx.example.org [192.0.2.1]:25".into()),
    }
}

fn content(sender: &Sender, recipient: &Recipient, answer: &Answer, original: &[u8]) -> Option<String> {
    notice(Action::Failed, sender, recipient, answer, original)
        .map(|notice| String::from_utf8(notice.content).expect("UTF-8"))
}

fn notice(action: Action, sender: &Sender, recipient: &Recipient, answer: &Answer, original: &[u8]) -> Option<Notice> {
    compose(&Report {
        action,
        hostname: "mta.example.net",
        about: MessageId(0x17),
        id: MessageId(0x18),
        arrival: Timestamp::from_millis(1_795_420_000_000),
        expiry: Timestamp::from_millis(1_795_852_000_000),
        now: Timestamp::from_millis(1_795_420_060_000),
        sender,
        recipients: &[Told { recipient, answer, attempted: Timestamp::from_millis(1_795_420_050_000) }],
        content: original,
    })
}

const ORIGINAL: &[u8] = b"Subject: hello\r\nMessage-ID: <1@example.net>\r\n\r\nbody\r\n";

#[test]
fn nobody_is_told_about_a_notice() {
    assert_eq!(content(&sender(""), &recipient("a@example.org"), &answer("no"), ORIGINAL), None);
}

#[test]
fn a_notice_goes_from_the_null_reverse_path_and_asks_for_none() {
    let notice = notice(Action::Failed, &sender("s@example.net"), &recipient("a@example.org"), &answer("no"), ORIGINAL)
        .expect("a notice");
    assert_eq!(notice.envelope.sender.path, ReversePath::Null);
    assert_eq!(notice.envelope.sender.body, Body::SevenBit);
    assert!(!notice.envelope.sender.smtputf8);
    let [to] = notice.envelope.recipients.as_slice() else { panic!("one recipient") };
    assert_eq!(to.path.as_str(), "s@example.net");
    assert!(to.notify.never);
    let text = String::from_utf8(notice.content).expect("ASCII");
    assert!(text.contains(&format!("Message-ID: {}\r\n", notice.message_id)), "{text}");
}

#[test]
fn the_text_tells_who_why_and_what_to_do_in_the_servers_words() {
    let text =
        content(&sender("s@example.net"), &recipient("jo@example.org"), &answer("<jo>: unknown\nsee help"), ORIGINAL)
            .expect("a notice");
    for words in [
        "could not be delivered to the recipient below",
        "\r\n  jo@example.org\r\n",
        "There is no mailbox with this address.",
        "Check the address for typing errors.",
        "The server mx.example.org [192.0.2.1]:25 said:\r\n      550 5.1.1 <jo>: unknown\r\n      see help\r\n",
        "  Subject:   hello\r\n",
        "Queue ID:  0000000000000017",
    ] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
}

#[test]
fn what_peers_and_senders_wrote_begins_no_line() {
    let mut evil_sender = sender("s@example.net");
    evil_sender.envid = Some("x+0D+0ABcc:+20all@example.org".into());
    let mut evil_recipient = recipient("a@example.org");
    evil_recipient.orcpt = Some("rfc822;x+0D+0AAction:+20delivered".into());
    let mut evil_answer = answer("no\r\nAction: delivered\r\n\r\n--=_0000000000000018_0_--");
    evil_answer.remote = Some("mx\r\nBcc: all@example.org".into());
    let original = b"Subject: =?utf-8?Q?a=0D=0ABcc:_all@example.org?=\r\nMessage-ID: <a@b>\r\n\r\n";
    let text = content(&evil_sender, &evil_recipient, &evil_answer, original).expect("a notice");
    for line in text.lines() {
        assert!(!line.starts_with("Bcc") && line != "Action: delivered", "{text}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("--=_0000000000000018_1_")).count(), 4, "{text}");
    assert!(!text.contains("\n--=_0000000000000018_0_"), "{text}");
    assert!(text.split("\r\n").all(|line| !line.contains(['\r', '\n'])), "{text}");
}

#[test]
fn ret_decides_what_goes_back_and_only_for_failures() {
    let from = sender("s@example.net");
    let full = Sender { ret: Some(Return::Full), ..from.clone() };
    let to = recipient("a@example.org");
    let of = |action, from: &Sender, original: &[u8]| {
        let notice = notice(action, from, &to, &answer("no"), original).expect("a notice");
        String::from_utf8(notice.content).expect("UTF-8")
    };
    let headers = of(Action::Failed, &from, ORIGINAL);
    assert!(headers.contains("Content-Type: text/rfc822-headers\r\n") && !headers.contains("body\r\n"), "{headers}");
    let whole = of(Action::Failed, &full, ORIGINAL);
    assert!(whole.contains("Content-Type: message/rfc822\r\n") && whole.contains("\r\n\r\nbody\r\n"), "{whole}");
    assert!(of(Action::Delayed, &full, ORIGINAL).contains("text/rfc822-headers"));
    let long = [ORIGINAL, &[b'x'; 1_200], b"\r\n"].concat();
    assert!(of(Action::Failed, &full, &long).contains("text/rfc822-headers"));
    let large = [ORIGINAL, &b"line\r\n".repeat(super::original::RETURNED_BYTES_MAX / 6 + 1)].concat();
    assert!(of(Action::Failed, &full, &large).contains("text/rfc822-headers"));
}

#[test]
fn no_line_is_too_long_whatever_came_in() {
    let original = [&b"X-Long: "[..], &[b'x'; 5_000], b"\r\nMessage-ID: <", &[b'm'; 990], b">\r\n\r\n"].concat();
    let mut answer = answer(&"w".repeat(4_000));
    answer.remote = Some("h".repeat(3_000).into());
    let mut to = recipient("a@example.org");
    to.orcpt = Some(format!("rfc822;{}", "o".repeat(490)).into());
    let text = content(&sender("s@example.net"), &to, &answer, &original).expect("a notice");
    assert!(text.split("\r\n").all(|line| line.len() <= 998), "{text}");
    assert!(!text.contains("In-Reply-To"), "an id that does not fit a line is left out");
}

#[test]
fn a_huge_header_goes_back_in_part() {
    let original = b"X-Filler: some words to fill a line\r\n".repeat(10_000);
    let text =
        content(&sender("s@example.net"), &recipient("a@example.org"), &answer("no"), &original).expect("a notice");
    assert!(text.len() < super::original::RETURNED_HEADER_BYTES_MAX + 8_192);
    assert!(text.contains("fill a line\r\n\r\n--="), "cut at a line's end");
}

#[test]
fn many_recipients_are_all_reported_and_some_are_listed() {
    let to: Vec<Recipient> = (0..LISTED_MAX + 7).map(|n| recipient(&format!("r{n}@example.org"))).collect();
    let answer = answer("no");
    let told: Vec<Told<'_>> =
        to.iter().map(|recipient| Told { recipient, answer: &answer, attempted: Timestamp::default() }).collect();
    let notice = compose(&Report {
        action: Action::Failed,
        hostname: "mta.example.net",
        about: MessageId(1),
        id: MessageId(2),
        arrival: Timestamp::default(),
        expiry: Timestamp::default(),
        now: Timestamp::default(),
        sender: &sender("s@example.net"),
        recipients: &told,
        content: ORIGINAL,
    })
    .expect("a notice");
    let text = String::from_utf8(notice.content).expect("ASCII");
    assert_eq!(text.matches("Final-Recipient: rfc822; r").count(), LISTED_MAX + 7);
    assert_eq!(text.matches("There is no mailbox").count(), LISTED_MAX);
    assert!(text.contains("7 more recipients are listed"), "{text}");
    assert!(text.contains("Subject: Undelivered mail: your message to 57 recipients\r\n"), "{text}");
}

#[test]
fn the_remote_mta_is_a_name_or_a_bracketed_address() {
    for (remote, name) in [
        ("mx.example.org", "mx.example.org"),
        ("mx.example.org[192.0.2.1]:25", "mx.example.org"),
        ("mx.example.org [192.0.2.1]", "mx.example.org"),
        ("192.0.2.1[192.0.2.1]:2525", "[192.0.2.1]"),
        ("[2001:db8::1]:25", "[2001:db8::1]"),
    ] {
        assert_eq!(remote_name(remote), name, "{remote}");
    }
}
