//! `ringpost tls-report`: what TLS reports will tell, and telling it now.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::{ConfigFile, Failure};
use crate::control::{client, socket};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what was counted and not yet told, by day, as reports have it
    #[command(after_help = "Example:\n  ringpost tls-report show")]
    Show(ConfigFile),
    /// Tell a day to the domains that ask for it now, instead of in the first hours after it has ended
    ///
    /// The exit code is 1 where nothing was sent, or something could not be; then it is tried again, and told in the log.
    #[command(after_help = "Example:\n  ringpost tls-report send --day 2026-11-25")]
    Send(SendArguments),
}

#[derive(Debug, Args)]
pub(super) struct SendArguments {
    /// Which day (UTC); today, if absent
    #[arg(long, value_name = "YYYY-MM-DD")]
    day: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Show(config) => print(&ask(config, Method::GET, "/api/v1/tls-reports", None)?),
        Command::Send(arguments) => {
            let body = arguments.day.as_ref().map_or(json!({}), |day| json!({ "day": day }));
            let answer = ask(&arguments.config, Method::POST, "/api/v1/tls-reports/send", Some(&body))?;
            print(&answer)?;
            unsent(&answer).map_or(Ok(()), |why| Err(Failure::Failed(why)))
        }
    }
}

/// What was not sent, and what to do; `None`: there was something to send, and all of it was sent.
fn unsent(answer: &Value) -> Option<String> {
    let reports = answer["reports"].as_array().map_or(&[][..], Vec::as_slice);
    let failed = reports.iter().filter(|report| report["sent"] != true).count();
    let day = answer["day"].as_str().unwrap_or("that day");
    match (reports.len(), failed) {
        (0, _) => Some(format!(
            "nothing was sent: no domain with sessions of {day} that are not told yet asks for reports (a TXT record at \
             _smtp._tls.DOMAIN); `ringpost tls-report show` shows what was counted, by day, and --day names another day"
        )),
        (_, 0) => None,
        (all, failed) => Some(format!(
            "{failed} of {all} reports of {day} could not be sent: `why` of each is above; what none of a domain's addresses took is tried again each hour"
        )),
    }
}

fn print(answer: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(answer).map_err(|error| Failure::Failed(error.to_string()))?;
    println!("{text}");
    Ok(())
}

fn ask(config: &ConfigFile, method: Method, target: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let (_, config) = config.load()?;
    let socket = socket::path(&config.data_dir);
    client::request(&socket, method, target, body).map_err(|error| Failure::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_sent_is_told() {
        let of = |reports: Value| unsent(&json!({ "day": "2026-11-25", "reports": reports }));
        let (sent, failed) = (json!({ "sent": true }), json!({ "sent": false, "why": "refused" }));
        assert_eq!(of(json!([sent, sent])), None);
        let nothing = of(json!([])).expect("nothing was sent");
        assert!(nothing.starts_with("nothing was sent: no domain with sessions of 2026-11-25 "), "{nothing}");
        let some = of(json!([sent, failed])).expect("one was not");
        assert!(some.starts_with("1 of 2 reports of 2026-11-25 could not be sent"), "{some}");
    }
}
