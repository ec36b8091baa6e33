//! What mail software that is not ours reads in our notices: Python's `email` package takes them apart.

use std::io::Write as _;
use std::process::{Command, Stdio};

use ringpost::bounce::dsn::Told;
use ringpost::bounce::{Action, Notice, Report, compose};
use ringpost::queue::MessageId;
use ringpost::queue::outcome::Answer;
use ringpost::smtp::client::Phase;
use ringpost::smtp::envelope::{Body, Notify, Recipient, Return, Sender};
use ringpost::smtp::path::{Mailbox, ReversePath};
use ringpost::smtp::reply::{EnhancedCode, Reply};
use serde_json::Value;
use shards::Timestamp;

/// Reads a message from stdin, with strict line ends, and prints what it finds as JSON.
const READ: &str = r#"
import email, email.policy, email.utils, json, sys
message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.SMTPUTF8)
def problems(part):
    return [repr(d) for d in part.defects] + [repr(d) for v in part.values() for d in v.defects]
def groups(part):
    if isinstance(part.get_payload(), list):
        return [{k.lower(): str(v) for k, v in g.items()} for g in part.get_payload()]
    return []
parts = list(message.iter_parts())
report = parts[1]
text = report.as_bytes().decode().replace("\r\n", "\n")
if report.get_content_subtype() == "global-delivery-status":
    body = text.split("\n\n", 1)[1]
    found = [dict((l.split(": ", 1)[0].lower(), l.split(": ", 1)[1]) for l in g.splitlines() if ": " in l) for g in body.split("\n\n")]
else:
    found = groups(report)
def text_of(value):
    # Python holds UTF-8 octets of a header as surrogates.
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode()
    if isinstance(value, dict):
        return {k: text_of(v) for k, v in value.items()}
    return [text_of(v) for v in value] if isinstance(value, list) else value
json.dump(text_of({
    "problems": sum([problems(p) for p in message.walk()], []),
    "type": message.get_content_type(),
    "report_type": message.get_param("report-type"),
    "from": [a.addr_spec for a in message["from"].addresses],
    "to": [a.addr_spec for a in message["to"].addresses],
    "subject": message["subject"],
    "date": message["date"].datetime.isoformat(),
    "headers": {k.lower(): str(v) for k, v in message.items()},
    "types": [p.get_content_type() for p in parts],
    "text": parts[0].get_content(),
    "groups": [g for g in found if g],
    "original": parts[2].get_payload()[0].as_string() if isinstance(parts[2].get_payload(), list) else parts[2].get_payload(decode=True).decode(),
}), sys.stdout)
"#;

fn read_in_python(content: &[u8]) -> Value {
    let mut python = Command::new("python3")
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs python3");
    python.stdin.take().expect("a pipe").write_all(content).expect("python3 reads");
    let output = python.wait_with_output().expect("python3 ends");
    assert!(output.status.success(), "python3 could not read:\n{}", String::from_utf8_lossy(content));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text, true).expect("a mailbox")
}

fn sender(path: &str) -> Sender {
    let path = mailbox(path);
    Sender {
        smtputf8: !path.as_str().is_ascii(),
        path: ReversePath::Mailbox(path),
        body: Body::EightBitMime,
        size: None,
        ret: Some(Return::Headers),
        envid: Some("QQ314159+2B1".into()),
    }
}

fn recipient(path: &str) -> Recipient {
    Recipient { path: mailbox(path), notify: Notify::default(), orcpt: Some("rfc822;Jo+2Blist@example.org".into()) }
}

fn answer(class: u8, text: &str) -> Answer {
    let status = EnhancedCode(class, 2, 2);
    let reply = Reply { code: u16::from(class) * 100 + 52, enhanced: Some(status), text: text.into() };
    Answer {
        phase: Phase::Rcpt,
        status,
        text: reply.to_string().into(),
        reply: Some(reply),
        remote: Some("mx1.example.org [192.0.2.1]:25".into()),
    }
}

fn notice(action: Action, sender: &Sender, told: &[(&Recipient, &Answer)]) -> Notice {
    let attempted = Timestamp::from_millis(1_795_423_600_000);
    let told: Vec<Told<'_>> = told.iter().map(|(recipient, answer)| Told { recipient, answer, attempted }).collect();
    compose(&Report {
        action,
        hostname: "mta.example.net",
        about: MessageId(0x17),
        id: MessageId(0x18),
        arrival: Timestamp::from_millis(1_795_420_000_000),
        expiry: Timestamp::from_millis(1_795_852_000_000),
        now: Timestamp::from_millis(1_795_423_601_000),
        sender,
        recipients: &told,
        content: "Message-ID: <1@example.net>\r\nSubject: Привіт\r\nFrom: s@example.net\r\n\r\nbody ґ\r\n".as_bytes(),
    })
    .expect("the reverse-path is not null")
}

#[test]
fn a_failure_is_read_as_one() {
    let (one, two) = (recipient("jo@example.org"), recipient("ann@example.org"));
    let full = answer(5, "5.2.2 mailbox is full, and this reply is long enough to be folded\nsecond line");
    let silent = Answer {
        phase: Phase::Connect,
        status: EnhancedCode(5, 4, 7),
        reply: None,
        text: "connection refused".into(),
        remote: None,
    };
    let notice = notice(Action::Failed, &sender("s@example.net"), &[(&one, &full), (&two, &silent)]);
    let read = read_in_python(&notice.content);
    assert_eq!(read["problems"], serde_json::json!([]), "{read:#}");
    assert_eq!(read["type"], "multipart/report");
    assert_eq!(read["report_type"], "delivery-status");
    assert_eq!(read["types"], serde_json::json!(["text/plain", "message/delivery-status", "text/rfc822-headers"]));
    assert_eq!(read["from"], serde_json::json!(["MAILER-DAEMON@mta.example.net"]));
    assert_eq!(read["to"], serde_json::json!(["s@example.net"]));
    assert_eq!(read["date"], "2026-11-23T08:46:41+00:00");
    for (name, value) in [
        ("auto-submitted", "auto-replied"),
        ("mime-version", "1.0"),
        ("in-reply-to", "<1@example.net>"),
        ("references", "<1@example.net>"),
        ("message-id", &*notice.message_id),
    ] {
        assert_eq!(read["headers"][name], value, "{name}");
    }
    let group = |n: usize, name: &str| read["groups"][n][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(group(0, "reporting-mta"), "dns; mta.example.net");
    assert_eq!(group(0, "original-envelope-id"), "QQ314159+1");
    assert_eq!(group(0, "arrival-date"), "Mon, 23 Nov 2026 07:46:40 +0000");
    assert_eq!(group(1, "original-recipient"), "rfc822; Jo+list@example.org");
    assert_eq!(group(1, "final-recipient"), "rfc822; jo@example.org");
    assert_eq!((group(1, "action"), group(1, "status")), ("failed".into(), "5.2.2".into()));
    assert_eq!(group(1, "remote-mta"), "dns; mx1.example.org");
    assert_eq!(
        group(1, "diagnostic-code").split_whitespace().collect::<Vec<_>>().join(" "),
        "smtp; 552 5.2.2 5.2.2 mailbox is full, and this reply is long enough to be folded second line"
    );
    assert_eq!(group(1, "last-attempt-date"), "Mon, 23 Nov 2026 08:46:40 +0000");
    assert_eq!(group(1, "will-retry-until"), "");
    assert_eq!((group(2, "status"), group(2, "remote-mta")), ("5.4.7".into(), String::new()));
    assert_eq!(group(2, "diagnostic-code"), "x-ringpost; connection refused");
    let text = read["text"].as_str().expect("text");
    assert!(text.contains("The recipient's mailbox is full.") && text.contains("Subject:   Привіт"), "{text}");
    let original = read["original"].as_str().expect("the original's header");
    assert!(original.contains("Subject: Привіт") && !original.contains("body"), "{original}");
}

#[test]
fn a_delay_says_until_when_it_is_retried() {
    let (to, why) = (recipient("jo@example.org"), answer(4, "mailbox is full"));
    let read = read_in_python(&notice(Action::Delayed, &sender("s@example.net"), &[(&to, &why)]).content);
    assert_eq!(read["problems"], serde_json::json!([]), "{read:#}");
    assert_eq!(read["groups"][1]["action"], "delayed");
    assert_eq!(read["groups"][1]["status"], "4.2.2");
    assert_eq!(read["groups"][1]["will-retry-until"], "Sat, 28 Nov 2026 07:46:40 +0000");
    let text = read["text"].as_str().expect("text");
    assert!(text.contains("it is being retried until Sat, 28 Nov 2026"), "{text}");
}

#[test]
fn the_whole_message_goes_back_where_it_was_asked_for() {
    let (to, why) = (recipient("jo@example.org"), answer(5, "no"));
    let from = Sender { ret: Some(Return::Full), ..sender("s@example.net") };
    let notice = notice(Action::Failed, &from, &[(&to, &why)]);
    assert_eq!(notice.envelope.sender.body, Body::EightBitMime);
    let read = read_in_python(&notice.content);
    assert_eq!(read["problems"], serde_json::json!([]), "{read:#}");
    assert_eq!(read["types"][2], "message/rfc822");
    assert!(read["original"].as_str().expect("the original").contains("Message-ID: <1@example.net>"), "{read:#}");
}

#[test]
fn addresses_beyond_ascii_use_the_types_of_rfc_6533() {
    let to = Recipient { orcpt: None, ..recipient("оля@пошта.укр") };
    let why = answer(5, "скринька переповнена");
    let notice = notice(Action::Failed, &sender("іра@пошта.укр"), &[(&to, &why)]);
    assert!(notice.envelope.sender.smtputf8);
    let read = read_in_python(&notice.content);
    // Python calls any UTF-8 in a header a defect, and knows no others here.
    let of_utf8 =
        |problem: &Value| problem.as_str().is_some_and(|text| text.contains("Non-ASCII") || text.contains("non-ASCII"));
    assert!(read["problems"].as_array().is_some_and(|problems| problems.iter().all(of_utf8)), "{read:#}");
    let types = serde_json::json!(["text/plain", "message/global-delivery-status", "message/global-headers"]);
    assert_eq!(read["types"], types);
    assert_eq!(read["to"], serde_json::json!(["іра@пошта.укр"]));
    assert_eq!(read["groups"][1]["final-recipient"], "utf-8; оля@пошта.укр");
    assert_eq!(read["groups"][1]["diagnostic-code"], "smtp; 552 5.2.2 скринька переповнена");
}

#[test]
fn a_reply_beyond_ascii_fits_a_notice_in_ascii() {
    let (to, why) = (recipient("jo@example.org"), answer(5, "скринька переповнена"));
    let read = read_in_python(&notice(Action::Failed, &sender("s@example.net"), &[(&to, &why)]).content);
    assert_eq!(read["problems"], serde_json::json!([]), "{read:#}");
    assert!(read["groups"][1]["diagnostic-code"].as_str().expect("it").starts_with("smtp; 552 5.2.2 "), "{read:#}");
    assert!(read["text"].as_str().expect("text").contains("скринька переповнена"), "{read:#}");
}
