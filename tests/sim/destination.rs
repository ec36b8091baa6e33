//! Destinations: SMTP servers that take mail, and everything that real ones do instead.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringpost::smtp::envelope::{Envelope, Recipient};
use ringpost::smtp::path::ReversePath;
use ringpost::smtp::reply::{self, Reply};
use ringpost::smtp::server::{Acceptance, Answer, Question, Session, Settings, Step};
use shards::net::Stream;
use shards::{Instant, Reactor};

use crate::limits::{self, Group, Visit};
use crate::mail::NOBODY;
use crate::oracle::{CopyId, Shared};

/// Longer than any patience of the server under test.
const FOR_EVER: Duration = Duration::from_secs(3600);

const PATIENCE: Duration = Duration::from_secs(60);

/// How often a destination does something else than taking the mail; probabilities 0 to 1, of one step or one answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// A recipient or a message is deferred.
    pub defer: f64,
    /// A recipient or a message is refused for good (never a notice's).
    pub refuse: f64,
    /// The connection is reset, at any step.
    pub reset: f64,
    /// Nothing more comes, at any step.
    pub stall: f64,
    /// The message is taken and the connection reset instead of saying so.
    pub drop_after_dot: f64,
    /// It says that it is too much.
    pub complain: f64,
}

impl Trouble {
    /// Quite some of everything.
    pub const LIVELY: Trouble =
        Trouble { defer: 0.15, refuse: 0.05, reset: 0.02, stall: 0.002, drop_after_dot: 0.05, complain: 0.0 };
}

/// All destinations of a run; they share their trouble, which the test turns off at the end.
#[derive(Clone)]
pub struct Destination {
    pub oracle: Shared,
    pub trouble: Rc<Cell<Trouble>>,
    pub settings: Arc<Settings>,
    /// Where what comes is counted, and as what; of clients nothing is.
    pub ledger: Option<(limits::Shared, Group)>,
}

/// Settings of a destination that offers what ours offer, in plain text.
pub fn settings(hostname: &str) -> Arc<Settings> {
    Arc::new(Settings {
        hostname: hostname.into(),
        starttls: false,
        tls_required: false,
        auth_required: false,
        message_bytes_max: 1 << 20,
        recipients_max: 100,
        messages_max: 20,
        errors_max: 10,
    })
}

struct Taken;

impl Acceptance for Taken {
    fn text(&self) -> String {
        "taken".to_owned()
    }
}

/// Why a conversation ends before its time.
enum End {
    Reset,
    Lost,
}

impl Destination {
    /// Serves on `address` until its node ends.
    pub async fn serve(self, reactor: Reactor, address: SocketAddr) {
        let listener = reactor.listen(address).expect("every destination has its own address");
        while let Ok(stream) = listener.accept().await {
            let conversation = Conversation {
                visit: self
                    .ledger
                    .as_ref()
                    .map(|(ledger, group)| Visit::begin(ledger, (stream.peer(), address), *group)),
                reactor: reactor.clone(),
                destination: self.clone(),
                session: Session::new(self.settings.clone(), false),
                since: reactor.now(),
                unconfirmed: Vec::new(),
                resets_next: false,
            };
            reactor.spawn(conversation.run(stream)).detach();
        }
    }
}

struct Conversation {
    visit: Option<Visit>,
    reactor: Reactor,
    destination: Destination,
    session: Session,
    /// When it began.
    since: Instant,
    /// Copies whose 250 has gone out and which the peer has not acted upon.
    unconfirmed: Vec<CopyId>,
    /// The message was taken, and the peer is not to hear it.
    resets_next: bool,
}

impl Conversation {
    async fn run(mut self, mut stream: Stream) {
        loop {
            let ended = match self.session.next() {
                Step::Send => self.send(&mut stream).await,
                Step::Read(_) => self.receive(&mut stream).await,
                Step::Ask(question) => self.answer(question),
                Step::Close => return,
                Step::StartTls => unreachable!("STARTTLS is not offered"),
            };
            match ended {
                Ok(()) => {}
                Err(End::Reset) => return stream.reset(),
                Err(End::Lost) => return,
            }
        }
    }

    async fn send(&mut self, stream: &mut Stream) -> Result<(), End> {
        self.misbehave().await?;
        let replies = self.session.output();
        if let Some(visit) = &mut self.visit {
            visit.answers(replies);
        }
        stream.send(replies, PATIENCE).await.map_err(|_| End::Lost)
    }

    async fn receive(&mut self, stream: &mut Stream) -> Result<(), End> {
        self.misbehave().await?;
        let chunk = stream.receive(PATIENCE).await.map_err(|_| End::Lost)?;
        if !chunk.is_empty() {
            // It speaks on: so it has read our replies.
            let now = self.reactor.now();
            let mut oracle = self.destination.oracle.borrow_mut();
            self.unconfirmed.drain(..).for_each(|copy| oracle.known(now, &copy));
        }
        self.session.receive(&chunk);
        Ok(())
    }

    async fn misbehave(&mut self) -> Result<(), End> {
        let trouble = self.destination.trouble.get();
        if std::mem::take(&mut self.resets_next) || self.chance(trouble.reset) {
            return Err(End::Reset);
        }
        if self.chance(trouble.stall) {
            self.reactor.sleep(FOR_EVER).await;
            return Err(End::Lost);
        }
        Ok(())
    }

    fn answer(&mut self, question: Question) -> Result<(), End> {
        match question {
            Question::Recipient(recipient) => {
                if let Some(visit) = &mut self.visit {
                    visit.recipient(&recipient);
                }
                let answer = self.judge(&recipient).map_or(Answer::Accept, Answer::Refuse);
                self.session.answer(answer);
            }
            Question::Message(envelope, content) => self.take(&envelope, &content),
            Question::Sender(sender) => {
                if let Some(visit) = &mut self.visit {
                    visit.mail(&sender);
                }
                let answer = self.complaint().map_or(Answer::Accept, Answer::Refuse);
                self.session.answer(answer);
            }
            Question::Content => self.session.answer(Answer::Accept),
            Question::Authenticate { .. } => unreachable!("AUTH is not offered"),
        }
        Ok(())
    }

    fn judge(&self, recipient: &Recipient) -> Option<Reply> {
        if recipient.path.local().starts_with(NOBODY) {
            return Some(reply::codes(550, 5, 1, 1).say("no such mailbox"));
        }
        self.mood(self.session.sender().is_some_and(|sender| sender.path == ReversePath::Null))
    }

    /// That it is too much.
    fn complaint(&self) -> Option<Reply> {
        let complain = self.destination.trouble.get().complain;
        if complain == 0.0 {
            return None;
        }
        let (code, text) = [
            (450, "message rate limit exceeded, slow down"),
            (421, "too many messages from your address, try again later"),
            (451, "too many concurrent connections from your address"),
            (451, "the reputation of your address is low"),
        ][self.reactor.random() as usize % 4];
        self.chance(complain).then(|| reply::codes(code, 4, 7, 1).say(text))
    }

    /// A refusal out of nothing. A notice is never refused for good: nobody would hear of that.
    fn mood(&self, is_notice: bool) -> Option<Reply> {
        let trouble = self.destination.trouble.get();
        let (defers, refuses) = (self.chance(trouble.defer), self.chance(trouble.refuse));
        match (defers, refuses && !is_notice) {
            (true, _) => Some(reply::codes(451, 4, 3, 0).say("not now")),
            (false, true) => Some(reply::codes(554, 5, 7, 1).say("not wanted here")),
            (false, false) => None,
        }
    }

    fn take(&mut self, envelope: &Envelope, content: &[u8]) {
        let is_notice = envelope.sender.path == ReversePath::Null;
        if let Some(visit) = self.visit.as_mut().filter(|_| !is_notice) {
            visit.content(content);
        }
        if let Some(refusal) = self.mood(is_notice) {
            return self.session.refused(refusal);
        }
        let now = self.reactor.now();
        let since = self.since;
        let oracle = &mut *self.destination.oracle.borrow_mut();
        if is_notice {
            oracle.notice(now, content);
        } else {
            let arrived =
                envelope.recipients.iter().filter_map(|to| oracle.arrived(since, now, to.path.as_str(), content));
            self.unconfirmed.extend(arrived);
        }
        let trouble = self.destination.trouble.get();
        self.resets_next = self.chance(trouble.drop_after_dot);
        self.session.accepted(&Taken);
    }

    fn chance(&self, probability: f64) -> bool {
        // 53 bits fill a double's mantissa.
        ((self.reactor.random() >> 11) as f64) < probability * (1u64 << 53) as f64
    }
}
