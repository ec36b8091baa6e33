//! `ringload run`: generator, server and sinks as one experiment.
//!
//! Owns: scenarios, the order of steps and repetitions, what is measured of the server from outside, the record.
//! Never: sends or receives itself: the generator and the sinks are processes beside the server, so that their cost is
//! not its.
//! Servers take turns within each repetition, so that what changes on the machine meanwhile touches all of them alike.

pub mod compare;
pub mod figure;
mod flush_calls;
mod machine;
mod place;
pub mod ratios;
mod record;
mod sample;
mod scenario;
mod sinks;
mod stage;
mod step;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ringpost::message::date;
use shards::Timestamp;

use crate::server::Kind;
use crate::{Failure, clock, report};

pub use machine::Machine;
pub use record::{Account, Repetition, Run, ServerResult, Spread, StepResult};
pub use scenario::Scenario;

/// Runs a scenario on a server: load, server and destinations as one experiment, with a record in a folder.
///
/// The scenarios that come along are listed with --list. A run's folder holds everything that was measured; `ringload
/// report FOLDER` shows it.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Example:\n  ringload run accept-keep --repeat 3\n  ringload run backlog --scale 0.01\n  \
                        ringload run --list")]
pub struct Options {
    /// The scenario's name, or its file
    #[arg(value_name = "SCENARIO", required_unless_present = "list")]
    pub scenario: Option<String>,
    /// Print the scenarios that come along
    #[arg(long)]
    pub list: bool,
    /// How it is done.
    #[command(flatten)]
    pub how: How,
    /// The server to test
    #[arg(long, value_enum, value_name = "NAME", default_value = "ringpost")]
    pub server: Kind,
}

/// How an experiment is done, whatever it is.
#[derive(clap::Args, Clone, Debug)]
pub struct How {
    /// Repetitions
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeat: u32,
    /// The share of messages and idle connections
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = scale)]
    pub scale: f64,
    /// To see whether it works: one repetition of a hundredth
    #[arg(long, conflicts_with_all = ["repeat", "scale"])]
    pub quick: bool,
    /// The folder for the record, which must not exist [default: runs/SCENARIO-TIME]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Ringpost's program [default: beside this one, or in the path]
    #[arg(long, value_name = "FILE")]
    pub ringpost: Option<PathBuf>,
    /// Ringpost's shards [default: its own choice]
    #[arg(long, value_name = "N")]
    pub shards: Option<usize>,
    /// Keep the servers' queues
    #[arg(long)]
    pub keep_data: bool,
    /// Keep the files of ids
    #[arg(long)]
    pub keep_ids: bool,
    /// Print the record as JSON
    #[arg(long)]
    pub json: bool,
}

fn scale(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (1e-6..=1000.0).contains(share));
    share.ok_or_else(|| "a scale is a number above 0, such as 0.01".into())
}

/// An experiment, ready to begin.
struct Plan {
    scenario: Scenario,
    scale: f64,
    repeat: u32,
    folder: PathBuf,
    ringpost: Option<PathBuf>,
    shards: Option<usize>,
    keep_data: bool,
    keep_ids: bool,
    certificate: PathBuf,
    key: PathBuf,
    /// The kind of the one that the queues lie on.
    file_system: String,
}

/// The command.
///
/// # Errors
/// [`Failure::Usage`] where the scenario or the options are wrong; [`Failure::Failed`] if it could not be carried out,
/// or if anything was lost, damaged or unexpectedly refused.
pub fn main(options: &Options) -> Result<(), Failure> {
    let Some(scenario) = options.scenario.as_deref().filter(|_| !options.list) else {
        for name in Scenario::names() {
            println!("{name:<20} {}", Scenario::find(name)?.title);
        }
        return Ok(());
    };
    measure(Scenario::find(scenario)?, &[options.server], &options.how)
}

/// Carries out an experiment on these servers, which take turns, and prints what came out.
///
/// # Errors
/// As [`main`].
pub fn measure(scenario: Scenario, servers: &[Kind], how: &How) -> Result<(), Failure> {
    let plan = Plan::new(scenario, how)?;
    let run = plan.carry_out(servers)?;
    let text = report::finish(&plan.folder, &run)?;
    if how.json {
        println!("{}", serde_json::to_string(&run).map_err(|error| Failure::Failed(error.to_string()))?);
    } else {
        print!("{text}");
    }
    unclean(&run)
}

/// The failure of a run in which anything went wrong that must not.
fn unclean(run: &Run) -> Result<(), Failure> {
    let results = run.servers.iter().flat_map(|server| &server.repetitions);
    let unclean: Vec<_> = results.filter(|result| !result.account.is_clean()).collect();
    match unclean.first().map(|result| &result.account) {
        None => Ok(()),
        Some(Account { lost, damaged, unexpected, .. }) => Err(Failure::Failed(format!(
            "{} of the repetitions went wrong; the first: {lost} lost, {damaged} damaged, {unexpected} unexpectedly refused",
            unclean.len()
        ))),
    }
}

impl Plan {
    fn new(scenario: Scenario, how: &How) -> Result<Self, Failure> {
        const QUICK: f64 = 0.01;
        let (repeat, scale) = if how.quick { (1, QUICK) } else { (how.repeat, how.scale) };
        let folder = how.out.clone().unwrap_or_else(|| format!("runs/{}-{}", scenario.name, stamp()).into());
        if folder.exists() {
            return Err(Failure::Usage(format!("{} exists already", folder.display())));
        }
        let broken = |path: &Path, why: &dyn std::fmt::Display| Failure::Usage(format!("{}: {why}", path.display()));
        fs::create_dir_all(&folder).map_err(|error| broken(&folder, &error))?;
        let folder = fs::canonicalize(&folder).map_err(|error| broken(&folder, &error))?;
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]);
        let made = made.map_err(|error| Failure::Failed(format!("certificate: {error}")))?;
        let files = [
            (&certificate, made.cert.pem()),
            (&key, made.signing_key.serialize_pem()),
            (&folder.join("scenario.toml"), scenario.text.clone()),
        ];
        for (path, text) in files {
            fs::write(path, text).map_err(|error| broken(path, &error))?;
        }
        Ok(Self {
            scenario: scenario.scaled(scale),
            file_system: machine::file_system_of(&folder),
            scale,
            repeat,
            folder,
            ringpost: how.ringpost.clone(),
            shards: how.shards,
            keep_data: how.keep_data,
            keep_ids: how.keep_ids,
            certificate,
            key,
        })
    }

    /// The program that was named for a server.
    fn program(&self, kind: Kind) -> Option<PathBuf> {
        self.ringpost.clone().filter(|_| kind == Kind::Ringpost)
    }

    /// All repetitions; the record is written after each, so that one that fails does not cost the others.
    fn carry_out(&self, servers: &[Kind]) -> Result<Run, Failure> {
        let mut run = Run {
            scenario: self.scenario.name.clone(),
            title: self.scenario.title.clone(),
            about: self.scenario.about.clone(),
            scale: self.scale,
            began: date::rfc3339(Timestamp::from_millis(clock::wall_us() / 1000)),
            machine: Machine::look(&self.folder)?,
            servers: Vec::new(),
        };
        let mut results: BTreeMap<Kind, usize> = BTreeMap::new();
        for number in 1..=self.repeat {
            for kind in servers {
                eprintln!("{}: {}, repetition {number} of {}", self.scenario.name, kind.name(), self.repeat);
                let folder = self.folder.join(kind.name()).join(number.to_string());
                let (version, repetition) = stage::perform(self, *kind, &folder)?;
                let at = *results.entry(*kind).or_insert_with(|| {
                    let server = kind.name().to_owned();
                    run.servers.push(ServerResult { server, version, repetitions: Vec::new() });
                    run.servers.len() - 1
                });
                run.servers[at].repetitions.push(repetition);
                run.save(&self.folder)?;
            }
        }
        Ok(run)
    }
}

/// The present moment, for a folder's name.
fn stamp() -> String {
    let stamp = date::rfc3339(Timestamp::from_millis(clock::wall_us() / 1000));
    stamp.chars().filter(char::is_ascii_alphanumeric).take("20261123T074640".len()).collect()
}

/// This program, which is the generator and the sinks too.
fn own_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::Failed(format!("this program: {error}")))
}
