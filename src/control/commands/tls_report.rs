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
    let answer = match command {
        Command::Show(config) => ask(config, Method::GET, "/api/v1/tls-reports", None)?,
        Command::Send(arguments) => {
            let body = arguments.day.as_ref().map_or(json!({}), |day| json!({ "day": day }));
            ask(&arguments.config, Method::POST, "/api/v1/tls-reports/send", Some(&body))?
        }
    };
    let text = serde_json::to_string_pretty(&answer).map_err(|error| Failure::Failed(error.to_string()))?;
    println!("{text}");
    Ok(())
}

fn ask(config: &ConfigFile, method: Method, target: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let (_, config) = config.load()?;
    let socket = socket::path(&config.data_dir);
    client::request(&socket, method, target, body).map_err(|error| Failure::Failed(error.to_string()))
}
