//! `ringload verify`: what was sent against what was received.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Failure;

/// Ids that the text report shows of each kind.
const SHOWN: usize = 10;
/// Ids that are looked through for them.
const EXAMPLES_MAX: usize = 10_000;

/// Compares the ids that a generator got 250 for with those that a sink received.
///
/// Both files may have one line per message, or (with --per-recipient on both sides) one per recipient. Exit code 1 if
/// anything was lost.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Example:\n  ringload verify --sent sent.ids --received received.ids")]
pub struct Options {
    /// The file that `ringload generate --ids` wrote
    #[arg(long, value_name = "FILE")]
    pub sent: PathBuf,
    /// The file that `ringload sink --ids` wrote
    #[arg(long, value_name = "FILE")]
    pub received: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What became of what was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Lines sent, each once.
    pub sent: u64,
    /// Lines received, repetitions included.
    pub received: u64,
    /// Sent and never received.
    pub lost: u64,
    /// Receptions beyond the first, of whatever.
    pub duplicated: u64,
    /// Received, and not among the sent: a 250 that the generator did not see.
    pub unacknowledged: u64,
    /// Some of the lost.
    pub lost_examples: Vec<String>,
    /// Some of the duplicated.
    pub duplicated_examples: Vec<String>,
}

/// Counts.
///
/// # Errors
/// [`Failure::Usage`] where a file cannot be read.
pub fn account(sent: &[impl AsRef<Path>], received: &[impl AsRef<Path>]) -> Result<Account, Failure> {
    let mut account = Account::default();
    let mut receptions: HashMap<String, u32> = HashMap::new();
    for received in received {
        each_line(received.as_ref(), |line| {
            account.received += 1;
            *receptions.entry(line).or_default() += 1;
        })?;
    }
    for (line, count) in &receptions {
        account.duplicated += u64::from(count - 1);
        if *count > 1 {
            account.duplicated_examples.push(line.clone());
        }
    }
    for sent in sent {
        each_line(sent.as_ref(), |line| {
            account.sent += 1;
            if receptions.remove(&line).is_none() {
                account.lost += 1;
                if account.lost_examples.len() < EXAMPLES_MAX {
                    account.lost_examples.push(line);
                }
            }
        })?;
    }
    account.unacknowledged = receptions.len() as u64;
    for examples in [&mut account.lost_examples, &mut account.duplicated_examples] {
        examples.sort_unstable();
        examples.truncate(SHOWN);
    }
    Ok(account)
}

fn each_line(path: &Path, mut visit: impl FnMut(String)) -> Result<(), Failure> {
    let broken = |error: std::io::Error| Failure::Usage(format!("{}: {error}", path.display()));
    for line in BufReader::new(File::open(path).map_err(broken)?).lines() {
        let line = line.map_err(broken)?;
        if !line.is_empty() {
            visit(line);
        }
    }
    Ok(())
}

/// The command.
///
/// # Errors
/// [`Failure::Failed`] if anything was lost.
pub fn main(options: &Options) -> Result<(), Failure> {
    let account = account(&[&options.sent], &[&options.received])?;
    if options.json {
        println!("{}", serde_json::to_string(&account).map_err(|error| Failure::Failed(error.to_string()))?);
    } else {
        println!(
            "sent {}, received {}: lost {}, duplicated {}, received without a 250 {}",
            account.sent, account.received, account.lost, account.duplicated, account.unacknowledged
        );
        account.lost_examples.iter().for_each(|id| println!("lost {id}"));
        account.duplicated_examples.iter().for_each(|id| println!("duplicated {id}"));
    }
    if account.lost > 0 { Err(Failure::Failed(format!("{} of {} lost", account.lost, account.sent))) } else { Ok(()) }
}
