//! What every command may look at and change: the offer, the client, the replies.

use std::sync::Arc;

use super::Settings;
use super::content::EXCESS_FACTOR;
use super::state::{self, State, Turn};
use crate::smtp::reply::{self, Fixed, Reply};

/// What every command may look at and change, whatever the state.
pub(super) struct Context {
    pub(super) settings: Arc<Settings>,
    pub(super) peer: Peer,
    pub(super) output: Vec<u8>,
}

/// What is known of the client.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) name: Option<Box<str>>,
    /// EHLO, not HELO.
    pub(super) extended: bool,
    pub(super) tls: bool,
    pub(super) user: Option<Box<str>>,
    pub(super) errors: u32,
    pub(super) auth_failures: u32,
    pub(super) messages: u32,
}

impl Context {
    /// Says `reply` to a command that is in order.
    pub(super) fn done(&mut self, reply: Fixed, then: State) -> Turn {
        self.say(reply, then).into()
    }

    pub(super) fn say(&mut self, reply: Fixed, then: State) -> State {
        reply.write(&mut self.output);
        then
    }

    /// Says `reply` to a command that is not in order, or ends the session after too many of them.
    pub(super) fn wrong(&mut self, reply: impl Into<Reply>, then: State) -> Turn {
        if self.errors_are_too_many() {
            return self.done(reply::TOO_MANY_ERRORS, State::Closing);
        }
        state::say(&reply.into(), then, &mut self.output).into()
    }

    /// Counts an error.
    pub(super) fn errors_are_too_many(&mut self) -> bool {
        self.peer.errors = self.peer.errors.saturating_add(1);
        self.peer.errors >= self.settings.errors_max
    }

    /// Whether a BDAT is so large that it is not worth reading.
    pub(super) fn is_excessive(&self, octets: u64) -> bool {
        octets > self.settings.message_bytes_max.saturating_mul(EXCESS_FACTOR)
    }
}
