//! What comes back: bounces, complaints and what only looks like one, as anybody may write them.

use std::sync::LazyLock;

use ringpost::bounce::report::{Finding, READ_BYTES_MAX, Report, TEXT_BYTES_MAX, read};
use ringpost::bounce::return_path::{KEY_BYTES, ReturnPath};
use ringpost::smtp::path::Mailbox;
use shards::Timestamp;

use super::strict;

/// What reports are made of.
pub const WORDS: &[&str] = &[
    "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n",
    "Content-Type: multipart/report; report-type=feedback-report; boundary=\"b\"\r\n",
    "Content-Type: message/delivery-status\r\n",
    "Content-Type: message/global-delivery-status\r\n",
    "Content-Type: message/feedback-report\r\n",
    "Content-Type: message/rfc822\r\n",
    "Content-Type: text/html; charset=utf-8\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "\r\n\r\n--b\r\n",
    "\r\n--b--\r\n",
    "Reporting-MTA: dns; mx.test\r\n",
    "Final-Recipient: rfc822; a@b.test\r\n",
    "Action: failed\r\n",
    "Action: delayed\r\n",
    "Status: 5.1.1\r\n",
    "Status: 4.0.0 (x)\r\n",
    "Remote-MTA: dns; mx.b.test\r\n",
    "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n",
    "Feedback-Type: abuse\r\n",
    "User-Agent: x/1\r\n",
    "X-Failed-Recipients: a@b.test\r\n",
    "Auto-Submitted: auto-replied\r\n",
    "From: MAILER-DAEMON@b.test\r\n",
    "Subject: =?utf-8?Q?Undelivered?=\r\n",
    "Hi. This is the qmail-send program",
    "Remote host said: 550 5.2.2 mailbox full",
    "------ This is a copy of",
    "<html><br>",
    "b1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@bounces.test",
];

static RETURN_PATH: LazyLock<ReturnPath> =
    LazyLock::new(|| ReturnPath::new("bounces.test", &[[7; KEY_BYTES]], 30, &["fbl".into()]));

/// The first byte says whether it comes from the null reverse-path. What is kept of it is one short line; what is returned
/// behind the bound does not count; and nobody finds a return path of ours that we did not make.
pub fn report(data: &[u8]) {
    let Some((shape, content)) = data.split_first() else { return };
    let null = shape % 2 == 0;
    for content in [content.to_vec(), strict(content)] {
        let report = read(&content, null);
        if let Report::Bounced(finding) | Report::Complaint(finding) = &report {
            check(finding);
        }
        assert!(!matches!(&report, Report::Bounced(found) if found.reason.is_none()), "a bounce without reason");
        let cut = &content[..content.len().min(READ_BYTES_MAX)];
        assert_eq!(report, read(cut, null), "what is behind the bound counts");
        assert_eq!(RETURN_PATH.find(&content, NOW), None, "a token that nobody made");
    }
    let text = String::from_utf8_lossy(content);
    if let Ok(mailbox) = Mailbox::parse(text.trim(), false) {
        let feedback = mailbox.local().eq_ignore_ascii_case("fbl");
        assert!(feedback || RETURN_PATH.addressee(&mailbox, NOW).is_none(), "{mailbox} leads to a recipient");
    }
}

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn check(finding: &Finding) {
    assert!(finding.text.len() <= TEXT_BYTES_MAX, "{} bytes are kept", finding.text.len());
    assert!([2, 4, 5].contains(&finding.status.0), "{}", finding.status);
    let reporter = finding.reporter.as_deref().unwrap_or_default();
    assert!(reporter.len() <= TEXT_BYTES_MAX, "a reporter of {} bytes", reporter.len());
    for kept in [&finding.text, reporter] {
        assert!(!kept.chars().any(char::is_control), "{kept:?} is not one line");
    }
}
