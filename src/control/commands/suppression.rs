//! `ringpost suppression`.

use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::{ConfigFile, Failure, table};
use crate::config::nearest;
use crate::config::suppression::Cause;
use crate::control::client::ClientError;
use crate::control::http::{Added, Listed, Removed};
use crate::control::{client, socket};
use crate::suppression::{Scope, table as text};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show whom nothing is sent to, on which list, why and until when
    #[command(after_help = "Example:\n  ringpost suppression list --account news@example.org")]
    List(ListArguments),
    /// Put addresses on a list: everybody's, if no other is named
    #[command(after_help = "Example:\n  ringpost suppression add jo@example.org --account news@example.org")]
    Add(AddArguments),
    /// Take addresses off: from every list that has them, if none is named
    #[command(after_help = "Example:\n  ringpost suppression remove jo@example.org")]
    Remove(RemoveArguments),
    /// Put the addresses of a file on lists: one a line, or CSV as `export` writes it; all of them or none
    #[command(after_help = "Example:\n  ringpost suppression import unsubscribed.txt --account news@example.org")]
    Import(ImportArguments),
    /// Write all entries as CSV to standard output
    #[command(after_help = "Example:\n  ringpost suppression export > suppressions.csv")]
    Export(ExportArguments),
}

/// Which list.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Which {
    /// That of an account
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// That of mail from relay listeners
    #[arg(long)]
    relay: bool,
    /// Everybody's
    #[arg(long)]
    global: bool,
}

impl Which {
    fn list(&self) -> Option<String> {
        let scope = match &self.account {
            Some(name) => Scope::account(name),
            None if self.relay => Scope::Relayed,
            None if self.global => Scope::Everyone,
            None => return None,
        };
        Some(text::scope_name(&scope))
    }
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    which: Which,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    /// One address
    address: Option<String>,
    /// Entries per page
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Begin after this one: what the page before said
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct AddArguments {
    /// The addresses
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Until then (RFC 3339, or a day); for ever, if nothing is said
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Why
    #[arg(long, default_value = "operator", value_parser = clap::builder::PossibleValuesParser::new(Cause::ALL.iter().map(|(name, _)| *name)))]
    cause: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArguments {
    /// The addresses
    #[arg(required_unless_present = "all", value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Every address of the list that is named
    #[arg(long, conflicts_with = "addresses")]
    all: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// The file; `-`: standard input
    #[arg(value_name = "FILE")]
    addresses: PathBuf,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => list(arguments),
        Command::Add(arguments) => add(arguments),
        Command::Remove(arguments) => remove(arguments),
        Command::Import(arguments) => import(arguments),
        Command::Export(arguments) => export(arguments),
    }
}

fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let listed = Listed {
        list: arguments.common.which.list(),
        address: arguments.address.clone(),
        after: arguments.after.clone(),
        limit: Some(arguments.limit.into()),
    };
    let target = format!("/api/v1/suppressions{}", client::query(&json!(listed)));
    let page = client::request(&socket(&arguments.common.config, &arguments.common.which)?, Method::GET, &target, None)
        .map_err(failed)?;
    if arguments.common.json {
        return print_json(&page);
    }
    print(table::of_suppressions(page["suppressions"].as_array().map_or(&[], Vec::as_slice)).as_bytes());
    warn_if_off(&page);
    if let Some(next) = page["next"].as_str() {
        eprintln!("There are more: add --after $'{}'", next.replace('\t', "\\t"));
    }
    Ok(())
}

fn add(arguments: &AddArguments) -> Result<(), Failure> {
    let added = Added {
        addresses: arguments.addresses.clone(),
        list: arguments.common.which.list(),
        cause: Some(arguments.cause.clone()),
        until: arguments.until.clone(),
    };
    order(&arguments.common, "add", &json!(added), "added")
}

fn remove(arguments: &RemoveArguments) -> Result<(), Failure> {
    let list = arguments.common.which.list();
    if arguments.all && list.is_none() {
        let usage = "ringpost: say whose list to empty: --account, --relay or --global";
        return Err(Failure::Wrong(vec![usage.into()]));
    }
    let removed = Removed { addresses: arguments.addresses.clone(), list, all: arguments.all };
    order(&arguments.common, "remove", &json!(removed), "removed")
}

fn import(arguments: &ImportArguments) -> Result<(), Failure> {
    let file = &arguments.addresses;
    let text = if file.as_os_str() == "-" {
        let (mut text, mut input) = (String::new(), std::io::stdin());
        if input.is_terminal() {
            eprintln!("Reading addresses from standard input, one a line; Ctrl-D ends it.");
        }
        input.read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
    let target = format!("/api/v1/suppressions/import{}", of_list(&arguments.common.which));
    let answer = client::send_text(&socket(&arguments.common.config, &arguments.common.which)?, &target, text)
        .map_err(failed)?;
    tell(&arguments.common, &answer, "imported")
}

fn export(arguments: &ExportArguments) -> Result<(), Failure> {
    let target = format!("/api/v1/suppressions/export{}", of_list(&arguments.which));
    let socket = socket(&arguments.config, &arguments.which)?;
    match client::copy_text(&socket, &target, &mut std::io::stdout().lock()) {
        // A reader that has seen enough (`| head`) is no error.
        Err(ClientError::Unwritten(error)) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
        copied => copied.map_err(failed)?,
    }
    warn_if_off(&client::request(&socket, Method::GET, "/api/v1/suppressions?limit=1", None).map_err(failed)?);
    Ok(())
}

/// What is listed means nothing where the configuration says nothing of it.
fn warn_if_off(page: &Value) {
    if page["on"] == false {
        eprintln!(
            "Suppression is off: whatever is listed, mail is sent to everybody. A line `[suppression]` in the configuration, \
             and a reload, turns it on."
        );
    }
}

fn of_list(which: &Which) -> String {
    which.list().map_or_else(String::new, |list| client::query(&json!({ "list": list })))
}

fn order(common: &Common, verb: &str, body: &Value, done: &str) -> Result<(), Failure> {
    let target = format!("/api/v1/suppressions/{verb}");
    let answer =
        client::request(&socket(&common.config, &common.which)?, Method::POST, &target, Some(body)).map_err(failed)?;
    tell(common, &answer, done)
}

fn tell(common: &Common, answer: &Value, done: &str) -> Result<(), Failure> {
    if common.json {
        return print_json(answer);
    }
    let entries = answer[done].as_u64().unwrap_or(0);
    print(format!("{entries} {} {done}\n", if entries == 1 { "entry" } else { "entries" }).as_bytes());
    Ok(())
}

/// Where the server answers. An account that the configuration does not have is a mistake of who asks.
fn socket(config: &ConfigFile, which: &Which) -> Result<PathBuf, Failure> {
    let (_, config) = config.load()?;
    if let Some(name) = &which.account
        && config.accounts.iter().all(|account| !account.name.eq_ignore_ascii_case(name))
    {
        let known: Vec<&str> = config.accounts.iter().map(|account| &*account.name).collect();
        let like = nearest(name, &known).map_or_else(String::new, |like| format!(": did you mean `{like}`?"));
        return Err(Failure::Wrong(vec![format!("ringpost: the configuration has no account `{name}`{like}")]));
    }
    Ok(socket::path(&config.data_dir))
}

fn failed(error: client::ClientError) -> Failure {
    Failure::Failed(error.to_string())
}

fn print_json(value: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.to_string()))?;
    print(format!("{text}\n").as_bytes());
    Ok(())
}

/// Prints; a reader that has seen enough (`| head`) is no error.
fn print(octets: &[u8]) {
    let _ = std::io::stdout().lock().write_all(octets);
}
