//! One server with its destinations, set up and watched: where the steps of a repetition take place.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Plan;
use super::record::{Account, Repetition};
use super::sample::{Disk, Usage};
use super::scenario::Scenario;
use super::sinks::Sinks;
use super::step;
use crate::clock::{self, Stopwatch};
use crate::server::{FAILED, Kind, Server, Setting};
use crate::{Failure, series, verify};

/// How often it is looked whether a step is over.
const POLL: Duration = Duration::from_millis(50);
/// How often the server is looked at meanwhile.
const SAMPLE: Duration = Duration::from_millis(500);
/// Connections to one destination.
const CONNECTIONS_MAX: u32 = 20;
/// Connections that a client may have.
const CLIENTS_MAX: u32 = 100_000;
/// The columns of `samples.csv`.
const COLUMNS: [&str; 7] =
    ["user_s", "system_s", "memory_bytes", "mapped_bytes", "written_bytes", "disk_flushes", "queued"];

/// A repetition under way.
pub(super) struct Stage {
    pub(super) kind: Kind,
    pub(super) server: Box<dyn Server>,
    pub(super) sinks: Sinks,
    pub(super) folder: PathBuf,
    /// The server as it was when it had just started, empty.
    pub(super) fresh: Moment,
    disk: Option<Disk>,
    pub(super) file_system: String,
    samples: series::Writer,
    sampled: Stopwatch,
    /// The most memory since [`Stage::look`] was told to begin anew.
    pub(super) peak_bytes: f64,
}

/// What the server had used and held at a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Moment {
    pub(super) unix_ms: u64,
    pub(super) usage: Usage,
    pub(super) disk_flushes: f64,
    pub(super) queued: f64,
    pub(super) counters: BTreeMap<String, u64>,
}

/// Runs a scenario once on a server, whose version it gives too; its files go to `folder`, which is below the run's.
pub(super) fn perform(plan: &Plan, kind: Kind, folder: &Path) -> Result<(String, Repetition), Failure> {
    let mut stage = Stage::set_up(plan, kind, folder)?;
    let version = stage.server.version()?;
    let mut steps = Vec::new();
    for step in &plan.scenario.steps {
        steps.push(step::run(&mut stage, step)?);
    }
    let loads: Vec<PathBuf> = steps
        .iter()
        .filter(|step| step.load.is_some())
        .map(|step| stage.path(&format!("sent-{}.ids", step.name)))
        .collect();
    let unexpected = steps.iter().filter_map(|step| step.load.as_ref()?["unexpected"].as_u64()).sum();
    let last = stage.look()?;
    let ids = stage.sinks.ids();
    let data = stage.server.data().to_owned();
    let cpu_from = stage.server.group().name().map_or("/proc of its processes", |_| "its control group").to_owned();
    stage.server.stop()?;
    let sinks = stage.sinks.stop()?;
    let account = account(&loads, &ids, &last, unexpected, &sinks)?;
    if !plan.keep_ids {
        loads.iter().chain(&ids).try_for_each(|path| remove(path))?;
    }
    if !plan.keep_data && data.exists() {
        fs::remove_dir_all(&data).map_err(|error| Failure::Failed(format!("{}: {error}", data.display())))?;
    }
    let folder = folder.strip_prefix(&plan.folder).unwrap_or(folder).to_owned();
    Ok((version, Repetition { folder, steps, account, sinks, cpu_from }))
}

fn remove(path: &Path) -> Result<(), Failure> {
    fs::remove_file(path).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}

fn account(
    sent: &[PathBuf],
    received: &[PathBuf],
    last: &Moment,
    unexpected: u64,
    sinks: &BTreeMap<String, serde_json::Value>,
) -> Result<Account, Failure> {
    let ids = verify::account(sent, received)?;
    let failed = last.counters.get(FAILED).copied().unwrap_or(0);
    let queued = last.queued as u64;
    Ok(Account {
        accepted: ids.sent,
        received: ids.received,
        failed,
        queued,
        lost: ids.lost.saturating_sub(failed + queued),
        duplicated: ids.duplicated,
        unacknowledged: ids.unacknowledged,
        damaged: sinks.values().filter_map(|sink| sink["damaged"].as_u64()).sum(),
        unexpected,
        missing_examples: ids.lost_examples,
    })
}

impl Stage {
    fn set_up(plan: &Plan, kind: Kind, folder: &Path) -> Result<Self, Failure> {
        let home = folder.join("server");
        fs::create_dir_all(&home).map_err(|error| Failure::Failed(format!("{}: {error}", home.display())))?;
        let Scenario { hold, retry_s, sinks, .. } = &plan.scenario;
        let sinks = Sinks::start(sinks, folder)?;
        let setting = Setting {
            folder: home,
            program: plan.program(kind),
            routes: sinks.routes(),
            hold: *hold,
            retry_s: retry_s.clone(),
            connections_max: CONNECTIONS_MAX,
            clients_max: CLIENTS_MAX,
            certificate: plan.certificate.clone(),
            key: plan.key.clone(),
            shards: plan.shards,
        };
        let mut server = kind.prepare(&setting)?;
        server.start()?;
        let mut stage = Self {
            disk: Disk::below(server.data())?,
            file_system: plan.file_system.clone(),
            kind,
            server,
            sinks,
            folder: folder.to_owned(),
            fresh: Moment::default(),
            samples: series::Writer::create(Some(&folder.join("samples.csv")), &COLUMNS)?,
            sampled: Stopwatch::start(),
            peak_bytes: 0.0,
        };
        stage.fresh = stage.look()?;
        Ok(stage)
    }

    /// A file of this repetition.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Looks at the server, and writes down what it sees.
    pub(super) fn look(&mut self) -> Result<Moment, Failure> {
        let pids = self.server.pids();
        if pids.is_empty() {
            return Err(Failure::Failed("the server does not run".into()));
        }
        let mut usage = Usage::of(&pids);
        if let Some((user_s, system_s)) = self.server.group().cpu() {
            (usage.user_s, usage.system_s) = (user_s, system_s);
        }
        let disk_flushes = self.disk.as_ref().map_or(0.0, Disk::flushes);
        let queued = self.server.queued()? as f64;
        let counters = self.server.counters()?;
        self.peak_bytes = self.peak_bytes.max(usage.memory_bytes);
        self.sampled = Stopwatch::start();
        let moment = Moment { unix_ms: clock::wall_us() / 1000, usage, disk_flushes, queued, counters };
        let Usage { user_s, system_s, memory_bytes, mapped_bytes, written_bytes, .. } = usage;
        let row = [user_s, system_s, memory_bytes, mapped_bytes, written_bytes, disk_flushes, queued];
        let written = self.samples.row(moment.unix_ms, row.into_iter());
        written.map_err(|error| Failure::Failed(format!("samples: {error}")))?;
        Ok(moment)
    }

    /// Watches the server until `over`, for `patience` at most.
    pub(super) fn watch(
        &mut self,
        what: &str,
        patience: Duration,
        mut over: impl FnMut(&mut Self) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let began = Stopwatch::start();
        while !over(self)? {
            if began.elapsed() >= patience {
                return Err(Failure::Failed(format!("{what}: not over after {patience:?}")));
            }
            if self.sampled.elapsed() >= SAMPLE {
                self.look()?;
            }
            clock::pause(POLL);
        }
        Ok(())
    }
}
