//! `ringpost queue`.

mod paths;

use std::io::{BufRead, IsTerminal};

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::{ConfigFile, Failure, table};
use crate::config::nearest;
use crate::control::client;
use crate::control::desk::Change;
use crate::control::http::{Wanted, WantedDomains, WantedScope};
use crate::control::socket;
use crate::queue::MessageId;
use crate::queue::orders::StateWanted;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show queued messages, one line a recipient
    #[command(after_help = "Example:\n  ringpost queue list --domain example.org --state due")]
    List(ListArguments),
    /// Show what waits for each domain, and which domains rest, until when and why
    #[command(after_help = "Example:\n  ringpost queue domains --resting")]
    Domains(DomainArguments),
    /// Show what is lowered, used up, full or resting now, by destination and source
    #[command(after_help = "Example:\n  ringpost queue paths")]
    Paths(Common),
    /// Show everything about one message, also after its delivery
    ///
    /// The notices that were sent about it are messages of their own: the log's event `notified` names them.
    #[command(
        after_help = "Example:\n  ringpost queue show 0010000000000a2f\n  ringpost queue show '<42@app.example.org>'\n  journalctl RINGPOST_ABOUT=0010000000000a2f"
    )]
    Show(ShowArguments),
    /// Hold recipients: nothing is tried before they are released
    #[command(after_help = "Example:\n  ringpost queue hold 0010000000000a2f")]
    Hold(ChangeArguments),
    /// Release held recipients, to be tried now; --all also resumes all delivery, as `resume --all` does
    ///
    /// A tenant or campaign that is suspended stays so. What waits for a destination that rests is not held: `retry` tries it
    /// at once, and with --destination all of it.
    #[command(after_help = "Example:\n  ringpost queue release --all")]
    Release(ChangeArguments),
    /// Try recipients now that wait for their next attempt, also where their destination rests
    ///
    /// Only these are tried: others that wait for the same destination go on when its rest is over. The answer says if there
    /// are any; --destination reaches them all.
    #[command(after_help = "Example:\n  ringpost queue retry --domain example.org")]
    Retry(ChangeArguments),
    /// Give recipients up: their senders get a failure notice
    #[command(after_help = "Example:\n  ringpost queue bounce --recipient jo@example.org")]
    Bounce(BounceArguments),
    /// Suspend the delivery of a tenant or a campaign, also of what comes later, until it is resumed or the server restarts
    #[command(after_help = "Example:\n  ringpost queue suspend --tenant acme")]
    Suspend(ScopeArguments),
    /// Resume what was suspended by the same words
    ///
    /// After a start with --hold that is --all. Recipients that an operator holds stay held: `release` is for them.
    #[command(after_help = "Example:\n  ringpost queue resume --all")]
    Resume(ScopeArguments),
    /// Show what is suspended, and what resumes it
    #[command(after_help = "Example:\n  ringpost queue suspensions")]
    Suspensions(Common),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false, id = "scope")]
struct Scope {
    /// Of a tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Of a campaign
    #[arg(long)]
    campaign: Option<String>,
    /// All delivery; what is suspended by tenant or campaign is so besides
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct ScopeArguments {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    conditions: Conditions,
    /// Print only the number of recipients
    #[arg(long)]
    count: bool,
    /// Messages per page
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Begin after this message: the last one of the page before
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct DomainArguments {
    /// This one
    #[arg(long)]
    domain: Option<String>,
    /// Those that rest because of a destination, as this list shows it
    #[arg(long)]
    destination: Option<String>,
    /// Only those that rest
    #[arg(long)]
    resting: bool,
    /// Domains per page
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Begin after this domain: the last one of the page before
    #[arg(long, value_name = "DOMAIN")]
    after: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// The message, or its Message-ID
    id: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct ChangeArguments {
    /// Those of one message; the same as --id
    #[arg(value_name = "ID", conflicts_with_all = ["id", "all"])]
    message: Option<String>,
    #[command(flatten)]
    conditions: Conditions,
    /// Every recipient in the queue
    #[arg(long, conflicts_with_all = ["id", "domain", "recipient", "sender", "tenant", "campaign", "state", "destination"])]
    all: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct BounceArguments {
    #[command(flatten)]
    change: ChangeArguments,
    /// Do not ask before everything is given up
    #[arg(long)]
    yes: bool,
}

/// Which recipients; every given condition must hold.
#[derive(Debug, Args)]
struct Conditions {
    /// Those of one message
    #[arg(long)]
    id: Option<String>,
    /// Those at a domain
    #[arg(long)]
    domain: Option<String>,
    /// One address
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// Those of a sender (the reverse-path; `<>` for notices)
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// Those of a tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Those of a campaign
    #[arg(long)]
    campaign: Option<String>,
    /// Those in a state: due, of these new (nothing was said yet), deferred, scheduled (for a Date to come) or suspended; or
    /// held; or uncertain (due or held since a crash came while they were on their way)
    #[arg(long, value_parser = StateWanted::ALL.map(|state| state.0))]
    state: Option<String>,
    /// Those at domains that rest because of a destination, as `queue domains` shows it
    #[arg(long)]
    destination: Option<String>,
}

impl Conditions {
    fn wanted(&self) -> Wanted {
        Wanted {
            id: self.id.clone(),
            domain: self.domain.clone(),
            recipient: self.recipient.clone(),
            sender: self.sender.clone(),
            tenant: self.tenant.clone(),
            campaign: self.campaign.clone(),
            state: self.state.clone(),
            destination: self.destination.clone(),
            ..Wanted::default()
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Common {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(arguments) if arguments.count => count(arguments),
        Command::List(arguments) => list(arguments),
        Command::Domains(arguments) => domains(arguments),
        Command::Paths(common) => paths::run(common),
        Command::Show(arguments) => show(arguments),
        Command::Hold(arguments) => change(Change::Hold, arguments),
        Command::Release(arguments) => change(Change::Release, arguments),
        Command::Retry(arguments) => change(Change::Retry, arguments),
        Command::Bounce(arguments) => bounce(arguments),
        Command::Suspend(arguments) => suspend("suspend", arguments),
        Command::Resume(arguments) => suspend("resume", arguments),
        Command::Suspensions(common) => suspensions(common),
    }
}

fn list(arguments: &ListArguments) -> Result<(), Failure> {
    let wanted =
        Wanted { limit: Some(arguments.limit.into()), after: arguments.after.clone(), ..arguments.conditions.wanted() };
    let page = ask(&arguments.common, Method::GET, &format!("/api/v1/queue{}", query(&wanted)), None)?;
    if arguments.common.json {
        return print_json(&page);
    }
    print(&table::of_messages(page["messages"].as_array().map_or(&[], Vec::as_slice)));
    if let Some(next) = page["next"].as_str() {
        eprintln!("There may be more: add --after {next}");
    }
    Ok(())
}

fn domains(arguments: &DomainArguments) -> Result<(), Failure> {
    let wanted = WantedDomains {
        domain: arguments.domain.clone(),
        destination: arguments.destination.clone(),
        resting: arguments.resting,
        after: arguments.after.clone(),
        limit: Some(arguments.limit.into()),
    };
    let target = format!("/api/v1/queue/domains{}", client::query(&json!(wanted)));
    let page = ask(&arguments.common, Method::GET, &target, None)?;
    if arguments.common.json {
        return print_json(&page);
    }
    print(&table::of_domains(page["domains"].as_array().map_or(&[], Vec::as_slice)));
    if let Some(next) = page["next"].as_str() {
        eprintln!("There may be more: add --after {next}");
    }
    Ok(())
}

fn count(arguments: &ListArguments) -> Result<(), Failure> {
    let target = format!("/api/v1/queue/count{}", query(&arguments.conditions.wanted()));
    let answer = ask(&arguments.common, Method::GET, &target, None)?;
    if arguments.common.json {
        return print_json(&answer);
    }
    print(&format!("{}\n", answer["recipients"]));
    Ok(())
}

fn show(arguments: &ShowArguments) -> Result<(), Failure> {
    if arguments.id.contains('@') {
        return show_all(arguments);
    }
    check_id(&arguments.id)?;
    let message = ask(&arguments.common, Method::GET, &format!("/api/v1/queue/{}", arguments.id), None)?;
    if arguments.common.json {
        return print_json(&message);
    }
    print(&table::of_message(&message));
    Ok(())
}

/// Shows all messages of a Message-ID.
fn show_all(arguments: &ShowArguments) -> Result<(), Failure> {
    let target = format!("/api/v1/messages{}", client::query(&json!({ "message_id": arguments.id })));
    let answer = ask(&arguments.common, Method::GET, &target, None)?;
    if arguments.common.json {
        return print_json(&answer);
    }
    let messages = answer["messages"].as_array().map_or(&[][..], Vec::as_slice);
    if messages.is_empty() {
        return Err(Failure::Failed(format!("no message of the Message-ID {} is kept", arguments.id)));
    }
    let sheets: Vec<String> = messages.iter().map(table::of_message).collect();
    print(&sheets.join("\n"));
    Ok(())
}

/// Giving up everything cannot be undone: a person is asked, a script must have said so.
fn bounce(arguments: &BounceArguments) -> Result<(), Failure> {
    if arguments.change.all && !arguments.yes {
        let input = std::io::stdin();
        if !input.is_terminal() {
            let usage = "ringpost: bounce --all gives up every recipient in the queue: say --yes, too";
            return Err(Failure::Wrong(vec![usage.into()]));
        }
        let answer = ask(&arguments.change.common, Method::GET, "/api/v1/queue/count", None)?;
        eprint!("Give up all {} recipients in the queue? Their senders get notices. [y/N] ", answer["recipients"]);
        if !agrees(input.lock()) {
            return Err(Failure::Failed("nothing was given up".into()));
        }
    }
    change(Change::Bounce, &arguments.change)
}

fn agrees(mut input: impl BufRead) -> bool {
    let mut answer = String::new();
    let read = input.read_line(&mut answer);
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

fn change(change: Change, arguments: &ChangeArguments) -> Result<(), Failure> {
    let (verb, done) = match change {
        Change::Hold => ("hold", "held"),
        Change::Release => ("release", "released"),
        Change::Retry => ("retry", "to be tried now"),
        Change::Bounce => ("bounce", "given up"),
    };
    let mut wanted = Wanted { all: arguments.all, ..arguments.conditions.wanted() };
    if let Some(message) = &arguments.message {
        check_id(message)?;
        wanted.id = Some(message.clone());
    }
    if wanted.is_unconditional() && !wanted.all {
        let usage = format!(
            "ringpost: say which recipients to {verb}: the ID of a message, --domain, --recipient, --sender, --tenant, --campaign, --state, --destination or --all"
        );
        return Err(Failure::Wrong(vec![usage]));
    }
    let answer = ask(&arguments.common, Method::POST, &format!("/api/v1/queue/{verb}"), Some(&json!(wanted)))?;
    let recipients = answer["recipients"].as_u64().unwrap_or(0);
    // A script with a mistyped id is to fail, and a person to learn why nothing changed.
    if arguments.common.json {
        return print_json(&answer);
    }
    print(&format!("{} {done}\n", counted(recipients)));
    if recipients == 0 {
        eprintln!("{}", why_unchanged(change, &wanted, &arguments.common)?);
    }
    if change == Change::Release && recipients == 0 {
        eprintln!("What waits for a destination that rests is not held: `ringpost queue retry` tries it.");
    }
    for line in table::of_suspensions(&answer) {
        eprintln!("Suspended: {line}");
    }
    if let Some(destination) = answer["waiting_still"]["destination"].as_str() {
        let others = &answer["waiting_still"]["recipients"];
        eprintln!(
            "At other domains {others} wait for the same destination: --destination '{destination}' reaches all."
        );
    }
    Ok(())
}

/// Why an order changed nothing: none fits it, or all that do are so already.
fn why_unchanged(change: Change, wanted: &Wanted, common: &Common) -> Result<String, Failure> {
    if let Some(id) = &wanted.id {
        let message = ask(common, Method::GET, &format!("/api/v1/queue/{id}"), None)?;
        return Ok(format!("Its recipients are {}.", states(&message).join(", ")));
    }
    let conditions = Wanted { all: false, ..wanted.clone() };
    let fitting = ask(common, Method::GET, &format!("/api/v1/queue/count{}", query(&conditions)), None)?;
    let why = match (fitting["recipients"].as_u64(), change) {
        (Some(0), _) => {
            let unknown = wanted.tenant.as_deref().map(|tenant| unless_known(tenant, common)).transpose()?;
            return Ok(format!("Nothing is queued that fits.{}", unknown.unwrap_or_default()));
        }
        (_, Change::Hold) => "are held already",
        (_, Change::Release) => "are not held",
        (_, Change::Retry) => "are held, or due already",
        (_, Change::Bounce) => "are on their way",
    };
    Ok(format!("Those that fit {why}."))
}

/// What is to be said of a tenant that nobody in the configuration has: it may be misspelt.
fn unless_known(tenant: &str, common: &Common) -> Result<String, Failure> {
    let (_, config) = common.config.load()?;
    let of_accounts = config.accounts.iter().map(|account| &account.standard);
    let of_listeners = config.listeners.iter().map(|listener| &*listener.standard);
    let mut known: Vec<&str> = of_accounts.chain(of_listeners).filter_map(|of| of.tenant.as_deref()).collect();
    known.sort_unstable();
    known.dedup();
    if known.contains(&tenant) {
        return Ok(String::new());
    }
    let meant = nearest(tenant, &known).map(|near| format!("; did you mean `{near}`?"));
    Ok(format!(" No account or listener has the tenant `{tenant}`{}", meant.unwrap_or_else(|| ".".into())))
}

/// `12 recipients`.
pub(super) fn counted(recipients: u64) -> String {
    format!("{recipients} recipient{}", if recipients == 1 { "" } else { "s" })
}

fn suspend(verb: &str, arguments: &ScopeArguments) -> Result<(), Failure> {
    let Scope { tenant, campaign, all } = &arguments.scope;
    let wanted = WantedScope { tenant: tenant.clone(), campaign: campaign.clone(), all: *all };
    let answer = ask(&arguments.common, Method::POST, &format!("/api/v1/queue/{verb}"), Some(&json!(wanted)))?;
    if arguments.common.json {
        return print_json(&answer);
    }
    let recipients = answer["recipients"].as_u64().unwrap_or(0);
    let done = match (verb, answer["changed"] == true) {
        ("suspend", true) => "suspended",
        ("suspend", false) => "it was suspended already",
        (_, true) => "resumed",
        (_, false) => "it was not suspended",
    };
    print(&format!("{done}: {} in the queue now\n", counted(recipients)));
    if recipients == 0 && verb == "suspend" {
        let unknown = tenant.as_deref().map(|tenant| unless_known(tenant, &arguments.common)).transpose()?;
        eprintln!("Nothing is queued that it is about; what comes later will wait.{}", unknown.unwrap_or_default());
    }
    if verb == "resume" {
        for line in table::of_suspensions(&answer) {
            eprintln!("Still suspended: {line}");
        }
    }
    Ok(())
}

fn suspensions(common: &Common) -> Result<(), Failure> {
    let answer = ask(common, Method::GET, "/api/v1/queue/suspensions", None)?;
    if common.json {
        return print_json(&answer);
    }
    let lines = table::of_suspensions(&answer);
    print(&if lines.is_empty() { "Nothing is suspended.\n".into() } else { lines.join("\n") + "\n" });
    Ok(())
}

/// The states of a message's recipients, each once.
fn states(message: &Value) -> Vec<&str> {
    let recipients = message["recipients"].as_array().map_or(&[][..], Vec::as_slice);
    let mut states: Vec<&str> = recipients.iter().filter_map(|recipient| recipient["state"].as_str()).collect();
    states.sort_unstable();
    states.dedup();
    states
}

fn check_id(id: &str) -> Result<(), Failure> {
    if id.parse::<MessageId>().is_ok() {
        return Ok(());
    }
    Err(Failure::Wrong(vec![format!("`{id}` is not the id of a message")]))
}

fn query(wanted: &Wanted) -> String {
    client::query(&json!(wanted))
}

fn ask(common: &Common, method: Method, target: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let (_, config) = common.config.load()?;
    let socket = socket::path(&config.data_dir);
    client::request(&socket, method, target, body).map_err(|error| Failure::Failed(error.to_string()))
}

fn print_json(value: &Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Failed(error.to_string()))?;
    print(&format!("{text}\n"));
    Ok(())
}

/// Prints; a reader that has seen enough (`| head`) is no error.
fn print(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, expected) in [("y\n", true), (" YES \n", true), ("\n", false), ("", false), ("yesterday\n", false)]
        {
            assert_eq!(agrees(answer.as_bytes()), expected, "{answer:?}");
        }
    }
}
