//! `ringload compare`: the same scenarios on several servers, which take turns.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::ratios::Ratios;
use super::{How, Plan, Run, Scenario, stamp, unclean};
use crate::server::{KINDS, Kind};
use crate::{Failure, report};

/// Runs scenarios on Ringpost and on other servers, and prints how many times as good the first server is.
///
/// The servers take turns within each repetition. Their settings are in loadtest/servers, where `install` installs them.
/// It runs as root, which Postfix, Exim and OpenSMTPD need.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Example:\n  ringload compare accept-keep relay --repeat 3\n  \
                        ringload compare accept-new --servers ringpost,postfix --scale 0.2")]
pub struct Options {
    /// The scenarios' names, or their files
    #[arg(value_name = "SCENARIO", required = true)]
    pub scenarios: Vec<String>,
    /// How it is done.
    #[command(flatten)]
    pub how: How,
    /// The servers, of which the first is compared with the others
    #[arg(long, value_enum, value_name = "NAMES", value_delimiter = ',', default_values_t = KINDS)]
    pub servers: Vec<Kind>,
}

/// The command. A folder holds a run for each scenario, `ratios.txt` and `ratios.json`, and one page about all.
///
/// # Errors
/// [`Failure::Usage`] where a scenario or an option is wrong, or a server is not installed; [`Failure::Failed`] if it
/// could not be carried out, or if anything was lost, damaged or unexpectedly refused.
pub fn main(options: &Options) -> Result<(), Failure> {
    let scenarios: Vec<Scenario> =
        options.scenarios.iter().map(|name| Scenario::find(name)).collect::<Result<_, _>>()?;
    let several = options.servers.len() > 1
        && options.servers.iter().enumerate().all(|(at, kind)| !options.servers[..at].contains(kind));
    if !several {
        return Err(Failure::Usage("--servers takes two servers or more, each once".into()));
    }
    options.servers.iter().try_for_each(|kind| kind.check_installed())?;
    let folder = options.how.out.clone().unwrap_or_else(|| format!("runs/compare-{}", stamp()).into());
    if folder.exists() {
        return Err(Failure::Usage(format!("{} exists already", folder.display())));
    }
    let mut runs: Vec<(PathBuf, Run)> = Vec::new();
    for scenario in scenarios {
        let out = folder.join(&scenario.name);
        let plan = Plan::new(scenario, &How { out: Some(out), ..options.how.clone() })?;
        let run = plan.carry_out(&options.servers)?;
        report::finish(&plan.folder, &run)?;
        runs.push((plan.folder.clone(), run));
    }
    let text = finish(&folder, &runs)?;
    if options.how.json {
        println!("{}", serde_json::to_string(&ratios(&runs)).map_err(|error| Failure::Failed(error.to_string()))?);
    } else {
        print!("{text}");
    }
    runs.iter().try_for_each(|(_, run)| unclean(run))
}

fn ratios(runs: &[(PathBuf, Run)]) -> serde_json::Value {
    json!(runs.iter().filter_map(|(_, run)| Ratios::of(run)).collect::<Vec<_>>())
}

/// Writes what was found into the comparison's folder; the text.
fn finish(folder: &Path, runs: &[(PathBuf, Run)]) -> Result<String, Failure> {
    let page = report::page(folder, runs)?;
    let text: String = runs.iter().map(|(_, run)| report::comparison(run)).collect();
    let text = format!("{text}page: {}\n", page.display());
    super::record::write_json(&folder.join("ratios.json"), &ratios(runs))?;
    let path = folder.join("ratios.txt");
    std::fs::write(&path, &text).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    Ok(text)
}
