//! What mail software that is not ours reads in our notices: Python's `email` package takes every one apart, and Ruby's
//! `mail` library, which is written independently, answers what a program that handles bounces asks it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use ringpost::smtp::envelope::Return;
use serde_json::{Value, json};

use super::*;

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

/// The same with Ruby's library.
const READ_IN_RUBY: &str = r#"
require "json"
require "mail"
message = Mail.new($stdin.binmode.read)
json = {
  errors: message.errors.map(&:to_s) + message.parts.flat_map { |part| part.errors.map(&:to_s) },
  multipart_report: !!message.multipart_report?,
  delivery_status_report: !!message.delivery_status_report?,
  bounced: message.bounced?,
  retryable: message.retryable?,
  action: message.action,
  final_recipient: message.final_recipient,
  error_status: message.error_status,
  diagnostic_code: message.diagnostic_code,
  remote_mta: message.remote_mta,
}
puts JSON.generate(json)
"#;

fn read(program: &mut Command, content: &[u8]) -> Value {
    let mut reader = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program:?} (tests/setup installs it): {error}"));
    reader.stdin.take().expect("a pipe").write_all(content).expect("it reads");
    let output = reader.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{program:?} could not read:\n{}", String::from_utf8_lossy(content));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn read_in_python(content: &[u8]) -> Value {
    read(Command::new("python3").args(["-c", READ]), content)
}

fn read_in_ruby(content: &[u8]) -> Value {
    read(Command::new("ruby").args(["-e", READ_IN_RUBY]), content)
}

/// MAIL with everything that RFC 3461 gives it.
fn asking(path: &str) -> Sender {
    Sender { ret: Some(Return::Headers), envid: Some("QQ314159+2B1".into()), ..sender(path) }
}

fn renamed(path: &str) -> Recipient {
    Recipient { orcpt: Some("rfc822;Jo+2Blist@example.org".into()), ..recipient(path) }
}

/// A reply about a mailbox.
fn reply(class: u8, text: &str) -> Answer {
    answer(u16::from(class) * 100 + 52, EnhancedCode(class, 2, 2), text)
}

fn told(action: Action, sender: &Sender, told: &[(&Recipient, &Answer)]) -> Notice {
    let content = "Message-ID: <1@example.net>\r\nSubject: Привіт\r\nFrom: s@example.net\r\n\r\nbody ґ\r\n";
    notice(action, sender, told, content.as_bytes()).expect("the reverse-path is not null")
}

#[test]
fn a_failure_is_read_as_one() {
    let (one, two) = (renamed("jo@example.org"), renamed("ann@example.org"));
    let full = reply(5, "5.2.2 mailbox is full, and this reply is long enough to be folded\nsecond line");
    let silent = Answer {
        phase: Phase::Connect,
        status: EnhancedCode(5, 4, 7),
        reason: None,
        reply: None,
        text: "connection refused".into(),
        remote: None,
        tls: None,
    };
    let notice = told(Action::Failed, &asking("s@example.net"), &[(&one, &full), (&two, &silent)]);
    let read = read_in_python(&notice.content);
    assert_eq!(read["problems"], json!([]), "{read:#}");
    assert_eq!(read["type"], "multipart/report");
    assert_eq!(read["report_type"], "delivery-status");
    assert_eq!(read["types"], json!(["text/plain", "message/delivery-status", "text/rfc822-headers"]));
    assert_eq!(read["from"], json!(["MAILER-DAEMON@mta.example.net"]));
    assert_eq!(read["to"], json!(["s@example.net"]));
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
    assert_eq!(group(1, "remote-mta"), "dns; mx.example.org");
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
    let (to, why) = (renamed("jo@example.org"), reply(4, "mailbox is full"));
    let read = read_in_python(&told(Action::Delayed, &asking("s@example.net"), &[(&to, &why)]).content);
    assert_eq!(read["problems"], json!([]), "{read:#}");
    assert_eq!(read["groups"][1]["action"], "delayed");
    assert_eq!(read["groups"][1]["status"], "4.2.2");
    assert_eq!(read["groups"][1]["will-retry-until"], "Sat, 28 Nov 2026 07:46:40 +0000");
    let text = read["text"].as_str().expect("text");
    assert!(text.contains("it is being retried until Sat, 28 Nov 2026"), "{text}");
}

#[test]
fn the_whole_message_goes_back_where_it_was_asked_for() {
    let (to, why) = (renamed("jo@example.org"), reply(5, "no"));
    let from = Sender { ret: Some(Return::Full), ..asking("s@example.net") };
    let notice = told(Action::Failed, &from, &[(&to, &why)]);
    assert_eq!(notice.envelope.sender.body, Body::EightBitMime);
    let read = read_in_python(&notice.content);
    assert_eq!(read["problems"], json!([]), "{read:#}");
    assert_eq!(read["types"][2], "message/rfc822");
    assert!(read["original"].as_str().expect("the original").contains("Message-ID: <1@example.net>"), "{read:#}");
}

#[test]
fn addresses_beyond_ascii_use_the_types_of_rfc_6533() {
    let to = Recipient {
        orcpt: Some(r"utf-8;\x{43E}\x{43B}\x{44F}@old.test".into()), ..recipient("оля@пошта.укр")
    };
    let why = reply(5, "скринька переповнена");
    let notice = told(Action::Failed, &asking("іра@пошта.укр"), &[(&to, &why)]);
    assert!(notice.envelope.sender.smtputf8);
    let read = read_in_python(&notice.content);
    // Python calls any UTF-8 in a header a defect, and knows no others here.
    let of_utf8 =
        |problem: &Value| problem.as_str().is_some_and(|text| text.contains("Non-ASCII") || text.contains("non-ASCII"));
    assert!(read["problems"].as_array().is_some_and(|problems| problems.iter().all(of_utf8)), "{read:#}");
    let types = json!(["text/plain", "message/global-delivery-status", "message/global-headers"]);
    assert_eq!(read["types"], types);
    assert_eq!(read["to"], json!(["іра@пошта.укр"]));
    assert_eq!(read["groups"][1]["final-recipient"], "utf-8; оля@пошта.укр");
    assert_eq!(read["groups"][1]["original-recipient"], "utf-8; оля@old.test");
    assert_eq!(read["groups"][1]["diagnostic-code"], "smtp; 552 5.2.2 скринька переповнена");
}

#[test]
fn a_reply_beyond_ascii_fits_a_notice_in_ascii() {
    let (to, why) = (renamed("jo@example.org"), reply(5, "скринька переповнена"));
    let read = read_in_python(&told(Action::Failed, &asking("s@example.net"), &[(&to, &why)]).content);
    assert_eq!(read["problems"], json!([]), "{read:#}");
    assert!(read["groups"][1]["diagnostic-code"].as_str().expect("it").starts_with("smtp; 552 5.2.2 "), "{read:#}");
    assert!(read["text"].as_str().expect("text").contains("скринька переповнена"), "{read:#}");
}

/// Every kind, and what a program asks of it.
#[test]
fn every_kind_is_accepted_by_both() {
    for (action, name, why, status, bounced) in [
        (Action::Failed, "failed", reply(5, "mailbox is full"), "5.2.2", true),
        (Action::Delayed, "delayed", reply(4, "mailbox is full"), "4.2.2", false),
        // A server that calls a full mailbox permanent is tried again all the same: what is delayed has class 4.
        (Action::Delayed, "delayed", reply(5, "mailbox is full"), "4.2.2", false),
        (Action::Delivered, "delivered", answer(250, EnhancedCode(2, 0, 0), "taken"), "2.0.0", false),
        (Action::Relayed, "relayed", answer(250, EnhancedCode(2, 6, 0), "queued as 1"), "2.6.0", false),
    ] {
        let to = renamed("jo@example.org");
        let notice = told(action, &asking("s@example.net"), &[(&to, &why)]);
        let diagnostic = format!("smtp; {}", why.text);

        let read = read_in_python(&notice.content);
        assert_eq!(read["problems"], json!([]), "{read:#}");
        assert_eq!((&read["type"], &read["report_type"]), (&json!("multipart/report"), &json!("delivery-status")));
        let types = json!(["text/plain", "message/delivery-status", "text/rfc822-headers"]);
        assert_eq!(read["types"], types, "only a failure returns a content");
        assert_eq!(read["headers"]["auto-submitted"], "auto-replied");
        assert_eq!(read["groups"][0]["original-envelope-id"], "QQ314159+1");
        let group = &read["groups"][1];
        for (field, value) in [
            ("original-recipient", "rfc822; Jo+list@example.org"),
            ("final-recipient", "rfc822; jo@example.org"),
            ("action", name),
            ("status", status),
            ("remote-mta", "dns; mx.example.org"),
            ("diagnostic-code", &diagnostic),
            ("last-attempt-date", "Mon, 23 Nov 2026 08:46:40 +0000"),
        ] {
            assert_eq!(group[field], value, "{field} of {name}");
        }
        assert_eq!(group["will-retry-until"].is_string(), action == Action::Delayed, "{group:#}");

        let read = read_in_ruby(&notice.content);
        let expected = json!({
            "errors": [],
            "multipart_report": true,
            "delivery_status_report": true,
            "bounced": bounced,
            "retryable": !status.starts_with('5'),
            "action": name,
            "final_recipient": "rfc822; jo@example.org",
            "error_status": status,
            "diagnostic_code": diagnostic,
            "remote_mta": "dns; mx.example.org",
        });
        assert_eq!(read, expected, "{name}");
    }
}

/// Nothing is known of an attempt that was never made.
#[test]
fn a_delay_without_an_attempt_names_none() {
    let to = recipient("jo@example.org");
    let waiting = Answer {
        phase: Phase::Idle,
        status: EnhancedCode(4, 4, 0),
        reason: None,
        reply: None,
        text: "not tried yet".into(),
        remote: None,
        tls: None,
    };
    let notice = compose(&Report {
        action: Action::Delayed,
        hostname: "mta.example.net",
        about: MessageId(0x17),
        id: MessageId(0x18),
        arrival: ARRIVAL,
        expiry: EXPIRY,
        now: NOW,
        sender: &sender("s@example.net"),
        recipients: &[Told { recipient: &to, answer: &waiting, attempted: None }],
        content: b"",
    });
    let read = read_in_python(&notice.expect("a notice").content);
    assert_eq!(read["problems"], json!([]), "{read:#}");
    let group = &read["groups"][1];
    assert_eq!((&group["status"], &group["diagnostic-code"]), (&json!("4.4.0"), &json!("x-ringpost; not tried yet")));
    assert!(group["last-attempt-date"].is_null() && group["remote-mta"].is_null(), "{group:#}");
}
