//! What the servers of other makers have in common: a folder, filled-in settings, a queue of files, a log.
//!
//! Owns: their start and end, whatever processes they make. Never: their settings, which lie in `loadtest/servers/`,
//! nor their installation, which `loadtest/servers/install` does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::group::Group;
use super::process::{Process, free_address, wait_greeting};
use super::{Door, FAILED, START_PATIENCE, STOP_PATIENCE, Server, Setting};
use crate::Failure;

/// Where `loadtest/servers/install` puts what Debian does not install beside another mail server.
const INSTALLED: &str = "/opt/ringload";

/// What differs between the makes.
pub(super) trait Make {
    /// Its version.
    fn version(&self) -> Result<String, Failure>;

    /// Writes its settings.
    fn configure(&self, home: &Home) -> Result<(), Failure>;

    /// The command that becomes the server, and ends on SIGTERM.
    fn start(&self, home: &Home) -> Command;

    /// What is left to do once it greets.
    fn started(&self, _home: &Home, _process: &Process) -> Result<(), Failure> {
        Ok(())
    }

    /// Lets it deliver what it holds.
    fn release(&self, home: &Home, process: &Process) -> Result<Released, Failure>;

    /// Messages in its queue.
    fn queued(&self, home: &Home) -> u64;

    /// Its log, and what stands in the line of a recipient that is given up.
    fn given_up(&self, home: &Home) -> (PathBuf, &'static str);
}

/// How a server lets go what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Released {
    /// It does.
    Itself,
    /// Once it is started with settings that do not hold.
    WhenRestarted,
}

/// An instance's place and what is wanted of it.
pub(super) struct Home {
    pub(super) folder: PathBuf,
    /// Its queue.
    pub(super) data: PathBuf,
    pub(super) plain: SocketAddr,
    pub(super) tls: SocketAddr,
    pub(super) hold: bool,
    pub(super) setting: Setting,
}

impl Home {
    /// Fills in the words in double braces of a settings file, and writes it below the folder.
    pub(super) fn write(&self, name: &str, template: &str, more: &[(&str, &str)]) -> Result<PathBuf, Failure> {
        let retry = |wait_s: Option<&u32>| wait_s.copied().unwrap_or(1).to_string();
        let known = [
            ("folder", self.folder.display().to_string()),
            ("plain_port", self.plain.port().to_string()),
            ("tls_port", self.tls.port().to_string()),
            ("certificate", self.folder.join("certificate.pem").display().to_string()),
            ("key", self.folder.join("key.pem").display().to_string()),
            ("connections_max", self.setting.connections_max.to_string()),
            ("first_retry_s", retry(self.setting.retry_s.first())),
            ("last_retry_s", retry(self.setting.retry_s.last())),
        ];
        let known = known.iter().map(|(word, value)| (*word, value.as_str())).chain(more.iter().copied());
        let text =
            known.fold(template.to_owned(), |text, (word, value)| text.replace(&format!("{{{{{word}}}}}"), value));
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(|error| failed(&path, &error))?;
        Ok(path)
    }

    /// Makes a folder below the instance's, for this user of the system.
    pub(super) fn folder_for(&self, name: &str, user: &str) -> Result<PathBuf, Failure> {
        let path = self.folder.join(name);
        fs::create_dir_all(&path).map_err(|error| failed(&path, &error))?;
        give_to(&path, user)?;
        Ok(path)
    }

    /// Copies certificate and key to where `certificate` and `key` of the settings point, the key for this user alone.
    pub(super) fn certificate_for(&self, user: &str) -> Result<(), Failure> {
        for (from, name, mode) in
            [(&self.setting.certificate, "certificate.pem", 0o644), (&self.setting.key, "key.pem", 0o600)]
        {
            let to = self.folder.join(name);
            fs::copy(from, &to).map_err(|error| failed(&to, &error))?;
            fs::set_permissions(&to, PermissionsExt::from_mode(mode)).map_err(|error| failed(&to, &error))?;
            give_to(&to, user)?;
        }
        Ok(())
    }

    /// A line for each domain that mail goes to.
    pub(super) fn routes(&self, line: impl Fn(&str, SocketAddr) -> String) -> String {
        let routes = &self.setting.routes;
        routes.iter().flat_map(|route| route.domains.iter().map(|domain| line(domain, route.next_hop))).collect()
    }
}

pub(super) fn failed(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}

/// Makes a file or folder a user's, as `chown` does.
fn give_to(path: &Path, user: &str) -> Result<(), Failure> {
    super::process::output(Command::new("chown").arg(format!("{user}:")).arg(path)).map(|_| ())
}

/// The program at `own` below the place of what we install, or the machine's own.
pub(super) fn installed(own: &str, machines: &str) -> PathBuf {
    let own = Path::new(INSTALLED).join(own);
    if own.exists() { own } else { machines.into() }
}

/// A server of another maker.
pub(super) struct Foreign<M> {
    make: M,
    home: Home,
    group: Group,
    process: Option<Process>,
    given_up: RefCell<Tally>,
}

impl<M: Make> Foreign<M> {
    /// Writes its settings.
    pub(super) fn prepare(make: M, setting: &Setting) -> Result<Self, Failure> {
        open_to_others(&setting.folder)?;
        let data = setting.folder.join("data");
        fs::create_dir_all(&data).map_err(|error| failed(&data, &error))?;
        let home = Home {
            folder: setting.folder.clone(),
            data,
            plain: free_address()?,
            tls: free_address()?,
            hold: setting.hold,
            setting: setting.clone(),
        };
        make.configure(&home)?;
        let (log, mark) = make.given_up(&home);
        let given_up = RefCell::new(Tally { log, mark, read: 0, lines: 0 });
        Ok(Self { make, home, group: Group::make(), process: None, given_up })
    }
}

/// These servers change their user: all folders above their own must let others through.
fn open_to_others(folder: &Path) -> Result<(), Failure> {
    let closed = |path: &&Path| path.metadata().is_ok_and(|about| about.permissions().mode() & 0o001 == 0);
    match folder.ancestors().find(closed) {
        None => Ok(()),
        Some(path) => Err(Failure::Usage(format!(
            "{} is closed to other users, as which mail servers run: choose another --out, or chmod o+x",
            path.display()
        ))),
    }
}

impl<M: Make> Server for Foreign<M> {
    fn version(&self) -> Result<String, Failure> {
        self.make.version()
    }

    fn start(&mut self) -> Result<(), Failure> {
        let log = self.home.folder.join("output");
        let file = File::options().create(true).append(true).open(&log).map_err(|error| failed(&log, &error))?;
        let mut command = self.make.start(&self.home);
        let other = file.try_clone().map_err(|error| failed(&log, &error))?;
        // A signal to its process group, such as Postfix sends, must not meet us.
        command.current_dir(&self.home.folder).process_group(0).stdout(Stdio::from(file)).stderr(Stdio::from(other));
        self.group.enter(&mut command)?;
        let mut process = Process::start(&mut command)?;
        wait_greeting(self.home.plain, &mut process, START_PATIENCE).map_err(|failure| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            Failure::Failed(format!("{failure}: {}", said.lines().last().unwrap_or("it has said nothing")))
        })?;
        self.make.started(&self.home, &process)?;
        self.process = Some(process);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Failure> {
        let Some(process) = self.process.take() else { return Ok(()) };
        process.terminate(STOP_PATIENCE)?;
        if !self.group.wait_empty(STOP_PATIENCE) {
            self.group.kill();
        }
        Ok(())
    }

    fn kill(&mut self) {
        self.group.kill();
        self.process = None;
    }

    fn address(&self, door: Door) -> SocketAddr {
        match door {
            Door::Plain => self.home.plain,
            Door::Tls => self.home.tls,
        }
    }

    fn pids(&self) -> Vec<u32> {
        self.group.pids()
    }

    fn group(&self) -> &Group {
        &self.group
    }

    fn data(&self) -> &Path {
        &self.home.data
    }

    fn release(&mut self) -> Result<(), Failure> {
        let Some(process) = &self.process else { return Err(Failure::Failed("the server does not run".into())) };
        if self.make.release(&self.home, process)? == Released::WhenRestarted {
            self.stop()?;
            self.home.hold = false;
            self.make.configure(&self.home)?;
            self.start()?;
        }
        Ok(())
    }

    /// Messages, not recipients: what a queue of files tells without being asked. A file can move between folders while
    /// they are read, so that none are seen only counts when it was so twice.
    fn queued(&self) -> Result<u64, Failure> {
        Ok(match self.make.queued(&self.home) {
            0 => self.make.queued(&self.home),
            some => some,
        })
    }

    fn counters(&self) -> Result<BTreeMap<String, u64>, Failure> {
        Ok(BTreeMap::from([(FAILED.to_owned(), self.given_up.borrow_mut().count())]))
    }
}

/// How often something stands in a log that grows.
struct Tally {
    log: PathBuf,
    mark: &'static str,
    /// Octets that were looked at, whole lines.
    read: u64,
    lines: u64,
}

impl Tally {
    fn count(&mut self) -> u64 {
        let mut text = Vec::new();
        let read = File::open(&self.log).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_end(&mut text)
        });
        // A log that is not there yet has no lines.
        if read.is_ok() {
            let whole = memchr::memrchr(b'\n', &text).map_or(0, |at| at + 1);
            self.read += whole as u64;
            self.lines += memchr::memmem::find_iter(&text[..whole], self.mark).count() as u64;
        }
        self.lines
    }
}

/// Files below a folder whose name `is` of the kind.
pub(super) fn files(folder: &Path, is: &dyn Fn(&str) -> bool) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path(), is),
            Ok(_) => u64::from(entry.file_name().to_str().is_some_and(is)),
            // It has gone meanwhile.
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_growing_log_is_counted_line_by_line() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let log = folder.path().join("log");
        let mut tally = Tally { log: log.clone(), mark: "status=bounced", read: 0, lines: 0 };
        assert_eq!(tally.count(), 0);
        let mut file = File::create(&log).expect("a file");
        for (text, count) in [("a status=bounced x\nb status=sent\nc sta", 1), ("tus=bounced\n", 2), ("", 2)] {
            file.write_all(text.as_bytes()).expect("written");
            assert_eq!(tally.count(), count, "after {text:?}");
        }
    }

    #[test]
    fn closed_folders_are_named() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).expect("a folder");
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).expect("its mode");
        let failure = open_to_others(&inner).expect_err("it is closed");
        assert!(failure.to_string().contains(&folder.path().display().to_string()), "{failure}");
    }
}
