//! Mailboxes and paths (RFC 5321 §4.1.2, RFC 6531 §3.3).
//!
//! Owns: what an address may look like, and how a path is cut out of MAIL's and RCPT's argument.
//! Never: whether the address exists, or may be used (policy's matter).
//! Limits (RFC 5321 §4.5.3.1): local part 64 octets, domain 255, label 63, path 256 with its brackets.
//!
//! Lenient where senders in the field need it and nothing is lost: spaces before the path and inside its brackets,
//! missing brackets, source routes (dropped, RFC 5321 appendix C), underscores in domains.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Octets of a local part (RFC 5321 §4.5.3.1.1).
pub const LOCAL_BYTES_MAX: usize = 64;
/// Octets of a domain (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_BYTES_MAX: usize = 255;
/// Octets of a mailbox: a path's 256 (RFC 5321 §4.5.3.1.3) without `<` and `>`.
pub const MAILBOX_BYTES_MAX: usize = 254;
/// Octets of a label of a domain (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// `local-part "@" domain` as the peer wrote it, checked and bounded: local part ≤ 64 octets, domain ≤ 255, path ≤ 256.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mailbox {
    text: Box<str>,
    at: u16,
}

/// A mailbox that breaks the rules; the text says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPath(pub &'static str);

impl Mailbox {
    /// Parses a bare `local@domain`; `smtputf8` permits UTF-8 in both halves.
    ///
    /// # Errors
    /// [`BadPath`] names the rule that the text breaks.
    pub fn parse(text: &str, smtputf8: bool) -> Result<Mailbox, BadPath> {
        if text.is_empty() {
            return Err(BadPath("the address is empty"));
        }
        if !smtputf8 && !text.is_ascii() {
            return Err(BadPath("an address outside ASCII needs MAIL's parameter SMTPUTF8"));
        }
        let at = local_part_end(text)?;
        if at > LOCAL_BYTES_MAX {
            return Err(BadPath("the part before @ is longer than 64 octets"));
        }
        let domain = match text[at..].strip_prefix('@') {
            Some(domain) => domain,
            None => return Err(BadPath("the address has no @domain, or a character before @ needs quotes")),
        };
        check_domain(domain)?;
        if text.len() > MAILBOX_BYTES_MAX {
            return Err(BadPath("the path is longer than 256 octets"));
        }
        let at = u16::try_from(at).map_err(|_| BadPath("the part before @ is longer than 64 octets"))?;
        Ok(Mailbox { text: text.into(), at })
    }

    /// The local part as written (quoted strings with their quotes).
    pub fn local(&self) -> &str {
        &self.text[..self.at as usize]
    }

    /// The domain or address literal as written.
    pub fn domain(&self) -> &str {
        &self.text[self.at as usize + 1..]
    }

    /// The whole.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where delivery status notifications about a message go. `<>` for a notification itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`.
    Null,
    /// A mailbox.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Whether it holds nothing outside ASCII.
    pub fn is_ascii(&self) -> bool {
        match self {
            ReversePath::Null => true,
            ReversePath::Mailbox(mailbox) => mailbox.as_str().is_ascii(),
        }
    }
}

impl fmt::Display for ReversePath {
    /// Without the angle brackets; the null path is empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => Ok(()),
            ReversePath::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

/// Cuts the path off the front of what follows `FROM:` or `TO:`. Gives what the brackets hold (without spaces at its
/// ends and without a source route) and the parameters behind it.
///
/// # Errors
/// [`BadPath`] when nothing is there, the bracket never closes or something clings to it.
pub fn cut(argument: &str) -> Result<(&str, &str), BadPath> {
    let argument = argument.trim_start_matches(' ');
    let (path, rest) = match argument.strip_prefix('<') {
        Some(inside) => {
            let end = find_unquoted(inside, b'>').ok_or(BadPath("the path's > is missing"))?;
            (&inside[..end], &inside[end + 1..])
        }
        None if argument.is_empty() => return Err(BadPath("the address is missing")),
        None => argument.split_at(find_unquoted(argument, b' ').unwrap_or(argument.len())),
    };
    if !rest.is_empty() && !rest.starts_with(' ') {
        return Err(BadPath("a space is missing after the path"));
    }
    Ok((without_source_route(path.trim_matches(' '))?, rest.trim_matches(' ')))
}

/// `@one,@two:user@domain` → `user@domain`: routes are accepted and ignored (RFC 5321 §4.1.1.3).
fn without_source_route(path: &str) -> Result<&str, BadPath> {
    if !path.starts_with('@') {
        return Ok(path);
    }
    let colon = path.find(':').ok_or(BadPath("nothing stands before @"))?;
    for hop in path[..colon].split(',') {
        check_domain(hop.strip_prefix('@').ok_or(BadPath("the source route is malformed"))?)?;
    }
    Ok(&path[colon + 1..])
}

/// The first `wanted` outside a quoted string.
fn find_unquoted(text: &str, wanted: u8) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (i, &byte) in text.as_bytes().iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == wanted && !quoted => return Some(i),
            _ => {}
        }
    }
    None
}

/// Where the local part ends: a dot-string or a quoted string.
fn local_part_end(text: &str) -> Result<usize, BadPath> {
    if let Some(inside) = text.strip_prefix('"') {
        return quoted_string_end(inside).map(|end| end + 1);
    }
    let end = text.bytes().position(|byte| !is_atom(byte) && byte != b'.').unwrap_or(text.len());
    let local = &text[..end];
    if local.is_empty() {
        return Err(BadPath("nothing stands before @, or its first character needs quotes"));
    }
    if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err(BadPath("dots at an end of the part before @, or side by side, need quotes: \"a..b\"@domain"));
    }
    check_utf8(local)?;
    Ok(end)
}

/// Where the quoted string ends whose opening quote was taken: the index behind the closing one.
fn quoted_string_end(inside: &str) -> Result<usize, BadPath> {
    let bytes = inside.as_bytes();
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        match byte {
            b'"' => {
                check_utf8(&inside[..i])?;
                return Ok(i + 1);
            }
            b'\\' if bytes.get(i + 1).is_some_and(|next| (0x20..0x7f).contains(next)) => i += 2,
            b'\\' | 0..0x20 | 0x7f => return Err(BadPath("the quoted part before @ holds a forbidden character")),
            _ => i += 1,
        }
    }
    Err(BadPath("the quoted part before @ has no closing quote"))
}

/// RFC 5322 `atext`, and what RFC 6531 adds.
fn is_atom(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

/// RFC 6531 permits what RFC 6532 does, which leaves out control characters.
fn check_utf8(text: &str) -> Result<(), BadPath> {
    if !text.is_ascii() && text.chars().any(char::is_control) {
        return Err(BadPath("the address holds a control character"));
    }
    Ok(())
}

/// A domain name or an address literal.
fn check_domain(domain: &str) -> Result<(), BadPath> {
    if domain.len() > DOMAIN_BYTES_MAX {
        return Err(BadPath("the domain is longer than 255 octets"));
    }
    if let Some(literal) = domain.strip_prefix('[') {
        let inside = literal.strip_suffix(']').ok_or(BadPath("the address literal's ] is missing"))?;
        return check_literal(inside);
    }
    if domain.is_empty() {
        return Err(BadPath("the domain after @ is missing"));
    }
    check_utf8(domain)?;
    domain.split('.').try_for_each(check_label)
}

fn check_label(label: &str) -> Result<(), BadPath> {
    if label.is_empty() {
        return Err(BadPath("the domain has an empty label: a dot at its start or end, or two in a row"));
    }
    if label.len() > LABEL_BYTES_MAX {
        return Err(BadPath("the domain has a label longer than 63 octets"));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(BadPath("the domain has a label that begins or ends with a hyphen"));
    }
    if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' || byte >= 0x80) {
        return Err(BadPath("the domain holds a character that no domain has"));
    }
    Ok(())
}

/// `1.2.3.4` or `IPv6:…` (RFC 5321 §4.1.3); other kinds of literals do not exist in the field.
fn check_literal(inside: &str) -> Result<(), BadPath> {
    const TAG: &str = "IPv6:";
    let valid = match inside.get(..TAG.len()) {
        Some(tag) if tag.eq_ignore_ascii_case(TAG) => inside[TAG.len()..].parse::<Ipv6Addr>().is_ok(),
        _ => inside.parse::<Ipv4Addr>().is_ok(),
    };
    if valid { Ok(()) } else { Err(BadPath("the address literal is neither [1.2.3.4] nor [IPv6:…]")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_that_the_rfc_permits_keep_their_spelling() {
        for text in [
            "a@b",
            "user@example.org",
            "User.Name+tag@Example.ORG",
            "!#$%&'*+-/=?^_`{|}~@example.org",
            "\"quoted string\"@example.org",
            "\"a..b\"@example.org",
            "\"a\\\"@\\\\b\"@example.org",
            "\"\"@example.org",
            "u@[192.0.2.1]",
            "u@[IPv6:2001:db8::1]",
            "u@[ipv6:::1]",
            "u@under_score.example",
            "u@1.2.3.example",
            "u@xn--bcher-kva.example",
        ] {
            let mailbox = Mailbox::parse(text, false).unwrap_or_else(|bad| panic!("{text}: {bad}"));
            assert_eq!(mailbox.as_str(), text);
            assert_eq!(format!("{}@{}", mailbox.local(), mailbox.domain()), text);
        }
    }

    #[test]
    fn halves_are_cut_at_the_right_at_sign() {
        let mailbox = Mailbox::parse("\"a@b\"@example.org", false).expect("valid");
        assert_eq!((mailbox.local(), mailbox.domain()), ("\"a@b\"", "example.org"));
    }

    #[test]
    fn mailboxes_that_the_rfc_forbids_are_refused() {
        for text in [
            "",
            "a",
            "@",
            "@b",
            "a@",
            "a b@c",
            " a@b",
            "a@b ",
            "a@@b",
            "a@b@c",
            ".a@b",
            "a.@b",
            "a..b@c",
            "\"a@b",
            "\"a\"b@c",
            "\"a\\\"@b",
            "\"a\u{1}b\"@c",
            "\"a\u{7f}b\"@c",
            "\"a\\\u{1}\"@c",
            "a@.b",
            "a@b.",
            "a@b..c",
            "a@-b",
            "a@b-",
            "a@b!c",
            "a@[1.2.3]",
            "a@[1.2.3.256]",
            "a@[1.2.3.4",
            "a@[IPv6:1.2.3.4]",
            "a@[IPv6:xyz]",
            "a@[tag:x]",
            "a@[]",
            "a(c)@b",
            "a,b@c",
            "a<b@c",
            "a>b@c",
            "a\r\nb@c",
            "a\0@b",
            "a@b\n",
        ] {
            assert!(Mailbox::parse(text, true).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn utf8_needs_smtputf8() {
        let text = "用户@例え.jp";
        assert!(Mailbox::parse(text, false).is_err());
        let mailbox = Mailbox::parse(text, true).expect("valid with SMTPUTF8");
        assert_eq!((mailbox.local(), mailbox.domain()), ("用户", "例え.jp"));
        assert!(Mailbox::parse("\"ü ü\"@ü.example", true).is_ok());
        for text in ["a\u{85}b@c", "\"a\u{85}b\"@c", "a@b\u{9f}c"] {
            assert!(Mailbox::parse(text, true).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn lengths_are_bounded_exactly() {
        let local = "l".repeat(64);
        let label = "d".repeat(63);
        assert!(Mailbox::parse(&format!("{local}@b"), false).is_ok());
        assert!(Mailbox::parse(&format!("l{local}@b"), false).is_err());
        assert!(Mailbox::parse(&format!("\"{}\"@b", "q".repeat(62)), false).is_ok());
        assert!(Mailbox::parse(&format!("\"{}\"@b", "q".repeat(63)), false).is_err());
        assert!(Mailbox::parse(&format!("a@{label}.x"), false).is_ok());
        assert!(Mailbox::parse(&format!("a@{label}d.x"), false).is_err());
        let domain = [label.as_str(); 4].join(".");
        assert_eq!(domain.len(), DOMAIN_BYTES_MAX);
        assert!(Mailbox::parse(&format!("a@{domain}"), false).is_err(), "257 octets make no path of 256");
        let longest = format!("a@{}", &domain[..252].trim_end_matches('.'));
        assert_eq!(longest.len(), MAILBOX_BYTES_MAX);
        assert!(Mailbox::parse(&longest, false).is_ok());
        assert!(Mailbox::parse(&format!("b{longest}"), false).is_err());
    }

    #[test]
    fn paths_are_cut_as_clients_write_them() {
        for (argument, path, rest) in [
            ("<a@b>", "a@b", ""),
            (" <a@b>", "a@b", ""),
            ("<a@b> SIZE=1 BODY=7BIT ", "a@b", "SIZE=1 BODY=7BIT"),
            ("<a@b>  ", "a@b", ""),
            ("< a@b >", "a@b", ""),
            ("<>", "", ""),
            ("<> RET=FULL", "", "RET=FULL"),
            ("a@b", "a@b", ""),
            ("  a@b  SIZE=1", "a@b", "SIZE=1"),
            ("<\"a>b\"@c> X", "\"a>b\"@c", "X"),
            ("<\"a\\\">b\"@c>", "\"a\\\">b\"@c", ""),
            ("\"a b\"@c X", "\"a b\"@c", "X"),
            ("<@one.example,@two.example:a@b> X", "a@b", "X"),
            ("<Postmaster>", "Postmaster", ""),
        ] {
            assert_eq!(cut(argument), Ok((path, rest)), "{argument:?}");
        }
    }

    #[test]
    fn broken_paths_are_refused() {
        for argument in ["", "   ", "<a@b", "<a@b>SIZE=1", "<\"a@b>", "<@one>", "<@one,two:a@b>", "<@:a@b>", "<a@b>>"] {
            assert!(cut(argument).is_err(), "{argument:?} was cut");
        }
    }
}
