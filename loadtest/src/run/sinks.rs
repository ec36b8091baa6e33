//! The destinations of an experiment: sinks as processes of their own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::place;
use super::scenario::Destination;
use crate::series::Series;
use crate::server::Route;
use crate::server::process::Process;
use crate::{Failure, clock};

/// How long a sink may take to listen, and to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at meanwhile.
const POLL: Duration = Duration::from_millis(10);

/// Sinks that run.
pub(super) struct Sinks {
    sinks: Vec<Sink>,
}

struct Sink {
    plan: Destination,
    folder: PathBuf,
    process: Process,
    address: SocketAddr,
}

impl Sinks {
    /// Starts them; their files go to `folder`.
    pub(super) fn start(plans: &[Destination], folder: &Path) -> Result<Self, Failure> {
        let started: Result<Vec<Sink>, Failure> =
            plans.iter().enumerate().map(|(number, plan)| Sink::start(plan, number, folder)).collect();
        Ok(Self { sinks: started? })
    }

    /// The way to each. Notices of failure go to the first.
    pub(super) fn routes(&self) -> Vec<Route> {
        let own = |sink: &Sink| Route { domains: sink.plan.domains.clone(), next_hop: sink.address };
        let mut routes: Vec<Route> = self.sinks.iter().map(own).collect();
        let next_hop = routes[0].next_hop;
        routes.push(Route { domains: vec!["ringload.test".into()], next_hop });
        routes
    }

    /// Messages that have arrived so far, and when the last of them did (milliseconds since the Unix epoch).
    pub(super) fn arrived(&self) -> Result<(f64, Option<f64>), Failure> {
        let (mut messages, mut last) = (0.0, None::<f64>);
        for sink in &self.sinks {
            let series = Series::read(&sink.path("csv"))?;
            messages += series.last("messages").unwrap_or(0.0);
            last = last.into_iter().chain(series.last_change("messages")).reduce(f64::max);
        }
        Ok((messages, last))
    }

    /// Ends them; their reports by name.
    pub(super) fn stop(self) -> Result<BTreeMap<String, Value>, Failure> {
        self.sinks.into_iter().map(Sink::stop).collect()
    }

    /// Where each keeps the ids that it received.
    pub(super) fn ids(&self) -> Vec<PathBuf> {
        self.sinks.iter().map(|sink| sink.path("ids")).collect()
    }
}

impl Sink {
    fn start(plan: &Destination, number: usize, folder: &Path) -> Result<Self, Failure> {
        let path = |ending: &str| folder.join(format!("sink-{}.{ending}", plan.name));
        let failed =
            |path: &Path, error: &dyn std::fmt::Display| Failure::Failed(format!("{}: {error}", path.display()));
        let create = |ending: &str| File::create(path(ending)).map_err(|error| failed(&path(ending), &error));
        let mut command = Command::new(super::own_program()?);
        command.args(["sink", "--listen", "127.0.0.1:0", "--json", "--per-recipient"]).args(&plan.options);
        command.arg("--ids").arg(path("ids")).arg("--series").arg(path("csv"));
        if let Some(script) = &plan.script {
            fs::write(path("toml"), script).map_err(|error| failed(&path("toml"), &error))?;
            command.arg("--script").arg(path("toml"));
        }
        command.stdout(create("json")?).stderr(create("log")?);
        place::on_core(&mut command, number + 1);
        let mut process = Process::start(&mut command)?;
        let address = clock::wait_for(PATIENCE, POLL, || {
            let log = fs::read_to_string(path("log")).unwrap_or_default();
            let address = log.strip_prefix("listening on ").and_then(|rest| rest.split_once('\n'));
            let ended = process.ended().ok().flatten().map(|status| format!("{status}: {}", log.trim()));
            address.and_then(|(address, _)| address.parse().ok()).map(Ok).or(ended.map(Err))
        });
        match address {
            Some(Ok(address)) => Ok(Self { plan: plan.clone(), folder: folder.to_owned(), process, address }),
            Some(Err(why)) => Err(Failure::Failed(format!("the sink `{}` ended: {why}", plan.name))),
            None => Err(Failure::Failed(format!("the sink `{}` does not listen", plan.name))),
        }
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("sink-{}.{ending}", self.plan.name))
    }

    fn stop(self) -> Result<(String, Value), Failure> {
        let path = self.path("json");
        // Damaged messages are its failure and in its report.
        self.process.terminate(PATIENCE)?;
        let text = fs::read_to_string(&path).unwrap_or_default();
        let report = serde_json::from_str(&text);
        Ok((self.plan.name, report.map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?))
    }
}
