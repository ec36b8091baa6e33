//! What we put before a message: the trace of RFC 5321 §4.4 and, where they are missing, `Date` and `Message-ID`
//! (RFC 6409 §8.2, §8.3).

use std::fmt::Write as _;
use std::net::IpAddr;

use shards::Timestamp;

use super::date;
use super::scan::Facts;

/// What a `Received:` field tells about how a message came.
#[derive(Clone, Debug)]
pub struct Trace<'a> {
    /// EHLO's argument.
    pub client_name: &'a str,
    /// The client's address.
    pub client_address: IpAddr,
    /// Our name.
    pub hostname: &'a str,
    /// RFC 3848's keyword: `ESMTPSA`.
    pub protocol: &'a str,
    /// Protocol and cipher, where TLS was used.
    pub tls: Option<(&'a str, &'a str)>,
    /// The queue's id.
    pub id: &'a str,
    /// When it came.
    pub time: Timestamp,
    /// Whether screening found that it looks like spam.
    pub looks_like_spam: bool,
}

impl Trace<'_> {
    /// The fields that go before the content: `Received`, what screening found, and `Date` and `Message-ID` where `facts` misses them.
    pub fn fields(&self, facts: &Facts) -> String {
        let mut fields = String::with_capacity(384);
        self.received(&mut fields);
        if self.looks_like_spam {
            fields.push_str("X-Spam: Yes\r\n");
        }
        if !facts.date {
            let _ = write!(fields, "Date: {}\r\n", date::rfc5322(self.time));
        }
        if !facts.has_message_id {
            let _ = write!(fields, "Message-ID: {}\r\n", self.message_id());
        }
        if !facts.separated && facts.body_start == 0 {
            fields.push_str("\r\n");
        }
        fields
    }

    /// The `Message-ID` that we give where there is none.
    pub fn message_id(&self) -> String {
        format!("<{}.{}@{}>", self.time.as_millis(), self.id, self.hostname)
    }

    fn received(&self, fields: &mut String) {
        fields.push_str("Received: from ");
        push_visible(fields, self.client_name);
        let _ = match self.client_address.to_canonical() {
            IpAddr::V4(address) => write!(fields, " ([{address}])"),
            IpAddr::V6(address) => write!(fields, " ([IPv6:{address}])"),
        };
        let _ = write!(fields, "\r\n\tby {} with {} id {}", self.hostname, self.protocol, self.id);
        if let Some((protocol, cipher)) = self.tls {
            let _ = write!(fields, "\r\n\t(version={protocol} cipher={cipher})");
        }
        let _ = write!(fields, ";\r\n\t{}\r\n", date::rfc5322(self.time));
    }
}

/// A name that a stranger chose: what could break the field or hide in it is shown as `?`.
fn push_visible(fields: &mut String, name: &str) {
    fields.extend(
        name.chars()
            .take(255)
            .map(|c| if c.is_control() || c.is_whitespace() || matches!(c, '(' | ')' | '\\' | ';') { '?' } else { c }),
    );
}

#[cfg(test)]
mod tests {
    use super::super::scan;
    use super::*;

    fn trace() -> Trace<'static> {
        Trace {
            client_name: "app-7f(x)\u{7}",
            client_address: "::ffff:192.0.2.1".parse().expect("an address"),
            hostname: "mta.example",
            protocol: "ESMTPSA",
            tls: Some(("TLSv1.3", "TLS13_AES_256_GCM_SHA384")),
            id: "0001",
            time: Timestamp::from_millis(1_795_420_000_000),
            looks_like_spam: false,
        }
    }

    #[test]
    fn missing_fields_are_added() {
        let fields = trace().fields(&scan(b"Subject: x\r\n\r\nbody\r\n"));
        assert_eq!(
            fields,
            "Received: from app-7f?x?? ([192.0.2.1])\r\n\tby mta.example with ESMTPSA id 0001\r\n\
             \t(version=TLSv1.3 cipher=TLS13_AES_256_GCM_SHA384);\r\n\tMon, 23 Nov 2026 07:46:40 +0000\r\n\
             Date: Mon, 23 Nov 2026 07:46:40 +0000\r\nMessage-ID: <1795420000000.0001@mta.example>\r\n"
        );
    }

    #[test]
    fn a_message_that_looks_like_spam_says_so() {
        let fields = Trace { looks_like_spam: true, ..trace() }.fields(&scan(b"Subject: x\r\n\r\nbody\r\n"));
        assert!(fields.starts_with("Received: ") && fields.contains("\r\nX-Spam: Yes\r\n"), "{fields}");
    }

    #[test]
    fn present_fields_stay_alone() {
        let fields = trace().fields(&scan(b"Date: x\r\nMessage-ID: <a@b>\r\n\r\n"));
        assert!(!fields.contains("Date:") && !fields.contains("Message-ID:"));
    }

    #[test]
    fn a_content_without_header_stays_a_body() {
        let content = b"no header here\r\n";
        let mut whole = trace().fields(&scan(content)).into_bytes();
        whole.extend_from_slice(content);
        assert_eq!(&whole[scan(&whole).body_start..], content);
    }
}
