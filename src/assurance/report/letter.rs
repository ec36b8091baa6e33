//! A report on its way: its JSON, compressed, alone or in a message (RFC 8460 §4.1, §5.3).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use shards::Timestamp;

use super::Counts;
use crate::message::date;

/// Octets of base64 in a line (RFC 2045 §6.8).
const LINE_BYTES: usize = 76;

/// A report about one domain's day.
pub struct Letter<'a> {
    /// Of the reporter.
    pub organization: &'a str,
    /// Whom to ask about it.
    pub contact: &'a str,
    /// Whose mail server reports.
    pub submitter: &'a str,
    /// About which domain.
    pub domain: &'a str,
    /// The day's first second and its last, or the present one.
    pub day: (Timestamp, Timestamp),
    /// What was counted.
    pub counts: &'a Counts,
}

impl Letter<'_> {
    /// The same whenever it is sent: the receiver sees what it had before. What is counted later on that day has another.
    pub fn id(&self) -> String {
        let counted = crc32fast::hash(self.counts.policies(self.domain).to_string().as_bytes());
        format!("{}.{counted:08x}.{}@{}", self.day.0.as_millis() / 1000, self.domain, self.submitter)
    }

    /// The report (§4.4).
    pub fn json(&self) -> Value {
        json!({
            "organization-name": self.organization,
            "date-range": { "start-datetime": time(self.day.0), "end-datetime": time(self.day.1) },
            "contact-info": self.contact,
            "report-id": self.id(),
            "policies": self.counts.policies(self.domain),
        })
    }

    /// What a file of it is called (§5.1).
    pub fn file_name(&self) -> String {
        let (start, end) = (self.day.0.as_millis() / 1000, self.day.1.as_millis() / 1000);
        format!("{}!{}!{start}!{end}.json.gz", self.submitter, self.domain)
    }

    /// A message to `to` that carries `compressed`, with lines that end in CRLF; not signed.
    pub fn message(&self, from: &str, to: &str, now: Timestamp, compressed: &[u8]) -> Vec<u8> {
        let (domain, submitter, id) = (self.domain, self.submitter, self.id());
        let boundary = format!("=_tlsrpt_{}", self.day.0.as_millis());
        let mut text = format!(
            "From: {from}\r\nTo: {to}\r\nDate: {}\r\nMessage-ID: <{}.{id}>\r\n\
             Subject: Report Domain: {domain}\r\n Submitter: {submitter}\r\n Report-ID: <{id}>\r\n\
             TLS-Report-Domain: {domain}\r\nTLS-Report-Submitter: {submitter}\r\nAuto-Submitted: auto-generated\r\n\
             TLS-Required: No\r\n\
             MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"{boundary}\"\r\n\r\n\
             --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
             This is an aggregate TLS report from {submitter} about mail to {domain}\r\n\
             from {} to {}.\r\n\r\n\
             --{boundary}\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment;\r\n filename=\"{}\"\r\n\r\n",
            date::rfc5322(now),
            now.as_millis(),
            time(self.day.0),
            time(self.day.1),
            self.file_name(),
        );
        let encoded = STANDARD.encode(compressed);
        for at in (0..encoded.len()).step_by(LINE_BYTES) {
            text.push_str(&encoded[at..encoded.len().min(at + LINE_BYTES)]);
            text.push_str("\r\n");
        }
        text.push_str(&format!("\r\n--{boundary}--\r\n"));
        text.into_bytes()
    }
}

/// RFC 3339, in whole seconds.
fn time(at: Timestamp) -> String {
    let text = date::rfc3339(at);
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// A file of gzip (RFC 1952).
pub fn gzip(content: &[u8]) -> Vec<u8> {
    const LEVEL: u8 = 6;
    // Deflate, no flags, no time, no hint, from an unknown system.
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    file.extend(miniz_oxide::deflate::compress_to_vec(content, LEVEL));
    file.extend(crc32fast::hash(content).to_le_bytes());
    file.extend((content.len() as u32).to_le_bytes());
    file
}

#[cfg(test)]
mod tests {
    use super::super::Policy;
    use super::*;

    #[test]
    fn a_report_has_its_id_whenever_it_is_sent_and_no_other_report_of_the_day_has_it() {
        let of = |sessions: usize, domain: &str, day: u64| {
            let mut counts = Counts::default();
            (0..sessions).for_each(|_| counts.add(Policy::none(domain), None));
            let second = |s: u64| Timestamp::from_millis(s * 1000);
            let day = (second(day * 86_400), second(day * 86_400 + 86_399));
            let (organization, contact, submitter) = ("A", "c@a.test", "mta.test");
            Letter { organization, contact, submitter, domain, day, counts: &counts }.id()
        };
        assert_eq!(of(1, "b.test", 20_000), of(1, "b.test", 20_000));
        assert!(of(1, "b.test", 20_000).ends_with(".b.test@mta.test"));
        let others = [of(2, "b.test", 20_000), of(1, "c.test", 20_000), of(1, "b.test", 20_001)];
        assert!(!others.contains(&of(1, "b.test", 20_000)), "{others:?}");
    }
}
