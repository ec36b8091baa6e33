//! The demo's own destination: an SMTP server that takes what it is given and says what it was.
//!
//! It drives the same [`smtp::server`](crate::smtp::server) session as everything else here, on a thread of its own.
//! `nobody@…` is refused and `later@…` deferred, so that notices and retries can be seen.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::smtp::envelope::{Envelope, Recipient};
use crate::smtp::reply;
use crate::smtp::server::{Acceptance, Answer, Question, Session, Settings, Step};

/// Connections at a time.
const CONNECTIONS_MAX: usize = 100;
/// Octets of a message.
const MESSAGE_BYTES_MAX: u64 = 50 << 20;
/// The log's lines come some milliseconds late. With this wait they are read in the order of a message's way.
const FOR_THE_READER: Duration = Duration::from_millis(60);
/// Octets of a subject that are shown.
const SUBJECT_BYTES_MAX: usize = 70;

/// Starts the destination on a free port of the loopback and gives its address.
pub(super) fn start() -> std::io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("destination".into()).spawn(move || {
        runtime.block_on(async {
            match TcpListener::from_std(listener) {
                Ok(listener) => accept(listener).await,
                Err(error) => println!("  the built-in destination: {error}"),
            }
        });
    })?;
    Ok(address)
}

async fn accept(listener: TcpListener) {
    /// After an error that belongs to one connection, or while descriptors are short.
    const PAUSE: Duration = Duration::from_millis(100);
    let settings = Arc::new(Settings {
        hostname: "destination.demo.test".into(),
        starttls: false,
        tls_required: false,
        auth_required: false,
        message_bytes_max: MESSAGE_BYTES_MAX,
        recipients_max: 1_000,
        messages_max: 0,
        errors_max: 20,
    });
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let session = Session::new(settings.clone(), false);
                tokio::spawn(async move {
                    // A connection that breaks off is the peer's business: it sends again.
                    let _ = converse(stream, session).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn converse(mut stream: TcpStream, mut session: Session) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        match session.next() {
            Step::Send => {
                stream.write_all(session.output()).await?;
                session.output().clear();
            }
            Step::Read(patience) => match tokio::time::timeout(patience, stream.read(&mut buffer)).await {
                Ok(received) => session.receive(&buffer[..received?]),
                Err(_) => session.expire(),
            },
            Step::Ask(Question::Message(envelope, content)) => {
                tokio::time::sleep(FOR_THE_READER).await;
                show(&envelope, &content);
                session.accepted(&Shown);
            }
            Step::Ask(Question::Recipient(recipient)) => session.answer(decide(&recipient)),
            Step::Ask(_) => session.answer(Answer::Accept),
            Step::StartTls | Step::Close => return stream.shutdown().await,
        }
    }
}

/// The demo keeps nothing, so there is nothing to prove.
struct Shown;

impl Acceptance for Shown {
    fn text(&self) -> String {
        "shown in the demo".into()
    }
}

fn decide(recipient: &Recipient) -> Answer {
    match recipient.path.local() {
        "nobody" => Answer::Refuse(reply::codes(550, 5, 1, 1).say("There is nobody of this name here")),
        "later" => Answer::Refuse(reply::codes(450, 4, 2, 1).say("The mailbox is busy; try again later")),
        _ => Answer::Accept,
    }
}

fn show(envelope: &Envelope, content: &[u8]) {
    let recipients: Vec<&str> = envelope.recipients.iter().map(|recipient| recipient.path.as_str()).collect();
    println!(
        "  destination       received {:?}, {} bytes, for {}",
        subject(content),
        content.len(),
        recipients.join(", ")
    );
}

/// The subject, decoded; `{:?}` of it is safe for a terminal.
fn subject(content: &[u8]) -> String {
    let parsed = mail_parser::MessageParser::new().header_text("Subject").parse_headers(content);
    let subject = parsed.as_ref().and_then(|message| message.subject()).unwrap_or("(no subject)");
    subject[..subject.floor_char_boundary(SUBJECT_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn it_takes_mail_and_plays_the_two_names() {
        let mut stream = std::net::TcpStream::connect(start().expect("a port")).expect("a connection");
        stream
            .write_all(
                b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<nobody@c.test>\r\nRCPT TO:<later@c.test>\r\n\
                  RCPT TO:<jo@c.test>\r\nDATA\r\n",
            )
            .expect("sent");
        stream.write_all(b"Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n").expect("sent");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("replies until it closes");
        for line in ["550 5.1.1 ", "450 4.2.1 ", "250 2.1.5 ", "250 2.6.0 shown in the demo", "221 "] {
            assert!(said.contains(line), "{line} in {said}");
        }
    }

    #[test]
    fn subjects_are_decoded_and_short() {
        assert_eq!(subject("Subject: =?utf-8?B?0J/RgNC40LLRltGC?=\r\n\r\n".as_bytes()), "Привіт");
        assert_eq!(subject(b"\r\nbody"), "(no subject)");
        assert!(subject(format!("Subject: {}\r\n\r\n", "щ".repeat(200)).as_bytes()).len() <= SUBJECT_BYTES_MAX);
    }
}
