//! The command line: what each command takes, and its exit code.
//!
//! 0: done. 1: it failed; one line on stderr says why. 2: wrong usage or configuration; every mistake is named.

mod account;
mod check;
mod classify;
mod dkim;
mod doctor;
mod explain;
mod pages;
mod preflight;
mod queue;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

pub(crate) use account::hash as hash_password;

use super::{demo, serve};
use crate::config::Config;

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
    #[command(after_help = "Example:\n  ringpost check -c /etc/ringpost/ringpost.toml")]
    Check(ConfigFile),
    /// Find what makes a first day fail on this host, each with its remedy: kernel, limits, disk, clock, ports, DNS
    #[command(after_help = "Example:\n  ringpost doctor -c /etc/ringpost/ringpost.toml")]
    Doctor(ConfigFile),
    /// Show which limits hold for mail to a domain or an address, from each source, and where each comes from
    #[command(after_help = "Example:\n  ringpost explain gmail.com -c /etc/ringpost/ringpost.toml")]
    Explain(explain::Arguments),
    /// Examine a message before it is sent, by the rules of large receivers: SPF, DKIM, DMARC, PTR, one-click unsubscribing
    #[command(after_help = "Example:\n  ringpost preflight newsletter.eml -c /etc/ringpost/ringpost.toml")]
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
}

/// Which configuration.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = "ringpost.toml")]
    file: PathBuf,
}

#[derive(Debug, Args)]
struct ServeArguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Start with all delivery suspended; `ringpost queue release --all` resumes it
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
                let config = load(&arguments.config.file)?;
                serve::run(&arguments.config.file, config, arguments.hold)
            }
            Command::Check(config) => check::run(&config.file),
            Command::Doctor(config) => doctor::run(&config.file),
            Command::Explain(arguments) => explain::run(&arguments),
            Command::Preflight(arguments) => preflight::run(&arguments),
            Command::Classify(arguments) => classify::run(&arguments),
            Command::Pages(arguments) => pages::run(&arguments),
            Command::Account(command) => account::run(&command),
            Command::Dkim(command) => dkim::run(&command),
            Command::Queue(command) => queue::run(&command),
        }
    }
}

fn load(file: &Path) -> Result<Arc<Config>, Failure> {
    Config::load(file)
        .map_err(|mistakes| Failure::Wrong(mistakes.iter().map(|mistake| mistake.in_file(file)).collect()))
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
