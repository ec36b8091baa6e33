//! The operator's orders to a shard's queue, and its reports.
//!
//! Orders about many messages go through the queue a page at a time ([`PAGE_MESSAGES`]), so that a million of them
//! never block the shard. Listing begins at any id at once, because rows are in the order of ids.

use std::collections::BTreeSet;

use super::alter::Alter;
use super::behind::{Behind, Obstacles};
use super::describe::{self, Moment, Pause};
pub use super::domains::{Domains, Resting, Waiting};
pub use super::lane::Scope;
pub use super::lift::{Lift, Lifted, Reopen};
use super::ready::SUSPENDED_MAX;
use super::row::{Content, Entry, Row};
use super::rows::Page;
pub use super::selection::{Selection, StateWanted};
use super::state::{HEADER_BYTES_MAX, header_of};
use super::webhook::{Counts, Encoded, EventId};
use super::{Error, MessageId, Queue};
use crate::assurance::report;
use crate::events::Event;
use crate::smtp::path::Mailbox;

/// Messages that one turn looks at.
pub(super) const PAGE_MESSAGES: usize = 1000;
/// Messages in one report.
const LIST_MAX: usize = 1000;

/// An order.
#[derive(Clone, Debug)]
pub enum Order {
    /// Messages in order of id, after `after`, at most `limit`.
    List {
        /// Which.
        selection: Selection,
        /// The last id of the page before.
        after: Option<MessageId>,
        /// Messages per page (≤ 1000).
        limit: usize,
    },
    /// Everything about one message, also a delivered one while its placeholder lasts.
    Show(MessageId),
    /// The same about every message of a Message-ID.
    Find(Box<str>),
    /// Count queued recipients (constant time when the selection is empty).
    Count(Selection),
    /// due → held.
    Hold(Selection),
    /// held → due now, or at the time that the message is scheduled for.
    Release(Selection),
    /// due later → due now, also at destinations that are left alone for a while. Messages whose scheduled time is to
    /// come only where the selection names them by id.
    Retry(Selection),
    /// due or held → failed, with its DSN.
    Bounce(Selection),
    /// Suspend (true) or resume delivery of this shard: all, a tenant's or a campaign's. What else is suspended stays so.
    Suspend(Scope, bool),
    /// What is suspended.
    Suspensions,
    /// Counters of this shard.
    Metrics,
    /// The next events that a webhook is to be told, at most `limit`, once there are any; an empty answer after a while.
    TakeEvents {
        /// Its name.
        webhook: Box<str>,
        /// It was told everything up to this one.
        told: Option<EventId>,
        /// Events per hand-over.
        limit: usize,
    },
    /// A request to a webhook did not succeed.
    CountFailure(Box<str>),
    /// How each webhook stands.
    Webhooks,
    /// What replies and plans have made of the limits to a destination (a provider, or hosts), or to all: answered by the
    /// shard's outbound side.
    Adjusted(Option<Box<str>>),
    /// Where the mail of these lanes that is due goes next: answered by the shard's outbound side, as far as it is the owner.
    Behind(BTreeSet<Box<str>>),
    /// What mail on these ways waits for: answered by the shard's outbound side, as far as it is their home.
    Obstacles(BTreeSet<Box<str>>),
    /// Lift what keeps mail from a destination, as far as this shard is the home of paths there: answered by its outbound
    /// side.
    Lift(Lift),
    /// Then: let go what waits here because of that.
    Reopen(Reopen),
    /// What sessions came to since the last time.
    TlsSessions,
    /// Queue a message of our own, from the null reverse-path: its recipient and its content.
    Submit(Mailbox, Vec<u8>),
    /// Domains that have queued recipients, by name, after `after`, at most `limit`.
    Domains {
        /// Which.
        domains: Domains,
        /// The last name of the page before.
        after: Option<Box<str>>,
        /// Domains per page (≤ 1000).
        limit: usize,
    },
}

/// A shard's report. JSON values are what `--json` prints and the HTTP API returns. A message is
///
/// ```json
/// { "id": "0010000000000a2f", "arrival": "2026-11-23T07:44:43.120Z", "sender": "user@example.org", "bytes": 1234,
///   "message_id": "<1@app.example.org>", "envelope_id": "QQ314159", "account": "user@example.org", "pool": "bulk",
///   "tenant": "acme", "campaign": "spring", "tls_asked": "required",
///   "client": "name [192.0.2.7]", "screening": "clean", "preflight": "warn: one-click", "scheduled": "2026-11-30T08:00:00.000Z",
///   "recipients": [{ "address": "jo@example.org", "original": "rfc822;j@example.org", "state": "due", "attempts": 2,
///                    "next": "2026-11-23T07:54:43.000Z", "status": "4.2.2", "code": 452, "why": "452 4.2.2 mailbox full",
///                    "action": "defer", "category": "mailbox-full", "rule": "mailbox-full", "powermta": "quota-issues",
///                    "kumomta": "QuotaIssues", "remote": "mx.example.org [192.0.2.1]",
///                    "tls": { "encrypted": true, "protocol": "TLSv1.3", "cipher": "TLS13_AES_128_GCM_SHA256",
///                             "verified": "dane", "policy": "dane", "asked_by": "tlsa", "explanation": "…" } }] }
/// ```
///
/// `tls_asked` is what the message itself asks of TLS: `required` (REQUIRETLS), `encrypted` (a notice about such a one),
/// `waived` (`TLS-Required: No`). The null reverse-path is `""`; times are RFC 3339; what is not known is left out.
/// `envelope_id` and `original` are ENVID and ORCPT (RFC 3461). `state` is due, held, delivered or failed; or scheduled:
/// due at the Date that the message bears, which is the message's `scheduled`; or suspended: due, but what it is a part of
/// is suspended, which is its `suspension` (`all`, `tenant NAME` or `campaign NAME`), until the command in `resume`. `next`
/// belongs to due, scheduled and suspended, what follows it to the last attempt: `code` where a peer replied, the words of
/// other systems as [`crate::bounce::classify()`] gives them. Where the destination is left alone, `next` is not before the
/// end of that, and `why` before a first attempt tells the reason. In a list, `recipients` are those that were selected.
/// `Show` may add more, such as `subject`. `under_way` is true while an attempt is; what a recipient that is due waits for
/// is its `waits_for`, in words, which whoever asks the shards adds ([`super::behind`]).
///
/// `tls` is what protected the session of the last attempt, if there was one: in plain text it has `plain` (`off`,
/// `not-offered`, `fallback`, with `plain_why`) instead of what follows `encrypted`; `"refused": true` where the next hop gave
/// less than was asked, and there was no session. `policy` is what was asked, `asked_by` where that stands.
///
/// Webhooks are told the same: see [`describe::event`].
#[derive(Clone, Debug)]
pub enum Report {
    /// One JSON object a message.
    Messages(Vec<serde_json::Value>),
    /// Show: `None` if there is no such message here.
    Message(Option<serde_json::Value>),
    /// Recipients that were counted or changed.
    Count(u64),
    /// Metrics: name, perhaps with labels (`NAME{LABEL="VALUE"}`), and value. A name that ends in `_total` only grows;
    /// others are gauges.
    Metrics(Vec<(&'static str, u64)>),
    /// TakeEvents: each event's id and bytes (see [`Event`](super::webhook::Event)), in order.
    Events(Vec<Encoded>),
    /// Webhooks.
    Webhooks(Vec<Counts>),
    /// Adjusted: one JSON object for each source and destination.
    Adjusted(Vec<serde_json::Value>),
    /// Behind.
    Behind(Vec<Behind>),
    /// Obstacles.
    Obstacles(Obstacles),
    /// Lift.
    Lifted(Lifted),
    /// TlsSessions.
    TlsSessions(Box<report::Counts>),
    /// Domains, by name.
    Domains(Vec<Waiting>),
    /// Suspend, Suspensions: what is suspended now.
    Suspended(Suspended),
    /// It could not be done; for people.
    Failed(String),
}

/// What is suspended once an order about it is carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspended {
    /// All of it.
    pub scopes: Vec<Scope>,
    /// Queued recipients of what the order was to suspend or resume; 0 where it was to show only.
    pub recipients: u64,
}

impl Queue {
    /// Carries out an operator's order, in slices that let other work of the shard run.
    pub async fn order(&self, order: Order) -> Report {
        let carried_out = match order {
            Order::List { selection, after, limit } => self.list(&selection, after, limit).await.map(Report::Messages),
            Order::Show(id) => self.show(id).await.map(Report::Message),
            Order::Find(message_id) => self.find(&message_id).await.map(Report::Messages),
            Order::Count(selection) => self.count(&selection).await.map(Report::Count),
            Order::Hold(selection) => self.alter(Alter::Hold, &selection).await.map(Report::Count),
            Order::Release(selection) => self.alter(Alter::Release, &selection).await.map(Report::Count),
            Order::Retry(selection) => self.retry(&selection).await.map(Report::Count),
            Order::Bounce(selection) => self.bounce(&selection).await.map(Report::Count),
            Order::Suspend(scope, suspend) => Ok(self.suspend(scope, suspend)),
            Order::Suspensions => {
                let scopes = self.core.state.borrow().suspensions();
                Ok(Report::Suspended(Suspended { scopes, recipients: 0 }))
            }
            Order::Metrics => Ok(Report::Metrics(self.metrics())),
            // The shard has them.
            Order::TlsSessions => Ok(Report::TlsSessions(Box::default())),
            Order::Submit(recipient, content) => Ok(self.submit(recipient, content).await),
            Order::TakeEvents { webhook, told, limit } => {
                self.take_events(&webhook, told, limit).await.map(Report::Events)
            }
            Order::CountFailure(webhook) => {
                self.core.state.borrow_mut().webhooks.failed(&webhook);
                Ok(Report::Count(0))
            }
            Order::Adjusted(_) => Ok(Report::Adjusted(Vec::new())),
            Order::Behind(_) => Ok(Report::Behind(Vec::new())),
            Order::Obstacles(_) => Ok(Report::Obstacles(Obstacles::default())),
            Order::Lift(_) => Ok(Report::Lifted(Lifted::default())),
            Order::Reopen(reopen) => self.let_go(reopen).await.map(Report::Count),
            Order::Webhooks => Ok(Report::Webhooks(self.core.state.borrow().webhooks.counts())),
            Order::Domains { domains, after, limit } => {
                Ok(Report::Domains(self.domains(&domains, after.as_deref(), limit).await))
            }
        };
        carried_out.unwrap_or_else(|why| Report::Failed(why.to_string()))
    }

    async fn list(
        &self,
        selection: &Selection,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<serde_json::Value>, Error> {
        let limit = limit.clamp(1, LIST_MAX);
        let mut listed = Vec::new();
        let mut pages = self.pages(selection.id, after);
        while listed.len() < limit
            && let Some(page) = pages.next().await?
        {
            let admitted = page.iter().filter(|(id, row)| selection.admits(*id, row));
            let state = self.core.state.borrow();
            let now = self.now();
            let moment = Moment {
                now,
                suspension_of: &|lane| state.suspension_of(lane).cloned(),
                pause_of: &|name| self.pause_of(name),
            };
            let chosen = admitted.filter_map(|(id, row)| {
                let selected = (0..=u16::MAX).zip(&row.recipients);
                let selected = selected.filter(|(_, entry)| selection.selects(row, entry, &state, now));
                let (indices, entries): (Vec<u16>, Vec<&Entry>) = selected.unzip();
                (!entries.is_empty()).then(|| {
                    let mut message = describe::message(*id, row, &entries, &moment);
                    mark_under_way(&mut message, &indices, |index| state.leases.holds(*id, index));
                    message
                })
            });
            listed.extend(chosen.take(limit - listed.len()));
        }
        Ok(listed)
    }

    pub(super) async fn show(&self, id: MessageId) -> Result<Option<serde_json::Value>, Error> {
        let Some(row) = self.core.state.borrow().row_of(id)? else { return Ok(None) };
        let entries: Vec<&Entry> = row.recipients.iter().collect();
        let suspension_of = |lane: &str| self.core.state.borrow().suspension_of(lane).cloned();
        let moment = Moment { now: self.now(), suspension_of: &suspension_of, pause_of: &|name| self.pause_of(name) };
        let mut message = describe::message(id, &row, &entries, &moment);
        let indices: Vec<u16> = (0..=u16::MAX).zip(&entries).map(|(index, _)| index).collect();
        mark_under_way(&mut message, &indices, |index| self.core.state.borrow().leases.holds(id, index));
        let header = match &row.content {
            Content::Removed(header) => header.clone(),
            // It may have been removed a moment ago; then there is no subject to be shown.
            Content::Kept(extent) => {
                let len = extent.len.min(HEADER_BYTES_MAX as u32);
                let read = self.core.journal.read(extent.position, extent.skip, len).await;
                read.map(|bytes| header_of(&bytes)).unwrap_or_default()
            }
        };
        describe::add_header(&mut message, &header, matches!(row.content, Content::Kept(_)));
        let returned = {
            let state = self.core.state.borrow();
            state.returned.of(id, state.rows.index())?
        };
        describe::add_returns(&mut message, &returned);
        Ok(Some(message))
    }

    /// The pause of a domain (lower case) that is left alone.
    fn pause_of(&self, domain: &str) -> Option<Pause> {
        let (until, why) = self.core.state.borrow().ready.parked(domain)?;
        Some(Pause { until: self.now() + until.since(self.core.reactor.now()), why })
    }

    /// What is counted all the time.
    fn counted(&self, selection: &Selection) -> Option<u64> {
        let Selection {
            id: None,
            sender: None,
            recipient: None,
            destinations,
            tenant: None,
            campaign: None,
            domain,
            state: wanted,
        } = selection
        else {
            return None;
        };
        if !destinations.is_empty() {
            return None;
        }
        let state = self.core.state.borrow();
        match (domain.as_deref(), *wanted) {
            (None, None) => Some(state.tally.queued),
            (None, Some(StateWanted::Held)) => Some(state.tally.held),
            (None, Some(StateWanted::Due)) => Some(state.tally.queued - state.tally.held),
            (Some(domain), None) => state.ready.queued_at(domain),
            _ => None,
        }
    }

    async fn count(&self, selection: &Selection) -> Result<u64, Error> {
        if let Some(destination) = selection.destinations.first()
            && *selection == Selection::behind(destination)
        {
            return Ok(self.queued_behind(destination).await);
        }
        if let Some(counted) = self.counted(selection) {
            return Ok(counted);
        }
        let mut count = 0;
        let mut pages = self.pages(selection.id, None);
        while let Some(page) = pages.next().await? {
            let admitted = page.iter().filter(|(id, row)| selection.admits(*id, row));
            let (state, now) = (self.core.state.borrow(), self.now());
            let selected =
                |row: &Row| row.recipients.iter().filter(|entry| selection.selects(row, entry, &state, now)).count();
            count += admitted.map(|(_, row)| selected(row) as u64).sum::<u64>();
        }
        Ok(count)
    }

    /// Suspends or resumes; gives what is suspended then.
    fn suspend(&self, scope: Scope, suspend: bool) -> Report {
        let (recipients, scopes) = {
            let state = &mut *self.core.state.borrow_mut();
            match &scope {
                Scope::All => state.suspended = suspend,
                _ if state.ready.suspend(&scope, suspend) => {}
                _ => {
                    return Report::Failed(format!(
                        "{SUSPENDED_MAX} tenants and campaigns are suspended: resume others first"
                    ));
                }
            }
            (state.ready.queued_in(&scope), state.suspensions())
        };
        let order = if suspend { "suspend" } else { "resume" };
        self.core.log.emit(&Event::Ordered { order, selection: &scope, recipients });
        self.core.ready.give();
        Report::Suspended(Suspended { scopes, recipients })
    }

    fn metrics(&self) -> Vec<(&'static str, u64)> {
        let state = self.core.state.borrow();
        let journal = self.core.journal.statistics();
        let tally = &state.tally;
        vec![
            ("queued_recipients", tally.queued),
            ("held_recipients", tally.held),
            ("ready_slices", state.ready.ready_slices() as u64),
            ("ready_domains", state.ready.waiting_domains() as u64),
            ("leases", state.leases.len() as u64),
            ("delivery_suspended", u64::from(state.suspended)),
            ("scopes_suspended", state.ready.suspended().len() as u64),
            ("row_memory_bytes", state.rows.bytes() as u64),
            ("content_memory_bytes", state.contents.bytes() as u64),
            ("disk_full", u64::from(journal.full)),
            ("journal_pending_bytes", journal.pending_bytes as u64),
            ("journal_segments", self.core.journal.segments().len() as u64),
            ("messages_accepted_total", tally.accepted_messages),
            ("recipients_delivered_total", tally.delivered),
            ("attempts_deferred_total", tally.deferred),
            ("recipients_failed_total", tally.failed),
            ("notices_total", tally.notices),
            ("recipients_bounced_later_total", tally.bounced),
            ("complaints_total", tally.complaints),
            ("uncertain_total", tally.uncertain),
            ("checkpoints_total", tally.checkpoints),
            ("journal_frames_total", journal.frames),
            ("journal_bytes_total", journal.bytes),
            ("journal_flushes_total", journal.flushes),
        ]
    }

    /// Queued messages after `after` (or only `only`), a page at a time.
    pub(super) fn pages(&self, only: Option<MessageId>, after: Option<MessageId>) -> Pages<'_> {
        Pages { queue: self, only, after, ended: false }
    }
}

/// Says which of a message's recipients, of which it has those `indices`, are given to a way.
fn mark_under_way(message: &mut serde_json::Value, indices: &[u16], is_leased: impl Fn(u16) -> bool) {
    let recipients = message["recipients"].as_array_mut().into_iter().flatten();
    for (recipient, _) in recipients.zip(indices).filter(|(_, index)| is_leased(**index)) {
        recipient["under_way"] = true.into();
    }
}

/// A walk through the queued messages. Other work of the shard runs between pages, so each shows its own moment.
pub(super) struct Pages<'a> {
    queue: &'a Queue,
    only: Option<MessageId>,
    after: Option<MessageId>,
    ended: bool,
}

impl Pages<'_> {
    /// The next page; never empty. Few messages with many recipients are a page, too.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<(MessageId, Row)>>, Error> {
        if self.ended {
            return Ok(None);
        }
        if self.after.is_some() {
            self.queue.core.reactor.yield_now().await;
        }
        let state = self.queue.core.state.borrow();
        let Page { rows, more } = match self.only {
            Some(id) => {
                let row = state.rows.read(id, Row::clone)?;
                Page { rows: row.map(|row| (id, row)).into_iter().collect(), more: false }
            }
            None => state.rows.page(self.after, PAGE_MESSAGES)?,
        };
        self.ended = !more;
        self.after = rows.last().map(|(id, _)| *id);
        Ok((!rows.is_empty()).then_some(rows))
    }
}
