//! The corpus: bounces as they look in the wild, each in a file of its own below `corpus/`. The first line of a file says
//! what is to be read from it; the message follows.

use super::*;

/// The files of these names, with them.
macro_rules! corpus {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("corpus/", $name, ".eml"))),)*]
    };
}

const CORPUS: &[(&str, &str)] = corpus![
    "aol-like-plain",
    "arf-abuse",
    "arf-auth-failure",
    "arf-fraud-null",
    "arf-not-spam",
    "challenge",
    "domino",
    "dsn-base64",
    "dsn-expanded-alias-one-failed",
    "dsn-global",
    "dsn-spam",
    "dsn-success",
    "dsn-truncated",
    "dsn-without-action",
    "dsn-zero-status-with-reason",
    "empty",
    "exchange-2003",
    "exchange-html",
    "exchange-online",
    "exim",
    "exim-local",
    "exim-warning",
    "gmail",
    "multipart-mixed-status",
    "out-of-office-exchange",
    "out-of-office-german-encoded",
    "person-replies",
    "plain-from-a-person-at-postmaster-with-sender",
    "postfix",
    "postfix-delayed",
    "postfix-mailbox-full-given-up",
    "qmail",
    "qmail-remote",
    "qmail-too-old",
    "sendmail",
    "vacation-rfc3834",
];

/// `bounced 5.1.1 recipient-unknown`, or the name of another kind; `sender` stands for a message that is not from the null
/// reverse-path.
fn shown(report: &Report) -> String {
    match report {
        Report::Bounced(finding) => {
            let reason = finding.reason.as_ref().expect("a bounce has one");
            format!("bounced {} {}", finding.status, reason.category.name())
        }
        other => other.name().to_owned(),
    }
}

#[test]
fn every_message_of_the_corpus_is_read_as_its_first_line_says() {
    let mut wrong = Vec::new();
    for (name, text) in CORPUS {
        let (wanted, message) = text.split_once('\n').expect("a first line");
        let null = !wanted.contains(" from-sender");
        let wanted = wanted.trim_start_matches("expect: ").replace(" from-sender", "");
        let content = message.replace("\r\n", "\n").replace('\n', "\r\n");
        let got = read(content.as_bytes(), null);
        if shown(&got) != wanted {
            wrong.push(format!("{name}: wanted {wanted}, got {} ({got:?})", shown(&got)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn damaged_and_malicious_messages_are_read_to_their_end_and_never_panic() {
    let mut random = fastrand::Rng::with_seed(7);
    for (_, text) in CORPUS {
        let whole = text.replace('\n', "\r\n").into_bytes();
        for _ in 0..50 {
            let mut bytes = whole[..random.usize(..=whole.len())].to_vec();
            for _ in 0..random.usize(..20) {
                if !bytes.is_empty() {
                    let at = random.usize(..bytes.len());
                    bytes[at] = random.u8(..);
                }
            }
            let _ = read(&bytes, random.bool());
        }
    }
}

#[test]
fn what_is_nested_deep_or_split_into_many_costs_no_more_than_the_bounds() {
    let mut nested = String::new();
    for level in 0..5_000 {
        nested += &format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n");
    }
    assert_eq!(read(nested.as_bytes(), true), Report::Unclear);
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(8_000);
    assert_eq!(read(messages.as_bytes(), true), Report::Unclear);
    let many = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\nx\r\n".repeat(20_000));
    assert_eq!(read(many.as_bytes(), true), Report::Unclear);
    let groups = format!("Content-Type: message/delivery-status\r\n\r\n{}", "A: b\r\n\r\n".repeat(30_000));
    assert_eq!(read(groups.as_bytes(), true), Report::Unclear);
}

#[test]
fn what_is_kept_is_one_clean_line_of_bounded_length() {
    let diagnostic = format!("smtp; 550 5.1.1 no\u{1b}[31m user\r\n {}", "x".repeat(3_000));
    let content = format!(
        "Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.test\r\n\r\nFinal-Recipient: rfc822; a@b.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\
         Diagnostic-Code: {diagnostic}\r\n\r\n--b--\r\n"
    );
    let Report::Bounced(finding) = read(content.as_bytes(), true) else { panic!("a bounce") };
    assert!(finding.text.starts_with("550 5.1.1 no [31m user"), "{}", finding.text);
    assert!(finding.text.len() <= TEXT_BYTES_MAX && !finding.text.contains(char::is_control));
    assert_eq!(finding.reporter.as_deref(), Some("mx.test"));
}
