//! rspamd's question and answer over HTTP: `POST /checkv2` with the message and what is known of it, JSON back. Pure.

use std::fmt::{self, Write as _};
use std::iter::once;

use serde::Deserialize;

use super::Mail;
use super::finding::{Failure, Finding, Refusal, words};
use super::http;
use crate::config::screening::{Actions, Treatment};
use crate::smtp::path::ReversePath;

/// Octets of an answer: it names every symbol of the message.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Recipients that it is told of.
const RECIPIENTS_TOLD_MAX: usize = 100;

pub use http::is_whole;

/// What is sent to have a message scanned, piece by piece.
pub(super) fn request<'a>(
    mail: &Mail<'a>,
    password: Option<&str>,
    piece_bytes: usize,
) -> impl Iterator<Item = Vec<u8>> + use<'a> {
    once(head(mail, password).into_bytes()).chain(mail.content.chunks(piece_bytes).map(<[u8]>::to_vec))
}

fn head(mail: &Mail<'_>, password: Option<&str>) -> String {
    let mut head = format!("POST /checkv2 HTTP/1.0\r\nContent-Length: {}\r\n", mail.content.len());
    put(&mut head, "IP", mail.client.to_canonical());
    put(&mut head, "Helo", mail.client_name);
    match mail.sender {
        ReversePath::Null => put(&mut head, "From", "<>"),
        ReversePath::Mailbox(mailbox) => put(&mut head, "From", mailbox.as_str()),
    }
    for recipient in mail.recipients.iter().take(RECIPIENTS_TOLD_MAX) {
        put(&mut head, "Rcpt", recipient.path.as_str());
    }
    if let Some(account) = mail.account {
        put(&mut head, "User", account);
    }
    put(&mut head, "Queue-Id", mail.id);
    if let Some(password) = password {
        put(&mut head, "Password", password);
    }
    head + "\r\n"
}

/// A field; what strangers chose cannot end it.
fn put(head: &mut String, name: &str, value: impl fmt::Display) {
    let _ = write!(head, "{name}: ");
    head.extend(value.to_string().chars().map(|c| if c.is_control() { '?' } else { c }));
    head.push_str("\r\n");
}

/// The part of the answer that matters here.
#[derive(Deserialize)]
struct Verdict {
    action: String,
    #[serde(default)]
    score: f64,
    #[serde(default)]
    required_score: f64,
    #[serde(default)]
    messages: serde_json::Value,
}

/// What an answer recommends, as `actions` treat it.
pub fn finding(answer: &[u8], actions: &Actions) -> Result<Finding, Failure> {
    let verdict: Verdict =
        serde_json::from_slice(http::body(answer)?).map_err(|error| Failure::Answer(words(&error.to_string())))?;
    let treatment = match verdict.action.as_str() {
        "no action" => return Ok(Finding::Clean),
        // Nothing that a client can be told: mail is taken or it is not.
        "reject" | "discard" | "quarantine" => actions.reject,
        "soft reject" => actions.soft_reject,
        "greylist" => actions.greylist,
        "rewrite subject" => actions.rewrite_subject,
        "add header" => actions.add_header,
        other => return Err(Failure::Answer(format!("unknown action `{}`", words(other)))),
    };
    let action = verdict.action.replace(' ', "_");
    let remark = format!("{action}({:.1}/{:.1})", verdict.score, verdict.required_score);
    let said = words(verdict.messages["smtp_message"].as_str().unwrap_or_default()).into();
    Ok(match treatment {
        Treatment::Reject => Finding::Refuse(Refusal::Spam(said), remark),
        Treatment::Defer => Finding::Refuse(Refusal::Later(said), remark),
        Treatment::Mark => Finding::Marked(remark),
        Treatment::Accept => Finding::Noted(remark),
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::smtp::envelope::{Notify, Recipient};
    use crate::smtp::path::Mailbox;

    const ACTIONS: Actions = Actions {
        reject: Treatment::Reject,
        soft_reject: Treatment::Defer,
        greylist: Treatment::Accept,
        rewrite_subject: Treatment::Mark,
        add_header: Treatment::Mark,
    };

    fn answer(json: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{json}", json.len()).into_bytes()
    }

    fn found(json: &str) -> Result<Finding, Failure> {
        finding(&answer(json), &ACTIONS)
    }

    #[test]
    fn it_is_told_all_that_is_known() {
        let mailbox = |text| Mailbox::parse(text, false).expect("a mailbox");
        let recipient = Recipient { path: mailbox("c@d.test"), notify: Notify::default(), orcpt: None };
        let recipients = vec![recipient; RECIPIENTS_TOLD_MAX + 1];
        let mail = Mail {
            client: "::ffff:192.0.2.1".parse::<IpAddr>().expect("an address"),
            client_name: "odd\r\nRcpt: forged",
            sender: &ReversePath::Mailbox(mailbox("a@b.test")),
            recipients: &recipients,
            account: Some("user@b.test"),
            id: "001000000000000a",
            content: b"abcde",
        };
        let mut pieces = request(&mail, Some("secret"), 4);
        let head = String::from_utf8(pieces.next().expect("a head")).expect("text");
        assert!(head.starts_with("POST /checkv2 HTTP/1.0\r\nContent-Length: 5\r\nIP: 192.0.2.1\r\n"), "{head}");
        assert!(head.contains("\r\nHelo: odd??Rcpt: forged\r\nFrom: a@b.test\r\n"), "{head}");
        assert!(head.ends_with("\r\nUser: user@b.test\r\nQueue-Id: 001000000000000a\r\nPassword: secret\r\n\r\n"));
        assert_eq!(head.matches("\r\nRcpt: c@d.test").count(), RECIPIENTS_TOLD_MAX);
        assert_eq!(pieces.collect::<Vec<_>>(), [&b"abcd"[..], b"e"]);
    }

    #[test]
    fn its_actions_are_treated_as_configured() {
        assert_eq!(found(r#"{"action":"no action","score":0.1,"required_score":15.0}"#), Ok(Finding::Clean));
        let spam = r#"{"is_skipped":true,"score":15.0,"required_score":15.0,"action":"reject","symbols":{},
                       "messages":{"smtp_message":"Gtube pattern"},"unknown":[1]}"#;
        let refused = Finding::Refuse(Refusal::Spam("Gtube pattern".into()), "reject(15.0/15.0)".into());
        assert_eq!(found(spam), Ok(refused));
        let later = Finding::Refuse(Refusal::Later("".into()), "soft_reject(7.0/15.0)".into());
        assert_eq!(found(r#"{"action":"soft reject","score":7,"required_score":15}"#), Ok(later));
        let marked = Finding::Marked("add_header(6.5/15.0)".into());
        assert_eq!(found(r#"{"action":"add header","score":6.5,"required_score":15,"messages":[]}"#), Ok(marked));
        assert_eq!(found(r#"{"action":"greylist"}"#), Ok(Finding::Noted("greylist(0.0/0.0)".into())));
    }

    #[test]
    fn what_is_no_verdict_is_a_failure() {
        for json in ["", "{}", "[]", "null", r#"{"error":"x"}"#, r#"{"action":7}"#, r#"{"action":"dance"}"#] {
            assert!(matches!(found(json), Err(Failure::Answer(_))), "{json}");
        }
        assert!(finding(b"HTTP/1.1 500 Task timeout\r\n\r\n{}", &ACTIONS).is_err());
        let nested = "[".repeat(100_000);
        assert!(found(&nested).is_err());
        let mut random = fastrand::Rng::with_seed(4);
        let whole = answer(r#"{"action":"reject","score":15.0,"messages":{"smtp_message":"x"}}"#);
        for _ in 0..10_000 {
            let mut bytes = whole.clone();
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
            let _ = finding(&bytes, &ACTIONS);
        }
    }
}
