//! Commands: one line in, a typed command or the reply that teaches (RFC 5321 §4.1).
//!
//! Owns: the syntax of every verb and of its argument; the parameters of MAIL and RCPT live in [`parameter`].
//! Never: whether a command may come now (the session's matter), or is permitted (policy's).
//! RFC: 5321 §4.1, 3030 (BDAT), 3207 (STARTTLS), 4954 (AUTH), 1870, 3461, 6152, 6531 (parameters).
//! Limits: the line's length is the session's bound; see [`line_bytes_max`].

mod parameter;

use super::envelope::{Recipient, Sender};
use super::path::{self, Mailbox, ReversePath};
use super::reply::{self, Fixed, Reply};
use super::sasl::Mechanism;

/// Octets of a command line, CRLF included (RFC 5321 §4.5.3.1.4).
pub const LINE_BYTES_MAX: usize = 512;
/// Octets of a MAIL or RCPT line: 512, and what the extensions add: SIZE 26, BODY 17, SMTPUTF8 10 (RFC 1870, 6152,
/// 6531), RET 9 and ENVID 107, NOTIFY 28 and ORCPT 507 (RFC 3461), AUTH 500 (RFC 4954).
pub const PATH_LINE_BYTES_MAX: usize = 512 + 26 + 17 + 10 + 9 + 107 + 28 + 507 + 500;
/// Octets of AUTH and of its further lines (RFC 4954 §4).
pub const AUTH_LINE_BYTES_MAX: usize = 12_288;
/// Octets of a client's name in EHLO or HELO: a domain's limit.
const CLIENT_NAME_BYTES_MAX: usize = path::DOMAIN_BYTES_MAX;

/// What a peer wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// EHLO with the client's name.
    Ehlo(Box<str>),
    /// HELO with the client's name.
    Helo(Box<str>),
    /// MAIL.
    Mail(Sender),
    /// RCPT. Its path may hold UTF-8; whether it may here depends on MAIL.
    Rcpt(Recipient),
    /// DATA.
    Data,
    /// BDAT (RFC 3030).
    Bdat {
        /// Octets of content that follow the line.
        octets: u64,
        /// Whether the message ends with them.
        last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP; its argument means nothing.
    Noop,
    /// VRFY; its argument is not looked at.
    Vrfy,
    /// HELP; its argument is not looked at.
    Help,
    /// QUIT.
    Quit,
    /// STARTTLS.
    StartTls,
    /// AUTH with its initial response, where there is one.
    Auth(Mechanism, Option<Box<str>>),
}

/// Why a line is no command.
#[derive(Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Say this; the session goes on.
    Teach(Reply),
    /// Say this and close: what follows the line is content of unknown length, or another protocol altogether.
    End(Fixed),
}

impl From<Fixed> for Mistake {
    fn from(fixed: Fixed) -> Mistake {
        Mistake::Teach(fixed.reply())
    }
}

impl From<Reply> for Mistake {
    fn from(reply: Reply) -> Mistake {
        Mistake::Teach(reply)
    }
}

/// How long a line that begins with `start` may become, CRLF included. `start` may be shorter than the line's verb.
pub fn line_bytes_max(start: &[u8]) -> usize {
    match start.get(..4) {
        Some(verb) if verb.eq_ignore_ascii_case(b"MAIL") || verb.eq_ignore_ascii_case(b"RCPT") => PATH_LINE_BYTES_MAX,
        Some(verb) if verb.eq_ignore_ascii_case(b"AUTH") => AUTH_LINE_BYTES_MAX,
        _ => LINE_BYTES_MAX,
    }
}

/// Parses a line without its CRLF. `hostname` completes `RCPT TO:<Postmaster>` (RFC 5321 §4.1.1.3).
///
/// # Errors
/// [`Mistake`] holds the reply that teaches.
pub fn parse(line: &[u8], hostname: &str) -> Result<Command, Mistake> {
    if is_other_protocol(line) {
        return Err(Mistake::End(reply::NOT_SMTP));
    }
    let line = std::str::from_utf8(line).map_err(|_| reply::BAD_CHARACTERS)?;
    if line.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(reply::BAD_CHARACTERS.into());
    }
    let line = line.trim_end_matches(' ');
    let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
    let argument = argument.trim_start_matches(' ');
    match Verb::named(verb) {
        Some(verb) => verb.parse(argument, hostname),
        None => Err(reply::UNKNOWN_COMMAND.into()),
    }
}

#[derive(Clone, Copy)]
enum Verb {
    Ehlo,
    Helo,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Noop,
    Vrfy,
    Expn,
    Help,
    Quit,
    StartTls,
    Auth,
}

const VERBS: [(&str, Verb); 14] = [
    ("MAIL", Verb::Mail),
    ("RCPT", Verb::Rcpt),
    ("DATA", Verb::Data),
    ("BDAT", Verb::Bdat),
    ("QUIT", Verb::Quit),
    ("RSET", Verb::Rset),
    ("EHLO", Verb::Ehlo),
    ("HELO", Verb::Helo),
    ("STARTTLS", Verb::StartTls),
    ("AUTH", Verb::Auth),
    ("NOOP", Verb::Noop),
    ("VRFY", Verb::Vrfy),
    ("EXPN", Verb::Expn),
    ("HELP", Verb::Help),
];

impl Verb {
    fn named(name: &str) -> Option<Verb> {
        VERBS.iter().find(|(verb, _)| verb.eq_ignore_ascii_case(name)).map(|&(_, verb)| verb)
    }

    fn parse(self, argument: &str, hostname: &str) -> Result<Command, Mistake> {
        match self {
            Verb::Ehlo => Ok(Command::Ehlo(client_name(argument)?)),
            Verb::Helo => Ok(Command::Helo(client_name(argument)?)),
            Verb::Mail => mail(argument),
            Verb::Rcpt => rcpt(argument, hostname),
            Verb::Data => alone(argument, Command::Data),
            Verb::Bdat => bdat(argument).ok_or(Mistake::End(reply::BAD_BDAT)),
            Verb::Rset => alone(argument, Command::Rset),
            Verb::Noop => Ok(Command::Noop),
            Verb::Vrfy => Ok(Command::Vrfy),
            Verb::Expn => Err(reply::NO_EXPN.into()),
            Verb::Help => Ok(Command::Help),
            Verb::Quit => alone(argument, Command::Quit),
            Verb::StartTls => alone(argument, Command::StartTls),
            Verb::Auth => auth(argument),
        }
    }
}

/// HTTP's methods and fields come from a browser that was lured here, to say SMTP in its body; a TLS ClientHello from
/// a client that is set to implicit TLS on a plain port. Neither may go on.
fn is_other_protocol(line: &[u8]) -> bool {
    const METHODS: [&[u8]; 10] =
        [b"GET", b"POST", b"PUT", b"HEAD", b"CONNECT", b"OPTIONS", b"DELETE", b"PATCH", b"TRACE", b"PRI"];
    const FIELDS: [&[u8]; 2] = [b"Host:", b"User-Agent:"];
    let verb = line.split(|&byte| byte == b' ').next().unwrap_or(line);
    is_tls_record(line) || METHODS.iter().chain(&FIELDS).any(|word| word.eq_ignore_ascii_case(verb))
}

/// Whether these first bytes of a connection begin a TLS handshake record (RFC 8446 §5.1).
pub fn is_tls_record(start: &[u8]) -> bool {
    start.starts_with(&[0x16, 0x03])
}

fn alone(argument: &str, command: Command) -> Result<Command, Mistake> {
    if argument.is_empty() { Ok(command) } else { Err(reply::NO_ARGUMENT_EXPECTED.into()) }
}

/// The name is for trace fields only. Real clients say container ids, names with underscores, literals and UTF-8;
/// what would break the syntax of a Received field is refused. Words behind the name are ignored.
fn client_name(argument: &str) -> Result<Box<str>, Mistake> {
    let name = argument.split(' ').next().unwrap_or_default();
    let forbidden = |c: char| c.is_control() || "()<>,;\\\"@".contains(c);
    if name.is_empty() || name.len() > CLIENT_NAME_BYTES_MAX || name.contains(forbidden) {
        return Err(reply::BAD_CLIENT_NAME.into());
    }
    Ok(name.into())
}

fn mail(argument: &str) -> Result<Command, Mistake> {
    let argument = after_keyword(argument, "FROM:").ok_or(reply::BAD_MAIL)?;
    let (path, parameters) = path::cut(argument).map_err(|bad| reply::bad_sender(bad.0))?;
    let mut sender = parameter::of_mail(parameters)?;
    if !path.is_empty() {
        let mailbox = Mailbox::parse(path, sender.smtputf8).map_err(|bad| reply::bad_sender(bad.0))?;
        sender.path = ReversePath::Mailbox(mailbox);
    }
    Ok(Command::Mail(sender))
}

fn rcpt(argument: &str, hostname: &str) -> Result<Command, Mistake> {
    let argument = after_keyword(argument, "TO:").ok_or(reply::BAD_RCPT)?;
    let (path, parameters) = path::cut(argument).map_err(|bad| reply::bad_recipient(bad.0))?;
    if path.is_empty() {
        return Err(reply::NULL_RECIPIENT.into());
    }
    let mailbox = match path.eq_ignore_ascii_case("postmaster") {
        true => Mailbox::parse(&format!("{path}@{hostname}"), true),
        false => Mailbox::parse(path, true),
    };
    let path = mailbox.map_err(|bad| reply::bad_recipient(bad.0))?;
    let (notify, orcpt) = parameter::of_rcpt(parameters)?;
    Ok(Command::Rcpt(Recipient { path, notify, orcpt }))
}

fn after_keyword<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let start = argument.get(..keyword.len())?;
    start.eq_ignore_ascii_case(keyword).then(|| &argument[keyword.len()..])
}

fn bdat(argument: &str) -> Option<Command> {
    let mut words = argument.split_ascii_whitespace();
    let octets = words.next()?;
    if !octets.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let octets = octets.parse().ok()?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return None,
    };
    words.next().is_none().then_some(Command::Bdat { octets, last })
}

fn auth(argument: &str) -> Result<Command, Mistake> {
    let mut words = argument.split_ascii_whitespace();
    let name = words.next().ok_or(reply::BAD_AUTH_ARGUMENTS)?;
    let mechanism = Mechanism::named(name).ok_or(reply::UNKNOWN_MECHANISM)?;
    let initial = words.next().map(Box::from);
    if words.next().is_some() {
        return Err(reply::BAD_AUTH_ARGUMENTS.into());
    }
    Ok(Command::Auth(mechanism, initial))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "mta.example";

    fn command(line: &str) -> Command {
        parse(line.as_bytes(), HOST).unwrap_or_else(|mistake| panic!("{line:?}: {mistake:?}"))
    }

    /// The codes of the reply that teaches.
    fn taught(line: &[u8]) -> String {
        match parse(line, HOST) {
            Err(Mistake::Teach(reply)) => reply.to_string().splitn(3, ' ').take(2).collect::<Vec<_>>().join(" "),
            other => panic!("{:?}: {other:?}", String::from_utf8_lossy(line)),
        }
    }

    #[test]
    fn verbs_in_any_case_with_trailing_spaces() {
        for (line, expected) in [
            ("DATA", Command::Data),
            ("data  ", Command::Data),
            ("RSET", Command::Rset),
            ("Noop", Command::Noop),
            ("NOOP whatever it says", Command::Noop),
            ("VRFY someone", Command::Vrfy),
            ("HELP", Command::Help),
            ("HELP MAIL", Command::Help),
            ("quit ", Command::Quit),
            ("STARTTLS", Command::StartTls),
            ("BDAT 0", Command::Bdat { octets: 0, last: false }),
            ("bdat 86 last", Command::Bdat { octets: 86, last: true }),
            ("BDAT  7  LAST ", Command::Bdat { octets: 7, last: true }),
            ("AUTH plain", Command::Auth(Mechanism::Plain, None)),
            ("AUTH PLAIN =", Command::Auth(Mechanism::Plain, Some("=".into()))),
            ("auth LOGIN dXNlcg==", Command::Auth(Mechanism::Login, Some("dXNlcg==".into()))),
        ] {
            assert_eq!(command(line), expected, "{line:?}");
        }
    }

    #[test]
    fn client_names_as_clients_say_them() {
        for name in
            ["mail.example.org", "9f1c0d2ab34e", "my_host", "[127.0.1.1]", "[IPv6:fe80::1]", "поштар", "x.", "a/b"]
        {
            assert_eq!(command(&format!("EHLO {name}")), Command::Ehlo(name.into()));
            assert_eq!(command(&format!("helo  {name} ")), Command::Helo(name.into()));
        }
        assert_eq!(command("EHLO two words"), Command::Ehlo("two".into()));
        for line in ["EHLO", "EHLO ", "HELO", "EHLO a(b", "EHLO \"x\"", "EHLO a;b", "EHLO a<b>"] {
            assert_eq!(taught(line.as_bytes()), "501 5.5.4", "{line:?}");
        }
        assert_eq!(taught(format!("EHLO {}", "x".repeat(256)).as_bytes()), "501 5.5.4");
    }

    #[test]
    fn mail_and_rcpt_as_clients_say_them() {
        for line in ["MAIL FROM:<a@b>", "mail from: <a@b>", "MAIL FROM:a@b", "MAIL FROM:<a@b> ", "MAIL  From:< a@b >"] {
            let Command::Mail(sender) = command(line) else { panic!("{line:?}") };
            assert_eq!(sender.path.to_string(), "a@b");
        }
        let Command::Mail(sender) = command("MAIL FROM:<>") else { panic!("not MAIL") };
        assert_eq!(sender.path, ReversePath::Null);
        for (line, path) in [
            ("RCPT TO:<a@b>", "a@b"),
            ("rcpt to: a@b", "a@b"),
            ("RCPT TO:<@x,@y:a@b>", "a@b"),
            ("RCPT TO:<Postmaster>", "Postmaster@mta.example"),
            ("RCPT TO:postmaster", "postmaster@mta.example"),
            ("RCPT TO:<ü@b>", "ü@b"),
        ] {
            let Command::Rcpt(recipient) = command(line) else { panic!("{line:?}") };
            assert_eq!(recipient.path.as_str(), path);
        }
    }

    #[test]
    fn mistakes_are_taught() {
        for (line, codes) in [
            ("", "500 5.5.2"),
            (" MAIL FROM:<a@b>", "500 5.5.2"),
            ("XYZZY", "500 5.5.2"),
            ("MAILFROM:<a@b>", "500 5.5.2"),
            ("NOOP\0", "500 5.5.2"),
            ("MAIL\tFROM:<a@b>", "500 5.5.2"),
            ("EXPN list", "502 5.5.1"),
            ("DATA now", "501 5.5.4"),
            ("QUIT now", "501 5.5.4"),
            ("RSET x", "501 5.5.4"),
            ("STARTTLS x", "501 5.5.4"),
            ("MAIL", "501 5.5.4"),
            ("MAIL <a@b>", "501 5.5.4"),
            ("MAIL TO:<a@b>", "501 5.5.4"),
            ("MAIL FROM:", "501 5.1.7"),
            ("MAIL FROM:<a>", "501 5.1.7"),
            ("MAIL FROM:<postmaster>", "501 5.1.7"),
            ("MAIL FROM:<ü@b>", "501 5.1.7"),
            ("MAIL FROM:<a@b> X=1", "555 5.5.4"),
            ("RCPT TO:<>", "501 5.1.3"),
            ("RCPT TO:<a b@c>", "501 5.1.3"),
            ("RCPT FROM:<a@b>", "501 5.5.4"),
            ("RCPT TO:<a@b> SIZE=1", "555 5.5.4"),
            ("AUTH", "501 5.5.4"),
            ("AUTH CRAM-MD5", "504 5.5.4"),
            ("AUTH PLAIN a b", "501 5.5.4"),
        ] {
            assert_eq!(taught(line.as_bytes()), codes, "{line:?}");
        }
        assert_eq!(taught(b"NOOP \xff\xfe"), "500 5.5.2");
    }

    #[test]
    fn what_cannot_go_on_ends_the_session() {
        for line in
            ["BDAT", "BDAT x", "BDAT -1", "BDAT +1", "BDAT 1 FIRST", "BDAT 1 LAST x", "BDAT 99999999999999999999"]
        {
            assert_eq!(parse(line.as_bytes(), HOST), Err(Mistake::End(reply::BAD_BDAT)), "{line:?}");
        }
        for line in [
            "GET / HTTP/1.1",
            "POST /x HTTP/1.1",
            "post",
            "CONNECT a:25 HTTP/1.1",
            "PRI * HTTP/2.0",
            "Host: mta",
            "\u{16}\u{3}\u{1}",
        ] {
            assert_eq!(parse(line.as_bytes(), HOST), Err(Mistake::End(reply::NOT_SMTP)), "{line:?}");
        }
    }

    #[test]
    fn lines_have_their_verbs_bound() {
        assert_eq!(line_bytes_max(b""), LINE_BYTES_MAX);
        assert_eq!(line_bytes_max(b"mai"), LINE_BYTES_MAX);
        assert_eq!(line_bytes_max(b"Mail FROM"), PATH_LINE_BYTES_MAX);
        assert_eq!(line_bytes_max(b"RCPT"), PATH_LINE_BYTES_MAX);
        assert_eq!(line_bytes_max(b"auth plain"), AUTH_LINE_BYTES_MAX);
    }
}
