//! What every story stands on: a real `ringpost serve` on ports of its own, real peers, and waiting for events.
//!
//! The binaries under test are release builds, made here if they are stale, so that a story sees what users run.

pub mod client;
pub mod dns;
pub mod exim;
pub mod guide;
pub mod haproxy;
pub mod mailbox;
pub mod peers;
pub mod postfix;
pub mod provider;
pub mod scanners;
pub mod server;
pub mod smtp;
pub mod state;
pub mod webhook;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How long anything may take before a story fails: generous, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The path of a release binary of this workspace.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--release", "--workspace", "--bins", "--quiet"])
            .current_dir(root)
            .status()
            .expect("cargo runs");
        assert!(built.success(), "the release build failed");
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("release")
    });
    folder.join(name)
}

/// Whether the long forms were asked for (`tests/run --full`).
pub fn full() -> bool {
    std::env::var_os("RINGPOST_FULL").is_some()
}

/// An address on loopback that nobody else is given: a server that is killed finds it free when it starts again.
///
/// Its port lies below those that Linux gives to outgoing connections, one of which could else take it meanwhile.
pub fn free_address() -> SocketAddr {
    const PORTS: std::ops::Range<u16> = 10_000..32_000;
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock().expect("no thread panicked in here");
    let first = next.unwrap_or_else(|| PORTS.start + (std::process::id() % PORTS.len() as u32) as u16);
    let mut candidates = (first..PORTS.end).chain(PORTS.start..first);
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let port = candidates.find(free).expect("a free port");
    *next = Some(if port + 1 < PORTS.end { port + 1 } else { PORTS.start });
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Waits until `ready` gives something; fails the story with `what` when patience ends.
pub fn wait_for<T>(what: &str, patience: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(begin.elapsed() < patience, "after {patience:?} still waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until somebody listens on `address`.
pub fn wait_listening(what: &str, address: SocketAddr) {
    wait_for(what, PATIENCE, || TcpStream::connect(address).ok());
}

/// A child process that ends with the story.
pub struct Process(pub Child);

impl Process {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Sends a signal to this process alone.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status().expect("kill runs");
        assert!(sent.success(), "kill {signal}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes a DKIM key with the command that administrators use, as `SELECTOR.DOMAIN.pem`; gives the record to publish.
pub fn dkim_key(folder: &Path, domain: &str, selector: &str, algorithm: &str) -> String {
    let mut command = Command::new(binary("ringpost"));
    command.args(["dkim", "generate", domain, "--selector", selector, "--algorithm", algorithm]);
    output(command.current_dir(folder).stderr(Stdio::null()))
}

/// A program's output; fails the story if the program failed.
pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
