//! The client and the server meet in memory: whole conversations, with their bytes cut anywhere on the way.

use super::*;
use crate::smtp::envelope::Envelope;
use crate::smtp::server;

struct Queued;

impl server::Acceptance for Queued {
    fn text(&self) -> String {
        "queued as 7".into()
    }
}

/// A server session with its driver: recipients that begin with `no` are refused, and so is content that says so.
struct Server {
    session: server::Session,
    received: Vec<(Envelope, Vec<u8>)>,
    user: Option<Box<str>>,
    closed: bool,
}

impl Server {
    fn new(settings: server::Settings) -> Self {
        let session = server::Session::new(Arc::new(settings), false);
        Self { session, received: Vec::new(), user: None, closed: false }
    }

    /// Goes on until it needs the client, with what it has to say appended to `said`; whether the client is to
    /// start TLS with it.
    fn turn(&mut self, said: &mut Vec<u8>) -> bool {
        loop {
            match self.session.next() {
                server::Step::Send => said.append(self.session.output()),
                server::Step::Read(_) => return false,
                server::Step::Ask(question) => self.answer(question),
                server::Step::StartTls => return true,
                server::Step::Close => {
                    self.closed = true;
                    return false;
                }
            }
        }
    }

    fn answer(&mut self, question: server::Question) {
        let answer = match question {
            server::Question::Authenticate { user, password } => {
                assert_eq!(&*password, "secret");
                self.user = Some(user);
                server::Answer::Accept
            }
            server::Question::Recipient(recipient) if recipient.path.local().starts_with("no") => {
                server::Answer::Refuse(reply(550, Some((5, 1, 1)), "Who?"))
            }
            server::Question::Message(_, content) if content.starts_with(b"Subject: spam") => {
                return self.session.refused(reply(554, Some((5, 7, 1)), "Spam"));
            }
            server::Question::Message(envelope, content) => {
                self.received.push((envelope, content));
                return self.session.accepted(&Queued);
            }
            server::Question::Sender(_) | server::Question::Recipient(_) | server::Question::Content => {
                server::Answer::Accept
            }
        };
        self.session.answer(answer);
    }
}

/// Plays on until the client wants something that is not its peer's matter, with every transfer cut into pieces.
fn meet(client: &mut Session, server: &mut Server, piece: usize) -> Step {
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    loop {
        let handshake = server.turn(&mut to_client);
        match client.next() {
            Step::Send => {
                to_server.append(client.output());
                for bytes in to_server.chunks(piece) {
                    server.session.receive(bytes);
                    // What it says meanwhile waits: this client does not read before everything has gone out.
                    server.turn(&mut to_client);
                }
                to_server.clear();
            }
            Step::Read(_) => {
                assert!(!to_client.is_empty() || server.closed, "both wait for each other");
                let bytes: Vec<u8> = to_client.drain(..piece.min(to_client.len())).collect();
                client.receive(&bytes);
            }
            Step::StartTls => {
                assert!(handshake && to_client.is_empty());
                server.session.tls_started();
                client.tls_started();
            }
            step => {
                assert!(to_client.is_empty(), "{:?} unread", to_client.escape_ascii().to_string());
                return step;
            }
        }
    }
}

fn server_settings() -> server::Settings {
    server::Settings {
        hostname: "server.test".into(),
        starttls: false,
        tls_required: false,
        auth_required: false,
        message_bytes_max: 1 << 20,
        recipients_max: 100,
        messages_max: 0,
        errors_max: 10,
    }
}

/// Every piece size in which something is cut differently, and whole.
const PIECES: [usize; 12] = [1, 2, 3, 4, 5, 7, 11, 16, 23, 64, 1000, usize::MAX];
/// Pipelining and chunking.
const WAYS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

fn each_way(check: impl Fn(Settings, usize)) {
    for (pipelining, chunking) in WAYS {
        for piece in PIECES {
            check(Settings { pipelining, chunking, ..settings() }, piece);
        }
    }
}

fn queued() -> Result {
    Result::Accepted(reply(250, Some((2, 6, 0)), "queued as 7"))
}

#[test]
fn content_and_envelope_arrive_as_they_were_sent() {
    let contents: [&[u8]; 5] = [b"", b"\r\n", b".\r\n..\r\n", CONTENT, b"Subject: x\r\n\r\n.\r\n.a\r\n\r\n..\r\n.\r\n"];
    each_way(|settings, piece| {
        let mut server = Server::new(server_settings());
        let mut client = Session::new(Arc::new(settings), false);
        assert!(matches!(meet(&mut client, &mut server, piece), Step::Ready));
        for content in contents {
            let mut sent = with_parameters();
            sent.content = Arc::new(content.to_vec());
            client.transact(sent.clone());
            assert_eq!(results(meet(&mut client, &mut server, piece)), vec![queued(); 2]);
            let (envelope, received) = server.received.pop().expect("a message");
            assert_eq!(received, content);
            assert_eq!(envelope.recipients, sent.recipients);
            let size = Some(content.len() as u64);
            assert_eq!(envelope.sender, Sender { size, ..sent.sender });
        }
        client.quit();
        assert!(matches!(meet(&mut client, &mut server, piece), Step::Closed));
        assert!(server.closed);
    });
}

#[test]
fn refusals_in_every_mixture_leave_the_session_usable() {
    each_way(|settings, piece| {
        let mut server = Server::new(server_settings());
        let mut client = Session::new(Arc::new(settings), false);
        assert!(matches!(meet(&mut client, &mut server, piece), Step::Ready));
        let who = Result::Refused(Phase::Rcpt, reply(550, Some((5, 1, 1)), "Who?"));
        let spam = Result::Refused(Phase::Dot, reply(554, Some((5, 7, 1)), "Spam"));
        let stories: [(&[&str], &[u8], Vec<Result>); 5] = [
            (&["no@b.test", "no2@b.test"], CONTENT, vec![who.clone(); 2]),
            (&["yes@b.test", "no@b.test"], CONTENT, vec![queued(), who.clone()]),
            (&["no@b.test"], CONTENT, vec![who.clone()]),
            (&["no@b.test", "yes@b.test"], b"Subject: spam\r\n", vec![who, spam]),
            (&["yes@b.test"], CONTENT, vec![queued()]),
        ];
        for (recipients, content, expected) in stories {
            let mut sent = transaction(recipients.len(), content);
            sent.recipients.iter_mut().zip(recipients).for_each(|(to, address)| to.path = mailbox(address));
            client.transact(sent);
            assert_eq!(results(meet(&mut client, &mut server, piece)), expected, "{recipients:?} by {piece}");
        }
        assert_eq!(server.received.len(), 2);
        for (envelope, _) in &server.received {
            assert_eq!(envelope.recipients.len(), 1, "none of an earlier transaction");
        }
    });
}

#[test]
fn tls_and_a_password_come_before_the_first_message() {
    for piece in PIECES {
        let submission =
            server::Settings { starttls: true, tls_required: true, auth_required: true, ..server_settings() };
        let mut server = Server::new(submission);
        let credentials = Some(Credentials { user: "u@a.test".into(), password: "secret".into() });
        let mut client = Session::new(Arc::new(Settings { tls: Tls::Required, credentials, ..settings() }), false);
        assert!(matches!(meet(&mut client, &mut server, piece), Step::Ready));
        assert_eq!(server.user.as_deref(), Some("u@a.test"));
        client.transact(transaction(1, CONTENT));
        assert_eq!(results(meet(&mut client, &mut server, piece)), [queued()]);
        assert_eq!(server.session.protocol(), "ESMTPSA");
    }
}

#[test]
fn the_servers_limits_reach_the_client() {
    let limited = server::Settings { message_bytes_max: 2000, recipients_max: 3, messages_max: 2, ..server_settings() };
    let mut server = Server::new(limited);
    let mut client = Session::new(Arc::new(settings()), false);
    assert!(matches!(meet(&mut client, &mut server, 16), Step::Ready));
    assert_eq!(client.recipients_max(), Some(3));
    assert_eq!(client.capabilities().size, Some(2000));
    for more in [true, false] {
        assert!(client.can_transact());
        client.transact(transaction(1, CONTENT));
        assert_eq!(results(meet(&mut client, &mut server, 16)), [queued()]);
        assert_eq!(client.can_transact(), more);
    }
}

#[test]
fn content_of_many_blocks_arrives_whole() {
    let line = b".a line that begins with a dot\r\n";
    let content: Vec<u8> = line.iter().copied().cycle().take(line.len() * 20_000).collect();
    for (pipelining, chunking) in WAYS {
        let mut server = Server::new(server_settings());
        let mut client = Session::new(Arc::new(Settings { pipelining, chunking, ..settings() }), false);
        assert!(matches!(meet(&mut client, &mut server, 16 * 1024), Step::Ready));
        client.transact(transaction(2, &content));
        assert_eq!(results(meet(&mut client, &mut server, 16 * 1024)), vec![queued(); 2]);
        assert!(server.received[0].1 == content, "as it was sent");
    }
}
