//! A real HAProxy, set up as the manual shows it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{Process, wait_listening};

/// A running HAProxy; it ends with the story.
pub struct HaProxy {
    _process: Process,
    folder: TempDir,
}

impl HaProxy {
    /// Starts the manual's at `address`, with these lines in the place of the one that says how a destination is reached.
    pub fn start(address: SocketAddr, destination: &str) -> HaProxy {
        let folder = tempfile::Builder::new().prefix("ringpost-haproxy-").tempdir().expect("a folder");
        let mut section =
            manual().replace("203.0.113.9:2525", &address.to_string()).replace("192.0.2.10", "127.0.0.0/8");
        let usual = section.lines().find(|line| line.trim().starts_with("server ")).expect("a server").to_owned();
        if !destination.is_empty() {
            section = section.lines().filter(|line| !line.trim().starts_with("source ")).collect::<Vec<_>>().join("\n");
            section = section.replace(&usual, destination) + "\n";
        }
        let log = "    log stdout format raw local0\n    log-format \"made from %bi for %ci, %ts\"\n";
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, section + log).expect("written");
        let out = fs::File::create(folder.path().join("log")).expect("a log file");
        let mut command = Command::new("/usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null());
        command.stderr(out.try_clone().expect("cloned")).stdout(out);
        let process = Process::start(&mut command);
        wait_listening("HAProxy", address);
        HaProxy { _process: process, folder }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("HAProxy has logged:\n{}", self.log());
        }
    }
}

/// The manual's section for HAProxy.
fn manual() -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/manual.md");
    let text = fs::read_to_string(path).expect("the manual");
    let block = text.split("```haproxy\n").nth(1).and_then(|rest| rest.split("```").next());
    block.expect("the manual shows one").to_owned()
}
