//! Debian's Postfix as a server under test: `loadtest/servers/postfix/`.

use std::path::PathBuf;
use std::process::Command;

use super::foreign::{Home, Make, Released, files};
use super::process::{Process, output};
use crate::Failure;

const MAIN_CF: &str = include_str!("../../servers/postfix/main.cf");
const MASTER_CF: &str = include_str!("../../servers/postfix/master.cf");
/// The process that starts all others.
const MASTER: &str = "/usr/lib/postfix/sbin/master";
/// The folders of its queue that hold what is not delivered.
const FOLDERS: [&str; 5] = ["maildrop", "incoming", "active", "deferred", "hold"];

/// Its programs.
pub(super) struct Postfix {
    folder: PathBuf,
}

impl Postfix {
    /// The machine's.
    pub(super) fn find() -> Self {
        Self { folder: "/usr/sbin".into() }
    }

    /// The program by which it is known.
    pub(super) fn program(&self) -> PathBuf {
        self.folder.join("postfix")
    }

    fn command(&self, program: &str, home: &Home, words: &[&str]) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.arg("-c").arg(home.folder.join("conf")).args(words);
        command
    }
}

impl Make for Postfix {
    fn version(&self) -> Result<String, Failure> {
        let version = output(Command::new(self.folder.join("postconf")).args(["-d", "-h", "mail_version"]))?;
        Ok(format!("Postfix {}", version.trim()))
    }

    fn configure(&self, home: &Home) -> Result<(), Failure> {
        home.folder_for("conf", "root")?;
        home.folder_for("data", "root")?;
        home.folder_for("state", "postfix")?;
        home.certificate_for("root")?;
        let hold = if home.hold { "static:HOLD" } else { "" };
        home.write("conf/main.cf", MAIN_CF, &[("hold", hold)])?;
        home.write("conf/master.cf", MASTER_CF, &[])?;
        let transport = home.routes(|domain, to| format!("{domain} smtp:[{}]:{}\n", to.ip(), to.port()));
        home.write("conf/transport", &transport, &[])?;
        // Makes the folders of its queue.
        output(&mut self.command("postfix", home, &["check"])).map(|_| ())
    }

    /// `postfix start` would leave a daemon behind that nobody owns: its master is started as the child that it is.
    fn start(&self, home: &Home) -> Command {
        let mut command = Command::new(MASTER);
        command.arg("-c").arg(home.folder.join("conf")).arg("-d");
        command
    }

    fn release(&self, home: &Home, _process: &Process) -> Result<Released, Failure> {
        output(&mut self.command("postsuper", home, &["-H", "ALL"])).map(|_| Released::WhenRestarted)
    }

    fn queued(&self, home: &Home) -> u64 {
        FOLDERS.iter().map(|name| files(&home.data.join(name), &|_| true)).sum()
    }

    fn given_up(&self, home: &Home) -> (PathBuf, &'static str) {
        (home.folder.join("log"), "status=bounced")
    }
}
