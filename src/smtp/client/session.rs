//! The session's states, from greeting to QUIT.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::capabilities::Capabilities;
use super::transaction::{Afterwards, Progress, Running, impossible};
use super::{Credentials, Failure, Phase, Result, Settings, Step, Tls, Transaction};
use crate::smtp::remote::ReplyReader;
use crate::smtp::reply::Reply;

/// Capacity of the output that an idle session keeps.
const OUTPUT_KEPT_BYTES: usize = 16 * 1024;

/// One connection's session.
pub struct Session {
    settings: Arc<Settings>,
    reader: ReplyReader,
    output: Vec<u8>,
    /// The last step was `Send`, and the driver has not come back from it.
    sending: bool,
    encrypted: bool,
    offered: Capabilities,
    transactions: u32,
    state: State,
}

enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Handshake,
    Auth,
    Idle(Idle),
    /// RSET is said; then the transaction.
    Reset(Transaction),
    Running(Running),
    Ended(Ended),
    Quitting,
    Failed(Phase, Failure),
    Closed,
}

/// Between transactions.
struct Idle {
    reset_first: bool,
}

/// Results that the driver has not yet taken.
struct Ended {
    results: Vec<Result>,
    afterwards: Afterwards,
}

impl Session {
    /// A new session that waits for the greeting. `tls`: the connection is encrypted already.
    pub fn new(settings: Arc<Settings>, tls: bool) -> Self {
        Self {
            settings,
            reader: ReplyReader::default(),
            output: Vec::new(),
            sending: false,
            encrypted: tls,
            offered: Capabilities::default(),
            transactions: 0,
            state: State::Greeting,
        }
    }

    /// Bytes of the peer; empty means that it has closed its side.
    pub fn receive(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return self.lost("the peer closed the connection");
        }
        self.reader.receive(bytes);
        loop {
            match self.reader.next_reply() {
                Ok(Some(reply)) => self.hear(reply),
                Ok(None) => return,
                Err(bad) => {
                    self.reader.clear();
                    return self.lost(&bad.to_string());
                }
            }
        }
    }

    /// What to do next.
    #[expect(clippy::should_implement_trait, reason = "a session is not an iterator")]
    pub fn next(&mut self) -> Step {
        if self.output.is_empty() {
            self.sending = false;
            if let State::Running(running) = &mut self.state {
                running.write(&mut self.output);
            }
        }
        if !self.output.is_empty() {
            self.sending = true;
            return Step::Send;
        }
        let patience = &self.settings.patience;
        match &mut self.state {
            State::Greeting => Step::Read(patience.greeting),
            State::Ehlo | State::Helo | State::StartTls | State::Auth | State::Reset(_) | State::Quitting => {
                Step::Read(patience.command)
            }
            State::Handshake => Step::StartTls,
            State::Idle(_) => Step::Ready,
            State::Running(running) => Step::Read(running.patience(patience)),
            State::Ended(ended) => {
                let results = std::mem::take(&mut ended.results);
                self.state = match ended.afterwards {
                    Afterwards::Fresh => State::Idle(Idle { reset_first: false }),
                    Afterwards::NeedsReset => State::Idle(Idle { reset_first: true }),
                    Afterwards::Unusable => State::Closed,
                };
                Step::Done(results)
            }
            State::Failed(phase, failure) => Step::Failed(*phase, failure.clone()),
            State::Closed => Step::Closed,
        }
    }

    /// What to write out.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Starts a transaction; only after `Ready` or `Done`. Where [`can_transact`](Self::can_transact) says no, its
    /// recipients are lost at [`Phase::Idle`].
    pub fn transact(&mut self, transaction: Transaction) {
        let recipients = transaction.recipients.len();
        let reset_first = match self.state {
            State::Idle(Idle { reset_first }) if self.can_transact() => reset_first,
            _ => {
                let lost = Result::Lost(Phase::Idle, "the session had ended before the transaction began".into());
                return self.end(vec![lost; recipients], Afterwards::Unusable);
            }
        };
        let untouched = if reset_first { Afterwards::NeedsReset } else { Afterwards::Fresh };
        if recipients == 0 {
            return self.end(Vec::new(), untouched);
        }
        if let Some(reply) = impossible(&transaction, &self.offered) {
            return self.end(vec![Result::Impossible(reply); recipients], untouched);
        }
        self.transactions += 1;
        if reset_first {
            // In a round trip of its own: were it refused, MAIL would join this transaction to the one left open.
            self.say("RSET", State::Reset(transaction));
        } else {
            self.begin(transaction);
        }
    }

    /// Whether another transaction may follow (the peer did not say 421 and its LIMITS MAILMAX is not reached).
    pub fn can_transact(&self) -> bool {
        let usable = match &self.state {
            State::Idle(_) => true,
            State::Ended(ended) => ended.afterwards != Afterwards::Unusable,
            _ => false,
        };
        usable && self.offered.mails_max.is_none_or(|mails_max| self.transactions < mails_max)
    }

    /// RCPTs that the peer takes per transaction (LIMITS RCPTMAX), where it says so.
    pub fn recipients_max(&self) -> Option<usize> {
        self.offered.recipients_max
    }

    /// What the peer offers, as far as it has said.
    pub fn capabilities(&self) -> &Capabilities {
        &self.offered
    }

    /// Says QUIT; only after `Ready` or `Done`.
    pub fn quit(&mut self) {
        if matches!(self.state, State::Idle(_)) {
            self.say("QUIT", State::Quitting);
        }
    }

    /// The handshake is done; EHLO is said again.
    pub fn tls_started(&mut self) {
        if matches!(self.state, State::Handshake) {
            self.encrypted = true;
            self.offered = Capabilities::default();
            self.say_ehlo();
        }
    }

    /// The connection is gone or silent: `why` is for people.
    pub fn lost(&mut self, why: &str) {
        let flushed = self.flushed();
        let phase = self.phase();
        self.output.clear();
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Reset(transaction) => {
                let results = vec![Result::Lost(phase, why.into()); transaction.recipients.len()];
                self.end(results, Afterwards::Unusable);
            }
            State::Running(running) => self.proceed(running.lose(flushed, why)),
            State::Ended(ended) => self.end(ended.results, Afterwards::Unusable),
            failed @ State::Failed(..) => self.state = failed,
            State::Quitting | State::Closed => {}
            State::Greeting
            | State::Ehlo
            | State::Helo
            | State::StartTls
            | State::Handshake
            | State::Auth
            | State::Idle(_) => self.state = State::Failed(phase, Failure::Lost(why.into())),
        }
    }

    /// Where the conversation is.
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Greeting => Phase::Greeting,
            State::Ehlo | State::Helo => Phase::Ehlo,
            State::StartTls | State::Handshake => Phase::StartTls,
            State::Auth => Phase::Auth,
            State::Reset(_) => Phase::Mail,
            State::Running(running) => running.phase(self.flushed()),
            State::Failed(phase, _) => *phase,
            State::Idle(_) | State::Ended(_) | State::Quitting | State::Closed => Phase::Idle,
        }
    }

    /// Whether all that was written has gone out.
    fn flushed(&self) -> bool {
        self.output.is_empty() && !self.sending
    }

    /// Takes one reply.
    fn hear(&mut self, reply: Reply) {
        let flushed = self.flushed();
        let phase = self.phase();
        let refusal = reply.is_transient() || reply.is_permanent();
        let interruption = reply.code == 421 || (phase == Phase::Content && refusal);
        if !flushed && !interruption {
            return self.lost(&format!("the peer answered before it was asked: {reply}"));
        }
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Running(running) if flushed => {
                let progress = running.hear(reply, &self.offered, &mut self.output);
                self.proceed(progress);
            }
            State::Running(running) => self.proceed(running.refuse_rest(reply, flushed)),
            State::Reset(transaction) => self.hear_reset(transaction, &reply),
            State::Ended(ended) => self.end(ended.results, Afterwards::Unusable),
            State::Idle(_) => self.hear_unasked(reply),
            State::Quitting | State::Closed => {}
            failed @ State::Failed(..) => self.state = failed,
            _ if reply.code == 421 => self.fail(phase, Failure::Reply(reply)),
            State::Greeting => self.hear_greeting(reply),
            State::Ehlo => self.hear_ehlo(reply),
            State::Helo if reply.is_positive() => self.greeted(),
            State::StartTls => self.hear_starttls(reply),
            State::Auth if reply.is_positive() => self.state = State::Idle(Idle { reset_first: false }),
            State::Helo | State::Auth => self.fail(phase, Failure::Reply(reply)),
            // What comes before the handshake is not to be believed after it.
            State::Handshake => self.state = State::Handshake,
        }
    }

    fn hear_greeting(&mut self, reply: Reply) {
        if reply.is_positive() { self.say_ehlo() } else { self.fail(Phase::Greeting, Failure::Reply(reply)) }
    }

    fn hear_ehlo(&mut self, reply: Reply) {
        if reply.is_positive() {
            self.offered = Capabilities::parse(&reply.text);
            self.greeted();
        } else if reply.is_permanent() {
            let hostname = self.settings.hostname.clone();
            self.say(&format!("HELO {hostname}"), State::Helo);
        } else {
            self.fail(Phase::Ehlo, Failure::Reply(reply));
        }
    }

    /// EHLO or HELO went well: STARTTLS, AUTH or work comes next.
    fn greeted(&mut self) {
        let wanted = !self.encrypted && self.settings.tls != Tls::Off;
        if wanted && self.offered.starttls {
            self.say("STARTTLS", State::StartTls);
        } else if wanted && self.settings.tls == Tls::Required {
            self.fail(Phase::StartTls, Failure::Lost("the peer does not offer STARTTLS".into()));
        } else {
            self.authenticate();
        }
    }

    fn hear_starttls(&mut self, reply: Reply) {
        if reply.is_positive() {
            self.reader.clear();
            self.state = State::Handshake;
        } else if self.settings.tls == Tls::Required {
            self.fail(Phase::StartTls, Failure::Reply(reply));
        } else {
            self.authenticate();
        }
    }

    fn authenticate(&mut self) {
        let Some(Credentials { user, password }) = &self.settings.credentials else {
            self.state = State::Idle(Idle { reset_first: false });
            return;
        };
        if !self.encrypted {
            self.fail(Phase::Auth, Failure::Lost("a password is not sent without TLS".into()));
        } else if !self.offered.auth_plain {
            self.fail(Phase::Auth, Failure::Lost("the peer does not offer AUTH PLAIN".into()));
        } else {
            // RFC 4616 §2: no authorization identity, so the user acts for itself.
            let response = BASE64.encode(format!("\0{user}\0{password}"));
            self.say(&format!("AUTH PLAIN {response}"), State::Auth);
        }
    }

    /// RSET's reply. If it is refused the transaction left open might swallow the next one.
    fn hear_reset(&mut self, transaction: Transaction, reply: &Reply) {
        if reply.is_positive() {
            self.begin(transaction);
        } else {
            let lost = Result::Lost(Phase::Mail, format!("the peer refused RSET: {reply}").into());
            self.end(vec![lost; transaction.recipients.len()], Afterwards::Unusable);
        }
    }

    /// A reply between transactions: the peer leaves, or makes no sense.
    fn hear_unasked(&mut self, reply: Reply) {
        if reply.code == 421 && self.transactions > 0 {
            self.state = State::Closed;
        } else if reply.code == 421 {
            self.fail(Phase::Idle, Failure::Reply(reply));
        } else {
            self.fail(Phase::Idle, Failure::Lost(format!("the peer answered what was not asked: {reply}").into()));
        }
    }

    fn begin(&mut self, transaction: Transaction) {
        let pipelining = self.settings.pipelining && self.offered.pipelining;
        let chunking = self.settings.chunking && self.offered.chunking;
        let running = Running::start(transaction, &self.offered, pipelining, chunking, &mut self.output);
        self.state = State::Running(running);
    }

    fn proceed(&mut self, progress: Progress) {
        match progress {
            Progress::Going(running) => self.state = State::Running(running),
            Progress::Ended(results, afterwards) => self.end(results, afterwards),
        }
    }

    fn end(&mut self, results: Vec<Result>, afterwards: Afterwards) {
        self.output.clear();
        if self.output.capacity() > OUTPUT_KEPT_BYTES {
            self.output = Vec::new();
        }
        self.state = State::Ended(Ended { results, afterwards });
    }

    fn fail(&mut self, phase: Phase, failure: Failure) {
        self.output.clear();
        self.state = State::Failed(phase, failure);
    }

    fn say_ehlo(&mut self) {
        let hostname = self.settings.hostname.clone();
        self.say(&format!("EHLO {hostname}"), State::Ehlo);
    }

    fn say(&mut self, line: &str, then: State) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
        self.state = then;
    }
}
