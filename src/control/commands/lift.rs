//! `ringpost lift`: what keeps mail from a destination is lifted, once.

use std::fmt::Write;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::{ConfigFile, Failure, table};
use crate::config::Config;
use crate::control::http::{WantedLift, no_source};
use crate::control::{client, socket};

/// Who runs this, as the environment says: behind `sudo` the one who called it.
const USER_VARIABLES: [&str; 3] = ["SUDO_USER", "USER", "LOGNAME"];

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A recipient's domain or address: what is lifted is at its destination, as `explain` shows it
    #[arg(value_name = "DOMAIN|ADDRESS")]
    recipient: String,
    /// Only from this source, or those of this pool
    #[arg(long)]
    source: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (_, config) = arguments.config.load()?;
    if let Some(why) = arguments.source.as_deref().and_then(|source| misspelt(&config, source)) {
        return Err(Failure::Wrong(vec![format!("ringpost: {why}")]));
    }
    let user = USER_VARIABLES.iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let wanted = WantedLift {
        domain: super::explain::domain_of(&arguments.recipient),
        source: arguments.source.clone(),
        asked_by: Some(user.unwrap_or_else(|| "the command line".to_owned())),
    };
    let socket = socket::path(&config.data_dir);
    let answer = client::request(&socket, Method::POST, "/api/v1/paths/lift", Some(&json!(wanted)));
    let answer = answer.map_err(|error| Failure::Failed(error.to_string()))?;
    if arguments.json {
        super::explain::say(&format!("{answer:#}\n"));
    } else {
        super::explain::say(&in_words(&answer));
    }
    // A script is to learn that mail does not go yet.
    let mut paths = answer["paths"].as_array().into_iter().flatten();
    if paths.any(|path| path["still"].is_string()) {
        return Err(Failure::Failed("not all could be lifted: something is still in the way".into()));
    }
    Ok(())
}

/// What is wrong with a source that does not exist.
fn misspelt(config: &Config, source: &str) -> Option<String> {
    let names = || config.pools.iter().map(|pool| pool.name.clone()).collect::<Vec<_>>();
    config.pool(source).is_none().then(|| no_source(source, &names()))
}

fn in_words(answer: &Value) -> String {
    let destination = answer["destination"].as_str().unwrap_or_default();
    let paths = answer["paths"].as_array().map_or(&[][..], Vec::as_slice);
    let recipients = answer["recipients"].as_u64().unwrap_or_default();
    let mut text = String::new();
    for path in paths {
        let source = path["source"].as_str().filter(|source| !source.is_empty()).unwrap_or("the host itself");
        for lifted in path["lifted"].as_array().into_iter().flatten() {
            let (what, was) = (lifted["what"].as_str().unwrap_or_default(), lifted["was"].as_str().unwrap_or_default());
            _ = writeln!(text, "lifted from {source} to {destination}: {what} ({was})");
        }
        if let Some(still) = path["still"].as_str() {
            _ = writeln!(text, "still in the way from {source} to {destination}: {still}");
        }
        if path["kept"] == false {
            _ = writeln!(text, "not yet on disk: a crash now would bring it back");
        }
    }
    if paths.is_empty() && recipients == 0 {
        _ = writeln!(text, "nothing was in the way to {destination}");
    }
    match recipients {
        0 => {}
        1 => _ = writeln!(text, "1 recipient that waited is due now"),
        several => _ = writeln!(text, "{several} recipients that waited are due now"),
    }
    for waiting in answer["waiting"].as_array().into_iter().flatten() {
        let (domain, why) = (waiting["domain"].as_str().unwrap_or_default(), table::text(&waiting["waits_for"]));
        let queued = super::queue::counted(waiting["recipients"].as_u64().unwrap_or_default());
        _ = writeln!(text, "{queued} at {domain} in the queue: {why}");
    }
    for line in table::of_suspensions(answer) {
        _ = writeln!(text, "suspended still: {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_in_words() {
        let lifted = json!([{ "what": "rest", "was": "3400 s more: 554 listed" }]);
        let answer = json!({
            "destination": "gmail", "recipients": 2,
            "paths": [
                { "source": "s1", "destination": "gmail", "lifted": lifted },
                { "source": "", "destination": "gmail", "lifted": [], "still": "it has not begun", "kept": false },
            ],
        });
        let expected = "lifted from s1 to gmail: rest (3400 s more: 554 listed)\n\
                        still in the way from the host itself to gmail: it has not begun\n\
                        not yet on disk: a crash now would bring it back\n\
                        2 recipients that waited are due now\n";
        assert_eq!(in_words(&answer), expected);
        let nothing = json!({ "destination": "gmail", "recipients": 0, "paths": [] });
        assert_eq!(in_words(&nothing), "nothing was in the way to gmail\n");
        let waiting = json!([{ "domain": "gmail.com", "recipients": 1, "waits_for": "8 of 8 in use" }]);
        let waits = json!({ "destination": "gmail", "recipients": 1, "paths": [], "waiting": waiting });
        let expected = "1 recipient that waited is due now\n1 recipient at gmail.com in the queue: 8 of 8 in use\n";
        assert_eq!(in_words(&waits), expected);
    }
}
