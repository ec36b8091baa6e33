//! The order to lift what keeps mail from a destination, once: its words, for the shards that it crosses. What it comes to,
//! outbound knows.
//!
//! It takes two steps, as who owns mail and whose paths it goes by are different shards: every shard lifts what it is the
//! home of ([`Lift`]), then every shard lets go what waits ([`Reopen`]).

use std::collections::BTreeSet;

use serde_json::Value;

/// What is to be lifted.
#[derive(Clone, Debug)]
pub struct Lift {
    /// At the destination of this domain, lower case.
    pub domain: Box<str>,
    /// From this source, or those of this pool; from all, if absent.
    pub source: Option<Box<str>>,
    /// Who asked, for the log.
    pub asked_by: Box<str>,
}

/// What came of it on one shard.
#[derive(Clone, Debug)]
pub enum Lifted {
    /// It was done.
    Done {
        /// The provider, or the hosts.
        destination: Box<str>,
        /// One JSON object for each source from which something was in the way here, or still is: `source`, `destination`;
        /// `lifted`, a list of objects with `what` and `was`; `still`, if anything; `kept: false` if a crash now brought it
        /// back.
        paths: Vec<Value>,
        /// What may wait for that on any shard.
        reopen: Reopen,
    },
    /// There is no such source or pool, but these.
    NoSource(Vec<Box<str>>),
    /// The domain leads nowhere; for people.
    Nowhere(String),
}

/// What is no longer in the way.
#[derive(Clone, Debug, Default)]
pub struct Reopen {
    /// From these sources.
    pub sources: BTreeSet<Box<str>>,
    /// To these destinations, as waiting domains name them.
    pub destinations: BTreeSet<Box<str>>,
    /// Where it was in the way, the domain that was asked for: after a restart nobody knows yet why its recipients wait.
    pub domain: Option<Box<str>>,
}

impl Default for Lifted {
    fn default() -> Self {
        Lifted::Done { destination: "".into(), paths: Vec::new(), reopen: Reopen::default() }
    }
}
