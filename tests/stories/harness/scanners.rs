//! Real scanners: clamd with a signature of its own, and rspamd with nothing but its test patterns. Neither asks the
//! network for anything.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{PATIENCE, Process, free_address, wait_for, wait_listening};

/// The harmless file that every virus scanner knows.
pub const EICAR: &str = r"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*";
/// The harmless text that every spam filter knows.
pub const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
/// rspamd's own, which is worth a mark in the header only.
pub const GTUBE_TO_MARK: &str = "YJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";

/// A running clamd.
pub struct Clamd {
    process: Option<Process>,
    folder: TempDir,
    /// Its TCP door.
    pub address: SocketAddr,
}

impl Clamd {
    /// Starts it with one signature, that of [`EICAR`].
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("ringpost-clamd-").tempdir().expect("a folder");
        let database = folder.path().join("database");
        fs::create_dir(&database).expect("a folder");
        let bytes: String = EICAR.bytes().map(|byte| format!("{byte:02x}")).collect();
        fs::write(database.join("story.ndb"), format!("Story.Eicar:0:*:{bytes}\n")).expect("written");
        let address = free_address();
        let settings = format!(
            "Foreground yes\nDatabaseDirectory {}\nLocalSocket {}\nTCPAddr {}\nTCPSocket {}\nStreamMaxLength 1M\n",
            database.display(),
            folder.path().join("clamd.sock").display(),
            address.ip(),
            address.port()
        );
        fs::write(folder.path().join("clamd.conf"), settings).expect("written");
        let mut clamd = Self { process: None, folder, address };
        clamd.launch();
        clamd
    }

    /// Starts it again.
    pub fn launch(&mut self) {
        let mut command = Command::new("/usr/sbin/clamd");
        command.arg("-c").arg(self.folder.path().join("clamd.conf"));
        self.process = Some(Process::start(quiet(&mut command)));
        wait_listening("clamd", self.address);
        wait_for("clamd's Unix socket", PATIENCE, || self.socket().exists().then_some(()));
    }

    /// Its Unix door.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("clamd.sock")
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// SIGSTOP or SIGCONT.
    pub fn signal(&self, signal: &str) {
        self.process.as_ref().expect("it runs").signal(signal);
    }
}

/// A running rspamd.
pub struct Rspamd {
    process: Process,
    _folder: TempDir,
    /// Its normal worker.
    pub address: SocketAddr,
}

impl Rspamd {
    /// Starts one worker that knows test patterns alone.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("ringpost-rspamd-").tempdir().expect("a folder");
        let address = free_address();
        fs::write(folder.path().join("rspamd.conf"), rspamd_settings(folder.path(), address)).expect("written");
        let mut command = Command::new("/usr/bin/rspamd");
        // Whoever runs the tests runs it, too: root must be told to it twice.
        command.args(["--no-fork", "--insecure", "--user", &user(), "--config"]).arg(folder.path().join("rspamd.conf"));
        let process = Process::start(quiet(&mut command));
        wait_listening("rspamd", address);
        Self { process, _folder: folder, address }
    }
}

impl Drop for Rspamd {
    /// SIGTERM: its workers end with it.
    fn drop(&mut self) {
        self.process.signal("-TERM");
        wait_for("rspamd to stop", PATIENCE, || self.process.0.try_wait().expect("its status"));
    }
}

fn rspamd_settings(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        r#"options {{
    pidfile = "{folder}/pid";
    control_socket = "{folder}/control mode=0600";
    url_tld = "/usr/share/rspamd/effective_tld_names.dat";
    history_file = "{folder}/history";
    cache_file = "{folder}/cache";
    hs_cache_dir = "{folder}/";
    stats_file = "{folder}/stats";
    tempdir = "{folder}";
    enable_test_patterns = true;
    filters = "";
    explicit_modules = [];
    dns {{ nameserver = ["127.0.0.1"]; }}
}}
logging {{ type = "console"; level = "error"; }}
worker "normal" {{ bind_socket = "{address}"; count = 1; }}
actions {{ reject = 15; add_header = 6; greylist = 4; }}
"#
    )
}

fn user() -> String {
    super::output(Command::new("id").arg("-un")).trim().to_owned()
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}
