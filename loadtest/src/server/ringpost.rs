//! Ringpost as the server under test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::group::Group;
use super::process::{Process, free_address, output, program, wait_greeting};
use super::{Door, FAILED, FLUSHES, START_PATIENCE, STOP_PATIENCE, Server, Setting};
use crate::Failure;

/// Its configuration, in its folder.
const CONFIG: &str = "ringpost.toml";
/// Its data, in its folder.
const DATA: &str = "data";
/// How long its control socket may take to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// A Ringpost of its own.
pub(super) struct Ringpost {
    program: PathBuf,
    folder: PathBuf,
    data: PathBuf,
    hold: bool,
    plain: SocketAddr,
    tls: SocketAddr,
    group: Group,
    process: Option<Process>,
}

impl Ringpost {
    /// Writes the configuration.
    pub(super) fn prepare(setting: &Setting) -> Result<Self, Failure> {
        let ringpost = Self {
            program: setting.program.clone().unwrap_or_else(|| program("ringpost")),
            folder: setting.folder.clone(),
            data: setting.folder.join(DATA),
            hold: setting.hold,
            plain: free_address()?,
            tls: free_address()?,
            group: Group::make(),
            process: None,
        };
        let config = setting.folder.join(CONFIG);
        fs::write(&config, ringpost.config(setting))
            .map_err(|error| Failure::Failed(format!("{}: {error}", config.display())))?;
        Ok(ringpost)
    }

    fn config(&self, setting: &Setting) -> String {
        let shards = setting.shards.map_or_else(|| "\"auto\"".to_owned(), |shards| shards.to_string());
        let mut toml = format!(
            "[server]\nhostname = \"ringpost.test\"\ndata_dir = \"{DATA}\"\nshards = {shards}\n\n\
             [tls]\ncertificate = {:?}\nprivate_key = {:?}\n\n",
            setting.certificate, setting.key
        );
        for (address, tls) in [(self.plain, "optional"), (self.tls, "implicit")] {
            let _ = writeln!(
                toml,
                "[[listener]]\nkind = \"relay\"\naddress = \"{address}\"\ntls = \"{tls}\"\nnetworks = [\"127.0.0.0/8\"]\n"
            );
        }
        for route in &setting.routes {
            let _ = writeln!(toml, "[[route]]\ndomains = {:?}\nnext_hop = \"{}\"\n", route.domains, route.next_hop);
        }
        let waits: Vec<String> = setting.retry_s.iter().map(|wait_s| format!("{wait_s}s")).collect();
        let _ = writeln!(toml, "[retry]\nschedule = {waits:?}\n");
        let _ = writeln!(toml, "[delivery]\nconnections_max = {}\n", setting.connections_max);
        let _ = writeln!(toml, "[limits]\nconnections_per_address_max = {}", setting.clients_max);
        toml
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.folder).args(words).args(["-c", CONFIG]);
        command
    }

    /// Its metrics, the shards' added up. They come over the control socket, which is reached by way of the process's
    /// working directory: the name of a Unix socket must be short.
    fn metrics(&self) -> Result<BTreeMap<String, u64>, Failure> {
        let Some(process) = &self.process else { return Ok(BTreeMap::new()) };
        let socket = format!("/proc/{}/cwd/{DATA}/control.sock", process.pid());
        let text = get(&socket, "/metrics").map_err(|error| Failure::Failed(format!("{socket}: {error}")))?;
        Ok(add_up(&text))
    }
}

/// One request over a Unix socket.
fn get(socket: &str, target: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").filter(|_| answer.starts_with("HTTP/1.1 200 "));
    body.map(|(_, body)| body.to_owned())
        .ok_or_else(|| io::Error::other(answer.lines().next().unwrap_or("").to_owned()))
}

/// Samples of Prometheus' text format by name without `ringpost_`, all labels added up.
fn add_up(text: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        let Some((name, value)) = line.strip_prefix("ringpost_").and_then(|line| line.rsplit_once(' ')) else {
            continue;
        };
        let name = name.split('{').next().unwrap_or(name);
        *sums.entry(name.to_owned()).or_default() += value.parse::<u64>().unwrap_or(0);
    }
    sums
}

impl Server for Ringpost {
    fn version(&self) -> Result<String, Failure> {
        Ok(output(Command::new(&self.program).arg("--version"))?.trim().to_owned())
    }

    fn start(&mut self) -> Result<(), Failure> {
        let log = self.folder.join("log");
        let file = File::options().create(true).append(true).open(&log);
        let file = file.map_err(|error| Failure::Failed(format!("{}: {error}", log.display())))?;
        let hold: &[&str] = if self.hold { &["--hold"] } else { &[] };
        let mut command = self.command(&[&["serve"], hold].concat());
        self.group.enter(&mut command)?;
        let mut process = Process::start(command.stderr(file))?;
        wait_greeting(self.plain, &mut process, START_PATIENCE).map_err(|failure| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            Failure::Failed(format!("{failure}: {}", said.lines().last().unwrap_or("it has logged nothing")))
        })?;
        self.process = Some(process);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Failure> {
        let Some(process) = self.process.take() else { return Ok(()) };
        let status = process.terminate(STOP_PATIENCE)?;
        if status.success() { Ok(()) } else { Err(Failure::Failed(format!("ringpost ended with {status}"))) }
    }

    fn kill(&mut self) {
        self.process = None;
    }

    fn address(&self, door: Door) -> SocketAddr {
        match door {
            Door::Plain => self.plain,
            Door::Tls => self.tls,
        }
    }

    fn pids(&self) -> Vec<u32> {
        self.process.iter().map(Process::pid).collect()
    }

    fn group(&self) -> &Group {
        &self.group
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn release(&mut self) -> Result<(), Failure> {
        output(&mut self.command(&["queue", "release", "--all"])).map(|_| ())
    }

    fn queued(&self) -> Result<u64, Failure> {
        Ok(self.metrics()?.get("queued_recipients").copied().unwrap_or(0))
    }

    /// A checkpoint of the index is one LMDB commit, which flushes twice (its pages, then its head).
    fn counters(&self) -> Result<BTreeMap<String, u64>, Failure> {
        let mut metrics = self.metrics()?;
        let of = |name: &str| metrics.get(name).copied().unwrap_or(0);
        let flushes = of("journal_flushes_total") + 2 * of("checkpoints_total");
        let failed = of("recipients_failed_total");
        metrics.extend([(FLUSHES.to_owned(), flushes), (FAILED.to_owned(), failed)]);
        Ok(metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_added_up() {
        let text = "# TYPE ringpost_a_total counter\nringpost_a_total{shard=\"0\"} 3\nringpost_a_total{shard=\"1\"} 4\n\
                    ringpost_b 1\nother 9\n";
        assert_eq!(add_up(text), BTreeMap::from([("a_total".to_owned(), 7), ("b".to_owned(), 1)]));
    }
}
