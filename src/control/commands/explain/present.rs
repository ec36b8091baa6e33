//! What is used of the limits at the moment, what rests, and which pool the mail goes from: what `ringpost explain` says
//! beside the configured limits. The running server knows the first two; where none runs, that is said.

use std::fmt::{Display, Write};
use std::time::Duration;

use serde_json::{Value, json};
use shards::Timestamp;

use crate::config::{Config, Pool};
use crate::control::clock;
use crate::control::commands::table::{span, text, time};
use crate::message::date::rfc3339;
use crate::queue::submitted::day_of;

/// What the server says of the paths to a destination.
pub(super) struct Present {
    /// One object for each source and part, as `GET /api/v1/paths` has them.
    pub paths: Vec<Value>,
    /// Whether one runs.
    pub is_known: bool,
    pub now: Timestamp,
}

impl Present {
    /// Of its answer.
    pub fn of(answer: Result<Value, String>) -> Present {
        let is_known = answer.is_ok();
        let paths = answer.ok().and_then(|mut answer| answer["paths"].as_array_mut().map(std::mem::take));
        Present { paths: paths.unwrap_or_default(), is_known, now: clock::now() }
    }

    /// What it says of `source` at a group, or at a part of one.
    pub fn at(&self, source: &str, name: &str) -> Option<&Value> {
        self.paths.iter().find(|path| path["source"] == source && path["destination"] == name)
    }

    /// What is used now of a limit that has this value.
    pub fn beside(&self, (source, name): (&str, &str), key: &str, value: Option<&dyn Display>) -> String {
        let Some(path) = self.at(source, name) else { return String::new() };
        let value = value.map(ToString::to_string);
        if key == "connections_max" {
            let in_use = path["connections"].as_u64().map(|number| format!("now {number} in use"));
            return in_use.unwrap_or_default();
        }
        let mut used_up = path["used_up"].as_array().into_iter().flatten();
        let used = used_up.find(|used| used["limit"] == key && used["value"].as_str() == value.as_deref());
        used.map_or_else(String::new, |used| format!("now used up, next in {}", self.left(&used["until"])))
    }

    /// What rests from `source` at a group, what of a lowered limit is used up, and how `lift` ends it.
    pub fn in_the_way(&self, source: &str, name: &str, domain: &str) -> String {
        let Some(path) = self.at(source, name) else { return String::new() };
        let mut words = String::new();
        if let Some(until) = path["rests_until"].as_str() {
            let (left, why) = (self.left(&path["rests_until"]), text(&path["rests_because"]));
            _ = writeln!(words, "  now: rests until {until} ({left}), because: {why}");
            _ = writeln!(words, "  `ringpost lift {domain}` ends the rest");
        }
        if path["source_failed"] == true {
            _ = writeln!(
                words,
                "  now: the source has failed (event=source_failed): no connection can be made from it"
            );
        }
        for used in path["used_up"].as_array().into_iter().flatten() {
            if used["from"].as_str().is_some_and(|from| from.starts_with("it said")) {
                let (limit, value) = (text(&used["limit"]), text(&used["value"]));
                let next = self.left(&used["until"]);
                _ = writeln!(words, "  now: {limit} {value}, as lowered, is used up, next in {next}");
            }
        }
        words
    }

    fn left(&self, until: &Value) -> String {
        // What ends in this second has not ended yet.
        time(until).map_or_else(String::new, |until| span(until.since(self.now) + Duration::from_millis(999)))
    }

    /// That the present is not shown, if so.
    pub fn unknown(&self) -> &'static str {
        if self.is_known {
            return "";
        }
        "\nno server runs with this configuration: what is in use, lowered, used up or resting now is not shown\n"
    }
}

/// Which pool the mail goes from, and who chose it.
pub(super) struct Chosen {
    name: Box<str>,
    by: String,
    members: Vec<(Box<str>, u32)>,
}

impl Chosen {
    /// The pool of mail for `domain` that asks for `asked`, because of `asker`.
    pub fn of(config: &Config, pool: &Pool, asked: Option<(&str, &str)>, domain: &str) -> Chosen {
        let of_route = config.routes.iter().find(|route| route.covers(domain)).filter(|route| route.pool.is_some());
        let by = match (asked, of_route) {
            (Some((_, asker)), _) => asker.to_owned(),
            (None, Some(_)) => format!("the [[route]] of {domain}"),
            (None, None) => "[delivery] pool".to_owned(),
        };
        let members = pool.members.iter().map(|member| (member.source.name.clone(), member.weight));
        Chosen { name: pool.name.clone(), by, members: members.collect() }
    }

    pub fn words(&self) -> String {
        let Chosen { name, by, members } = self;
        if name.is_empty() {
            return "from the host itself: no pool or source is chosen\n".into();
        }
        let members: Vec<String> =
            members.iter().map(|(source, weight)| format!("{source} (weight {weight})")).collect();
        match &members[..] {
            [_] => format!("from source {name}, chosen by {by}\n"),
            several => format!("from pool {name}, chosen by {by}: {}\n", several.join(", ")),
        }
    }

    pub fn json(&self) -> Value {
        let Chosen { name, by, members } = self;
        let members: Vec<Value> =
            members.iter().map(|(source, weight)| json!({ "source": source, "weight": weight })).collect();
        json!({ "name": name, "chosen_by": by, "members": members })
    }
}

/// That the warm-up of a source has yet to begin, if so.
pub(super) fn warm_up_to_come(pool: &Pool, source: &str, now: Timestamp) -> String {
    let member = pool.members.iter().find(|member| &*member.source.name == source);
    let plan = member.and_then(|member| member.source.warm_up.as_ref()).filter(|plan| plan.first_day > day_of(now));
    plan.map_or_else(String::new, |plan| {
        let day = rfc3339(Timestamp::from_millis(u64::from(plan.first_day) * 86_400_000));
        format!("  warm-up: begins on {}; nothing goes from it before\n", day.get(..10).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present() -> Present {
        let paths = json!({ "paths": [
            { "source": "s1", "destination": "gmail", "connections": 8, "full": true, "rests_until": "2026-11-26T19:00:00.000Z",
              "rests_because": "554 listed", "used_up": [
                { "limit": "message_rate", "value": "0.50/1s", "from": "it said: slow", "until": "2026-11-26T18:00:02.000Z" }] },
            { "source": "s1", "destination": "gmail (tenant acme)", "connections": 8, "used_up": [
                { "limit": "message_rate", "value": "20/1m", "from": "[[limit]]", "until": "2026-11-26T18:00:12.000Z" }] },
        ] });
        let now = time(&json!("2026-11-26T18:00:00Z")).expect("a time");
        Present { now, ..Present::of(Ok(paths)) }
    }

    #[test]
    fn what_is_used_stands_beside_its_limit() {
        let present = present();
        let beside = |name: &str, key: &str, value: &str| present.beside(("s1", name), key, Some(&value));
        assert_eq!(beside("gmail", "connections_max", "8"), "now 8 in use");
        assert_eq!(beside("gmail (tenant acme)", "message_rate", "20/1m"), "now used up, next in 12s");
        assert_eq!(beside("gmail", "message_rate", "100/1s"), "", "another is");
        assert_eq!(present.beside(("s2", "gmail"), "connections_max", None), "");
    }

    #[test]
    fn a_rest_is_told_with_its_end_its_reason_and_what_ends_it() {
        let words = present().in_the_way("s1", "gmail", "gmail.com");
        assert!(words.contains("rests until 2026-11-26T19:00:00.000Z (60m), because: 554 listed\n"), "{words}");
        assert!(words.contains("`ringpost lift gmail.com` ends the rest\n"), "{words}");
        assert!(words.contains("message_rate 0.50/1s, as lowered, is used up, next in 2s\n"), "{words}");
        assert!(present().unknown().is_empty() && !Present::of(Err("none".into())).unknown().is_empty());
    }
}
