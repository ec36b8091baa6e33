//! A message in JSON, and its recipients' standing in words: a queue that explains itself. The keys are documented at
//! [`super::orders::Report`]. Pure.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use shards::Timestamp;

use super::MessageId;
use super::lane::Scope;
use super::open::is_uncertain;
use super::outcome::attributed;
use super::row::{Entry, Row, timestamp};
use super::webhook::{Event, EventId};
use crate::assurance::{Channel, Plain, Security};
use crate::bounce::classify::Action;
use crate::bounce::decode_xtext;
use crate::config::webhook::Kind;
use crate::message::{Origin, date, scan};
use crate::smtp::envelope::Recipient;
use crate::spool::record::{Said, Standing, State, What};

/// Octets of a Subject that are shown.
const SUBJECT_BYTES_MAX: usize = 500;

/// Until when a destination is left alone, and why.
pub struct Pause {
    /// The end.
    pub until: Timestamp,
    /// For people.
    pub why: Arc<str>,
}

/// What holds for all messages at the moment.
pub struct Moment<'a> {
    /// The time.
    pub now: Timestamp,
    /// Knows what is suspended of which a lane is a part.
    pub suspension_of: &'a dyn Fn(&str) -> Option<Scope>,
    /// Knows the pauses of domains.
    pub pause_of: &'a dyn Fn(&str) -> Option<Pause>,
}

/// What a recipient that is due waits for.
enum Waits {
    /// The time that its message is scheduled for.
    ItsTime,
    /// An operator, who has suspended this.
    Resumption(Scope),
    /// The rest of its destination.
    EndOf(Pause),
}

/// A message with the given ones of its recipients.
pub fn message(id: MessageId, row: &Row, entries: &[&Entry], moment: &Moment<'_>) -> Value {
    let mut object = identity(&Identity {
        id,
        arrival: row.arrival,
        sender: &row.sender.path.to_string(),
        message_id: row.tagged.message_id.as_deref(),
        envid: row.sender.envid.as_deref(),
        account: row.account.as_deref(),
        origin: &row.tagged.origin,
    });
    if let Some(pool) = &row.tagged.origin.pool {
        object.insert("pool".into(), (**pool).into());
    }
    object.insert("age_s".into(), moment.now.since(row.arrival).as_secs().into());
    object.insert("bytes".into(), row.content_bytes.into());
    if let Some(client) = &row.client {
        object.insert("client".into(), format!("{} [{}]", client.name, client.address).into());
    }
    if let Some(screening) = &row.tagged.screening {
        object.insert("screening".into(), (**screening).into());
    }
    if let Some(preflight) = &row.tagged.preflight {
        object.insert("preflight".into(), (**preflight).into());
    }
    if let Some(time) = row.tagged.scheduled {
        object.insert("scheduled".into(), date::rfc3339(time).into());
    }
    object.insert("recipients".into(), entries.iter().map(|entry| recipient(row, entry, moment)).collect());
    Value::Object(object)
}

/// An event as webhooks are told it: what they know it by, its type and time, the message and the recipient.
pub fn event(id: EventId, event: &Event) -> Value {
    let mut object = identity(&Identity {
        id: event.message,
        arrival: event.arrival,
        sender: &event.sender,
        message_id: event.message_id.as_deref(),
        envid: event.envid.as_deref(),
        account: event.account.as_deref(),
        origin: &event.origin,
    });
    object.insert("event".into(), event.name(id).to_string().into());
    object.insert("type".into(), event.kind.name().into());
    object.insert("time".into(), date::rfc3339(time(event.at_s, event.arrival)).into());
    object.insert("recipient".into(), recipient_of(event));
    Value::Object(object)
}

/// How the recipient of an event stands, or what came back about it.
fn recipient_of(event: &Event) -> Value {
    let what = match event.kind {
        Kind::Bounced => What::Bounced,
        Kind::Complaint => What::Complaint,
        _ => return standing(&event.recipient, &event.standing, (None, None), event.arrival),
    };
    let before = Standing { last: None, ..event.standing.clone() };
    let mut object = standing(&event.recipient, &before, (None, None), event.arrival);
    if let Some(said) = &event.standing.last {
        add_return(&mut object, what, said);
    }
    object
}

/// Adds to a message what came back about its recipients, each under its name.
pub fn add_returns(message: &mut Value, returned: &[(u16, What, Said)]) {
    for (index, what, said) in returned {
        let Some(recipient) = message["recipients"].get_mut(usize::from(*index)) else { continue };
        let mut object = json!({ "time": date::rfc3339(timestamp(said.at_s)) });
        add_return(&mut object, *what, said);
        recipient[return_name(*what)] = object;
    }
}

fn return_name(what: What) -> &'static str {
    match what {
        What::Bounced => "bounced",
        What::Complaint => "complaint",
    }
}

/// Adds what something that came back says.
fn add_return(object: &mut Value, what: What, said: &Said) {
    let by = said.remote.as_deref().map(|remote| format!(" by {remote}")).unwrap_or_default();
    match what {
        What::Bounced => {
            add_said(object, State::Failed { at_s: said.at_s }, said);
            object["explanation"] = format!("came back later, reported{by}: {}", said.text).into();
        }
        What::Complaint => {
            object["why"] = (*said.text).into();
            if let Some(remote) = &said.remote {
                object["remote"] = (**remote).into();
            }
            object["explanation"] = format!("its recipient complained, reported{by}").into();
        }
    }
}

/// What a message is known by.
struct Identity<'a> {
    id: MessageId,
    arrival: Timestamp,
    sender: &'a str,
    message_id: Option<&'a str>,
    envid: Option<&'a str>,
    account: Option<&'a str>,
    origin: &'a Origin,
}

fn identity(identity: &Identity<'_>) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("id".into(), identity.id.to_string().into());
    object.insert("arrival".into(), date::rfc3339(identity.arrival).into());
    object.insert("sender".into(), identity.sender.into());
    let envelope_id = identity.envid.map(decode_xtext);
    for (key, value) in [
        ("message_id", identity.message_id),
        ("envelope_id", envelope_id.as_deref()),
        ("account", identity.account),
        ("tenant", identity.origin.tenant.as_deref()),
        ("campaign", identity.origin.campaign.as_deref()),
        ("tls_asked", Some(identity.origin.demand.name()).filter(|name| !name.is_empty())),
    ] {
        if let Some(value) = value {
            object.insert(key.into(), value.into());
        }
    }
    object
}

fn recipient(row: &Row, entry: &Entry, moment: &Moment<'_>) -> Value {
    let waits = waits(row, entry, moment);
    standing(&entry.recipient, &entry.standing, (waits.as_ref(), Some(moment.now)), row.arrival)
}

/// A time of a recipient, which is kept in whole seconds; that of its message's arrival is not, and nothing was before.
fn time(at_s: u32, arrival: Timestamp) -> Timestamp {
    timestamp(at_s).max(arrival)
}

fn waits(row: &Row, entry: &Entry, moment: &Moment<'_>) -> Option<Waits> {
    let State::Due { at_s } = entry.standing.state else { return None };
    if row.waits_for_its_time(entry.standing.state, moment.now) {
        return Some(Waits::ItsTime);
    }
    let lane = row.lane_of(entry.recipient.path.as_str());
    if let Some(scope) = (moment.suspension_of)(&lane) {
        return Some(Waits::Resumption(scope));
    }
    let pause = (moment.pause_of)(&lane);
    pause.filter(|pause| pause.until > timestamp(at_s)).map(Waits::EndOf)
}

/// How a recipient of a message of that arrival stands, and what keeps it; `now`: as of that time.
fn standing(
    recipient: &Recipient,
    standing: &Standing,
    (waits, now): (Option<&Waits>, Option<Timestamp>),
    arrival: Timestamp,
) -> Value {
    let Standing { state, attempts, last } = standing;
    let shown = match waits {
        Some(Waits::ItsTime) => "scheduled",
        Some(Waits::Resumption(_)) => "suspended",
        Some(Waits::EndOf(_)) | None => state_name(*state),
    };
    let mut object = json!({
        "address": recipient.path.as_str(),
        "state": shown,
        "attempts": attempts,
        "explanation": explain(standing, (waits, now), arrival),
    });
    let pause = match waits {
        Some(Waits::EndOf(pause)) => Some(pause),
        Some(Waits::Resumption(scope)) => {
            object["suspension"] = scope.to_string().into();
            object["resume"] = scope.resumed_by().into();
            None
        }
        Some(Waits::ItsTime) | None => None,
    };
    if let State::Due { at_s } = state {
        object["next"] = date::rfc3339(pause.map_or(time(*at_s, arrival), |pause| pause.until)).into();
    }
    if let Some(pause) = pause {
        object["why"] = (*pause.why).into();
    }
    if let Some(at_s) = state.ended_s() {
        object["ended"] = date::rfc3339(time(at_s, arrival)).into();
    }
    if let Some(orcpt) = &recipient.orcpt {
        object["original"] = decode_xtext(orcpt).into();
    }
    if let Some(said) = last {
        add_said(&mut object, *state, said);
    }
    object
}

/// Adds what was said last, and what it means: in our words and in those of other systems.
fn add_said(object: &mut Value, state: State, said: &Said) {
    object["status"] = said.status.to_string().into();
    object["why"] = (*said.text).into();
    if let Some(reply) = said.reply() {
        object["code"] = reply.code.into();
    }
    let action = match state {
        State::Delivered { .. } => Action::Deliver,
        State::Failed { .. } => Action::Reject,
        State::Due { .. } | State::Held => Action::Defer,
    };
    object["action"] = action.name().into();
    if let Some(reason) = &said.reason {
        object["category"] = reason.category.name().into();
        if is_uncertain(said) {
            object["uncertain"] = true.into();
        }
        object["rule"] = (*reason.rule).into();
        object["powermta"] = reason.category.powermta().into();
        object["kumomta"] = reason.category.kumomta_after(action).into();
    }
    if let Some(remote) = &said.remote {
        object["remote"] = (**remote).into();
    }
    if let Some(tls) = &said.tls {
        object["tls"] = security(tls);
    }
}

/// What protected a session, and what was asked of it.
fn security(security: &Security) -> Value {
    let mut object = match &security.channel {
        Channel::Encrypted { protocol, cipher, verified } => {
            json!({ "encrypted": true, "protocol": protocol, "cipher": cipher, "verified": verified.name() })
        }
        Channel::Plain(plain) => json!({ "encrypted": false, "plain": plain.name() }),
        Channel::Refused => json!({ "encrypted": false, "refused": true }),
    };
    if let Channel::Plain(Plain::Fallback(why)) = &security.channel {
        object["plain_why"] = (**why).into();
    }
    object["policy"] = security.policy.name().into();
    object["asked_by"] = security.asked_by.name().into();
    object["explanation"] = security.to_string().into();
    object
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Due { .. } => "due",
        State::Held => "held",
        State::Delivered { .. } => "delivered",
        State::Failed { .. } => "failed",
    }
}

/// A recipient's standing in a sentence.
fn explain(standing: &Standing, (waits, now): (Option<&Waits>, Option<Timestamp>), arrival: Timestamp) -> String {
    let shown = |at_s| date::rfc3339(time(at_s, arrival));
    let because = match &standing.last {
        None => String::new(),
        Some(said) => {
            let is_reply = said.reply().is_some();
            let colon = if is_reply && said.remote.is_some() { "" } else { ":" };
            format!(", because{colon} {}", attributed(said.remote.as_deref(), &said.text, is_reply))
        }
    };
    let attempt = u32::from(standing.attempts) + 1;
    match waits {
        Some(Waits::ItsTime) => return "held back until the Date that it bears".into(),
        Some(Waits::Resumption(scope)) => {
            return format!("suspended ({scope}) until `{}`{because}", scope.resumed_by());
        }
        Some(Waits::EndOf(Pause { until, why })) => {
            let until = date::rfc3339(*until);
            return format!(
                "waiting for attempt {attempt}: its destination is left alone until {until} at the earliest, because: {why}"
            );
        }
        None => {}
    }
    match standing.state {
        State::Due { .. } if standing.attempts == 0 && because.is_empty() => "waiting for its first attempt".into(),
        State::Due { at_s } if now.is_some_and(|now| timestamp(at_s) <= now) => {
            format!("due for attempt {attempt} since {}{}", shown(at_s), because.replacen("because", "before that", 1))
        }
        State::Due { at_s } => format!("waiting for attempt {attempt} at {}{because}", shown(at_s)),
        State::Held => format!("held until an operator releases or bounces it{because}"),
        State::Delivered { at_s } => format!("delivered at {}", shown(at_s)),
        State::Failed { at_s } => format!("given up at {}{because}", shown(at_s)),
    }
}

/// Adds what a header tells, and whether the content is still kept.
pub fn add_header(message: &mut Value, header: &[u8], content_kept: bool) {
    message["content_kept"] = content_kept.into();
    for (key, name) in [("subject", "Subject"), ("message_id", "Message-ID")] {
        if let Some(field) = scan::fields(header).find(|field| field.is(name)) {
            let value = field.value.trim_ascii();
            let value = &value[..value.len().min(SUBJECT_BYTES_MAX)];
            message[key] = String::from_utf8_lossy(value).replace("\r\n", "").into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_past_is_not_told_as_if_it_were_to_come() {
        let standing = Standing { state: State::Due { at_s: 100 }, attempts: 1, last: None };
        let explained = |now_s: u32| explain(&standing, (None, Some(timestamp(now_s))), timestamp(0));
        assert_eq!(explained(95), "waiting for attempt 2 at 1970-01-01T00:01:40.000Z");
        assert_eq!(explained(105), "due for attempt 2 since 1970-01-01T00:01:40.000Z");
        let event = explain(&standing, (None, None), timestamp(0));
        assert!(event.starts_with("waiting for attempt 2 at"), "an event tells what was to come: {event}");
    }
}
