//! A real DNS server: Knot, authoritative for what a story needs.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{PATIENCE, Process, free_address, output, wait_for};

/// A running knotd.
pub struct Dns {
    _process: Process,
    _folder: TempDir,
    /// Where it answers.
    pub address: SocketAddr,
}

impl Dns {
    /// Serves zone `test` with these records (zone-file lines).
    pub fn start(records: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("ringpost-dns-").tempdir().expect("a folder");
        let address = free_address();
        let zone = format!(
            "$ORIGIN test.\n$TTL 60\n@ SOA ns.test. root.test. 1 3600 600 86400 60\n@ NS ns.test.\nns A 127.0.0.1\n{records}"
        );
        fs::write(folder.path().join("test.zone"), zone).expect("written");
        fs::write(folder.path().join("knot.conf"), configuration(folder.path(), address)).expect("written");
        let mut command = Command::new("/usr/sbin/knotd");
        command
            .arg("-c")
            .arg(folder.path().join("knot.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(&mut command);
        let server = format!("@{}", address.ip());
        wait_for("knotd to answer", PATIENCE, || {
            let answer = output(Command::new("kdig").args([
                &server,
                "-p",
                &address.port().to_string(),
                "+short",
                "test.",
                "SOA",
            ]));
            answer.contains("ns.test.").then_some(())
        });
        Self { _process: process, _folder: folder, address }
    }
}

fn configuration(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "server:\n    rundir: \"{folder}\"\n    listen: {}@{}\n\ndatabase:\n    storage: \"{folder}\"\n\n\
         zone:\n  - domain: test\n    storage: \"{folder}\"\n    file: test.zone\n",
        address.ip(),
        address.port()
    )
}
