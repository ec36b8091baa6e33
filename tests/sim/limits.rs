//! Every limit that a configuration has for what is sent, as an invariant: who is sent to counts it, at every step, in any
//! weather, whichever shard sends and however often the server dies.
//!
//! | limit | invariant | counted by |
//! |---|---|---|
//! | `connections_max` of `[delivery]`, a `[[provider]]`, a `[[limit]]` (of a source, of domains, of a tenant) | so many that one source holds at the hosts of a group, or for its part | the hosts of the group, as a connection comes, and as the first message shows of which part it is |
//! | `messages_per_connection_max` of these | so many MAIL on one connection | the host, at MAIL |
//! | `connection_rate` of these | so many connections begun in any stretch of its length, restarts or not | the hosts, as a connection comes |
//! | `message_rate` of these | so many MAIL in any stretch of its length, restarts or not | the hosts, at MAIL; of domains at the first RCPT |
//! | `warm_up_plan` | so many MAIL from the source to the group on a day (UTC) | the hosts, at MAIL |
//! | recipients of a transaction | so many RCPT as RFC 5321 §4.5.3.1.8 has every host take | the host, at RCPT |
//! | what a host itself says (LIMITS RCPTMAX and MAILMAX, SIZE) | nobody is told that it was too much | the host, at each reply |
//! | what replies have made of these, as the log tells it (`learned`) | no connection and no MAIL beyond what was learned, restarts and other numbers of shards or not | the hosts, as a connection comes and at MAIL |
//! | a pool's sources | nothing from an address that is no source's of it | the hosts, as a connection comes |
//! | `[limits] recipients_max`, `message_bytes_max` | nobody is promised more | the clients, at each 250 (`oracle`) |
//! | `[limits] content_memory_bytes_max` | half of it for content that arrives (or one and a half messages of the largest size), half for content on its way out | each shard, asked every second |
//! | `waiting_bytes_max` of a `[[webhook]]` that takes nothing | each shard's share on disk, and what is beyond is counted as given up | each shard, asked every second |
//!
//! Lists of suppressed recipients (`[suppression] entries_max`) are kept by the control plane, which no simulation has; its
//! own tests hold their bounds.
//!
//! What counts is when the sender did it and whether it still holds a connection ([`Wire`]): what stalls on its way comes
//! together with what was sent later, and a host learns late of connections that break.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ringpost::queue::orders::Report;
use ringpost::smtp::envelope::{Recipient, Sender};
use shards::sim::Wire;
use shards::{Instant, Timestamp};

use crate::learned::{self, Learned};
use crate::mail::{TENANT_FIELD, TENANT_SENDER};

/// The addresses of the server's two sources. The first one warms up.
pub const SOURCES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2))];
/// The plan of the first source.
const PLAN: [usize; 2] = [40, 80];
/// RCPTs of a transaction.
const RECIPIENTS_MAX: usize = 100;
/// Recipients and octets of a message that the server takes.
pub const SUBMITTED_RECIPIENTS_MAX: usize = 110;
pub const SUBMITTED_BYTES_MAX: usize = 350_000;

/// What a shard may keep of contents in memory.
const CONTENT_MEMORY_BYTES_MAX: usize = 360_000;
/// What a webhook that takes nothing may have waiting, on all shards: less than a configuration could say.
pub const WAITING_BYTES_MAX: u64 = 24_000;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What is counted together, for each source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The hosts of the only provider.
    Provider,
    /// Of what goes there, that to the domain `two.test`.
    Domain,
    /// … and that of the tenant.
    Tenant,
    /// A host that is no provider's.
    Other,
}

/// So many in any stretch of so many seconds.
type Rate = (usize, u64);

/// What a source is allowed at a group.
#[derive(Clone, Copy)]
struct Allowed {
    connections_max: usize,
    messages_per_connection_max: usize,
    rates: Option<Rates>,
}

#[derive(Clone, Copy)]
struct Rates {
    connections: Rate,
    messages: Rate,
}

impl Allowed {
    fn of(group: Group, source: IpAddr) -> Allowed {
        let (connections_max, messages_per_connection_max, rates) = match group {
            Group::Provider if source == SOURCES[1] => (2, 9, Some(((11, 20), (25, 10)))),
            Group::Provider => (3, 10, Some(((14, 20), (30, 10)))),
            Group::Domain => (1, 4, Some(((6, 20), (7, 10)))),
            Group::Tenant => (2, 6, Some(((8, 20), (9, 10)))),
            Group::Other => (3, 8, None),
        };
        let rates = rates.map(|(connections, messages)| Rates { connections, messages });
        Allowed { connections_max, messages_per_connection_max, rates }
    }

    /// As the configuration has it.
    fn keys(&self) -> String {
        let mut keys = format!(
            "connections_max = {}\nmessages_per_connection_max = {}\n",
            self.connections_max, self.messages_per_connection_max
        );
        for (name, (number, per_s)) in self
            .rates
            .iter()
            .flat_map(|rates| [("connection_rate", rates.connections), ("message_rate", rates.messages)])
        {
            // A String takes everything.
            let _ = writeln!(keys, "{name} = \"{number}/{per_s}s\"");
        }
        keys
    }
}

/// The sources and the limits, as the configuration has them; the first source warms up from `today` on.
pub fn configuration(today: Timestamp) -> String {
    let keys = |group, source: usize| Allowed::of(group, SOURCES[source]).keys();
    let today = &ringpost::message::date::rfc3339(today)[..10];
    format!(
        "[[source]]\nname = \"a\"\naddresses = [\"{}\"]\nwarm_up_from = \"{today}\"\nwarm_up_plan = {PLAN:?}\n\
         [[source]]\nname = \"b\"\naddresses = [\"{}\"]\n\
         [[provider]]\nname = \"big\"\nmx = [\"mx1.hosts.test\", \"mx2.hosts.test\", \"mx3.hosts.test\"]\n{}\
         [[limit]]\nprovider = \"big\"\nsource = \"b\"\n{}\
         [[limit]]\ndomains = [\"two.test\"]\n{}\
         [[limit]]\nprovider = \"big\"\ntenant = \"acme\"\n{}\
         [[webhook]]\nname = \"deaf\"\nurl = \"http://127.0.0.1:1/\"\nsecret_file = \"deaf.secret\"\n\
         [limits]\nrecipients_max = {SUBMITTED_RECIPIENTS_MAX}\nmessage_bytes_max = \"{}KB\"\n\
         content_memory_bytes_max = \"{}KB\"\n\
         [delivery]\n{}",
        SOURCES[0],
        SOURCES[1],
        keys(Group::Provider, 0),
        keys(Group::Provider, 1),
        keys(Group::Domain, 0),
        keys(Group::Tenant, 0),
        SUBMITTED_BYTES_MAX / 1000,
        CONTENT_MEMORY_BYTES_MAX / 1000,
        keys(Group::Other, 0),
    )
}

/// Who sends where: a connection's two ends.
type Ends = (SocketAddr, SocketAddr);

/// The ledger as the hosts of a run share it.
pub type Shared = Rc<RefCell<Ledger>>;

/// What all hosts have counted, by group and source.
pub struct Ledger {
    wire: Wire,
    first_day: u64,
    connections: BTreeMap<(Group, IpAddr), Vec<Ends>>,
    begun: BTreeMap<(Group, IpAddr), Vec<Instant>>,
    mails: BTreeMap<(Group, IpAddr), Vec<Instant>>,
    days: BTreeMap<(Group, u64), usize>,
    peaks: Peaks,
    /// What replies have made of the limits.
    pub learned: Learned,
    broken: Vec<String>,
}

/// The most that shards had of something, of any of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peaks {
    /// Octets of contents that arrive.
    pub arriving: u64,
    /// … that are on their way out.
    pub leaving: u64,
    /// Octets of events that wait.
    pub waiting: u64,
    /// Events that were given up.
    pub given_up: u64,
}

impl Ledger {
    /// An empty one. The plan begins today.
    pub fn new(wire: Wire, today: Timestamp) -> Shared {
        Rc::new(RefCell::new(Ledger {
            wire,
            first_day: today.as_millis() / DAY_MS,
            connections: BTreeMap::new(),
            begun: BTreeMap::new(),
            mails: BTreeMap::new(),
            days: BTreeMap::new(),
            peaks: Peaks::default(),
            learned: Learned::default(),
            broken: Vec::new(),
        }))
    }

    /// Which limits were exceeded so far.
    pub fn check(&self) -> Result<(), String> {
        if self.broken.is_empty() { Ok(()) } else { Err(self.broken.join("\n")) }
    }

    /// How many messages each source has sent to the provider, taken or not.
    pub fn messages(&self) -> [usize; 2] {
        SOURCES.map(|source| self.mails.get(&(Group::Provider, source)).map_or(0, Vec::len))
    }

    /// The most that shards had.
    pub fn peaks(&self) -> Peaks {
        self.peaks
    }

    /// One of so many shards was asked what it has, and has said so by now.
    pub fn told(&mut self, shards: usize, report: &Report, now: Timestamp) {
        if let Report::Adjusted(paths) = report {
            let wrong = self.learned.told(paths, now.as_millis());
            return self.broken.extend(wrong);
        }
        let metric = |name| match report {
            Report::Metrics(metrics) => metrics.iter().find(|(found, _)| *found == name).map(|(_, value)| *value),
            _ => None,
        };
        let share = CONTENT_MEMORY_BYTES_MAX / 2;
        let arriving = share.max(SUBMITTED_BYTES_MAX + SUBMITTED_BYTES_MAX / 2);
        let webhook = match report {
            Report::Webhooks(counts) => counts.first(),
            _ => None,
        };
        let waiting_max = WAITING_BYTES_MAX / shards as u64;
        for (what, value, max, peak) in [
            (
                "octets of content arrive",
                metric("inbound_content_memory_bytes"),
                arriving as u64,
                &mut self.peaks.arriving,
            ),
            ("octets of content are kept", metric("content_memory_bytes"), share as u64, &mut self.peaks.leaving),
            ("octets of events wait", webhook.map(|counts| counts.waiting_bytes), waiting_max, &mut self.peaks.waiting),
            ("events are given up", webhook.map(|counts| counts.dropped), u64::MAX, &mut self.peaks.given_up),
        ] {
            let value = value.unwrap_or_default();
            *peak = value.max(*peak);
            if value > max {
                self.broken.push(format!("{value} {what} at a shard, and {max} may"));
            }
        }
    }

    /// A connection is one of a group.
    fn connected(&mut self, group: Group, ends: Ends) {
        let source = ends.0.ip();
        if !SOURCES.contains(&source) {
            self.broken.push(format!("a connection from {source}, which is no source's"));
        }
        let allowed = Allowed::of(group, source);
        let wire = &self.wire;
        let held = self.connections.entry((group, source)).or_default();
        held.retain(|(client, host)| wire.is_held(*client, *host));
        if wire.is_held(ends.0, ends.1) {
            held.push(ends);
        }
        if held.len() > allowed.connections_max {
            self.broken.push(format!("{} connections from {source}, {group:?}", held.len()));
        }
        let begun = wire.begun(ends.0, ends.1);
        if let (Some(path), Some(begun)) = (path_of(group, source), begun) {
            let forbidden = self.learned.forbids_connections(path, held.len(), wire.wall_at(begun).as_millis());
            let told =
                |max| format!("{} connections from {source}, {group:?}, and {max} are permitted now", held.len());
            self.broken.extend(forbidden.map(told));
        }
        if let (Some(rates), Some(begun)) = (allowed.rates, begun) {
            let times = self.begun.entry((group, source)).or_default();
            if exceeds(times, begun, rates.connections) {
                let (number, per_s) = rates.connections;
                self.broken.push(format!("more than {number} connections from {source} in {per_s} s, {group:?}"));
            }
        }
    }

    /// A message of a group came on a connection of it, sent at `at`: the `number`th.
    fn mail(&mut self, group: Group, source: IpAddr, number: usize, at: Instant) {
        let allowed = Allowed::of(group, source);
        if number > allowed.messages_per_connection_max {
            self.broken.push(format!("{number} messages on one connection from {source}, {group:?}"));
        }
        let times = self.mails.entry((group, source)).or_default();
        let rate = allowed.rates.map_or((usize::MAX, 0), |rates| rates.messages);
        if exceeds(times, at, rate) {
            self.broken.push(format!("more than {} messages from {source} in {} s, {group:?}", rate.0, rate.1));
        }
        if let Some(path) = path_of(group, source) {
            let begin = times.partition_point(|time| at.since(*time) >= Duration::from_millis(learned::STRETCH_MS));
            let sent = times[begin..].iter().filter(|time| **time <= at).count();
            let forbidden = self.learned.forbids_messages(path, sent, self.wire.wall_at(at).as_millis());
            let told =
                |max| format!("{sent} messages from {source} in a minute, {group:?}, and {max:.1} are permitted now");
            self.broken.extend(forbidden.map(told));
        }
        if source == SOURCES[0] && matches!(group, Group::Provider | Group::Other) {
            let day = self.wire.wall_at(at).as_millis() / DAY_MS;
            let today = self.days.entry((group, day)).or_default();
            *today += 1;
            let allowed = day.checked_sub(self.first_day).map(|day| PLAN.get(day as usize));
            if allowed.is_none_or(|allowed| allowed.is_some_and(|allowed| *today > *allowed)) {
                self.broken.push(format!("{today} messages on day {day} from {source}, which warms up, {group:?}"));
            }
        }
    }
}

/// Source and destination, as the server calls them, of all that goes from there to a group.
fn path_of(group: Group, source: IpAddr) -> Option<(&'static str, &'static str)> {
    let source = *["a", "b"].get(SOURCES.iter().position(|one| *one == source)?)?;
    match group {
        Group::Provider => Some((source, "big")),
        Group::Other => Some((source, "mx4.hosts.test:25")),
        Group::Domain | Group::Tenant => None,
    }
}

/// Adds `at` to `times`; whether there are more than `rate` in a stretch of its length with it.
pub fn exceeds(times: &mut Vec<Instant>, at: Instant, (number, per_s): Rate) -> bool {
    let place = times.partition_point(|time| *time <= at);
    times.insert(place, at);
    let near = &times[place.saturating_sub(number)..];
    let is_short = |(first, last): (&Instant, &Instant)| last.since(*first) < Duration::from_secs(per_s);
    near.iter().zip(near.iter().skip(number)).take(number.saturating_add(1)).any(is_short)
}

/// One connection, as its host counts it.
pub struct Visit {
    ledger: Shared,
    ends: Ends,
    /// Of all groups that it has shown to be one of: how many messages.
    messages: BTreeMap<Group, usize>,
    /// When the running transaction's MAIL was sent.
    at: Instant,
    recipients: usize,
}

impl Visit {
    /// A connection has come to a host of `group`.
    pub fn begin(ledger: &Shared, ends: Ends, group: Group) -> Visit {
        ledger.borrow_mut().connected(group, ends);
        let messages = BTreeMap::from([(group, 0)]);
        Visit { ledger: ledger.clone(), ends, messages, at: Instant::default(), recipients: 0 }
    }

    fn is_at_provider(&self) -> bool {
        self.messages.contains_key(&Group::Provider)
    }

    fn one_more(&mut self, group: Group) {
        if !self.messages.contains_key(&group) {
            self.ledger.borrow_mut().connected(group, self.ends);
        }
        let number = self.messages.entry(group).or_default();
        *number += 1;
        self.ledger.borrow_mut().mail(group, self.ends.0.ip(), *number, self.at);
    }

    /// MAIL.
    pub fn mail(&mut self, sender: &Sender) {
        let sent = self.ledger.borrow().wire.sent(self.ends.0, self.ends.1);
        self.at = sent.expect("what is heard was sent");
        self.recipients = 0;
        self.one_more(if self.is_at_provider() { Group::Provider } else { Group::Other });
        if self.is_at_provider() && sender.path.to_string().contains(TENANT_SENDER) {
            self.one_more(Group::Tenant);
        }
    }

    /// RCPT.
    pub fn recipient(&mut self, recipient: &Recipient) {
        self.recipients += 1;
        if self.recipients == 1 && recipient.path.domain() == "two.test" {
            self.one_more(Group::Domain);
        }
        if self.recipients > RECIPIENTS_MAX {
            self.ledger.borrow_mut().broken.push(format!("{} recipients of one transaction", self.recipients));
        }
    }

    /// The content.
    pub fn content(&mut self, content: &[u8]) {
        if String::from_utf8_lossy(content).contains(TENANT_FIELD) {
            self.ledger.borrow_mut().broken.push("a field that is for the server alone has left it".to_owned());
        }
    }

    /// What the host answers: it never has to say that it was too much.
    pub fn answers(&mut self, replies: &[u8]) {
        let replies = String::from_utf8_lossy(replies);
        for too_much in ["452 4.5.3", "421 4.7.0", "552 5.3.4"] {
            if replies.lines().any(|line| line.starts_with(too_much)) {
                self.ledger.borrow_mut().broken.push(format!("{}: {replies}", self.ends.1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_counted_in_every_stretch_whatever_comes_first() {
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        let mut times = Vec::new();
        assert!([0, 900, 1000, 1900].iter().all(|millis| !exceeds(&mut times, at(*millis), (2, 1))));
        assert!(exceeds(&mut times.clone(), at(950), (2, 1)));
        assert!(exceeds(&mut times.clone(), at(1899), (2, 1)));
        assert!(!exceeds(&mut times, at(2000), (2, 1)));
    }
}
