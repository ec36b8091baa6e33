//! The record of an experiment, as it lies in its folder.
//!
//! | file | what |
//! |---|---|
//! | `run.json` | all of this: machine, versions, figures of every repetition |
//! | `summary.json` | median and spread of every figure, by server |
//! | `scenario.toml` | the scenario as it was |
//! | `SERVER/N/samples.csv` | the server's CPU, memory, disk and queue over time, in repetition N |
//! | `SERVER/N/load-STEP.json`, `.csv` | the generator's report and course |
//! | `SERVER/N/sink-NAME.json`, `.csv` | a sink's report and course |
//! | `SERVER/N/server/` | the server's configuration and logs |
//! | `SERVER/N/*.ids` | ids sent and received, with `--keep-ids` |

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::machine::Machine;
use crate::Failure;

/// An experiment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    /// The scenario's name.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// What it shows.
    pub about: String,
    /// The share of its messages that was sent.
    pub scale: f64,
    /// When it began (RFC 3339).
    pub began: String,
    /// Where.
    pub machine: Machine,
    /// What came out, in the order in which the servers took turns.
    pub servers: Vec<ServerResult>,
}

/// One server's repetitions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerResult {
    /// Its name.
    pub server: String,
    /// Its version.
    pub version: String,
    /// What was measured each time.
    pub repetitions: Vec<Repetition>,
}

/// The scenario once through.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Repetition {
    /// Its folder, seen from the run's.
    pub folder: PathBuf,
    /// In the scenario's order.
    pub steps: Vec<StepResult>,
    /// What became of every recipient.
    pub account: Account,
    /// The sinks' reports by name.
    pub sinks: BTreeMap<String, Value>,
    /// Where the server's CPU time was read.
    #[serde(default)]
    pub cpu_from: String,
}

/// One step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepResult {
    /// Its name.
    pub name: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub began_ms: u64,
    /// When it ended.
    pub ended_ms: u64,
    /// What was measured, by [`figure`](super::figure) name.
    pub figures: BTreeMap<String, f64>,
    /// The generator's report, where there was one.
    pub load: Option<Value>,
}

/// What became of the recipients that got 250.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Recipients whose message was accepted.
    pub accepted: u64,
    /// Receptions at the sinks.
    pub received: u64,
    /// Recipients that the server gave up and told the sender of.
    pub failed: u64,
    /// Recipients that the server still had at the end.
    pub queued: u64,
    /// Accepted, and neither received nor failed nor queued.
    pub lost: u64,
    /// Receptions beyond the first.
    pub duplicated: u64,
    /// Received without a 250 that the generator saw.
    pub unacknowledged: u64,
    /// Messages whose body was not what was sent.
    pub damaged: u64,
    /// Refusals and losses at the generator that the scenario does not expect.
    pub unexpected: u64,
    /// Some of the recipients that were never received.
    pub missing_examples: Vec<String>,
}

impl Account {
    /// Whether anything went wrong that must not.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.damaged == 0 && self.unexpected == 0
    }
}

/// A figure over the repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Half of them are at most this.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of some values; `None` of none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Self { median, min, max })
    }
}

impl ServerResult {
    /// A figure of a step over the repetitions.
    pub fn spread(&self, step: &str, figure: &str) -> Option<Spread> {
        Spread::of(self.values(step, figure))
    }

    /// A figure of a step in each repetition that has it.
    pub(super) fn values(&self, step: &str, figure: &str) -> Vec<f64> {
        let steps = self.repetitions.iter().flat_map(|repetition| &repetition.steps);
        steps.filter(|known| known.name == step).filter_map(|known| known.figures.get(figure).copied()).collect()
    }

    /// The steps' names, in order.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.repetitions.iter().take(1).flat_map(|repetition| &repetition.steps).map(|step| step.name.as_str())
    }
}

impl Run {
    /// Reads the record of a run's folder.
    ///
    /// # Errors
    /// [`Failure::Usage`] where there is none.
    pub fn load(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("run.json");
        let broken = |why: &dyn std::fmt::Display| Failure::Usage(format!("{}: {why}", path.display()));
        let text = fs::read_to_string(&path).map_err(|error| broken(&error))?;
        serde_json::from_str(&text).map_err(|error| broken(&error))
    }

    /// Writes it, with its summary.
    pub(super) fn save(&self, folder: &Path) -> Result<(), Failure> {
        let mut summary = serde_json::Map::new();
        for server in &self.servers {
            let mut steps = serde_json::Map::new();
            for step in server.steps() {
                let names = super::figure::FIGURES.iter().map(|figure| figure.name);
                let spreads: BTreeMap<_, _> =
                    names.filter_map(|name| Some((name, server.spread(step, name)?))).collect();
                steps.insert(step.to_owned(), serde_json::json!(spreads));
            }
            summary.insert(server.server.clone(), steps.into());
        }
        write_json(&folder.join("run.json"), self)?;
        write_json(&folder.join("summary.json"), &summary)
    }
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::Failed(format!("{}: {why}", path.display()));
    let text = serde_json::to_string_pretty(value).map_err(|error| failed(&error))?;
    fs::write(path, text + "\n").map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_two() {
        let spread = |values: &[f64]| Spread::of(values.to_vec());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(spread(&[]), None);
    }
}
