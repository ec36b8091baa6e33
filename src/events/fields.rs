//! The keys of each event's line.

use super::event::{Attempt, Event};
use super::flood::WINDOW;
use super::line::Line;
use crate::assurance::{AskedBy, Channel, Security};
use crate::message::Origin;

impl Event<'_> {
    /// Writes the event's own keys.
    pub(super) fn fields(&self, line: &mut Line<'_>) {
        match self {
            Event::Accepted {
                id,
                message_id,
                client,
                account,
                sender,
                recipients,
                bytes,
                origin,
                screening,
                preflight,
                dkim,
            } => {
                line.put("id", id).put("message_id", message_id).put("client", client).put_some("account", *account);
                line.put("sender", format_args!("<{sender}>")).put("recipients", recipients).put("bytes", bytes);
                line.put_some("screening", *screening).put_some("preflight", *preflight).put_some("dkim", *dkim);
                put_origin(line.put_some("pool", origin.pool.as_deref()), origin);
            }
            Event::Refused { client, account, user, what, reply, screening } => {
                line.put("client", client).put_some("account", *account).put_some("user", *user);
                line.put("what", what).put("reply", reply);
                line.put_some("screening", *screening);
            }
            Event::Preflight { id, account, verdict, receivers, findings } => {
                line.put("id", id).put_some("account", *account).put("verdict", verdict).put("receivers", receivers);
                let told = findings.iter().map(|(rule, what, remedy)| format!("{rule}: {what}; {remedy}"));
                line.put("why", told.collect::<Vec<_>>().join(" | "));
            }
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
            Event::RecipientSuppressed { recipient, list, cause, until } => {
                line.put("recipient", format_args!("<{recipient}>")).put("list", list).put("cause", cause);
                line.put_some("until", *until);
            }
            _ => self.fields_of_the_server(line),
        }
    }

    /// The keys of events that are about no message and no client.
    fn fields_of_the_server(&self, line: &mut Line<'_>) {
        match self {
            Event::Listening(address) => _ = line.put("address", address),
            Event::ScannerFailed { scanner, why } => _ = line.put("scanner", scanner).put("why", why),
            Event::Recovered { recipients, frames, took_ms } => {
                line.put("recipients", recipients).put("frames", frames).put("took_ms", took_ms);
            }
            Event::WebhookOverflow { webhook, events } => _ = line.put("webhook", webhook).put("events", events),
            Event::WebhookFailing { webhook, why } => _ = line.put("webhook", webhook).put("why", why),
            Event::WebhookBack { webhook, failures } => _ = line.put("webhook", webhook).put("failures", failures),
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
                put_number(line, (limit, "from"), *from);
                put_number(line, (limit, "to"), *to);
                line.put("why", why);
            }
            Event::LimitLifted { source, destination, lifted, asked_by } => {
                line.put_some("source", Some(*source).filter(|source| !source.is_empty()));
                line.put("destination", destination).put("lifted", lifted).put("asked_by", asked_by);
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
            // These have theirs above; named, so that the compiler asks for those of a new one.
            Event::Accepted { .. }
            | Event::Refused { .. }
            | Event::Preflight { .. }
            | Event::TlsFailed { .. }
            | Event::SessionPanicked { .. }
            | Event::Delivered(_)
            | Event::Deferred { .. }
            | Event::Failed(_)
            | Event::Notified { .. }
            | Event::Bounced { .. }
            | Event::Complaint { .. }
            | Event::ReturnIgnored { .. }
            | Event::Uncertain { .. }
            | Event::RecipientSuppressed { .. } => {}
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
        put_origin(line.put_some("source", self.source), self.origin);
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
    if matches!(security.asked_by, AskedBy::Route | AskedBy::Message) {
        line.put("asked_by", security.asked_by.name());
    }
}

/// Adds whose a message is, and what it asks of TLS.
fn put_origin(line: &mut Line<'_>, origin: &Origin) {
    line.put_some("tenant", origin.tenant.as_deref()).put_some("campaign", origin.campaign.as_deref());
    line.put_some("tls_asked", Some(origin.demand.name()).filter(|name| !name.is_empty()));
}

/// Connections are whole ones.
fn put_number(line: &mut Line<'_>, (limit, key): (&str, &'static str), number: Option<f64>) {
    let decimals = if limit == "connections_max" { 0 } else { 2 };
    if let Some(number) = number {
        line.put(key, format_args!("{number:.decimals$}"));
    }
}
