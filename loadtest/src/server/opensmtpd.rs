//! Debian's OpenSMTPD as a server under test: `loadtest/servers/opensmtpd/`.
//!
//! The places of its queue and its control socket are built in. Each instance has a view of the file system of its own
//! (a mount namespace), in which its folders lie there.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::foreign::{Home, Make, Released, failed, files, installed};
use super::process::{Process, output};
use crate::Failure;

const CONF: &str = include_str!("../../servers/opensmtpd/smtpd.conf");
/// Mounts the instance's folders, then becomes the server: its own folder, then the server's words.
const IN_ITS_VIEW: &str = "mount --bind \"$1/data\" /var/spool/smtpd && mount --bind \"$1/run\" /run && shift && \
                           exec \"$@\"";

/// Its programs.
pub(super) struct OpenSmtpd {
    program: PathBuf,
}

impl OpenSmtpd {
    /// What we have installed, or the machine's.
    pub(super) fn find() -> Self {
        Self { program: installed("opensmtpd/usr/sbin/smtpd", "/usr/sbin/smtpd") }
    }

    /// The program by which it is known.
    pub(super) fn program(&self) -> PathBuf {
        self.program.clone()
    }

    /// Tells the running server something, in its view.
    fn control(&self, process: &Process, words: &[&str]) -> Result<(), Failure> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", process.pid()));
        output(command.arg(self.program.with_file_name("smtpctl")).args(words)).map(|_| ())
    }
}

impl Make for OpenSmtpd {
    fn version(&self) -> Result<String, Failure> {
        // `smtpd -h` says its version, and that it was used wrongly.
        let said = Command::new(&self.program).arg("-h").output();
        let said = said.map_err(|error| failed(&self.program, &error))?.stderr;
        let said = String::from_utf8_lossy(&said);
        let version = said.lines().find_map(|line| line.strip_prefix("version: ")).unwrap_or("OpenSMTPD ?");
        Ok(version.to_owned())
    }

    fn configure(&self, home: &Home) -> Result<(), Failure> {
        home.folder_for("run", "root")?;
        let data = home.folder_for("data", "root")?;
        fs::set_permissions(&data, PermissionsExt::from_mode(0o711)).map_err(|error| failed(&data, &error))?;
        home.certificate_for("root")?;
        let mut routes = String::new();
        for (number, route) in home.setting.routes.iter().enumerate() {
            let domains: Vec<String> = route.domains.iter().map(|domain| format!("\"{domain}\"")).collect();
            let _ = writeln!(
                routes,
                "action \"to-{number}\" relay host \"smtp://{}\"\n\
                 match from any for domain {{ {} }} action \"to-{number}\"",
                route.next_hop,
                domains.join(", ")
            );
        }
        let conf = home.write("smtpd.conf", CONF, &[("routes", &routes)])?;
        fs::set_permissions(&conf, PermissionsExt::from_mode(0o600)).map_err(|error| failed(&conf, &error))
    }

    fn start(&self, home: &Home) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", IN_ITS_VIEW, "sh"]).arg(&home.folder);
        // In the foreground, its log on stderr.
        command.arg(&self.program).arg("-d").arg("-f").arg(home.folder.join("smtpd.conf"));
        command
    }

    fn started(&self, home: &Home, process: &Process) -> Result<(), Failure> {
        if home.hold { self.control(process, &["pause", "mta"]) } else { Ok(()) }
    }

    fn release(&self, _home: &Home, process: &Process) -> Result<Released, Failure> {
        self.control(process, &["resume", "mta"]).map(|()| Released::Itself)
    }

    /// Its queue has a file for each recipient, whose name is that of its message and 8 more digits.
    fn queued(&self, home: &Home) -> u64 {
        let is_envelope = |name: &str| name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        files(&home.data.join("queue"), &is_envelope)
    }

    fn given_up(&self, home: &Home) -> (PathBuf, &'static str) {
        (home.folder.join("output"), "result=\"PermFail\"")
    }
}
