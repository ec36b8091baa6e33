//! A real DNS server: Knot, authoritative for what a story needs.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use tempfile::TempDir;

use super::{PATIENCE, Process, free_address, output, wait_for};

/// A running knotd.
pub struct Dns {
    _process: Process,
    folder: TempDir,
    /// Where it answers.
    pub address: SocketAddr,
}

impl Dns {
    /// Serves zone `test` with these records (zone-file lines).
    pub fn start(records: &str) -> Self {
        Self::start_at(free_address(), records)
    }

    /// The same for programs that ask whom `/etc/resolv.conf` names: see [`Dns::asked_by`].
    pub fn start_for_the_system(records: &str) -> Self {
        // Each story its own: between looking and listening another one could take the same.
        static LAST: AtomicU8 = AtomicU8::new(0);
        let lasts = (0..u8::MAX).map(|_| LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1)).filter(|last| *last > 0);
        let mut addresses = lasts.map(|last| SocketAddr::from((Ipv4Addr::new(127, 53, 0, last), 53)));
        let free = |address: &SocketAddr| UdpSocket::bind(address).is_ok();
        Self::start_at(addresses.find(free).expect("a free address"), records)
    }

    /// `program`, started in a mount namespace of its own in which the system's resolver is this server.
    pub fn asked_by(&self, program: &str) -> Command {
        let file = self.folder.path().join("resolv.conf");
        fs::write(&file, format!("nameserver {}\n", self.address.ip())).expect("written");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""])
            .arg(file)
            .arg(program);
        command
    }

    /// Serves zone `test`, signed when it is loaded, and below it zone `open.test`, which is not.
    pub fn start_signed(records: &str, open: &str) -> Self {
        Self::start_zones(free_address(), records, Some(("open.test", open)), true)
    }

    /// Serves zone `test`, and a zone of names for addresses.
    pub fn start_with_reverse(records: &str, zone: &str, names: &str) -> Self {
        Self::start_zones(free_address(), records, Some((zone, names)), false)
    }

    /// Writes the keys of the signed zone to a file, for those who trust it; gives the file.
    pub fn trust_anchor(&self) -> PathBuf {
        let port = self.address.port().to_string();
        let server = format!("@{}", self.address.ip());
        let keys = output(Command::new("kdig").args([&server, "-p", &port, "+noall", "+answer", "test.", "DNSKEY"]));
        assert!(keys.contains("DNSKEY"), "{keys}");
        let file = self.folder.path().join("anchor.key");
        fs::write(&file, keys).expect("written");
        file
    }

    fn start_at(address: SocketAddr, records: &str) -> Self {
        Self::start_zones(address, records, None, false)
    }

    fn start_zones(address: SocketAddr, records: &str, second: Option<(&str, &str)>, signed: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("ringpost-dns-").tempdir().expect("a folder");
        let zone = format!(
            "$ORIGIN test.\n$TTL 60\n@ SOA ns.test. root.test. 1 3600 600 86400 60\n@ NS ns.test.\nns A 127.0.0.1\n{records}"
        );
        fs::write(folder.path().join("test.zone"), zone).expect("written");
        let mut settings = configuration(folder.path(), address);
        if signed {
            settings += "    dnssec-signing: on\n";
        }
        if let Some((name, records)) = second {
            let zone = format!("$TTL 60\n@ SOA ns.test. root.test. 1 3600 600 86400 60\n@ NS ns.test.\n{records}");
            fs::write(folder.path().join("second.zone"), zone).expect("written");
            let storage = folder.path().display();
            settings += &format!("  - domain: {name}\n    storage: \"{storage}\"\n    file: second.zone\n");
        }
        fs::write(folder.path().join("knot.conf"), settings).expect("written");
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
        Self { _process: process, folder, address }
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
