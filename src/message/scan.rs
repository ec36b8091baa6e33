//! One pass over a header: its fields, and the facts that decide what is added and what is refused.

use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::Finder;

/// What is looked for in every line is prepared once.
static CRLF: LazyLock<Finder> = LazyLock::new(|| Finder::new(b"\r\n"));
/// The largest header that is scanned. Real mail stays under 64 KiB; some lists reach a few hundred.
pub const HEADER_BYTES_MAX: usize = 1024 * 1024;

/// One header field, as it stands in the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name, without the colon and without white space before it.
    pub name: &'a [u8],
    /// What follows the colon, folded lines included, without the final CRLF.
    pub value: &'a [u8],
    /// Where the field begins in the content.
    pub start: usize,
    /// Where the next line begins.
    pub end: usize,
}

impl Field<'_> {
    /// Field names do not depend on case (RFC 5322 §1.2.2).
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The fields of a content's header, in order. Ends before the empty line, or before the first line that is no field.
pub struct Fields<'a> {
    content: &'a [u8],
    at: usize,
}

/// The fields of `content`'s header.
pub fn fields(content: &[u8]) -> Fields<'_> {
    Fields { content, at: 0 }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let start = self.at;
        let rest = self.content.get(start..)?;
        let colon = memchr(b':', rest)?;
        // White space before the colon is obsolete and still sent (RFC 5322 §4.5); a line end before it ends the header.
        let name = without_blanks(&rest[..colon]);
        if name.is_empty() || !name.iter().all(|byte| (33..=126).contains(byte)) {
            return None;
        }
        let end = start + field_bytes(rest);
        self.at = end;
        let value = self.content[start + colon + 1..end].trim_ascii_end();
        Some(Field { name, value, start, end })
    }
}

fn without_blanks(name: &[u8]) -> &[u8] {
    let end = name.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |last| last + 1);
    &name[..end]
}

/// The length of the field that `rest` begins with: to the first line end that no white space follows.
fn field_bytes(rest: &[u8]) -> usize {
    let mut end = 0;
    while let Some(line) = CRLF.find(&rest[end..]) {
        end += line + 2;
        if !matches!(rest.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
    rest.len()
}

/// What a header tells. Counts saturate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Where the body begins: after the empty line, or where the header stops being one.
    pub body_start: usize,
    /// The header ends with an empty line (or with the content); else a line that is no field follows it directly.
    pub separated: bool,
    /// `Received:` fields: how many hops the message has seen (RFC 5321 §6.3).
    pub hops: u32,
    /// There is a `Date:`.
    pub date: bool,
    /// The first `Message-ID:`'s value, trimmed, if it is one word of printable ASCII of at most 998 bytes.
    pub message_id: Option<Box<str>>,
    /// There is a `Message-ID:` field, whatever it holds.
    pub has_message_id: bool,
    /// `From:` fields (RFC 5322 §3.6 wants exactly one).
    pub from_fields: u32,
    /// `Sender:` fields (RFC 5322 §3.6 wants at most one).
    pub sender_fields: u32,
    /// There is a `Bcc:` or `Resent-Bcc:`.
    pub has_blind: bool,
    /// There is a field that says from where the message is to go out, or whose it is ([`ROUTING`]).
    pub has_routing: bool,
    /// There is a `TLS-Required: No` (RFC 8689 §4.1).
    pub waives_tls: bool,
    /// The header is larger than [`HEADER_BYTES_MAX`]; the rest was not looked at.
    pub too_large: bool,
}

/// Scans a content's header.
pub fn scan(content: &[u8]) -> Facts {
    let mut facts = Facts::default();
    let mut end = 0;
    for field in fields(content) {
        end = field.end;
        if end > HEADER_BYTES_MAX {
            facts.too_large = true;
            break;
        }
        facts.note(&field);
    }
    facts.separated = end == content.len() || content[end..].starts_with(b"\r\n");
    facts.body_start = if content[end..].starts_with(b"\r\n") { end + 2 } else { end };
    facts
}

impl Facts {
    fn note(&mut self, field: &Field<'_>) {
        if field.is("Received") {
            self.hops = self.hops.saturating_add(1);
        } else if field.is("Date") {
            self.date = true;
        } else if field.is("From") {
            self.from_fields = self.from_fields.saturating_add(1);
        } else if field.is("Sender") {
            self.sender_fields = self.sender_fields.saturating_add(1);
        } else if is_blind(field) {
            self.has_blind = true;
        } else if is_routing(field) {
            self.has_routing = true;
        } else if field.is("Message-ID") && !self.has_message_id {
            self.has_message_id = true;
            self.message_id = one_word(field.value);
        } else if field.is("TLS-Required") {
            self.waives_tls |= field.value.trim_ascii().eq_ignore_ascii_case(b"No");
        }
    }
}

fn one_word(value: &[u8]) -> Option<Box<str>> {
    let word = value.trim_ascii();
    let printable = !word.is_empty() && word.len() <= 998 && word.iter().all(u8::is_ascii_graphic);
    printable.then(|| String::from_utf8_lossy(word).into())
}

/// Takes `Bcc:` and `Resent-Bcc:` fields out of a content's header, folded lines included, and nothing else: whom a
/// copy went to in secret is in the envelope, and nobody else's business (RFC 5322 §3.6.3).
pub fn remove_blind(content: &mut Vec<u8>) {
    remove(content, is_blind);
}

/// Takes the [`ROUTING`] fields out, likewise: they are between the sender and us.
pub fn remove_routing(content: &mut Vec<u8>) {
    remove(content, is_routing);
}

fn remove(content: &mut Vec<u8>, is_removed: fn(&Field<'_>) -> bool) {
    let removed: Vec<_> = fields(content).filter(is_removed).map(|field| field.start..field.end).collect();
    let mut kept = 0;
    let mut from = 0;
    for range in removed {
        content.copy_within(from..range.start, kept);
        kept += range.start - from;
        from = range.end;
    }
    content.copy_within(from.., kept);
    content.truncate(kept + content.len() - from);
}

fn is_blind(field: &Field<'_>) -> bool {
    field.is("Bcc") || field.is("Resent-Bcc")
}

/// The fields by which a sender says from where a message is to go out, whose it is, and of which campaign. They are never
/// passed on.
pub const ROUTING: [&str; 3] = ["X-Virtual-MTA", "X-Tenant", "X-Campaign"];

fn is_routing(field: &Field<'_>) -> bool {
    field.name.len() >= 8 && ROUTING.iter().any(|name| field.is(name))
}

/// The trimmed values of the [`ROUTING`] fields, in their order; the first where one stands there twice.
pub fn routing(content: &[u8]) -> [Option<&[u8]>; 3] {
    ROUTING.map(|name| fields(content).find(|field| field.is(name)).map(|field| field.value.trim_ascii()))
}

/// The mailboxes of every `From:` field, as `local@domain` (display names and comments dropped), or `None` where one
/// cannot be read.
pub fn from_mailboxes(content: &[u8]) -> Option<Vec<String>> {
    mailboxes(content, "From")
}

/// As [`from_mailboxes`], of every `Sender:` field.
pub fn sender_mailboxes(content: &[u8]) -> Option<Vec<String>> {
    mailboxes(content, "Sender")
}

fn mailboxes(content: &[u8], name: &'static str) -> Option<Vec<String>> {
    let mut mailboxes = Vec::new();
    for field in fields(content).filter(|field| field.is(name)) {
        let whole = &content[field.start..field.end];
        let parsed = mail_parser::MessageParser::new().header_address(name).parse_headers(whole)?;
        for address in parsed.headers().first()?.value().as_address()?.iter() {
            mailboxes.push(address.address.as_deref()?.to_owned());
        }
    }
    Some(mailboxes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routing_fields_are_read_and_taken_out() {
        let header = "From: a@b\r\nx-tenant: acme\r\nX-VIRTUAL-MTA:\r\n\tbulk\r\nX-Tenant-Id: 7\r\nX-Tenant: two\r\n\r\nbody\r\n";
        let mut content = header.as_bytes().to_vec();
        assert!(scan(&content).has_routing);
        assert_eq!(routing(&content), [Some(&b"bulk"[..]), Some(&b"acme"[..]), None]);
        remove_routing(&mut content);
        assert_eq!(content, b"From: a@b\r\nX-Tenant-Id: 7\r\n\r\nbody\r\n");
        assert!(!scan(&content).has_routing);
    }

    #[test]
    fn a_sender_can_waive_what_its_recipients_ask_of_tls() {
        for (header, waives) in [
            ("TLS-Required: No\r\n\r\n", true),
            ("tls-required:no \r\n\r\n", true),
            ("TLS-Required: Yes\r\n\r\n", false),
            ("X-TLS-Required: No\r\n\r\n", false),
            ("A: b\r\n\r\nTLS-Required: No\r\n", false),
        ] {
            assert_eq!(scan(header.as_bytes()).waives_tls, waives, "{header}");
        }
    }

    #[test]
    fn a_header_is_split_into_its_fields() {
        let content = b"Received: one\r\n\ttwo\r\nSubject : hello\r\nDATE:\r\n\r\nbody: no\r\n";
        let found: Vec<_> = fields(content).map(|f| (f.name.to_vec(), f.value.to_vec())).collect();
        assert_eq!(
            found,
            vec![
                (b"Received".to_vec(), b" one\r\n\ttwo".to_vec()),
                (b"Subject".to_vec(), b" hello".to_vec()),
                (b"DATE".to_vec(), b"".to_vec()),
            ]
        );
        let facts = scan(content);
        assert_eq!(&content[facts.body_start..], b"body: no\r\n");
        assert!(facts.separated && facts.date && facts.hops == 1 && !facts.has_message_id);
    }

    #[test]
    fn what_is_no_header_is_body() {
        for content in [&b"just text\r\n"[..], b"\r\nbody\r\n", b"", b": empty name\r\n", b"two words: x\r\n"] {
            let facts = scan(content);
            assert_eq!(facts.hops, 0, "{content:?}");
            assert!(facts.body_start <= 2, "{content:?}");
        }
        assert!(!scan(b"just text\r\n").separated);
        assert!(scan(b"\r\nbody\r\n").separated);
        let broken = b"Subject: x\r\nnot a field\r\n\r\nbody";
        assert_eq!((scan(broken).body_start, scan(broken).separated), (12, false));
    }

    #[test]
    fn a_line_end_before_the_colon_ends_the_header() {
        for content in [&b"Subject\r\n:x\r\n\r\n"[..], b"a\n:", b"a\r:\r\n", b"Subject \r\n : x"] {
            assert_eq!((fields(content).count(), scan(content).body_start), (0, 0), "{}", content.escape_ascii());
        }
        assert_eq!(fields(b"Subject \t: x\r\n").count(), 1);
    }

    #[test]
    fn message_ids_are_kept_only_as_one_printable_word() {
        assert_eq!(scan(b"Message-Id:\r\n <a@b>\r\n\r\n").message_id.as_deref(), Some("<a@b>"));
        let odd = scan(b"Message-ID: <a b>\r\n\r\n");
        assert_eq!((odd.message_id, odd.has_message_id), (None, true));
    }

    #[test]
    fn an_endless_header_is_not_read_on() {
        let mut content = Vec::new();
        while content.len() <= HEADER_BYTES_MAX {
            content.extend_from_slice(b"Received: from somewhere by something with something\r\n");
        }
        content.extend_from_slice(b"Date: now\r\n\r\n");
        assert!(scan(&content).too_large);
    }

    #[test]
    fn blind_copies_vanish_and_every_other_byte_stays() {
        let content = "bcc: a@x\r\nSubject:  x \r\nBCC :\r\n b@x,\r\n\tc@x\r\nX-Bcc: kept\r\nResent-Bcc: d@x\r\n\
                       Cc: e@x\r\n\r\nBcc: this is body\r\n";
        assert!(scan(content.as_bytes()).has_blind);
        let mut left = content.as_bytes().to_vec();
        remove_blind(&mut left);
        let expected = "Subject:  x \r\nX-Bcc: kept\r\nCc: e@x\r\n\r\nBcc: this is body\r\n";
        assert_eq!(String::from_utf8_lossy(&left), expected);
        assert!(!scan(&left).has_blind);
        let mut only = b"Bcc: a@x\r\n\r\nbody\r\n".to_vec();
        remove_blind(&mut only);
        assert_eq!(only, b"\r\nbody\r\n");
        let before = b"no header\r\nBcc: a@x\r\n".to_vec();
        let mut after = before.clone();
        remove_blind(&mut after);
        assert_eq!(after, before);
    }

    #[test]
    fn from_gives_bare_mailboxes() {
        let one = b"From: \"A, B\" <a@example.org>\r\n\r\n";
        assert_eq!(from_mailboxes(one), Some(vec!["a@example.org".to_owned()]));
        let two = b"From: a@example.org,\r\n b@example.org\r\nFrom: c@example.org\r\n\r\n";
        assert_eq!(from_mailboxes(two).map(|all| all.len()), Some(3));
        assert_eq!(from_mailboxes(b"Subject: x\r\n\r\n"), Some(vec![]));
        assert_eq!(sender_mailboxes(b"Sender: S <s@x.test>\r\n\r\n"), Some(vec!["s@x.test".to_owned()]));
        assert_eq!(
            from_mailboxes(b"From: nobody\r\n\r\n").unwrap_or_default().iter().filter(|m| m.contains('@')).count(),
            0
        );
    }
}
