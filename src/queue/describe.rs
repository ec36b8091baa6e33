//! A message in JSON, and its recipients' standing in words: a queue that explains itself. The keys are documented at
//! [`super::orders::Report`]. Pure.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use shards::Timestamp;

use super::MessageId;
use super::row::{Entry, Row, domain_of, timestamp};
use crate::message::{date, scan};
use crate::spool::record::{Standing, State};

/// Octets of a Subject that are shown.
const SUBJECT_BYTES_MAX: usize = 500;

/// Until when a destination is left alone, and why.
pub struct Pause {
    /// The end.
    pub until: Timestamp,
    /// For people.
    pub why: Arc<str>,
}

/// A message with the given ones of its recipients; `pause_of` knows the pauses of domains.
pub fn message(
    id: MessageId,
    row: &Row,
    entries: &[&Entry],
    now: Timestamp,
    pause_of: &dyn Fn(&str) -> Option<Pause>,
) -> Value {
    let mut object = Map::new();
    object.insert("id".into(), id.to_string().into());
    object.insert("arrival".into(), date::rfc3339(row.arrival).into());
    object.insert("age_s".into(), now.since(row.arrival).as_secs().into());
    object.insert("sender".into(), row.sender.path.to_string().into());
    object.insert("bytes".into(), row.content_bytes.into());
    if let Some(account) = &row.account {
        object.insert("account".into(), (**account).into());
    }
    if let Some(client) = &row.client {
        object.insert("client".into(), format!("{} [{}]", client.name, client.address).into());
    }
    if let Some(screening) = &row.tagged.screening {
        object.insert("screening".into(), (**screening).into());
    }
    if let Some(time) = row.tagged.scheduled {
        object.insert("scheduled".into(), date::rfc3339(time).into());
    }
    object.insert("recipients".into(), entries.iter().map(|entry| recipient(row, entry, now, pause_of)).collect());
    Value::Object(object)
}

fn recipient(row: &Row, entry: &Entry, now: Timestamp, pause_of: &dyn Fn(&str) -> Option<Pause>) -> Value {
    let Standing { state, attempts, last } = &entry.standing;
    let pause = match state {
        State::Due { at_s } => {
            let pause = pause_of(&domain_of(entry.recipient.path.as_str()));
            pause.filter(|pause| pause.until > timestamp(*at_s))
        }
        State::Held | State::Delivered { .. } | State::Failed { .. } => None,
    };
    let waits = row.waits_for_its_time(*state, now);
    let mut object = json!({
        "address": entry.recipient.path.as_str(),
        "state": if waits { "scheduled" } else { state_name(*state) },
        "attempts": attempts,
        "explanation": if waits {
            "held back until the Date that it bears".into()
        } else {
            explain(&entry.standing, pause.as_ref())
        },
    });
    if let State::Due { at_s } = state {
        object["next"] = date::rfc3339(pause.as_ref().map_or(timestamp(*at_s), |pause| pause.until)).into();
    }
    if let Some(pause) = &pause {
        object["why"] = (*pause.why).into();
    }
    if let Some(at_s) = state.ended_s() {
        object["ended"] = date::rfc3339(timestamp(at_s)).into();
    }
    if let Some(said) = last {
        object["status"] = said.status.to_string().into();
        object["why"] = (*said.text).into();
        if let Some(reason) = &said.reason {
            object["category"] = reason.category.name().into();
            object["rule"] = (*reason.rule).into();
        }
        if let Some(remote) = &said.remote {
            object["remote"] = (**remote).into();
        }
    }
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
fn explain(standing: &Standing, pause: Option<&Pause>) -> String {
    let because = match &standing.last {
        None => String::new(),
        Some(said) => match &said.remote {
            Some(remote) => format!(", because {remote} said: {}", said.text),
            None => format!(", because: {}", said.text),
        },
    };
    let attempt = u32::from(standing.attempts) + 1;
    if let Some(Pause { until, why }) = pause {
        let until = date::rfc3339(*until);
        return format!("waiting for attempt {attempt}: its destination is left alone until {until}, because: {why}");
    }
    match standing.state {
        State::Due { .. } if standing.attempts == 0 && because.is_empty() => "waiting for its first attempt".into(),
        State::Due { at_s } => format!("waiting for attempt {attempt} at {}{because}", date::rfc3339(timestamp(at_s))),
        State::Held => format!("held until an operator releases or bounces it{because}"),
        State::Delivered { at_s } => format!("delivered at {}", date::rfc3339(timestamp(at_s))),
        State::Failed { at_s } => format!("given up at {}{because}", date::rfc3339(timestamp(at_s))),
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
