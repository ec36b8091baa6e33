//! The command line: what each command takes, and its exit code.
//!
//! 0: done. 1: it failed; one line on stderr says why. 2: wrong usage or configuration; every mistake is named.

mod account;
mod check;
mod classify;
mod dkim;
mod doctor;
mod explain;
mod lift;
mod pages;
mod preflight;
mod queue;
mod suppression;
mod table;
mod tls_report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

pub(crate) use account::hash as hash_password;

use super::{demo, serve};
use crate::config::{Config, Mistake};

/// An outbound mail server for bulk transactional senders.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = "Example:\n  ringpost demo")]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try everything on this machine, with no set-up: nothing leaves it
    #[command(after_help = "Example:\n  ringpost demo")]
    Demo(demo::Arguments),
    /// Run the mail server in the foreground; SIGTERM drains and stops it, SIGHUP reloads the configuration
    #[command(after_help = "Example:\n  ringpost serve -c /etc/ringpost/ringpost.toml")]
    Serve(ServeArguments),
    /// Find every mistake in a configuration, with its line
    #[command(after_help = "Example:\n  ringpost check\n  ringpost check -c new.toml")]
    Check(ConfigFile),
    /// Find what makes a first day fail on this host, each with its remedy: kernel, limits, disk, clock, ports, DNS
    #[command(after_help = "Example:\n  ringpost doctor")]
    Doctor(ConfigFile),
    /// Show which limits hold for mail to a domain or an address, from each source, and where each comes from
    #[command(after_help = "Example:\n  ringpost explain gmail.com")]
    Explain(explain::Arguments),
    /// End the rest of a destination now: what keeps mail from it is lifted once, limits that are configured stay
    ///
    /// Paths that are left alone are tried, limits that replies lowered are again as configured, and a rate or a warm-up's day
    /// that is used up is there once more. The answer says what was lifted, or that nothing was in the way.
    #[command(after_help = "Example:\n  ringpost lift gmail.com --source s1")]
    Lift(lift::Arguments),
    /// Examine a message before it is sent, by the rules of large receivers: SPF, DKIM, DMARC, PTR, one-click unsubscribing
    #[command(after_help = "Example:\n  ringpost preflight newsletter.eml")]
    Preflight(preflight::Arguments),
    /// Show what the bounce classifier makes of a reply: action, category, code, status, rule
    #[command(after_help = "Example:\n  ringpost classify '552 5.2.2 Mailbox full'")]
    Classify(classify::Arguments),
    /// Write the manual pages and shell completions, as packages install them
    #[command(after_help = "Example:\n  ringpost pages /usr/local/share/ringpost")]
    Pages(pages::Arguments),
    /// Make what an account needs
    #[command(subcommand)]
    Account(account::Command),
    /// Make keys that sign mail, and show the DNS records that publish them
    #[command(subcommand)]
    Dkim(dkim::Command),
    /// See and change the queue of the running server
    #[command(subcommand)]
    Queue(queue::Command),
    /// See and change whom nothing is sent to any more
    #[command(subcommand)]
    Suppression(suppression::Command),
    /// See what TLS reports will tell domains, and tell it now
    #[command(subcommand)]
    TlsReport(tls_report::Command),
}

/// Where a configuration is looked for that no `-c` names.
const USUAL_FILES: [&str; 2] = ["ringpost.toml", "/etc/ringpost/ringpost.toml"];

/// Which configuration.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration; where none is named: ringpost.toml in this folder, else /etc/ringpost/ringpost.toml
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl ConfigFile {
    /// The file that is named, or the first of the usual ones that is there.
    fn file(&self) -> Result<PathBuf, Failure> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        first_of(&USUAL_FILES).ok_or_else(|| {
            let [here, usual] = USUAL_FILES;
            let why =
                format!("ringpost: there is no configuration: neither ./{here} nor {usual} exists; name one: -c FILE");
            Failure::Wrong(vec![why])
        })
    }

    /// The file, and what it says.
    fn load(&self) -> Result<(PathBuf, Arc<Config>), Failure> {
        let file = self.file()?;
        let config = Config::load(&file).map_err(|mistakes| in_file(&file, &mistakes))?;
        Ok((file, config))
    }
}

/// One that cannot be looked at is there: whoever reads it says why that is not possible.
fn first_of(files: &[&str]) -> Option<PathBuf> {
    files.iter().map(PathBuf::from).find(|file| file.try_exists().unwrap_or(true))
}

/// Mistakes of a configuration.
fn in_file(file: &Path, mistakes: &[Mistake]) -> Failure {
    Failure::Wrong(mistakes.iter().map(|mistake| mistake.in_file(file)).collect())
}

#[derive(Debug, Args)]
struct ServeArguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Start with all delivery suspended; `ringpost queue resume --all` resumes it
    #[arg(long)]
    hold: bool,
}

/// Why a command was not done.
#[derive(Debug)]
pub enum Failure {
    /// It failed: exit code 1.
    Failed(String),
    /// Wrong usage or configuration, one line a mistake: exit code 2.
    Wrong(Vec<String>),
}

impl Failure {
    /// Says why on stderr and gives the exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            Failure::Failed(why) => {
                eprintln!("ringpost: {why}");
                ExitCode::from(1)
            }
            Failure::Wrong(mistakes) => {
                for mistake in mistakes {
                    eprintln!("{mistake}");
                }
                ExitCode::from(2)
            }
        }
    }
}

impl CommandLine {
    /// Does what was asked.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Demo(arguments) => demo::run(&arguments),
            Command::Serve(arguments) => {
                let (file, config) = arguments.config.load()?;
                serve::run(&file, config, arguments.hold)
            }
            Command::Check(config) => check::run(&config.file()?),
            Command::Doctor(config) => doctor::run(&config),
            Command::Explain(arguments) => explain::run(&arguments),
            Command::Lift(arguments) => lift::run(&arguments),
            Command::Preflight(arguments) => preflight::run(&arguments),
            Command::Classify(arguments) => classify::run(&arguments),
            Command::Pages(arguments) => pages::run(&arguments),
            Command::Account(command) => account::run(&command),
            Command::Dkim(command) => dkim::run(&command),
            Command::Queue(command) => queue::run(&command),
            Command::Suppression(command) => suppression::run(&command),
            Command::TlsReport(command) => tls_report::run(&command),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn the_first_usual_file_that_is_there_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let [here, usual] = ["here.toml", "usual.toml"].map(|name| folder.path().join(name).display().to_string());
        let found = || first_of(&[&here, &usual]);
        assert_eq!(found(), None);
        std::fs::write(&usual, "").expect("written");
        assert_eq!(found(), Some(usual.clone().into()));
        std::fs::write(&here, "").expect("written");
        assert_eq!(found(), Some(here.clone().into()));
    }

    #[test]
    fn every_command_shows_an_example() {
        fn leaves(command: &clap::Command, path: &str, without: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                for inner in command.get_subcommands() {
                    leaves(inner, &path, without);
                }
            } else if !command.get_after_help().is_some_and(|help| help.to_string().contains("Example:\n  ringpost ")) {
                without.push(path);
            }
        }
        let mut without = Vec::new();
        leaves(&CommandLine::command(), "", &mut without);
        assert_eq!(without, Vec::<String>::new());
    }
}
