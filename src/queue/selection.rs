//! Which recipients an operator's order is about.

use std::collections::BTreeSet;
use std::fmt;

use shards::Timestamp;

use super::MessageId;
use super::open::is_uncertain;
use super::row::{Entry, Row, domain_of};
use super::state;
use crate::smtp::path::ReversePath;
use crate::spool::record::State;

/// Which recipients an order is about; every given condition must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// One message.
    pub id: Option<MessageId>,
    /// The recipient's domain, lower case.
    pub domain: Option<Box<str>>,
    /// The recipient's whole address.
    pub recipient: Option<Box<str>>,
    /// The reverse-path.
    pub sender: Option<Box<str>>,
    /// Whose it is.
    pub tenant: Option<Box<str>>,
    /// Of which campaign.
    pub campaign: Option<Box<str>>,
    /// In which state.
    pub state: Option<StateWanted>,
    /// Because of which destinations the recipient's domain rests now, as [`Waiting`](super::orders::Waiting) names them; none:
    /// whether it rests or not.
    pub destinations: BTreeSet<Box<str>>,
}

/// States that can be selected. Leased recipients are due, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateWanted {
    /// Waiting for an attempt, now or later.
    Due,
    /// Of these: those of which nothing was said yet.
    New,
    /// Of these: those that were put off.
    Deferred,
    /// Of these: those of a message whose own time is to come.
    Scheduled,
    /// Of these: the others that an operator has suspended.
    Suspended,
    /// Held by an operator.
    Held,
    /// Due or held, and uncertain: a crash came when they were on their way, and nothing was said since.
    Uncertain,
}

impl StateWanted {
    /// All of them, by their names.
    pub const ALL: [(&str, StateWanted); 7] = [
        ("due", StateWanted::Due),
        ("new", StateWanted::New),
        ("deferred", StateWanted::Deferred),
        ("scheduled", StateWanted::Scheduled),
        ("suspended", StateWanted::Suspended),
        ("held", StateWanted::Held),
        ("uncertain", StateWanted::Uncertain),
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Option<StateWanted> {
        Self::ALL.iter().find(|state| state.0 == name).map(|state| state.1)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|state| state.1 == self).map_or("", |state| state.0)
    }
}

impl fmt::Display for Selection {
    /// The conditions, as `queue` takes them; `all` where there are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.map(|id| id.to_string());
        let sender = self.sender.as_deref().map(|sender| if sender.is_empty() { "<>" } else { sender });
        let destinations: Vec<&str> = self.destinations.iter().map(|destination| &**destination).collect();
        let destinations = destinations.join(" or ");
        let conditions = [
            ("id", id.as_deref()),
            ("domain", self.domain.as_deref()),
            ("recipient", self.recipient.as_deref()),
            ("sender", sender),
            ("tenant", self.tenant.as_deref()),
            ("campaign", self.campaign.as_deref()),
            ("state", self.state.map(StateWanted::name)),
            ("destination", Some(&*destinations).filter(|destinations| !destinations.is_empty())),
        ];
        let given: Vec<String> =
            conditions.iter().filter_map(|(name, value)| value.map(|value| format!("{name} {value}"))).collect();
        f.write_str(if given.is_empty() { "all" } else { "" })?;
        f.write_str(&given.join(", "))
    }
}

impl Selection {
    /// Those at domains that rest because of `destination`.
    pub fn behind(destination: &str) -> Selection {
        Selection { destinations: BTreeSet::from([destination.into()]), ..Selection::default() }
    }

    /// Whether a message can have selected recipients.
    pub(super) fn admits(&self, id: MessageId, row: &Row) -> bool {
        self.id.is_none_or(|wanted| wanted == id)
            && self.sender.as_deref().is_none_or(|wanted| match &row.sender.path {
                ReversePath::Null => wanted.is_empty(),
                ReversePath::Mailbox(mailbox) => mailbox.as_str().eq_ignore_ascii_case(wanted),
            })
            && self.tenant.as_ref().is_none_or(|wanted| row.tagged.origin.tenant.as_ref() == Some(wanted))
            && self.campaign.as_ref().is_none_or(|wanted| row.tagged.origin.campaign.as_ref() == Some(wanted))
    }

    /// Whether a queued recipient of an admitted message is selected at `now`; `shard` knows what rests and is suspended.
    pub(super) fn selects(&self, row: &Row, entry: &Entry, shard: &state::State, now: Timestamp) -> bool {
        let address = entry.recipient.path.as_str();
        let is_new = entry.standing.last.is_none();
        let is_scheduled = || row.waits_for_its_time(entry.standing.state, now);
        let is_in = |wanted: StateWanted| match (wanted, entry.standing.state) {
            (StateWanted::Due, State::Due { .. }) | (StateWanted::Held, State::Held) => true,
            (StateWanted::New, State::Due { .. }) => is_new,
            (StateWanted::Deferred, State::Due { .. }) => !is_new,
            (StateWanted::Scheduled, State::Due { .. }) => is_scheduled(),
            (StateWanted::Suspended, State::Due { .. }) => {
                !is_scheduled() && shard.suspension_of(&row.lane_of(address)).is_some()
            }
            (StateWanted::Uncertain, State::Due { .. } | State::Held) => {
                entry.standing.last.as_ref().is_some_and(is_uncertain)
            }
            _ => false,
        };
        entry.standing.state.ended_s().is_none()
            && self.state.is_none_or(is_in)
            && self.domain.as_deref().is_none_or(|wanted| wanted == domain_of(address))
            && self.recipient.as_deref().is_none_or(|wanted| address.eq_ignore_ascii_case(wanted))
            && (self.destinations.is_empty() || shard.ready.rests_at(&row.lane_of(address), &self.destinations))
    }
}
