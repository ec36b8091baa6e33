//! The events. A variant's documentation is the reference of its log line; its fields are the line's keys.

use std::fmt;
use std::net::SocketAddr;

use super::flood::{Kind, WINDOW};
use super::line::Line;
use crate::assurance::{AskedBy, Channel, Security};
pub use crate::config::log::Level;
use crate::queue::MessageId;
use crate::queue::outcome::Answer;
use crate::smtp::path::ReversePath;
use crate::spool::record::{Origin, Said};

/// One recipient's attempt, for the events that tell how it ended.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The message.
    pub id: MessageId,
    /// The forward-path.
    pub recipient: &'a str,
    /// Which attempt this was, from 1.
    pub attempt: u32,
    /// Seconds since the message was accepted.
    pub age_s: u64,
    /// From which source it was tried, if not from the host as it is.
    pub source: Option<&'a str>,
    /// Whose the message is.
    pub origin: &'a Origin,
    /// What was answered. Where the session was encrypted its keys are `tls` (the version), `cipher` and `verified` (`no`,
    /// `dane`, `authority`); where it was not, `plain` (`off`, `not-offered`, `fallback` after a handshake that failed as
    /// `plain_why` says). What was asked is `policy` (`off`, `opportunistic`, `required`, `verified`, `dane`, `mta-sts`);
    /// `asked_by` says `route` where a route asks.
    pub answer: &'a Answer,
}

/// Something that happened.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// `listening`: this shard takes connections on the address.
    Listening(SocketAddr),
    /// `accepted`: a message is on disk and was answered 250.
    Accepted {
        /// The message.
        id: MessageId,
        /// Its Message-ID field.
        message_id: &'a str,
        /// The client.
        client: SocketAddr,
        /// The account, where it authenticated.
        account: Option<&'a str>,
        /// The reverse-path.
        sender: &'a ReversePath,
        /// How many recipients.
        recipients: usize,
        /// Octets of content, our trace included.
        bytes: usize,
        /// What screening found, where it looked.
        screening: Option<&'a str>,
        /// The domain that signed it, where one did.
        dkim: Option<&'a str>,
        /// Whose it is, and the pool that it asks for.
        origin: &'a Origin,
    },
    /// `refused`: a client's command or message was answered with an error.
    Refused {
        /// The client.
        client: SocketAddr,
        /// The account, where it authenticated.
        account: Option<&'a str>,
        /// The name that was tried, where `what` is `auth`.
        user: Option<&'a str>,
        /// What was refused: `connection`, `auth`, `mail`, `rcpt`, `message`, or `command` for what SMTP itself forbids.
        what: &'static str,
        /// What we said.
        reply: &'a dyn fmt::Display,
        /// What screening found, where that is the reason.
        screening: Option<&'a str>,
    },
    /// `scanner_failed`: one that should have screened a message or a client gave no usable answer.
    ScannerFailed {
        /// `clamav`, `rspamd` or `block_lists`.
        scanner: &'static str,
        /// Why.
        why: &'a dyn fmt::Display,
    },
    /// `tls_failed`: a client's handshake did not succeed.
    TlsFailed {
        /// The client.
        client: SocketAddr,
        /// Why.
        why: &'a str,
    },
    /// `delivered`: the next hop has taken responsibility.
    Delivered(Attempt<'a>),
    /// `deferred`: it will be tried again after `retry_s` seconds.
    Deferred {
        /// The attempt.
        attempt: Attempt<'a>,
        /// Seconds until the next one.
        retry_s: u64,
    },
    /// `failed`: it will not be tried again.
    Failed(Attempt<'a>),
    /// `notified`: a DSN of this `action` (RFC 3464 §2.3.3) about message `about` was queued as `id`.
    Notified {
        /// The DSN.
        id: MessageId,
        /// The message that it tells of.
        about: MessageId,
        /// What it tells: `failed`, `delayed`, `delivered`, `relayed`.
        action: &'a str,
        /// To whom.
        recipient: &'a str,
    },
    /// `bounced`: what was delivered came back later.
    Bounced {
        /// The message.
        id: MessageId,
        /// The forward-path.
        recipient: &'a str,
        /// What the report says.
        said: &'a Said,
    },
    /// `complaint`: a recipient called it spam, or worse.
    Complaint {
        /// The message.
        id: MessageId,
        /// The forward-path.
        recipient: &'a str,
        /// What the report says.
        said: &'a Said,
    },
    /// `return_ignored`: what came to a return path changes nothing: an automatic reply, a notice of delay or success, or
    /// something that is none of these.
    ReturnIgnored {
        /// The client that brought it.
        client: SocketAddr,
        /// The message that it is about, where it is known.
        id: Option<MessageId>,
        /// `auto-reply`, `delayed`, `delivered`, `unclear`; or a `complaint` that names no message of ours.
        what: &'static str,
    },
    /// `uncertain`: a crash came while the message was on its way, perhaps between its final dot and the reply; the
    /// recipient is retried or held, as configured.
    Uncertain {
        /// The message.
        id: MessageId,
        /// The forward-path.
        recipient: &'a str,
    },
    /// `recovered`: the partition is open; what was found.
    Recovered {
        /// Queued recipients.
        recipients: u64,
        /// Frames replayed from the journal.
        frames: u64,
        /// Milliseconds that it took.
        took_ms: u64,
    },
    /// `ordered`: an operator's command changed recipients.
    Ordered {
        /// `hold`, `release`, `retry`, `bounce`, `suspend`, `resume`.
        order: &'static str,
        /// Which recipients were meant: the conditions, or `all`.
        selection: &'a dyn fmt::Display,
        /// How many recipients.
        recipients: u64,
    },
    /// `space_low` and `space_back`: the disk refuses new messages, or takes them again.
    Space {
        /// Whether messages are accepted.
        accepting: bool,
    },
    /// `webhook_overflow`: so many events for a webhook are given up, for want of room or because it is gone.
    WebhookOverflow {
        /// Its name.
        webhook: &'a str,
        /// How many.
        events: u64,
    },
    /// `webhook_failing`: a request to a webhook did not succeed; it is tried again. Told once until it succeeds.
    WebhookFailing {
        /// Its name.
        webhook: &'a str,
        /// Why.
        why: &'a dyn fmt::Display,
    },
    /// `webhook_back`: a request to a webhook has succeeded after so many that had not.
    WebhookBack {
        /// Its name.
        webhook: &'a str,
        /// How many.
        failures: u64,
    },
    /// `recipient_suppressed`: a failure or a complaint has put an address on a list; nothing more is sent there.
    RecipientSuppressed {
        /// The address.
        recipient: &'a str,
        /// The list's name.
        list: &'a str,
        /// Why.
        cause: &'static str,
        /// Until when; `None`: until an operator takes it away.
        until: Option<&'a str>,
    },
    /// `suppression_full`: a list has no room for more; its new failures go on being sent to.
    SuppressionFull(&'a str),
    /// `checkpoint_failed`: the index could not be written; it is tried again.
    CheckpointFailed(&'a dyn fmt::Display),
    /// `session_panicked`: a defect of ours ended one connection; the others go on.
    SessionPanicked {
        /// The client.
        client: SocketAddr,
        /// The panic's message.
        why: &'a str,
    },
    /// `reloaded`: a new configuration is in force.
    Reloaded,
    /// `reload_refused`: the configuration stays as it was.
    ReloadRefused(&'a dyn fmt::Display),
    /// `ready`: all shards accept connections.
    Ready {
        /// How many shards.
        shards: usize,
    },
    /// `draining`: no new connections; what runs has this many seconds to end.
    Draining(u64),
    /// `stopped`: everything is on disk.
    Stopped,
    /// `source_failed`: connections cannot be made from a source, through no fault of the peer; told once until one can.
    SourceFailed {
        /// Its name.
        source: &'a str,
        /// Why.
        why: &'a str,
    },
    /// `source_back`: connections can be made from it again.
    SourceBack(&'a str),
    /// `limit_lowered` and `limit_raised`: what replies make of a limit from one source to one destination; without `to`
    /// what is configured holds again.
    LimitAdjusted {
        /// The source; empty: the host as it is.
        source: &'a str,
        /// The provider, or the hosts.
        destination: &'a str,
        /// `message_rate` (a second) or `connections_max`.
        limit: &'static str,
        /// Whether less is allowed than before.
        lowered: bool,
        /// What was allowed, if it was adjusted before.
        from: Option<f64>,
        /// What is allowed now, if it is adjusted.
        to: Option<f64>,
        /// What was said, or how much went well.
        why: &'a str,
    },
    /// `tls_report_sent`: a domain was told how TLS with its hosts went (RFC 8460).
    TlsReportSent {
        /// Of what.
        domain: &'a str,
        /// To which address or URL.
        to: &'a str,
    },
    /// `tls_report_failed`: it could not be told; it is tried again in an hour, within two days.
    TlsReportFailed {
        /// Of what.
        domain: &'a str,
        /// To which address or URL; empty where that is not known.
        to: &'a str,
        /// Why.
        why: &'a str,
    },
    /// `trouble`: something else that an administrator should know.
    Trouble(&'a dyn fmt::Display),
    /// `suppressed`: so many more events of a kind that others cause were counted, and not written, for their number.
    Suppressed {
        /// Which.
        kind: Kind,
        /// How many.
        lines: u64,
    },
    /// `log_overflow`: so many lines were lost, as nobody took them in time.
    LogOverflow {
        /// How many.
        lost_lines: u64,
    },
}

impl Event<'_> {
    /// The event's name.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Listening(_) => "listening",
            Event::Accepted { .. } => "accepted",
            Event::Refused { .. } => "refused",
            Event::ScannerFailed { .. } => "scanner_failed",
            Event::TlsFailed { .. } => "tls_failed",
            Event::Delivered(_) => "delivered",
            Event::Deferred { .. } => "deferred",
            Event::Failed(_) => "failed",
            Event::Notified { .. } => "notified",
            Event::Bounced { .. } => "bounced",
            Event::Complaint { .. } => "complaint",
            Event::ReturnIgnored { .. } => "return_ignored",
            Event::Uncertain { .. } => "uncertain",
            Event::Recovered { .. } => "recovered",
            Event::Ordered { .. } => "ordered",
            Event::Space { accepting: false } => "space_low",
            Event::Space { accepting: true } => "space_back",
            Event::WebhookOverflow { .. } => "webhook_overflow",
            Event::WebhookFailing { .. } => "webhook_failing",
            Event::WebhookBack { .. } => "webhook_back",
            Event::RecipientSuppressed { .. } => "recipient_suppressed",
            Event::SuppressionFull(_) => "suppression_full",
            Event::CheckpointFailed(_) => "checkpoint_failed",
            Event::SessionPanicked { .. } => "session_panicked",
            Event::Reloaded => "reloaded",
            Event::ReloadRefused(_) => "reload_refused",
            Event::Ready { .. } => "ready",
            Event::Draining(_) => "draining",
            Event::Stopped => "stopped",
            Event::SourceFailed { .. } => "source_failed",
            Event::SourceBack(_) => "source_back",
            Event::LimitAdjusted { lowered: true, .. } => "limit_lowered",
            Event::LimitAdjusted { lowered: false, .. } => "limit_raised",
            Event::TlsReportSent { .. } => "tls_report_sent",
            Event::TlsReportFailed { .. } => "tls_report_failed",
            Event::Trouble(_) => "trouble",
            Event::Suppressed { .. } => "suppressed",
            Event::LogOverflow { .. } => "log_overflow",
        }
    }

    /// How much it matters.
    pub fn level(&self) -> Level {
        match self {
            Event::CheckpointFailed(_)
            | Event::SessionPanicked { .. }
            | Event::Trouble(_)
            | Event::SourceFailed { .. }
            | Event::ScannerFailed { .. }
            | Event::ReloadRefused(_) => Level::Error,
            Event::Space { accepting: false }
            | Event::Refused { .. }
            | Event::TlsFailed { .. }
            | Event::Failed(_)
            | Event::Bounced { .. }
            | Event::Complaint { .. }
            | Event::WebhookOverflow { .. }
            | Event::WebhookFailing { .. }
            | Event::SuppressionFull(_)
            | Event::LimitAdjusted { lowered: true, .. }
            | Event::TlsReportFailed { .. }
            | Event::Suppressed { .. }
            | Event::LogOverflow { .. }
            | Event::Uncertain { .. } => Level::Warn,
            Event::Accepted { .. }
            | Event::Delivered(_)
            | Event::Deferred { .. }
            | Event::Notified { .. }
            | Event::RecipientSuppressed { .. }
            | Event::ReturnIgnored { .. } => Level::Info,
            Event::Listening(_)
            | Event::Recovered { .. }
            | Event::Ordered { .. }
            | Event::Space { accepting: true }
            | Event::WebhookBack { .. }
            | Event::SourceBack(_)
            | Event::LimitAdjusted { lowered: false, .. }
            | Event::TlsReportSent { .. }
            | Event::Reloaded
            | Event::Ready { .. }
            | Event::Draining(_)
            | Event::Stopped => Level::Notice,
        }
    }

    /// Its kind, where others can cause it in any number. Nothing that is about an accepted message has one.
    pub fn flood(&self) -> Option<Kind> {
        match self {
            Event::Refused { what: "connection", .. } => Some(Kind::Connections),
            Event::Refused { what: "auth", .. } => Some(Kind::Logins),
            Event::Refused { account: Some(_), .. } => Some(Kind::AccountRefusals),
            Event::Refused { .. } => Some(Kind::Refusals),
            Event::TlsFailed { .. } => Some(Kind::Tls),
            Event::SessionPanicked { .. } => Some(Kind::Panics),
            Event::ScannerFailed { .. } => Some(Kind::Scanners),
            Event::ReturnIgnored { .. } => Some(Kind::Returns),
            Event::LimitAdjusted { .. } => Some(Kind::Limits),
            _ => None,
        }
    }

    /// Writes the event's own keys.
    pub(super) fn fields(&self, line: &mut Line<'_>) {
        match self {
            Event::Listening(address) => _ = line.put("address", address),
            Event::Accepted { id, message_id, client, account, sender, recipients, bytes, screening, dkim, origin } => {
                line.put("id", id).put("message_id", message_id).put("client", client).put_some("account", *account);
                line.put("sender", format_args!("<{sender}>")).put("recipients", recipients).put("bytes", bytes);
                line.put_some("screening", *screening).put_some("dkim", *dkim).put_some("pool", origin.pool.as_deref());
                put_owner(line, origin);
            }
            Event::Refused { client, account, user, what, reply, screening } => {
                line.put("client", client).put_some("account", *account).put_some("user", *user);
                line.put("what", what).put("reply", reply);
                line.put_some("screening", *screening);
            }
            Event::ScannerFailed { scanner, why } => _ = line.put("scanner", scanner).put("why", why),
            Event::TlsFailed { client, why } | Event::SessionPanicked { client, why } => {
                line.put("client", client).put("why", why);
            }
            Event::Delivered(attempt) | Event::Failed(attempt) => attempt.fields(line),
            Event::Deferred { attempt, retry_s } => {
                attempt.fields(line);
                line.put("retry_s", retry_s);
            }
            Event::Notified { id, about, action, recipient } => {
                line.put("id", id)
                    .put("about", about)
                    .put("action", action)
                    .put("recipient", format_args!("<{recipient}>"));
            }
            Event::Bounced { id, recipient, said } | Event::Complaint { id, recipient, said } => {
                line.put("id", id).put("recipient", format_args!("<{recipient}>"));
                if let Some(reason) = &said.reason {
                    line.put("status", said.status).put("category", reason.category.name()).put("rule", &reason.rule);
                }
                line.put_some("remote", said.remote.as_deref()).put("answer", &said.text);
            }
            Event::ReturnIgnored { client, id, what } => {
                line.put("client", client);
                if let Some(id) = id {
                    line.put("id", id);
                }
                line.put("what", what);
            }
            Event::Uncertain { id, recipient } => {
                line.put("id", id).put("recipient", format_args!("<{recipient}>"));
            }
            Event::Recovered { recipients, frames, took_ms } => {
                line.put("recipients", recipients).put("frames", frames).put("took_ms", took_ms);
            }
            Event::WebhookOverflow { webhook, events } => _ = line.put("webhook", webhook).put("events", events),
            Event::WebhookFailing { webhook, why } => _ = line.put("webhook", webhook).put("why", why),
            Event::WebhookBack { webhook, failures } => _ = line.put("webhook", webhook).put("failures", failures),
            Event::RecipientSuppressed { recipient, list, cause, until } => {
                line.put("recipient", format_args!("<{recipient}>")).put("list", list).put("cause", cause);
                line.put_some("until", *until);
            }
            Event::SuppressionFull(list) => _ = line.put("list", list),
            Event::Ordered { order, selection, recipients } => {
                line.put("order", order).put("selection", selection).put("recipients", recipients);
            }
            Event::CheckpointFailed(why) | Event::ReloadRefused(why) | Event::Trouble(why) => _ = line.put("why", why),
            Event::SourceFailed { source, why } => _ = line.put("source", source).put("why", why),
            Event::SourceBack(source) => _ = line.put("source", source),
            Event::LimitAdjusted { source, destination, limit, from, to, why, .. } => {
                line.put_some("source", Some(*source).filter(|source| !source.is_empty()));
                line.put("destination", destination).put("limit", limit);
                put_number(line, "from", *from);
                put_number(line, "to", *to);
                line.put("why", why);
            }
            Event::TlsReportSent { domain, to } => _ = line.put("domain", domain).put("to", to),
            Event::TlsReportFailed { domain, to, why } => {
                line.put("domain", domain).put("to", to).put("why", why);
            }
            Event::Ready { shards } => _ = line.put("shards", shards),
            Event::Draining(seconds) => _ = line.put("patience_s", seconds),
            Event::Suppressed { kind, lines } => {
                line.put("kind", kind.name()).put("lines", lines).put("window_s", WINDOW.as_secs());
            }
            Event::LogOverflow { lost_lines } => _ = line.put("lost_lines", lost_lines),
            Event::Space { .. } | Event::Reloaded | Event::Stopped => {}
        }
    }
}

impl Attempt<'_> {
    fn fields(&self, line: &mut Line<'_>) {
        line.put("id", self.id).put("recipient", format_args!("<{}>", self.recipient)).put("attempt", self.attempt);
        line.put("age_s", self.age_s).put("status", self.answer.status);
        if let Some(reason) = &self.answer.reason {
            line.put("category", reason.category.name()).put("rule", &reason.rule);
        }
        put_owner(line.put_some("source", self.source), self.origin);
        line.put_some("remote", self.answer.remote.as_deref());
        if let Some(security) = &self.answer.tls {
            put_security(line, security);
        }
        line.put("answer", &self.answer.text);
    }
}

/// Adds what protected a session, and what was asked of it.
pub(super) fn put_security(line: &mut Line<'_>, security: &Security) {
    match &security.channel {
        Channel::Encrypted { protocol, cipher, verified } => {
            line.put("tls", protocol).put("cipher", cipher).put("verified", verified.name());
        }
        Channel::Plain(plain) => _ = line.put("plain", plain.name()).put_some("plain_why", plain.why()),
        Channel::Refused => {}
    }
    line.put("policy", security.policy.name());
    // The other policies say by their names where they stand.
    if security.asked_by == AskedBy::Route {
        line.put("asked_by", security.asked_by.name());
    }
}

fn put_owner(line: &mut Line<'_>, origin: &Origin) {
    line.put_some("tenant", origin.tenant.as_deref()).put_some("campaign", origin.campaign.as_deref());
}

fn put_number(line: &mut Line<'_>, key: &'static str, number: Option<f64>) {
    if let Some(number) = number {
        line.put(key, format_args!("{number:.2}"));
    }
}
