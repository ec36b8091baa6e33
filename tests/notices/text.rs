//! Notices as text: what people read in them, and what nobody can write into them.

use ringpost::bounce::dsn::LISTED_MAX;
use ringpost::bounce::{RETURNED_BYTES_MAX, RETURNED_HEADER_BYTES_MAX};
use ringpost::smtp::envelope::Return;

use super::*;

const ORIGINAL: &[u8] = b"Subject: hello\r\nMessage-ID: <1@example.net>\r\n\r\nbody\r\n";

fn refusal(text: &str) -> Answer {
    answer(550, EnhancedCode(5, 1, 1), text)
}

/// A failure's notice about one recipient.
fn failure(from: &Sender, to: &Recipient, why: &Answer, original: &[u8]) -> Option<String> {
    text(Action::Failed, from, to, why, original)
}

fn text(action: Action, from: &Sender, to: &Recipient, why: &Answer, original: &[u8]) -> Option<String> {
    let notice = notice(action, from, &[(to, why)], original)?;
    Some(String::from_utf8(notice.content).expect("UTF-8"))
}

#[test]
fn nobody_is_told_about_a_notice() {
    assert_eq!(failure(&sender(""), &recipient("a@example.org"), &refusal("no"), ORIGINAL), None);
}

#[test]
fn a_notice_goes_from_the_null_reverse_path_and_asks_for_none() {
    let (to, why) = (recipient("a@example.org"), refusal("no"));
    let notice = notice(Action::Failed, &sender("s@example.net"), &[(&to, &why)], ORIGINAL).expect("a notice");
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
        failure(&sender("s@example.net"), &recipient("jo@example.org"), &refusal("<jo>: unknown\nsee help"), ORIGINAL)
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
    let mut evil_answer = refusal("no\r\nAction: delivered\r\n\r\n--=_0000000000000018_0_--");
    evil_answer.remote = Some("mx\r\nBcc: all@example.org".into());
    let original = b"Subject: =?utf-8?Q?a=0D=0ABcc:_all@example.org?=\r\nMessage-ID: <a@b>\r\n\r\n";
    let text = failure(&evil_sender, &evil_recipient, &evil_answer, original).expect("a notice");
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
    let of =
        |action, from: &Sender, original: &[u8]| text(action, from, &to, &refusal("no"), original).expect("a notice");
    let headers = of(Action::Failed, &from, ORIGINAL);
    assert!(headers.contains("Content-Type: text/rfc822-headers\r\n") && !headers.contains("body\r\n"), "{headers}");
    let whole = of(Action::Failed, &full, ORIGINAL);
    assert!(whole.contains("Content-Type: message/rfc822\r\n") && whole.contains("\r\n\r\nbody\r\n"), "{whole}");
    assert!(of(Action::Delayed, &full, ORIGINAL).contains("text/rfc822-headers"));
    let long = [ORIGINAL, &[b'x'; 1_200], b"\r\n"].concat();
    assert!(of(Action::Failed, &full, &long).contains("text/rfc822-headers"));
    let large = [ORIGINAL, &b"line\r\n".repeat(RETURNED_BYTES_MAX / 6 + 1)].concat();
    assert!(of(Action::Failed, &full, &large).contains("text/rfc822-headers"));
}

#[test]
fn no_line_is_too_long_whatever_came_in() {
    let original = [&b"X-Long: "[..], &[b'x'; 5_000], b"\r\nMessage-ID: <", &[b'm'; 990], b">\r\n\r\n"].concat();
    let mut why = refusal(&"w".repeat(4_000));
    why.remote = Some("h".repeat(3_000).into());
    let mut to = recipient("a@example.org");
    to.orcpt = Some(format!("rfc822;{}", "o".repeat(490)).into());
    let text = failure(&sender("s@example.net"), &to, &why, &original).expect("a notice");
    assert!(text.split("\r\n").all(|line| line.len() <= 998), "{text}");
    assert!(!text.contains("In-Reply-To"), "an id that does not fit a line is left out");
}

#[test]
fn a_huge_header_goes_back_in_part() {
    let original = b"X-Filler: some words to fill a line\r\n".repeat(10_000);
    let text =
        failure(&sender("s@example.net"), &recipient("a@example.org"), &refusal("no"), &original).expect("a notice");
    assert!(text.len() < RETURNED_HEADER_BYTES_MAX + 8_192);
    assert!(text.contains("fill a line\r\n\r\n--="), "cut at a line's end");
}

#[test]
fn many_recipients_are_all_reported_and_some_are_listed() {
    let to: Vec<Recipient> = (0..LISTED_MAX + 7).map(|n| recipient(&format!("r{n}@example.org"))).collect();
    let why = refusal("no");
    let told: Vec<(&Recipient, &Answer)> = to.iter().map(|recipient| (recipient, &why)).collect();
    let notice = notice(Action::Failed, &sender("s@example.net"), &told, ORIGINAL).expect("a notice");
    let text = String::from_utf8(notice.content).expect("ASCII");
    assert_eq!(text.matches("Final-Recipient: rfc822; r").count(), LISTED_MAX + 7);
    assert_eq!(text.matches("There is no mailbox").count(), LISTED_MAX);
    assert!(text.contains("7 more recipients are listed"), "{text}");
    assert!(text.contains("Subject: Undelivered mail: your message to 57 recipients\r\n"), "{text}");
}
