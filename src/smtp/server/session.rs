//! The session itself: which state takes what came, and what the driver hears of it.

use std::sync::Arc;
use std::time::Duration;

use super::content::Content;
use super::context::{Context, Peer};
use super::input::{Input, Line};
use super::state::{Pending, State, Turn, Way};
use super::{
    Acceptance, Answer, COMMAND_PATIENCE, FIRST_COMMAND_PATIENCE, OUTPUT_BYTES_MAX, Question, Settings, Step, answers,
    commands,
};
use crate::smtp::command::{self, Command, Mistake};
use crate::smtp::envelope::Sender;
use crate::smtp::reply::{self, Fixed, Reply};

/// Octets of content that count as progress, see [`Session::progress`].
const PROGRESS_OCTETS: u64 = 16 * 1024;

/// One connection's session.
pub struct Session {
    state: State,
    pub(super) input: Input,
    context: Context,
    /// The peer has closed its side.
    gone: bool,
    /// We ended the session over something that the peer said.
    cut_off: bool,
    shutting_down: bool,
    lines: u64,
    octets: u64,
    /// Where the session's own refusals begin in the output, and whether each is about content.
    own_refusals: Vec<(usize, bool)>,
}

/// An error reply that the session gave without asking the driver.
#[derive(Debug, PartialEq, Eq)]
pub struct OwnRefusal {
    /// It is about content, not a command.
    pub is_about_content: bool,
    /// The first line of the reply.
    pub reply: String,
}

/// What a turn of the session came to.
enum Turned {
    /// Something; there may be more to do.
    On,
    Ask(Question),
    /// Nothing more to do with what came.
    Starved,
    StartTls,
    Close,
}

impl Session {
    /// A new session; the greeting is its first output. `tls`: the connection is encrypted already.
    pub fn new(settings: Arc<Settings>, tls: bool) -> Self {
        let mut session = Session::begin(settings, State::Ready);
        session.context.peer.tls = tls;
        let context = &mut session.context;
        reply::write_greeting(&context.settings.hostname, &mut context.output);
        session
    }

    /// A session that says `reply` (421 or 554) instead of a greeting, then closes.
    pub fn refusing(settings: Arc<Settings>, reply: Reply) -> Self {
        let mut session = Session::begin(settings, State::Closing);
        reply.write(&mut session.context.output);
        session
    }

    fn begin(settings: Arc<Settings>, state: State) -> Self {
        let context = Context { settings, peer: Peer::default(), output: Vec::new() };
        let input = Input::default();
        Session {
            state,
            input,
            context,
            gone: false,
            cut_off: false,
            shutting_down: false,
            lines: 0,
            octets: 0,
            own_refusals: Vec::new(),
        }
    }

    /// Bytes of the peer; empty means that it has closed its side.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.gone |= bytes.is_empty();
        if matches!(self.state, State::StartingTls | State::Closing) {
            return;
        }
        // Content goes straight to its place when nothing stands before it.
        let taken = if self.input.is_empty() { self.take_content(bytes) } else { 0 };
        self.input.push(&bytes[taken..]);
    }

    /// What to do next.
    #[expect(clippy::should_implement_trait, reason = "a session is not an iterator")]
    pub fn next(&mut self) -> Step {
        loop {
            if self.context.output.len() >= OUTPUT_BYTES_MAX {
                return Step::Send;
            }
            if self.context.output.is_empty() {
                self.own_refusals.clear();
            }
            let (said, in_content) = (self.context.output.len(), self.state.content().is_some());
            let turned = self.turn();
            if let Some(b'4' | b'5') = self.context.output.get(said) {
                self.own_refusals.push((said, in_content));
            }
            match turned {
                Turned::On => {}
                Turned::Ask(question) => return Step::Ask(question),
                _ if !self.context.output.is_empty() => return Step::Send,
                Turned::Starved if self.gone => self.state = State::Closing,
                Turned::Starved => {
                    self.context.output = Vec::new();
                    return Step::Read(self.patience());
                }
                Turned::StartTls if self.gone => self.state = State::Closing,
                Turned::StartTls => return Step::StartTls,
                Turned::Close => return Step::Close,
            }
        }
    }

    /// The refusals of the session's own making in `output()`, for the log; each is told once.
    pub fn take_own_refusals(&mut self) -> Vec<OwnRefusal> {
        let output = &self.context.output;
        let told = self.own_refusals.drain(..).filter_map(|(start, is_about_content)| {
            let line = output.get(start..)?.split(|byte| *byte == b'\r').next()?;
            Some(OwnRefusal { is_about_content, reply: String::from_utf8_lossy(line).into_owned() })
        });
        told.collect()
    }

    /// What to write out.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.context.output
    }

    /// Answers the question asked last (all but `Message`).
    pub fn answer(&mut self, answer: Answer) {
        match self.take_state() {
            State::Asking(pending) => {
                let data = matches!(pending, Pending::Content(_, Way::Data));
                self.state = answers::proceed(pending, answer, &mut self.context);
                self.cut_off |= matches!(self.state, State::Closing);
                if data {
                    self.close_if_content_follows();
                }
            }
            state => {
                debug_assert!(false, "an answer without a question");
                self.state = state;
            }
        }
    }

    /// The message is accepted: 250 with the proof's text.
    pub fn accepted(&mut self, proof: &impl Acceptance) {
        let asked = matches!(self.state, State::Asking(Pending::Message { .. }));
        debug_assert!(asked, "an acceptance without a message");
        if asked {
            reply::ACCEPTED.say(proof.text()).write(&mut self.context.output);
            self.state = State::Ready;
        }
    }

    /// The message is refused.
    pub fn refused(&mut self, reply: Reply) {
        self.answer(Answer::Refuse(reply));
    }

    /// The content that is coming cannot be kept: drop what came, ignore the rest, and say `reply` at its end.
    pub fn refuse_content(&mut self, reply: Reply) {
        if let Some(content) = self.state.content_mut() {
            content.fail(reply);
        }
    }

    /// Bytes of memory that content holds now.
    pub fn content_bytes(&self) -> usize {
        self.state.content().map_or(0, Content::capacity)
    }

    /// The handshake is done. What was known from plain text is forgotten (RFC 3207 §4.2).
    pub fn tls_started(&mut self) {
        debug_assert!(matches!(self.state, State::StartingTls), "a handshake without STARTTLS");
        let peer = &mut self.context.peer;
        (peer.tls, peer.extended, peer.name) = (true, false, None);
        self.state = State::Ready;
    }

    /// The patience of `Read` ended: 421 4.4.2 and close.
    pub fn expire(&mut self) {
        if !matches!(self.state, State::Closing) {
            reply::TIMED_OUT.write(&mut self.context.output);
            self.state = State::Closing;
        }
    }

    /// We are stopping: 421 4.3.2 and close before the next command. Content that is coming is taken to its end first.
    pub fn shut_down(&mut self) {
        self.shutting_down = true;
    }

    /// Whether the peer is in the middle of a transaction, or has not had one yet.
    pub fn has_message_to_come(&self) -> bool {
        self.context.peer.messages == 0 || self.sender().is_some()
    }

    /// EHLO's argument, once said.
    pub fn client_name(&self) -> Option<&str> {
        self.context.peer.name.as_deref()
    }

    /// The trace keyword of RFC 3848 (ESMTPSA …), or SMTP, UTF8SMTP… of RFC 6531.
    pub fn protocol(&self) -> &'static str {
        let peer = &self.context.peer;
        let smtputf8 = match &self.state {
            State::Asking(Pending::Message { smtputf8 }) => *smtputf8,
            state => state.envelope().is_some_and(|envelope| envelope.sender.smtputf8),
        };
        match (smtputf8, peer.extended, peer.tls, peer.user.is_some()) {
            (true, _, false, false) => "UTF8SMTP",
            (true, _, true, false) => "UTF8SMTPS",
            (true, _, false, true) => "UTF8SMTPA",
            (true, _, true, true) => "UTF8SMTPSA",
            (false, false, _, _) => "SMTP",
            (false, true, false, false) => "ESMTP",
            (false, true, true, false) => "ESMTPS",
            (false, true, false, true) => "ESMTPA",
            (false, true, true, true) => "ESMTPSA",
        }
    }

    /// Who has authenticated.
    pub fn user(&self) -> Option<&str> {
        self.context.peer.user.as_deref()
    }

    /// MAIL of the running transaction.
    pub fn sender(&self) -> Option<&Sender> {
        self.state.envelope().map(|envelope| &envelope.sender)
    }

    /// Whether content is coming that a stop waits for.
    pub fn takes_content(&self) -> bool {
        self.state.content().is_some()
    }

    /// Whether the session was ended over something that the peer said, who may still be sending: were the connection
    /// closed at once, what was not read would reset it, and the reply that says why be lost.
    pub fn was_cut_off(&self) -> bool {
        self.cut_off && !self.gone
    }

    /// A number that grows with every complete command line and every 16 KiB of content. A driver whose patience ends
    /// without it having grown lets go of a peer that feeds single bytes.
    pub fn progress(&self) -> u64 {
        self.lines + self.octets / PROGRESS_OCTETS
    }

    fn patience(&self) -> Duration {
        if self.lines == 0 { FIRST_COMMAND_PATIENCE } else { COMMAND_PATIENCE }
    }

    /// Takes the state away; whoever does puts the next one in its place.
    fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Closing)
    }

    fn take_content(&mut self, bytes: &[u8]) -> usize {
        let taken = self.state.take_content(bytes);
        self.octets += taken as u64;
        taken
    }

    fn turn(&mut self) -> Turned {
        match self.take_state() {
            state @ (State::Data(_) | State::Chunk(_) | State::Ignoring(_)) => self.content_turn(state),
            state @ State::BetweenChunks(_) => self.line_turn(state),
            State::Ready | State::Transaction(_) | State::Authenticating(_) | State::ChunksFailed
                if self.shutting_down =>
            {
                self.context.say(reply::SHUTTING_DOWN, State::Closing);
                Turned::On
            }
            state @ (State::Ready | State::Transaction(_) | State::Authenticating(_) | State::ChunksFailed) => {
                self.line_turn(state)
            }
            state @ State::Asking(_) => {
                debug_assert!(false, "next() before the answer");
                self.state = state;
                Turned::Close
            }
            State::StartingTls => {
                self.input.discard();
                self.state = State::StartingTls;
                Turned::StartTls
            }
            State::Closing => {
                self.input.discard();
                Turned::Close
            }
        }
    }

    /// Takes what belongs to the content from the input; ends it where it ends.
    fn content_turn(&mut self, mut state: State) -> Turned {
        let taken = state.take_content(self.input.pending());
        self.octets += taken as u64;
        self.input.take(taken);
        if !state.content_has_ended() {
            self.state = state;
            return Turned::Starved;
        }
        let out = &mut self.context.output;
        let turn = match state {
            State::Data(data) => data.end(out),
            State::Chunk(chunk) => chunk.end(out),
            State::Ignoring(ignoring) => ignoring.end(out),
            state => state.into(),
        };
        self.go(turn)
    }

    /// Takes one line from the input.
    fn line_turn(&mut self, state: State) -> Turned {
        let in_auth = matches!(state, State::Authenticating(_));
        let start = self.input.pending();
        let bytes_max = if in_auth { command::AUTH_LINE_BYTES_MAX } else { command::line_bytes_max(start) };
        if self.lines == 0 && self.input.is_at_line_start() && command::is_tls_record(start) {
            return self.end_with(reply::NOT_SMTP);
        }
        match self.input.line(bytes_max) {
            Line::Incomplete => {
                self.state = state;
                Turned::Starved
            }
            Line::BareEnd => self.end_with(reply::BARE_LINE_END),
            Line::TooLong => {
                self.lines += 1;
                let (reply, then) = match in_auth {
                    true => (reply::AUTH_LINE_TOO_LONG, State::Ready),
                    false => (reply::LINE_TOO_LONG, state),
                };
                let turn = self.context.wrong(reply, then);
                self.go(turn)
            }
            Line::Complete(length) => {
                self.lines += 1;
                match state {
                    State::Authenticating(exchange) => {
                        let progress = exchange.respond(&self.input.pending()[..length]);
                        self.input.take(length + 2);
                        let turn = commands::proceed_with_auth(progress, &mut self.context);
                        self.go(turn)
                    }
                    state => self.command_turn(state, length),
                }
            }
        }
    }

    /// Takes a command line of `length`.
    fn command_turn(&mut self, state: State, length: usize) -> Turned {
        let parsed = command::parse(&self.input.pending()[..length], &self.context.settings.hostname);
        self.input.take(length + 2);
        match parsed {
            Ok(command) => {
                let (data, quit) = (matches!(command, Command::Data), matches!(command, Command::Quit));
                let turn = commands::obey(state, command, &mut self.context);
                let turned = self.go(turn);
                if data {
                    self.close_if_content_follows();
                }
                self.cut_off &= !quit;
                turned
            }
            Err(Mistake::Teach(reply)) => {
                let turn = self.context.wrong(reply, state);
                self.go(turn)
            }
            Err(Mistake::End(reply)) => self.end_with(reply),
        }
    }

    fn go(&mut self, turn: Turn) -> Turned {
        match turn {
            Turn::Go(state) => {
                self.cut_off |= matches!(state, State::Closing);
                self.state = state;
                Turned::On
            }
            Turn::Ask(pending, question) => {
                self.state = State::Asking(pending);
                Turned::Ask(question)
            }
        }
    }

    /// Says `reply` and closes; what else came is not looked at.
    fn end_with(&mut self, reply: Fixed) -> Turned {
        reply.write(&mut self.context.output);
        self.state = State::Closing;
        self.cut_off = true;
        self.input.discard();
        Turned::On
    }

    /// DATA was refused, and yet something stands behind it: that is not what RFC 2920 §3.1 permits, and may be
    /// content, which must never be taken for commands.
    fn close_if_content_follows(&mut self) {
        let accepted = matches!(self.state, State::Asking(_) | State::Data(_));
        if !accepted && !self.input.is_empty() {
            self.state = State::Closing;
            self.cut_off = true;
        }
    }
}
