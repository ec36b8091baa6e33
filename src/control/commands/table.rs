//! Tables for people.

use std::fmt::Write as _;

use jiff::SignedDuration;
use serde_json::Value;
use shards::Timestamp;

use crate::control::clock;

/// The widest that a column gets, in characters; the last column has no end.
const COLUMN_WIDTH_MAX: usize = 48;
/// Between columns.
const GAP: &str = "  ";

/// Messages as `queue list` shows them: one line a recipient.
pub(super) fn of_messages(messages: &[Value]) -> String {
    list(messages, clock::now())
}

/// Domains as `queue domains` shows them.
pub(super) fn of_domains(domains: &[Value]) -> String {
    by_domain(domains, clock::now())
}

/// Entries as `suppression list` shows them.
pub(super) fn of_suppressions(entries: &[Value]) -> String {
    if entries.is_empty() {
        return "Nobody is suppressed that fits.\n".into();
    }
    let mut rows = vec![["ADDRESS", "LIST", "CAUSE", "SINCE", "UNTIL"].map(String::from)];
    rows.extend(
        entries.iter().map(|entry| ["address", "list", "cause", "since", "until"].map(|key| text(&entry[key]))),
    );
    align(&rows)
}

/// What is suspended, a line each, with what resumes it.
pub(super) fn of_suspensions(answer: &Value) -> Vec<String> {
    let suspensions = answer["suspensions"].as_array().into_iter().flatten();
    suspensions.map(|one| format!("{}, until `{}`", text(&one["suspension"]), text(&one["resume"]))).collect()
}

/// A message as `queue show` shows it.
pub(super) fn of_message(message: &Value) -> String {
    sheet(message, clock::now())
}

fn list(messages: &[Value], now: Timestamp) -> String {
    if messages.is_empty() {
        return "Nothing is queued that fits.\n".into();
    }
    let mut rows =
        vec![["ID", "AGE", "SIZE", "SENDER", "RECIPIENT", "STATE", "TRIES", "NEXT", "WHY"].map(String::from)];
    for message in messages {
        for recipient in recipients(message) {
            rows.push([
                text(&message["id"]),
                time(&message["arrival"]).map_or_else(String::new, |arrival| span(now.since(arrival))),
                size(&message["bytes"]),
                format!("<{}>", text(&message["sender"])),
                text(&recipient["address"]),
                text(&recipient["state"]),
                text(&recipient["attempts"]),
                next(recipient, now),
                why(recipient),
            ]);
        }
    }
    align(&rows)
}

fn by_domain(domains: &[Value], now: Timestamp) -> String {
    if domains.is_empty() {
        return "Nothing is queued that fits.\n".into();
    }
    let mut rows = vec![["DOMAIN", "RECIPIENTS", "DUE", "RESTS", "DESTINATION", "WHY"].map(String::from)];
    rows.extend(domains.iter().map(|domain| {
        let rests = time(&domain["rests_until"]).map(|until| format!("for {}", span(until.since(now))));
        [
            text(&domain["domain"]),
            text(&domain["recipients"]),
            text(&domain["due"]),
            rests.unwrap_or_default(),
            text(&domain["destination"]),
            [text(&domain["why"]), text(&domain["waits_for"])]
                .into_iter()
                .find(|why| !why.is_empty())
                .unwrap_or_default(),
        ]
    }));
    align(&rows)
}

fn sheet(message: &Value, now: Timestamp) -> String {
    let mut sheet = String::new();
    // The age in seconds is for programs: people read it beside the arrival.
    let fields = message.as_object().into_iter().flatten();
    let fields: Vec<_> = fields.filter(|(name, _)| !["recipients", "age_s"].contains(&name.as_str())).collect();
    let width = fields.iter().map(|(name, _)| name.len() + 1).max().unwrap_or(0);
    for (name, value) in fields {
        let shown = match (name.as_str(), time(value)) {
            ("sender", _) => format!("<{}>", text(value)),
            (_, Some(at)) if at > now => format!("{} (in {})", text(value), span(at.since(now))),
            (_, Some(at)) => format!("{} ({} ago)", text(value), span(now.since(at))),
            _ => text(value),
        };
        let _ = writeln!(sheet, "{:<width$}{GAP}{shown}", format!("{}:", name.replace('_', " ")));
    }
    sheet.push('\n');
    let mut rows =
        vec![["RECIPIENT", "STATE", "TRIES", "NEXT", "STATUS", "CATEGORY", "RULE", "SERVER", "WHY"].map(String::from)];
    for recipient in recipients(message) {
        rows.push([
            text(&recipient["address"]),
            text(&recipient["state"]),
            text(&recipient["attempts"]),
            next(recipient, now),
            text(&recipient["status"]),
            text(&recipient["category"]),
            text(&recipient["rule"]),
            text(&recipient["remote"]),
            why(recipient),
        ]);
        for what in ["bounced", "complaint"] {
            let came = &recipient[what];
            if let Some(at) = time(&came["time"]) {
                rows.push([
                    String::new(),
                    what.into(),
                    String::new(),
                    format!("{} ago", span(now.since(at))),
                    text(&came["status"]),
                    text(&came["category"]),
                    text(&came["rule"]),
                    text(&came["remote"]),
                    text(&came["why"]),
                ]);
            }
        }
    }
    sheet.push_str(&align(&rows));
    sheet.push('\n');
    for recipient in recipients(message).filter(|recipient| recipient["explanation"].is_string()) {
        let _ = writeln!(sheet, "{}: {}", text(&recipient["address"]), text(&recipient["explanation"]));
        if recipient["waits_for"].is_string() {
            let _ = writeln!(sheet, "{}: {}", text(&recipient["address"]), text(&recipient["waits_for"]));
        }
        let security = &recipient["tls"]["explanation"];
        if security.is_string() {
            let _ = writeln!(sheet, "{}: last session: {}", text(&recipient["address"]), text(security));
        }
    }
    sheet
}

fn recipients(message: &Value) -> impl Iterator<Item = &Value> {
    message["recipients"].as_array().into_iter().flatten()
}

/// Rows with their columns aligned. The first row is the heading.
pub(super) fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count()).min(COLUMN_WIDTH_MAX);
        }
    }
    let mut table = String::new();
    for row in rows {
        let mut line = String::new();
        for (n, cell) in row.iter().enumerate() {
            if n + 1 == N {
                line.push_str(cell);
            } else {
                let _ = write!(line, "{:<width$}{GAP}", shortened(cell), width = widths[n]);
            }
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

fn shortened(cell: &str) -> String {
    if cell.chars().count() <= COLUMN_WIDTH_MAX {
        return cell.to_owned();
    }
    let kept: String = cell.chars().take(COLUMN_WIDTH_MAX - 1).collect();
    format!("{kept}…")
}

/// A value as text, safe for a terminal; nothing for what is absent.
pub(super) fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

pub(super) fn time(value: &Value) -> Option<Timestamp> {
    let at: jiff::Timestamp = value.as_str()?.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(Timestamp::from_millis)
}

/// What was said last, after what is suspended, or what it waits for.
fn why(recipient: &Value) -> String {
    let suspension = format!("{}, until `{}`", text(&recipient["suspension"]), text(&recipient["resume"]));
    let suspension = if recipient["suspension"].is_null() { String::new() } else { suspension };
    let waits_for = text(&recipient["waits_for"]);
    let said = text(&recipient["why"]);
    let said = if waits_for.is_empty() || said.is_empty() { said } else { format!("last: {said}") };
    let parts = [suspension, waits_for, said].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<String>>().join("; ")
}

fn next(recipient: &Value, now: Timestamp) -> String {
    if recipient["state"] == "suspended" {
        return String::new();
    }
    match time(&recipient["next"]) {
        Some(next) if next > now => format!("in {}", span(next.since(now))),
        Some(_) => "now".into(),
        None => String::new(),
    }
}

/// `42s`, `17m`, `5h`, `3d`.
pub(super) fn span(span: std::time::Duration) -> String {
    let seconds = SignedDuration::try_from(span).map_or(0, |span| span.as_secs());
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `812`, `12K`, `3.4M`.
fn size(bytes: &Value) -> String {
    match bytes.as_u64() {
        None => String::new(),
        Some(bytes @ 0..1_024) => bytes.to_string(),
        Some(bytes @ 1_024..1_048_576) => format!("{}K", bytes.div_ceil(1_024)),
        Some(bytes) => format!("{}.{}M", bytes >> 20, ((bytes & 0xF_FFFF) * 10) >> 20),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message() -> Value {
        json!({
            "id": "0010000000000a2f", "arrival": "2026-11-23T07:44:43.120Z", "sender": "", "bytes": 12_345,
            "recipients": [
                { "address": "jo@example.org", "state": "due", "attempts": 2, "next": "2026-11-23T07:54:43.000Z",
                  "explanation": "waiting for attempt 3", "tls": { "explanation": "encrypted" }, "status": "4.2.2", "category": "mailbox-full", "rule": "enhanced:x.2.2", "why": "452 4.2.2 mailbox\u{1b}[31m full", "remote": "mx.example.org [192.0.2.1]" },
                { "address": "ann@example.org", "state": "held", "attempts": 0 },
            ],
        })
    }

    fn now() -> Timestamp {
        time(&json!("2026-11-23T07:50:00Z")).expect("a time")
    }

    #[test]
    fn a_list_is_aligned_and_safe_for_a_terminal() {
        assert_eq!(
            list(&[message()], now()),
            "\
ID                AGE  SIZE  SENDER  RECIPIENT        STATE  TRIES  NEXT   WHY
0010000000000a2f  5m   13K   <>      jo@example.org   due    2      in 4m  452 4.2.2 mailbox [31m full
0010000000000a2f  5m   13K   <>      ann@example.org  held   0
"
        );
        assert_eq!(list(&[], now()), "Nothing is queued that fits.\n");
    }

    #[test]
    fn domains_are_lined_up_with_why_they_rest() {
        let domains = [
            json!({ "domain": "a.test", "recipients": 12, "due": 3, "rests_until": "2026-11-23T08:40:00.000Z",
                    "destination": "mx.test", "why": "mx.test[192.0.2.1]:25 said: 554 listed" }),
            json!({ "domain": "b.test", "recipients": 1, "due": 0 }),
        ];
        assert_eq!(
            by_domain(&domains, now()),
            "\
DOMAIN  RECIPIENTS  DUE  RESTS    DESTINATION  WHY
a.test  12          3    for 50m  mx.test      mx.test[192.0.2.1]:25 said: 554 listed
b.test  1           0
"
        );
    }

    #[test]
    fn a_sheet_shows_the_message_and_its_recipients() {
        let sheet = sheet(&message(), now());
        assert!(sheet.contains("arrival:  2026-11-23T07:44:43.120Z (5m ago)\n"), "{sheet}");
        assert!(sheet.contains("sender:   <>\n"), "{sheet}");
        assert!(
            sheet.ends_with("\n\njo@example.org: waiting for attempt 3\njo@example.org: last session: encrypted\n"),
            "what is explained: {sheet}"
        );
        assert!(
            sheet.contains("4.2.2   mailbox-full  enhanced:x.2.2  mx.example.org [192.0.2.1]  452 4.2.2"),
            "{sheet}"
        );
    }

    #[test]
    fn suspended_delivery_shows() {
        let mut message = message();
        message["recipients"][0]["state"] = "suspended".into();
        message["recipients"][0]["suspension"] = "tenant acme".into();
        message["recipients"][0]["resume"] = "ringpost queue resume --tenant acme".into();
        let list = list(&[message], now());
        let line = list.lines().nth(1).expect("a recipient");
        let suspension = "tenant acme, until `ringpost queue resume --tenant acme`";
        assert!(line.contains(&format!("suspended  2            {suspension}; 452 4.2.2")), "{list}");
    }

    #[test]
    fn long_cells_are_shortened_but_the_last() {
        let long = "x".repeat(100);
        let table = align(&[[long.clone(), long.clone()]]);
        assert_eq!(table.trim_end().chars().count(), COLUMN_WIDTH_MAX + GAP.len() + 100);
    }

    #[test]
    fn spans_and_sizes_have_one_unit() {
        for (seconds, shown) in [(0, "0s"), (119, "119s"), (120, "2m"), (7_200, "2h"), (172_800, "2d")] {
            assert_eq!(span(std::time::Duration::from_secs(seconds)), shown);
        }
        for (bytes, shown) in [(0, "0"), (1_024, "1K"), (1_048_576, "1.0M"), (1_572_864, "1.5M")] {
            assert_eq!(size(&json!(bytes)), shown);
        }
    }
}
