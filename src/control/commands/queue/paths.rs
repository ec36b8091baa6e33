//! `ringpost queue paths`: what is in the way of mail now, a line each.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use shards::Timestamp;

use super::{Common, ask, print, print_json};
use crate::control::clock;
use crate::control::commands::Failure;
use crate::control::commands::table::{align, span, text, time};

type Row = [String; 5];

pub(super) fn run(common: &Common) -> Result<(), Failure> {
    let answer = ask(common, Method::GET, "/api/v1/paths", None)?;
    if common.json {
        return print_json(&answer);
    }
    print(&in_words(answer["paths"].as_array().map_or(&[], Vec::as_slice), clock::now()));
    Ok(())
}

fn in_words(paths: &[Value], now: Timestamp) -> String {
    let mut paths: Vec<&Value> = paths.iter().collect();
    paths.sort_by_key(|path| (text(&path["destination"]), text(&path["source"])));
    let rows: Vec<Row> = paths.into_iter().flat_map(|path| rows(path, now)).collect();
    if rows.is_empty() {
        return "Nothing is lowered, used up or resting.\n".into();
    }
    let heading = ["DESTINATION", "SOURCE", "NOW", "UNTIL", "WHY"].map(String::from);
    align(&[vec![heading], rows].concat())
}

/// What is in the way from one source to one destination, the worst first.
fn rows(path: &Value, now: Timestamp) -> Vec<Row> {
    let (destination, source) = (text(&path["destination"]), text(&path["source"]));
    let source = if source.is_empty() { "the host itself".into() } else { source };
    // What ends in this second has not ended yet.
    let left = |until: Timestamp| span(until.since(now) + Duration::from_millis(999));
    let until = |value: &Value| time(value).map_or_else(String::new, |until| format!("for {}", left(until)));
    let mut found: Vec<[String; 3]> = Vec::new();
    if path["source_failed"] == true {
        found.push(["source failed".into(), String::new(), "no connection can be made from it".into()]);
    }
    if path["rests_until"].is_string() {
        found.push(["rests".into(), until(&path["rests_until"]), text(&path["rests_because"])]);
    }
    for limit in ["connections_max", "message_rate"].into_iter().filter(|limit| !path[*limit].is_null()) {
        found.push([format!("{limit} {}, lowered", text(&path[limit])), String::new(), text(&path["why"])]);
    }
    for used in path["used_up"].as_array().into_iter().flatten() {
        let now = format!("{} {}, used up", text(&used["limit"]), text(&used["value"]));
        found.push([now, until(&used["until"]), text(&used["from"])]);
    }
    if path["full"] == true {
        let in_use = format!("{} connections, all in use", text(&path["connections"]));
        found.push([in_use, String::new(), String::new()]);
    }
    let plan = &path["warm_up"];
    if plan["begins"].is_string() {
        found.push(["warm-up to come".into(), String::new(), format!("it begins on {}", text(&plan["begins"]))]);
    } else if plan.is_object() {
        let (sent, max) = (text(&plan["messages_today"]), text(&plan["messages_max"]));
        found.push([format!("warm-up, {sent} of {max} today"), String::new(), String::new()]);
    }
    found.into_iter().map(|[what, until, why]| [destination.clone(), source.clone(), what, until, why]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_in_the_way_is_lined_up_within_a_hundred_columns() {
        let used_up = json!([{
            "limit": "message_rate", "value": "20/1m", "from": "[[limit]] for tenant acme", "until": "2026-11-26T18:00:12.000Z"
        }]);
        let paths = [
            json!({ "source": "s2", "destination": "gmail", "connections": 8, "full": true, "used_up": used_up }),
            json!({ "source": "s1", "destination": "gmail", "connections": 0, "connections_max": 2, "why": "554 listed",
                    "rests_until": "2026-11-26T18:59:00.000Z", "rests_because": "mx.test said: 554 listed" }),
            json!({ "source": "s3", "destination": "gmail", "warm_up": { "begins": "2026-12-24" } }),
        ];
        let now = time(&json!("2026-11-26T18:00:00Z")).expect("a time");
        let shown = in_words(&paths, now);
        assert_eq!(
            shown,
            "\
DESTINATION  SOURCE  NOW                          UNTIL    WHY
gmail        s1      rests                        for 59m  mx.test said: 554 listed
gmail        s1      connections_max 2, lowered            554 listed
gmail        s2      message_rate 20/1m, used up  for 12s  [[limit]] for tenant acme
gmail        s2      8 connections, all in use
gmail        s3      warm-up to come                       it begins on 2026-12-24
"
        );
        assert!(shown.lines().all(|line| line.chars().count() <= 100));
        assert_eq!(in_words(&[], now), "Nothing is lowered, used up or resting.\n");
    }
}
