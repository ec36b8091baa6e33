//! The waits of outbound connections, in one place; tests shorten them.

use std::time::Duration;

use crate::config::Delivery;
use crate::smtp::client::Patience;

/// How long outbound waits for what; `[delivery]` sets some of it, see [`Timing::with`].
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// For one TCP connection (30 s). RFC 5321 names no time; a host with several addresses must not hold mail for the
    /// minutes that a kernel tries.
    pub connect: Duration,
    /// For one TLS handshake in all (1 min).
    pub handshake: Duration,
    /// After this no further address is tried for one connection (10 min).
    pub open: Duration,
    /// For the reply to QUIT (2 s): nothing depends on it.
    pub quit: Duration,
    /// For what the peer said last, after it could not be sent to (1 s).
    pub last_words: Duration,
    /// No new connection besides working ones for this long after the peer took none (30 s).
    pub opening_pause: Duration,
    /// Of the session (RFC 5321 §4.5.3.2).
    pub session: Patience,
}

impl Timing {
    /// This timing with the waits that `delivery` sets.
    #[must_use]
    pub fn with(self, delivery: &Delivery) -> Self {
        let reply = delivery.reply_timeout;
        let data = reply.min(Patience::default().data);
        let dot = delivery.final_dot_timeout;
        let session = Patience { greeting: reply, command: reply, data, dot, ..self.session };
        Self { connect: delivery.connect_timeout, session, ..self }
    }
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect: seconds(30),
            handshake: seconds(60),
            open: seconds(600),
            quit: seconds(2),
            last_words: seconds(1),
            opening_pause: seconds(30),
            session: Patience::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn the_configured_defaults_are_the_timing_s() {
        let smallest = "[server]\nhostname = \"mta.example.org\"\ndata_dir = \"data\"\n[[listener]]\nkind = \"relay\"\n\
                        address = \"127.0.0.1:2525\"\ntls = \"off\"\nnetworks = [\"::1\"]\n";
        let config = Config::parse(smallest, Path::new("/nowhere")).expect("good");
        assert_eq!(format!("{:?}", Timing::default().with(&config.delivery)), format!("{:?}", Timing::default()));
    }
}
