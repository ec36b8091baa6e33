//! One request's content: the events, and what the endpoint knows it by. Pure.

use hyper::body::Bytes;
use serde_json::json;

use crate::queue::describe;
use crate::queue::webhook::{Encoded, Event};
use crate::spool::encode::Corrupt;

/// What is posted, as often as it takes. The body is `{"events": […]}`, each event as [`describe::event`] gives it.
pub struct Letter {
    /// `webhook-id`: the event's id, or those of the first and the last. The same id comes with the same events.
    pub id: String,
    /// The JSON.
    pub body: Bytes,
}

impl Letter {
    /// The letter about these events, and what is wrong with those that cannot be read. `None`: nothing is left to tell.
    pub fn new(events: &[Encoded]) -> (Option<Letter>, Vec<Corrupt>) {
        let mut corrupt = Vec::new();
        let mut told = Vec::with_capacity(events.len());
        for (id, bytes) in events {
            match Event::decode(bytes) {
                Ok(event) => told.push((event.name(*id).to_string(), describe::event(*id, &event))),
                Err(why) => corrupt.push(why),
            }
        }
        let id = match &told[..] {
            [] => return (None, corrupt),
            [(only, _)] => only.clone(),
            [(first, _), .., (last, _)] => format!("{first}-{last}"),
        };
        let events: Vec<_> = told.into_iter().map(|(_, event)| event).collect();
        let body = json!({ "events": events }).to_string().into();
        (Some(Letter { id, body }), corrupt)
    }
}
