//! What an SMTP client says: whole sessions, and the parsers in them.

use std::sync::Arc;

use ringpost::smtp::envelope::Envelope;
use ringpost::smtp::path::{self, Mailbox};
use ringpost::smtp::reply::{self, codes};
use ringpost::smtp::sasl::{self, Exchange, Mechanism, Progress};
use ringpost::smtp::server::{Acceptance, Answer, OUTPUT_BYTES_MAX, Question, Session, Settings, Step};

use super::{is_strict, pieces};

/// Commands and their parameters.
pub const WORDS: &[&str] = &[
    "EHLO c\r\n",
    "HELO c\r\n",
    "MAIL FROM:<a@x>",
    "RCPT TO:<b@y>\r\n",
    "DATA\r\n",
    "BDAT 3 LAST\r\n",
    "BDAT ",
    " LAST",
    "RSET\r\n",
    "NOOP\r\n",
    "QUIT\r\n",
    "STARTTLS\r\n",
    "AUTH PLAIN AHUAcA==\r\n",
    "AUTH LOGIN\r\n",
    "VRFY x\r\n",
    "HELP\r\n",
    "EXPN\r\n",
    "\r\n.\r\n",
    "\r\n..",
    "\n.\n",
    " SIZE=",
    " BODY=8BITMIME",
    " SMTPUTF8",
    " RET=HDRS",
    " ENVID=",
    " NOTIFY=SUCCESS,FAILURE",
    " NOTIFY=NEVER",
    " ORCPT=rfc822;",
    "+2B",
    "<>",
    "Subject: x\r\n\r\n",
    "unknown@y",
    "full@x",
    "\u{fc}",
    "xn--",
    "[IPv6:::1]",
    "GET / HTTP/1.1\r\n",
];
/// Parts of addresses.
pub const ADDRESS_WORDS: &[&str] = &[
    "@",
    "<",
    ">",
    "\"",
    "\\\"",
    "[127.0.0.1]",
    "[IPv6:::1]",
    "@a,@b:",
    ".",
    "..",
    "xn--",
    "\u{fc}",
    " ",
    "-",
    "_",
    "postmaster",
];

const CONTENT_BYTES_MAX: u64 = 2_000;
const RECIPIENTS_MAX: usize = 5;

/// Everything that came of a session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    replies: String,
    messages: Vec<(Envelope, Vec<u8>)>,
    handshakes: usize,
}

struct Numbered(usize);

impl Acceptance for Numbered {
    fn text(&self) -> String {
        format!("<id@x> queued as {}", self.0)
    }
}

/// The first byte says what the listener offers; the rest is the client's. A session comes to the same end however its
/// bytes are cut, says whole replies only, and accepts nothing that another server could read as more than one message.
pub fn commands(data: &[u8]) {
    let Some((shape, input)) = data.split_first() else { return };
    let whole = play(*shape, &[input]);
    let cut = play(*shape, &pieces(input, u64::from(*shape), 40));
    // Far too large content ends the session, where the end did not come in the same read.
    if input.len() as u64 > 4 * CONTENT_BYTES_MAX {
        return;
    }
    // What comes behind STARTTLS, or behind a DATA that is refused, means something else when it comes too early.
    let data_lines = input.split(|byte| *byte == b'\n').filter(|line| line.trim_ascii().eq_ignore_ascii_case(b"DATA"));
    let go_aheads = whole.replies.lines().filter(|line| line.starts_with("354 ")).count();
    if whole.handshakes + cut.handshakes == 0 && data_lines.count() == go_aheads {
        assert_eq!(whole, cut, "in pieces the same bytes came to something else");
    }
}

fn settings(shape: u8) -> Settings {
    let submission = shape & 1 != 0;
    Settings {
        hostname: "mta.example".into(),
        starttls: submission,
        tls_required: submission,
        auth_required: submission,
        message_bytes_max: CONTENT_BYTES_MAX,
        recipients_max: RECIPIENTS_MAX,
        messages_max: u32::from(shape >> 4 & 3),
        errors_max: 20,
    }
}

fn play(shape: u8, reads: &[&[u8]]) -> Seen {
    let mut session = Session::new(Arc::new(settings(shape)), shape & 2 != 0);
    let mut seen = Seen::default();
    // An empty read is the end of the connection.
    for read in reads.iter().chain(&[&b""[..]]) {
        if !go_on(&mut session, &mut seen) {
            break;
        }
        session.receive(read);
        assert!(session.content_bytes() <= 64 << 10, "content is held without bound");
    }
    assert!(!go_on(&mut session, &mut seen), "the session goes on without its client");
    check(&seen);
    seen
}

/// Runs to the next read; whether there is one.
fn go_on(session: &mut Session, seen: &mut Seen) -> bool {
    loop {
        match session.next() {
            Step::Send => {
                assert!(session.output().len() < OUTPUT_BYTES_MAX + 1024, "replies are held without bound");
                let said = std::mem::take(session.output());
                seen.replies.push_str(std::str::from_utf8(&said).expect("replies are UTF-8"));
            }
            Step::Read(_) => return true,
            Step::Ask(Question::Message(envelope, content)) => {
                seen.messages.push((envelope, content));
                session.accepted(&Numbered(seen.messages.len()));
            }
            Step::Ask(question) => session.answer(judge(&question)),
            Step::StartTls => {
                seen.handshakes += 1;
                session.tls_started();
            }
            Step::Close => return false,
        }
    }
}

/// A policy that is written into the addresses.
fn judge(question: &Question) -> Answer {
    let refused = match question {
        Question::Authenticate { password, .. } => (&**password != "p").then(|| reply::BAD_CREDENTIALS.reply()),
        Question::Sender(sender) => sender.path.to_string().starts_with("full@").then(|| reply::NO_STORAGE.reply()),
        Question::Recipient(recipient) => match recipient.path.local() {
            "unknown" => Some(codes(550, 5, 1, 1).say("No such user")),
            "banned" => Some(codes(421, 4, 7, 0).say("Go away")),
            _ => None,
        },
        Question::Content | Question::Message(..) => None,
    };
    refused.map_or(Answer::Accept, Answer::Refuse)
}

fn check(seen: &Seen) {
    let replies = &seen.replies;
    assert!(replies.ends_with("\r\n") && replies.starts_with("220 "), "half a reply");
    for line in replies.split_terminator("\r\n") {
        let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
        assert!(code.is_some_and(|code| (200..600).contains(&code)), "no reply: {line:?}");
        assert!(line.len() <= 510 && !line.contains(['\r', '\n']), "no line: {line:?}");
    }
    for (envelope, content) in &seen.messages {
        assert!(is_strict(content) && (content.is_empty() || content.ends_with(b"\r\n")), "{}", content.escape_ascii());
        assert!(content.len() as u64 <= CONTENT_BYTES_MAX + 2, "a message is larger than SIZE");
        assert!((1..=RECIPIENTS_MAX).contains(&envelope.recipients.len()), "{} recipients", envelope.recipients.len());
    }
}

/// A path that is cut out of a command, and a mailbox that is taken, are taken again as they are written.
pub fn address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok((path, parameters)) = path::cut(text) else { return };
    assert!(path.len() + parameters.len() <= text.len(), "more came out than went in");
    let Ok(mailbox) = Mailbox::parse(path, true) else { return };
    assert!(mailbox.as_str() == path && path.len() <= path::MAILBOX_BYTES_MAX);
    assert_eq!(format!("{}@{}", mailbox.local(), mailbox.domain()), path);
    assert!(!path.chars().any(|c| c.is_ascii_control()), "{path:?} could end a line");
    assert_eq!(Mailbox::parse(path, false).is_ok(), path.is_ascii(), "{path:?}");
    assert_eq!(path::cut(&format!("<{path}>")), Ok((path, "")));
}

/// Lines of AUTH. What a client encodes is what the server decodes.
pub fn sasl(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let initial = lines.next().and_then(|line| std::str::from_utf8(line).ok()).filter(|line| !line.is_empty());
    for mechanism in [Mechanism::Plain, Mechanism::Login] {
        let mut progress = Exchange::start(mechanism, initial);
        for line in lines.clone() {
            progress = match progress {
                Progress::Challenge(_, exchange) => exchange.respond(line),
                other => other,
            };
        }
        let Progress::Credentials { user, password } = progress else { continue };
        assert!(user.len() + password.len() <= data.len(), "more came out than went in");
        let again = match mechanism {
            Mechanism::Plain => Exchange::start(mechanism, Some(&sasl::plain_response(&user, &password))),
            Mechanism::Login => login_again(&user, &password),
        };
        let Progress::Credentials { user: same_user, password: same_password } = again else {
            panic!("not taken again")
        };
        assert_eq!((user, password), (same_user, same_password));
    }
}

fn login_again(user: &str, password: &str) -> Progress {
    let Progress::Challenge(_, exchange) = Exchange::start(Mechanism::Login, None) else { panic!("no challenge") };
    let Progress::Challenge(_, exchange) = exchange.respond(sasl::login_response(user).as_bytes()) else {
        panic!("no challenge")
    };
    exchange.respond(sasl::login_response(password).as_bytes())
}
