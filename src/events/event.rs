//! The events. A variant's documentation is the reference of its log line; its fields are the line's keys.

use std::fmt;
use std::net::SocketAddr;

use super::flood::Kind;
pub use crate::config::log::Level;
use crate::message::Origin;
use crate::queue::MessageId;
use crate::queue::outcome::Answer;
use crate::smtp::path::ReversePath;
use crate::spool::record::Said;

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
    /// Whose the message is, and what it asks of TLS.
    pub origin: &'a Origin,
    /// What was answered. Where the session was encrypted its keys are `tls` (the version), `cipher` and `verified` (`no`,
    /// `dane`, `authority`); where it was not, `plain` (`off`, `not-offered`, `fallback` after a handshake that failed as
    /// `plain_why` says). What was asked is `policy` (`off`, `opportunistic`, `required`, `verified`, `dane`, `mta-sts`);
    /// `asked_by` says `route` where a route asks, and `message` where the message does (then also `requiretls`, `waived`).
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
        /// What large receivers' rules make of it, where it was held against them.
        preflight: Option<&'a str>,
        /// The domain that signed it, where one did.
        dkim: Option<&'a str>,
        /// Whose it is, the pool that it asks for, and what it asks of TLS (`tls_asked`: `required`, `encrypted`, `waived`).
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
    /// `preflight`: a message that is about to be accepted breaks rules of large receivers for bulk mail.
    Preflight {
        /// What the message will be called.
        id: MessageId,
        /// The account, where it authenticated.
        account: Option<&'a str>,
        /// `fail` or `warn`, and the rules.
        verdict: &'a str,
        /// Whose rules they are.
        receivers: &'a str,
        /// Of each rule its name, what is wrong, and what to change.
        findings: &'a [(&'a str, &'a str, &'a str)],
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
        /// What was allowed: as adjusted before, or as configured, if it was.
        from: Option<f64>,
        /// What is allowed now, if it is adjusted.
        to: Option<f64>,
        /// What was said, or how much went well.
        why: &'a str,
    },
    /// `limit_lifted`: an operator wanted nothing to keep the mail of a source from a destination any longer.
    LimitLifted {
        /// The source; empty: the host as it is.
        source: &'a str,
        /// The provider, or the hosts.
        destination: &'a str,
        /// What was in the way, by name.
        lifted: &'a str,
        /// Who asked, as they said.
        asked_by: &'a str,
    },
    /// `tls_report_sent`: a domain was told how TLS with its hosts went (RFC 8460).
    TlsReportSent {
        /// Of what.
        domain: &'a str,
        /// To which address or URL.
        to: &'a str,
    },
    /// `tls_report_failed`: it could not be told; it is tried again in an hour, for a day, where none of the domain's addresses took it.
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
            Event::Preflight { .. } => "preflight",
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
            Event::LimitLifted { .. } => "limit_lifted",
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
            | Event::Preflight { .. }
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
            | Event::LimitLifted { .. }
            | Event::TlsReportSent { .. }
            | Event::Reloaded
            | Event::Ready { .. }
            | Event::Draining(_)
            | Event::Stopped => Level::Notice,
        }
    }

    /// Its kind, where others can cause it in any number. Nothing that tells what becomes of an accepted message has one.
    pub fn flood(&self) -> Option<Kind> {
        match self {
            Event::Refused { what: "connection", .. } => Some(Kind::Connections),
            Event::Refused { what: "auth", .. } => Some(Kind::Logins),
            Event::Refused { account: Some(_), .. } => Some(Kind::AccountRefusals),
            Event::Refused { .. } => Some(Kind::Refusals),
            Event::Preflight { .. } => Some(Kind::Preflight),
            Event::TlsFailed { .. } => Some(Kind::Tls),
            Event::SessionPanicked { .. } => Some(Kind::Panics),
            Event::ScannerFailed { .. } => Some(Kind::Scanners),
            Event::ReturnIgnored { .. } => Some(Kind::Returns),
            Event::LimitAdjusted { .. } => Some(Kind::Limits),
            _ => None,
        }
    }
}
