//! What the documentation says of the code is so: refusals are explained, promises have their tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cells of every row of every table, the heads included.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
}

/// What stands between backticks.
fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The codes of every reply with enhanced codes in the table of replies, as they go over the wire.
fn replies() -> BTreeSet<String> {
    let table = read("src/smtp/reply.rs");
    let table = table.split("#[cfg(test)]").next().expect("the table");
    let calls = table.split("codes(").skip(1).filter_map(|rest| rest.split_once(')')).map(|(call, _)| call);
    calls
        .filter_map(|call| {
            let numbers: Vec<u16> = call.split(", ").map(str::parse).collect::<Result<_, _>>().ok()?;
            let [code, class, subject, detail] = numbers[..] else { return None };
            Some(format!("{code} {class}.{subject}.{detail}"))
        })
        .collect()
}

fn refusals() -> BTreeSet<String> {
    replies().into_iter().filter(|reply| reply.starts_with(['4', '5'])).collect()
}

#[test]
fn every_reply_stands_in_the_manual() {
    let manual = read("docs/manual.md");
    let section = manual.split("\n## Replies").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let is_reply = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    let listed: Vec<&str> = rows(section).flat_map(|row| code(row[0]).filter(is_reply).collect::<Vec<_>>()).collect();
    let unique: BTreeSet<String> = listed.iter().map(|reply| (*reply).to_owned()).collect();
    assert_eq!(unique.len(), listed.len(), "a reply stands twice");
    assert_eq!(unique, replies(), "docs/manual.md and the table of replies differ");
}

/// The requests of the HTTP API's own list are the routes, and stand in the manual.
#[test]
fn every_request_stands_in_the_manual() {
    let path = |request: &str| request.split('?').next().expect("a path").to_owned();
    let of = |text: &str| -> BTreeSet<String> {
        let requests = text.split('`').filter(|code| code.starts_with("GET /") || code.starts_with("POST /"));
        requests.map(path).collect()
    };
    let manual = read("docs/manual.md");
    let section = manual.split("\n## HTTP").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let routes: BTreeSet<String> = ["src/control/http/mod.rs", "src/control/http/console.rs"]
        .iter()
        .flat_map(|file| {
            let text = read(file);
            let routes = text.split(".route(\"").skip(1);
            let request = |rest: &str| {
                let (path, handler) = rest.split_once("\", ")?;
                let method = if handler.starts_with("post") { "POST" } else { "GET" };
                Some(format!("{method} {}", path.replace("{id}", "ID")))
            };
            routes.filter_map(request).collect::<Vec<_>>()
        })
        .filter(|request| !request.contains("/console."))
        .collect();
    assert!(routes.len() > 8, "the routes were not understood: {routes:?}");
    assert_eq!(of(section), routes, "docs/manual.md and the routes differ");
}

#[test]
fn every_refusal_is_explained_in_the_guide() {
    let guide = read("docs/guide.md");
    let explained: BTreeSet<String> =
        rows(&guide).filter(|row| row.len() > 1).flat_map(|row| code(row[0])).map(str::to_owned).collect();
    let refusals = refusals();
    assert!(refusals.len() > 30, "the table of replies was not understood: {refusals:?}");
    let missing: Vec<_> = refusals.difference(&explained).collect();
    assert!(missing.is_empty(), "docs/guide.md does not explain {missing:?}");
    let codes = |word: &&String| word.starts_with(['4', '5']) && word.contains(' ');
    let stale: Vec<_> = explained.difference(&refusals).filter(codes).collect();
    assert!(stale.is_empty(), "docs/guide.md explains {stale:?}, which nobody says");
}

/// The example for those who receive webhooks is what the stories run.
#[test]
fn the_example_of_a_receiver_is_the_one_that_the_stories_run() {
    let page = read("docs/webhooks.md");
    let receiver = read("tests/clients/webhook_receiver.py");
    let example = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    assert!(example.contains("hmac.new(") && receiver.contains(example), "docs/webhooks.md differs from the receiver");
}

#[test]
fn every_promise_and_every_threat_names_tests_that_exist() {
    for document in ["docs/promises.md", "docs/threats.md"] {
        names_tests_that_exist(document);
    }
}

fn names_tests_that_exist(document: &str) {
    let promises = read(document);
    let mut complaints = Vec::new();
    let mut named = 0;
    for row in rows(&promises).skip(1) {
        let tests: Vec<&str> = row.last().into_iter().flat_map(|cell| code(cell)).collect();
        if tests.is_empty() {
            complaints.push(format!("no test stands for: {}", row[0]));
        }
        for test in tests {
            named += 1;
            let exists = test.split_once(": ").is_some_and(|(path, name)| {
                Path::new(env!("CARGO_MANIFEST_DIR")).join(path).is_file()
                    && read(path).contains(&format!("fn {name}("))
            });
            if !exists {
                complaints.push(format!("there is no test `{test}`"));
            }
        }
    }
    assert!(complaints.is_empty(), "{document}:\n{}", complaints.join("\n"));
    assert!(named > 0, "{document} names no test");
}

/// Alert rules and dashboard ask for metrics that exist.
#[test]
fn monitoring_asks_for_metrics_that_exist() {
    let families = read("src/control/http/families.rs");
    for document in ["docs/monitoring/alerts.yml", "docs/monitoring/dashboard.json"] {
        let text = read(document);
        let metrics: BTreeSet<&str> = text
            .split("ringpost_")
            .skip(1)
            .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next())
            .collect();
        assert!(metrics.len() > 5, "{document} was not understood: {metrics:?}");
        for metric in metrics {
            let known = families.contains(&format!("(\"{metric}\", "));
            assert!(known, "{document} asks for ringpost_{metric}, which nobody counts");
        }
    }
}
