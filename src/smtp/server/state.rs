//! The states of a session and what each holds.

use super::content::{Content, EXCESS_FACTOR, Unstuffer};
use super::{Question, Settings};
use crate::smtp::envelope::{Envelope, Recipient, Sender};
use crate::smtp::reply::{self, Reply};
use crate::smtp::sasl::Exchange;

/// Where the session is. Taken by value: whoever moves it on decides what comes next.
#[derive(Debug)]
pub(super) enum State {
    /// Between transactions.
    Ready,
    /// AUTH waits for the client's next line.
    Authenticating(Exchange),
    /// MAIL was accepted.
    Transaction(Transaction),
    /// 354 was said; the data comes.
    Data(Data),
    /// The octets of a BDAT come.
    Chunk(Chunk),
    /// Between the BDATs of a message.
    BetweenChunks(Transfer),
    /// The octets of a BDAT that is refused come.
    Ignoring(Ignoring),
    /// A BDAT failed: the transaction is dead until RSET, EHLO or a last BDAT (RFC 3030 §4.2).
    ChunksFailed,
    /// The driver has a question.
    Asking(Pending),
    /// 220 was said to STARTTLS.
    StartingTls,
    /// The last reply was said.
    Closing,
}

/// An open transaction before its content.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) envelope: Envelope,
}

/// A message whose content comes.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) envelope: Envelope,
    pub(super) content: Content,
}

/// Content by DATA.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) transfer: Transfer,
    unstuffer: Unstuffer,
}

/// Content by BDAT.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) transfer: Transfer,
    left: u64,
    last: bool,
}

/// Octets that mean nothing any more.
#[derive(Debug)]
pub(super) struct Ignoring {
    left: u64,
    reply: Reply,
    then: After,
}

/// Where a refused BDAT leaves the session.
#[derive(Debug)]
pub(super) enum After {
    Ready,
    Transaction(Transaction),
    ChunksFailed,
}

/// What was asked, with what the answer needs.
#[derive(Debug)]
pub(super) enum Pending {
    Authenticate { user: Box<str> },
    Sender(Sender),
    Recipient(Transaction, Recipient),
    Content(Transaction, Way),
    Message { smtputf8: bool },
}

/// How the content will come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    Data,
    Bdat { octets: u64, last: bool },
}

/// What a command, or the end of some content, leads to.
pub(super) enum Turn {
    Go(State),
    Ask(Pending, Question),
}

impl From<State> for Turn {
    fn from(state: State) -> Turn {
        Turn::Go(state)
    }
}

impl State {
    /// The running transaction's envelope.
    pub(super) fn envelope(&self) -> Option<&Envelope> {
        match self {
            State::Transaction(transaction)
            | State::Asking(Pending::Recipient(transaction, _) | Pending::Content(transaction, _)) => {
                Some(&transaction.envelope)
            }
            State::Data(Data { transfer, .. })
            | State::Chunk(Chunk { transfer, .. })
            | State::BetweenChunks(transfer) => Some(&transfer.envelope),
            _ => None,
        }
    }

    /// The content that is coming.
    pub(super) fn content(&self) -> Option<&Content> {
        match self {
            State::Data(Data { transfer, .. })
            | State::Chunk(Chunk { transfer, .. })
            | State::BetweenChunks(transfer) => Some(&transfer.content),
            _ => None,
        }
    }

    /// The same, to change it.
    pub(super) fn content_mut(&mut self) -> Option<&mut Content> {
        match self {
            State::Data(Data { transfer, .. })
            | State::Chunk(Chunk { transfer, .. })
            | State::BetweenChunks(transfer) => Some(&mut transfer.content),
            _ => None,
        }
    }

    /// Takes what belongs to the content that is coming; gives how many bytes.
    pub(super) fn take_content(&mut self, bytes: &[u8]) -> usize {
        match self {
            State::Data(data) => data.unstuffer.feed(bytes, &mut data.transfer.content),
            State::Chunk(chunk) => {
                let count = up_to(chunk.left, bytes);
                chunk.transfer.content.append(&bytes[..count]);
                chunk.left -= count as u64;
                count
            }
            State::Ignoring(ignoring) => {
                let count = up_to(ignoring.left, bytes);
                ignoring.left -= count as u64;
                count
            }
            _ => 0,
        }
    }

    /// Whether the content (or this part of it) is complete, or too long to go on.
    pub(super) fn content_has_ended(&self) -> bool {
        match self {
            State::Data(data) => data.unstuffer.is_at_end() || data.transfer.content.is_overrun(),
            State::Chunk(chunk) => chunk.left == 0,
            State::Ignoring(ignoring) => ignoring.left == 0,
            _ => false,
        }
    }
}

fn up_to(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

impl Transaction {
    pub(super) fn new(sender: Sender) -> Transaction {
        Transaction { envelope: Envelope { sender, recipients: Vec::new() } }
    }

    fn transfer(self, settings: &Settings) -> Transfer {
        let content = Content::new(self.envelope.sender.size, settings.message_bytes_max);
        Transfer { envelope: self.envelope, content }
    }

    /// The content may come by DATA.
    pub(super) fn data(self, settings: &Settings) -> State {
        State::Data(Data { transfer: self.transfer(settings), unstuffer: Unstuffer::new() })
    }

    /// The content may come by BDAT, whose first chunk was announced.
    pub(super) fn chunk(self, octets: u64, last: bool, settings: &Settings) -> State {
        self.transfer(settings).chunk(octets, last)
    }
}

impl Transfer {
    /// The next BDAT.
    pub(super) fn chunk(mut self, octets: u64, last: bool) -> State {
        self.content.announce(octets);
        State::Chunk(Chunk { transfer: self, left: octets, last })
    }

    /// The content is complete.
    fn finish(self, out: &mut Vec<u8>) -> Turn {
        match self.content.finish() {
            Ok(content) => {
                let smtputf8 = self.envelope.sender.smtputf8;
                Turn::Ask(Pending::Message { smtputf8 }, Question::Message(self.envelope, content))
            }
            Err(fault) => say(&fault, State::Ready, out).into(),
        }
    }
}

impl Data {
    /// The data has ended, or exceeds all patience.
    pub(super) fn end(self, out: &mut Vec<u8>) -> Turn {
        if !self.unstuffer.is_at_end() {
            reply::MESSAGE_TOO_LARGE.write(out);
            return State::Closing.into();
        }
        if self.unstuffer.end_is_ambiguous() {
            reply::CONTENT_BARE_LINE_END.write(out);
            return State::Closing.into();
        }
        self.transfer.finish(out)
    }
}

impl Chunk {
    /// All octets of the BDAT are here.
    pub(super) fn end(self, out: &mut Vec<u8>) -> Turn {
        if self.last {
            return self.transfer.finish(out);
        }
        let Transfer { envelope, content } = self.transfer;
        match content.checked() {
            Ok(content) => {
                reply::CHUNK_OK.write(out);
                State::BetweenChunks(Transfer { envelope, content }).into()
            }
            Err(fault) => say(&fault, State::ChunksFailed, out).into(),
        }
    }
}

impl Ignoring {
    /// Refuses a BDAT: its octets are on their way whatever we say, so they are taken before the reply. More than
    /// anyone may send are not worth waiting for.
    pub(super) fn start(octets: u64, reply: Reply, then: After, settings: &Settings, out: &mut Vec<u8>) -> State {
        if octets > settings.message_bytes_max.saturating_mul(EXCESS_FACTOR) {
            reply.write(out);
            return State::Closing;
        }
        State::Ignoring(Ignoring { left: octets, reply, then })
    }

    pub(super) fn end(self, out: &mut Vec<u8>) -> Turn {
        let then = match self.then {
            After::Ready => State::Ready,
            After::Transaction(transaction) => State::Transaction(transaction),
            After::ChunksFailed => State::ChunksFailed,
        };
        say(&self.reply, then, out).into()
    }
}

impl After {
    /// Where a BDAT leaves that was refused though its transaction had what it needs.
    pub(super) fn failed_chunk(last: bool) -> After {
        if last { After::Ready } else { After::ChunksFailed }
    }
}

/// Says `reply`; 421 ends the session whatever else should follow (RFC 5321 §3.8).
pub(super) fn say(reply: &Reply, then: State, out: &mut Vec<u8>) -> State {
    reply.write(out);
    if reply.code == 421 { State::Closing } else { then }
}
