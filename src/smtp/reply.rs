//! Replies: the one table of what our server says, and the form of what any server says.
//!
//! Owns: every code and text of ours; [`Fixed`] for texts that never change, functions for those that name something.
//! Codes are made by [`codes`], which does not compile where basic and enhanced class disagree (RFC 2034 §4).
//! Never: which reply fits (the session's and policy's matter). What other servers say is parsed in `remote`.
//! RFC: 5321 §4.2, 3463, 5248, 4954 §6. Limits: a line is at most 512 octets (RFC 5321 §4.5.3.1.5).

use std::fmt;
use std::net::IpAddr;

/// Octets of a reply line, CRLF included (RFC 5321 §4.5.3.1.5).
const LINE_BYTES_MAX: usize = 512;

/// RFC 3463 `class.subject.detail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EnhancedCode(pub u8, pub u16, pub u16);

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A reply, ours or a peer's: code, enhanced code where there is one, text lines without both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200–599.
    pub code: u16,
    /// Of the same class as the code; a peer's contradictory one is dropped here (and stays in the text).
    pub enhanced: Option<EnhancedCode>,
    /// The text, lines joined with `\n`; valid UTF-8 (a peer's other bytes are replaced), ≤ 4 KiB.
    pub text: Box<str>,
}

impl Reply {
    /// 2xx.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4xx.
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Appends the reply as it goes over the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_lines(self.code, self.enhanced, &self.text, out);
    }
}

impl fmt::Display for Reply {
    /// On one line: `550 5.1.1 text`, lines joined by a space.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.code)?;
        if let Some(enhanced) = self.enhanced {
            write!(f, "{enhanced} ")?;
        }
        f.write_str(&self.text.replace('\n', " "))
    }
}

/// A basic and an enhanced code that agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codes {
    code: u16,
    enhanced: Option<EnhancedCode>,
}

/// The codes of a reply of ours. In a constant, a contradiction does not compile.
pub const fn codes(code: u16, class: u8, subject: u16, detail: u16) -> Codes {
    assert!(code >= 200 && code < 600, "no such basic code");
    assert!(code / 100 == class as u16, "basic and enhanced class disagree (RFC 2034 §4)");
    assert!(class == 2 || class == 4 || class == 5, "no such class (RFC 3463 §3.1)");
    assert!(subject <= 7 && detail <= 999, "no such enhanced code (RFC 3463 §2)");
    Codes { code, enhanced: Some(EnhancedCode(class, subject, detail)) }
}

impl Codes {
    /// With a text that never changes.
    pub const fn fixed(self, text: &'static str) -> Fixed {
        Fixed { codes: self, text }
    }

    /// With a text that names something.
    pub fn say(self, text: impl Into<Box<str>>) -> Reply {
        Reply { code: self.code, enhanced: self.enhanced, text: text.into() }
    }
}

/// A reply of ours whose text never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    codes: Codes,
    text: &'static str,
}

impl Fixed {
    /// Appends the reply as it goes over the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_lines(self.codes.code, self.codes.enhanced, self.text, out);
    }

    /// The same as an owned reply.
    pub fn reply(&self) -> Reply {
        self.codes.say(self.text)
    }
}

impl From<Fixed> for Reply {
    fn from(fixed: Fixed) -> Reply {
        fixed.reply()
    }
}

/// One line per line of `text`, each with both codes; too long ones are cut, control characters (a peer's words may be
/// quoted in a text) become `?`.
fn write_lines(code: u16, enhanced: Option<EnhancedCode>, text: &str, out: &mut Vec<u8>) {
    let mut lines = text.split('\n').peekable();
    while let Some(line) = lines.next() {
        let start = out.len();
        write_number(code, out);
        out.push(if lines.peek().is_some() { b'-' } else { b' ' });
        if let Some(EnhancedCode(class, subject, detail)) = enhanced {
            write_number(u16::from(class), out);
            out.push(b'.');
            write_number(subject, out);
            out.push(b'.');
            write_number(detail, out);
            out.push(b' ');
        }
        let room = LINE_BYTES_MAX - "\r\n".len() - (out.len() - start);
        let words = &line[..line.floor_char_boundary(room)];
        out.extend(words.bytes().map(|byte| if byte.is_ascii_control() { b'?' } else { byte }));
        out.extend_from_slice(b"\r\n");
    }
}

/// Decimal, without the detour over `fmt`: every command's reply passes here.
fn write_number(number: u16, out: &mut Vec<u8>) {
    if number >= 10 {
        write_number(number / 10, out);
    }
    out.push(b'0' + (number % 10) as u8);
}

/// `220 HOST ESMTP`: the greeting, which carries no enhanced code (RFC 2034 §3).
pub fn write_greeting(hostname: &str, out: &mut Vec<u8>) {
    write_lines(220, None, &format!("{hostname} ESMTP Ringpost"), out);
}

/// `250 HOST`: the reply to HELO, which carries no enhanced code.
pub fn write_hello(hostname: &str, out: &mut Vec<u8>) {
    write_lines(250, None, hostname, out);
}

/// `334 CHALLENGE` (RFC 4954 §4): no enhanced code.
pub fn write_challenge(challenge: &str, out: &mut Vec<u8>) {
    write_lines(334, None, challenge, out);
}

/// `354`, which invites the content: no enhanced code, as its class has none.
pub fn write_go_ahead(out: &mut Vec<u8>) {
    write_lines(354, None, "Go ahead, end with CRLF.CRLF", out);
}

// Success.

/// RSET, NOOP.
pub const OK: Fixed = codes(250, 2, 0, 0).fixed("OK");
/// MAIL.
pub const SENDER_OK: Fixed = codes(250, 2, 1, 0).fixed("Sender OK");
/// RCPT.
pub const RECIPIENT_OK: Fixed = codes(250, 2, 1, 5).fixed("Recipient OK");
/// A BDAT chunk that is not the last (RFC 3030 §2).
pub const CHUNK_OK: Fixed = codes(250, 2, 0, 0).fixed("Chunk received");
/// QUIT.
pub const BYE: Fixed = codes(221, 2, 0, 0).fixed("Bye");
/// STARTTLS (RFC 3207 §4).
pub const START_TLS: Fixed = codes(220, 2, 0, 0).fixed("Ready to start TLS");
/// AUTH succeeded.
pub const AUTHENTICATED: Fixed = codes(235, 2, 7, 0).fixed("Authentication succeeded");
/// VRFY: nothing is revealed (RFC 5321 §7.3).
pub const VERIFY: Fixed = codes(252, 2, 0, 0).fixed("Addresses are not verified; send the message and see");
/// HELP.
pub const HELP: Fixed = codes(214, 2, 0, 0).fixed(
    "Ringpost, an outbound mail server. Commands: EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\n\
     Say EHLO first; STARTTLS and AUTH where EHLO's reply offers them; then MAIL, RCPT and DATA",
);
/// The codes of an accepted message; the session completes them with the proof's text.
pub const ACCEPTED: Codes = codes(250, 2, 6, 0);

// The line is no command of ours.

/// Unknown verb.
pub const UNKNOWN_COMMAND: Fixed = codes(500, 5, 5, 2).fixed("Unknown command; HELP lists what is understood here");
/// Longer than a command may be.
pub const LINE_TOO_LONG: Fixed = codes(500, 5, 5, 2).fixed("The command line is too long");
/// Longer than AUTH's lines may be (RFC 4954 §4).
pub const AUTH_LINE_TOO_LONG: Fixed = codes(500, 5, 5, 6).fixed("The authentication line is too long");
/// A CR or LF of its own (RFC 5321 §2.3.8); the session ends.
pub const BARE_LINE_END: Fixed =
    codes(500, 5, 5, 2).fixed("A CR or LF stands alone; every line must end with CR LF, both of them");
/// Control characters, or bytes that are not UTF-8.
pub const BAD_CHARACTERS: Fixed = codes(500, 5, 5, 2).fixed("The command holds a control character or is not UTF-8");
/// Another protocol: HTTP, or TLS on a port that starts in plain text. The session ends.
pub const NOT_SMTP: Fixed = codes(500, 5, 5, 1)
    .fixed("This is an SMTP port: no HTTP, and TLS only after STARTTLS (or on the port for implicit TLS)");
/// RFC 5321 §4.2.4: known, not offered.
pub const NO_EXPN: Fixed = codes(502, 5, 5, 1).fixed("EXPN is not offered here");
/// EHLO or HELO without a usable name.
pub const BAD_CLIENT_NAME: Fixed =
    codes(501, 5, 5, 4).fixed("Give the name of your host, as in: EHLO mail.example.org");
/// A command that takes no argument has one.
pub const NO_ARGUMENT_EXPECTED: Fixed = codes(501, 5, 5, 4).fixed("This command takes no argument");
/// AUTH without a mechanism, or with too many words.
pub const BAD_AUTH_ARGUMENTS: Fixed =
    codes(501, 5, 5, 4).fixed("Syntax: AUTH PLAIN [response], or AUTH LOGIN [response]");
/// A mechanism that is not offered (RFC 4954 §4).
pub const UNKNOWN_MECHANISM: Fixed = codes(504, 5, 5, 4).fixed("Unknown mechanism; use AUTH PLAIN or AUTH LOGIN");
/// BDAT that cannot be understood; where its content ends is unknown, so the session ends.
pub const BAD_BDAT: Fixed = codes(501, 5, 5, 4).fixed("Syntax: BDAT octets [LAST]");
/// MAIL whose argument is no `FROM:`.
pub const BAD_MAIL: Fixed = codes(501, 5, 5, 4).fixed("Syntax: MAIL FROM:<address> [parameters]");
/// RCPT whose argument is no `TO:`.
pub const BAD_RCPT: Fixed = codes(501, 5, 5, 4).fixed("Syntax: RCPT TO:<address> [parameters]");
/// RFC 5321 §4.1.1.3: a forward-path is never null.
pub const NULL_RECIPIENT: Fixed = codes(501, 5, 1, 3).fixed("A recipient cannot be empty: RCPT TO:<address>");
/// RFC 6531 §3.5: an address needs SMTPUTF8 and MAIL did not say it.
pub const RECIPIENT_NEEDS_SMTPUTF8: Fixed =
    codes(553, 5, 6, 7).fixed("An address outside ASCII needs the parameter SMTPUTF8 in MAIL");
const BAD_SENDER: Codes = codes(501, 5, 1, 7);
const BAD_RECIPIENT: Codes = codes(501, 5, 1, 3);
const BAD_PARAMETER: Codes = codes(501, 5, 5, 4);
const UNKNOWN_PARAMETER: Codes = codes(555, 5, 5, 4);

/// MAIL's address breaks a rule.
pub fn bad_sender(why: &str) -> Reply {
    BAD_SENDER.say(format!("Bad sender address: {why}"))
}

/// RCPT's address breaks a rule.
pub fn bad_recipient(why: &str) -> Reply {
    BAD_RECIPIENT.say(format!("Bad recipient address: {why}"))
}

/// A parameter of MAIL or RCPT has a value that it cannot have, or comes twice.
pub fn bad_parameter(why: &str) -> Reply {
    BAD_PARAMETER.say(why)
}

/// RFC 5321 §4.1.1.11.
pub fn unknown_parameter(keyword: &str) -> Reply {
    UNKNOWN_PARAMETER.say(format!("Unknown parameter {keyword}; EHLO's reply lists what is offered"))
}

// The command comes at the wrong time.

/// Nothing but EHLO, NOOP, RSET, HELP, VRFY and QUIT before EHLO or HELO.
pub const EHLO_FIRST: Fixed = codes(503, 5, 5, 1).fixed("Say EHLO first");
/// RCPT, DATA, BDAT without MAIL.
pub const MAIL_FIRST: Fixed = codes(503, 5, 5, 1).fixed("Say MAIL first");
/// DATA, BDAT without an accepted RCPT (RFC 2920 §3.1).
pub const NO_RECIPIENTS: Fixed = codes(554, 5, 5, 1).fixed("No recipient was accepted; say RCPT first");
/// MAIL within a transaction.
pub const NESTED_MAIL: Fixed = codes(503, 5, 5, 1).fixed("A transaction is open; finish it, or say RSET");
/// Anything but BDAT between chunks (RFC 3030 §2).
pub const CHUNKS_OPEN: Fixed =
    codes(503, 5, 5, 1).fixed("The message is coming by BDAT; send BDAT ... LAST, or say RSET");
/// BDAT after one that failed (RFC 3030 §4.2).
pub const CHUNKS_FAILED: Fixed = codes(503, 5, 5, 1).fixed("An earlier BDAT of this message failed; say RSET");
/// STARTTLS inside TLS.
pub const TLS_RUNS: Fixed = codes(503, 5, 5, 1).fixed("TLS is running already");
/// STARTTLS where it is not offered.
pub const NO_STARTTLS: Fixed = codes(502, 5, 5, 1).fixed("STARTTLS is not offered here");
/// STARTTLS or AUTH within a transaction.
pub const NOT_IN_TRANSACTION: Fixed = codes(503, 5, 5, 1).fixed("Not within a transaction; say RSET first");
/// AUTH where it is not offered.
pub const NO_AUTH: Fixed = codes(502, 5, 5, 1).fixed("AUTH is not offered here; send without it");
/// A second AUTH (RFC 4954 §4).
pub const AUTHENTICATED_ALREADY: Fixed = codes(503, 5, 5, 1).fixed("You have authenticated already");

// Rights.

/// MAIL or AUTH before STARTTLS (RFC 3207 §4).
pub const TLS_REQUIRED: Fixed = codes(530, 5, 7, 0).fixed("Say STARTTLS first");
/// AUTH where the connection is plain and cannot be otherwise (RFC 4954 §6).
pub const ENCRYPTION_REQUIRED: Fixed =
    codes(538, 5, 7, 11).fixed("Passwords are taken over TLS only; use the port for implicit TLS");
/// MAIL with REQUIRETLS before STARTTLS (RFC 8689 §2, 6: it is offered inside TLS alone).
pub const REQUIRETLS_NEEDS_TLS: Fixed = codes(530, 5, 7, 10).fixed("REQUIRETLS is taken inside TLS only");
/// MAIL before AUTH (RFC 4954 §6).
pub const AUTH_REQUIRED: Fixed = codes(530, 5, 7, 0).fixed("Authenticate first (AUTH PLAIN or AUTH LOGIN)");
/// Wrong user or password, or an account that may not use SMTP: never which (RFC 4954 §6).
pub const BAD_CREDENTIALS: Fixed = codes(535, 5, 7, 8)
    .fixed("User name or password is wrong, or SMTP is off for this account; the user name is the full address");
/// AUTH's response cannot be decoded (RFC 4954 §4).
pub const BAD_AUTH_RESPONSE: Fixed = codes(501, 5, 5, 2).fixed("The response cannot be decoded; is it base64?");
/// The client said `*` (RFC 4954 §4).
pub const AUTH_CANCELLED: Fixed = codes(501, 5, 7, 0).fixed("Authentication cancelled");
/// After [`super::server::AUTH_FAILURES_MAX`]; the session ends.
pub const TOO_MANY_AUTH_FAILURES: Fixed = codes(421, 4, 7, 0).fixed("Too many failed authentications; try again later");
/// Credentials cannot be checked now (RFC 4954 §6).
pub const AUTH_UNAVAILABLE: Fixed =
    codes(454, 4, 7, 0).fixed("Authentication is not possible just now; try again later");
/// The TLS handshake cannot be offered now (RFC 3207 §4).
pub const TLS_UNAVAILABLE: Fixed = codes(454, 4, 7, 0).fixed("TLS is not available just now; try again later");
/// RCPT at the listener for bounces, for another domain.
pub const NOT_RELAYED: Fixed =
    codes(550, 5, 7, 1).fixed("This server takes here only what comes back about its own mail");
/// RCPT at the listener for bounces, for a return path that is not ours or too old.
pub const NO_SUCH_RETURN_PATH: Fixed =
    codes(550, 5, 1, 1).fixed("No such address here: it never was one, or what it was about is too long ago");
/// A relay listener met a client outside its networks; said instead of a greeting.
pub const CLIENT_NOT_PERMITTED: Fixed =
    codes(554, 5, 7, 1).fixed("Your address may not relay through this port; use submission with AUTH");

// Policy.

const SENDER_NOT_ALLOWED: Codes = codes(553, 5, 7, 1);
const SUPPRESSED: Codes = codes(550, 5, 7, 1);
const SCHEDULED_TOO_LATE: Codes = codes(550, 5, 6, 0);
const BAD_ROUTING: Codes = codes(550, 5, 6, 0);
const BREAKS_BULK_RULES: Codes = codes(550, 5, 7, 1);
const LOOP: Codes = codes(554, 5, 4, 6);
/// A header that no mail has.
pub const HEADER_TOO_LARGE: Fixed = codes(552, 5, 3, 4).fixed("The message's header is larger than 1 MiB");

/// MAIL's address does not belong to the account; `allowed` is what does (RFC 6409 §6.1).
pub fn sender_not_allowed(address: &str, allowed: &[Box<str>]) -> Reply {
    SENDER_NOT_ALLOWED.say(format!("Your account may not send as <{address}>; it may send as {}", list(allowed)))
}

/// The recipient is on a list of those to whom nothing is sent; `why` names the cause and since when.
pub fn suppressed(address: &str, why: &str) -> Reply {
    SUPPRESSED.say(format!("<{address}> is suppressed ({why}): nothing is sent there; your operator can lift that"))
}

/// The address of the field `name` (From or Sender) does not belong to the account.
pub fn author_not_allowed(name: &str, address: &str, allowed: &[Box<str>]) -> Reply {
    SENDER_NOT_ALLOWED
        .say(format!("The {name} field must be one of your account's senders: {}; it is <{address}>", list(allowed)))
}

/// Not exactly one mailbox (RFC 5322 §3.6.2 permits several in From; who is responsible must be clear here).
pub fn author_unclear(name: &str, mailboxes: usize, allowed: &[Box<str>]) -> Reply {
    SENDER_NOT_ALLOWED.say(format!(
        "The message needs exactly one {name} field with one address, one of: {}; it has {mailboxes}",
        list(allowed)
    ))
}

/// The Date of a message is further ahead than it can be scheduled; `latest` is the last that can be.
pub fn scheduled_too_late(date: &str, latest: &str) -> Reply {
    SCHEDULED_TOO_LATE.say(format!(
        "The message's Date, {date}, is more than 30 days ahead, and your account's mail waits for its Date; \
         set one until {latest}, or send it later"
    ))
}

/// A field that says from where a message is to go out, or whose it is, and cannot be understood.
pub fn bad_routing_field(field: &str, why: &str) -> Reply {
    BAD_ROUTING.say(format!("{field}: {why}"))
}

/// There is no such pool.
pub fn no_such_pool(field: &str, pool: &str) -> Reply {
    BAD_ROUTING.say(format!("{field}: no pool or source named `{pool}` is configured here"))
}

/// The message breaks rules of `receivers` for bulk mail; of each rule its name, what is wrong, and what to change.
pub fn breaks_bulk_rules(receivers: &str, broken: &[(&str, &str, &str)]) -> Reply {
    let mut text = format!("The message breaks rules of {receivers} for bulk mail:");
    for (rule, what, remedy) in broken {
        text.extend(["\n", rule, ": ", what, "; ", remedy]);
    }
    BREAKS_BULK_RULES.say(text)
}

/// RFC 5321 §6.3.
pub fn too_many_hops(hops: u32) -> Reply {
    LOOP.say(format!("The message has passed {hops} servers: it runs in a loop"))
}

/// As many as fit a reply.
fn list(allowed: &[Box<str>]) -> String {
    const SHOWN_MAX: usize = 8;
    let mut shown = allowed.iter().take(SHOWN_MAX).map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
    if allowed.len() > SHOWN_MAX {
        shown.push_str(" and others");
    }
    shown
}

// Screening.

const SCREENED_OUT: Codes = codes(554, 5, 7, 1);
const SCREENED_LATER: Codes = codes(451, 4, 7, 1);
/// No usable answer about malware.
pub const MALWARE_UNKNOWN: Fixed =
    codes(451, 4, 7, 1).fixed("The message could not be checked for malware just now; try again later");
/// No usable answer about spam.
pub const SPAM_UNKNOWN: Fixed =
    codes(451, 4, 7, 1).fixed("The message could not be checked for spam just now; try again later");
/// No usable answer about the client's address.
pub const LISTING_UNKNOWN: Fixed =
    codes(451, 4, 7, 1).fixed("Your address could not be looked up in block lists just now; try again later");

/// The message holds malware.
pub fn malware(signature: &str) -> Reply {
    SCREENED_OUT
        .say(format!("The message holds malware ({signature}); clean the machine that made it, and send without it"))
}

/// The message looks like spam; `words` are the filter's own, perhaps none.
pub fn spam(words: &str) -> Reply {
    SCREENED_OUT.say(format!("The message looks like spam{}; change its content", in_parentheses(words)))
}

/// The spam filter wants the message to come again.
pub fn screened_later(words: &str) -> Reply {
    SCREENED_LATER.say(format!("The spam filter asks to wait{}; try again later", in_parentheses(words)))
}

/// The client is in a block list.
pub fn listed(client: IpAddr, zone: &str) -> Reply {
    let client = client.to_canonical();
    SCREENED_OUT
        .say(format!("Your address {client} is listed at {zone}; have it removed there, or send from another one"))
}

fn in_parentheses(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(" ({words})") }
}

// Limits.

/// Too many bad commands; the session ends.
pub const TOO_MANY_ERRORS: Fixed = codes(421, 4, 7, 0).fixed("Too many errors; fix the client and come again");
/// MAILMAX (RFC 9422); the session ends.
pub const TOO_MANY_MESSAGES: Fixed = codes(421, 4, 7, 0).fixed("Enough messages on this connection; open another one");
const DAILY_LIMIT: Codes = codes(452, 4, 7, 1);
const ACCOUNT_CONNECTIONS: Codes = codes(421, 4, 7, 0);
/// RCPTMAX (RFC 9422, RFC 5321 §4.5.3.1.10).
pub const TOO_MANY_RECIPIENTS: Fixed =
    codes(452, 4, 5, 3).fixed("Too many recipients for one message; send it again to the others");
/// SIZE at MAIL, or what came (RFC 1870 §6).
pub const MESSAGE_TOO_LARGE: Fixed =
    codes(552, 5, 3, 4).fixed("The message is larger than permitted; see SIZE in EHLO's reply");
/// RCPT beyond an account's `daily_limit`.
pub fn daily_limit(recipients: u64) -> Reply {
    DAILY_LIMIT
        .say(format!("The account may send to {recipients} recipients a day, which are used up; go on after 00:00 UTC"))
}

/// Per client address, at connect.
pub const TOO_MANY_CONNECTIONS: Fixed =
    codes(421, 4, 7, 0).fixed("Too many connections from your address; reuse or close some");
/// AUTH beyond `connections_per_account_max`; the session ends.
pub fn account_connections(connections_max: usize) -> Reply {
    ACCOUNT_CONNECTIONS.say(format!(
        "The account has {connections_max} connections open, and may have no more; send more messages on each, or close some"
    ))
}
/// In all, at connect.
pub const BUSY: Fixed = codes(421, 4, 3, 2).fixed("Too many connections just now; try again later");

// The content.

/// A CR or LF of its own in the content: what SMTP smuggling is made of.
pub const CONTENT_BARE_LINE_END: Fixed =
    codes(550, 5, 6, 11).fixed("The message holds a CR or LF that stands alone; every line must end with CR LF");
/// A NUL in the content (RFC 5321 §4.5.2, RFC 5322 §4).
pub const CONTENT_NUL: Fixed = codes(554, 5, 6, 0).fixed("The message holds a NUL character; encode it as base64");

// Our own trouble.

/// No room on disk or in memory.
pub const NO_STORAGE: Fixed = codes(452, 4, 3, 1).fixed("No room for the message just now; try again later");
/// Anything of ours that failed.
pub const LOCAL_ERROR: Fixed = codes(451, 4, 3, 0).fixed("Something failed here; try again later");
/// The patience ended.
pub const TIMED_OUT: Fixed = codes(421, 4, 4, 2).fixed("You were silent for too long; good-bye");
/// What the account has used today is not yet known.
pub const STARTING: Fixed = codes(451, 4, 3, 2).fixed("The server is starting; try again in a few seconds");
/// More messages wait for their signature than may.
pub const SIGNING_BUSY: Fixed = codes(451, 4, 3, 2).fixed("Too many messages wait to be signed; try again shortly");
/// We are stopping.
pub const SHUTTING_DOWN: Fixed = codes(421, 4, 3, 2).fixed("The server is stopping; try again shortly");

#[cfg(test)]
mod tests;
