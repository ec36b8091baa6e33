//! Debian's Exim as a server under test: `loadtest/servers/exim/`.

use std::path::PathBuf;
use std::process::Command;

use super::foreign::{Home, Make, Released, files, installed};
use super::process::{Process, output};
use crate::Failure;

const CONF: &str = include_str!("../../servers/exim/exim.conf");
/// Its user, which Debian's build has built in.
const USER: &str = "Debian-exim";

/// Its program.
pub(super) struct Exim {
    program: PathBuf,
}

impl Exim {
    /// What we have installed, or the machine's.
    pub(super) fn find() -> Self {
        Self { program: installed("exim/usr/sbin/exim4", "/usr/sbin/exim4") }
    }

    /// The program by which it is known.
    pub(super) fn program(&self) -> PathBuf {
        self.program.clone()
    }

    fn command(&self, home: &Home, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-C").arg(home.folder.join("exim.conf")).args(words);
        command
    }
}

impl Make for Exim {
    fn version(&self) -> Result<String, Failure> {
        let said = output(Command::new(&self.program).args(["-C", "/dev/null", "-bV"]))?;
        let version = said.split_whitespace().skip_while(|word| *word != "version").nth(1).unwrap_or("?");
        Ok(format!("Exim {version}"))
    }

    fn configure(&self, home: &Home) -> Result<(), Failure> {
        home.folder_for("data", USER)?;
        home.folder_for("log", USER)?;
        home.certificate_for(USER)?;
        let program = self.program.display().to_string();
        let hold = if home.hold { "true" } else { "false" };
        home.write("exim.conf", CONF, &[("program", &program), ("hold", hold)])?;
        let routes = home.routes(|domain, to| format!("{domain}: {}::{}\n", to.ip(), to.port()));
        home.write("routes", &routes, &[]).map(|_| ())
    }

    fn start(&self, home: &Home) -> Command {
        let run = format!("-q{}s", home.setting.retry_s.first().copied().unwrap_or(1));
        // Without queue runs nothing is delivered.
        let words: &[&str] = if home.hold { &["-bdf"] } else { &["-bdf", &run] };
        self.command(home, words)
    }

    fn release(&self, _home: &Home, _process: &Process) -> Result<Released, Failure> {
        Ok(Released::WhenRestarted)
    }

    fn queued(&self, home: &Home) -> u64 {
        files(&home.data.join("input"), &|name| name.ends_with("-H"))
    }

    fn given_up(&self, home: &Home) -> (PathBuf, &'static str) {
        (home.folder.join("log/mainlog"), " ** ")
    }
}
