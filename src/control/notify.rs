//! What the service manager is told (sd_notify(3)): that we are ready, what we are doing, that every shard turns.
//!
//! Never: waits for the service manager, or fails because of it. Without one ($NOTIFY_SOCKET) nothing is said.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::desk::Desk;

/// Between two looks at the shards where there is no watchdog that wants more.
const LOOK: Duration = Duration::from_secs(5);
/// Looks in the time that the watchdog grants.
const LOOKS_PER_WATCHDOG: u32 = 3;

/// The way to the service manager; a cheap handle.
#[derive(Clone)]
pub struct Notifier(Option<Arc<UnixDatagram>>);

impl Notifier {
    /// The way that the environment names.
    pub fn from_environment() -> Notifier {
        Notifier(std::env::var_os("NOTIFY_SOCKET").and_then(|name| connect(name.as_bytes())).map(Arc::new))
    }

    /// All shards listen, or use their new configuration.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The configuration is read again; ends with [`Notifier::ready`].
    pub fn reloading(&self) {
        self.tell("RELOADING=1");
    }

    /// No new connections from here on.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Draining");
    }

    /// Looks at every shard again and again, tells the length of the queue, and feeds the watchdog as long as all answer.
    pub async fn watch(self, desk: Desk) {
        if self.0.is_none() {
            return;
        }
        let mut look = tokio::time::interval(watchdog().map_or(LOOK, |granted| LOOK.min(granted / LOOKS_PER_WATCHDOG)));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            match desk.metrics().await {
                Ok(shards) => self.tell(&format!("WATCHDOG=1\nSTATUS={}", status(&shards))),
                Err(trouble) => self.tell(&format!("STATUS={trouble}")),
            }
        }
    }

    fn tell(&self, what: &str) {
        if let Some(socket) = &self.0 {
            // A service manager that does not listen has nothing to gain from our failing.
            let _ = socket.send(what.as_bytes());
        }
    }
}

/// Connects to the socket of that name; one that begins with `@` has no file.
fn connect(name: &[u8]) -> Option<UnixDatagram> {
    let address = match name {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect_addr(&address.ok()?).ok()?;
    Some(socket)
}

/// How long the watchdog waits for us; `None` where it does not (sd_watchdog_enabled(3)).
fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0).map(Duration::from_micros)
}

/// One line for `systemctl status`.
fn status(shards: &[Vec<(&'static str, u64)>]) -> String {
    let sum = |name| shards.iter().flatten().filter(|sample| sample.0 == name).map(|sample| sample.1).sum::<u64>();
    format!(
        "{} recipients queued, {} connections in, {} messages accepted since the start",
        sum("queued_recipients"),
        sum("inbound_connections"),
        sum("messages_accepted_total")
    )
}

#[cfg(test)]
mod tests {
    use shards::mesh::{Port, mesh};

    use super::*;
    use crate::crossing::Crossing;
    use crate::queue::orders::Report;

    #[test]
    fn sockets_with_and_without_a_file_are_reached() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let hidden = format!("ringpost-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&hidden).expect("a name");
        let named = UnixDatagram::bind(&path).expect("bound");
        let unnamed = UnixDatagram::bind_addr(&abstract_address).expect("bound");
        for (manager, name) in [(named, path.as_os_str().as_bytes()), (unnamed, format!("@{hidden}").as_bytes())] {
            let notifier = Notifier(connect(name).map(Arc::new));
            notifier.reloading();
            notifier.ready();
            let mut said = [0; 64];
            for expected in ["RELOADING=1", "READY=1"] {
                let length = manager.recv(&mut said).expect("said");
                assert_eq!(&said[..length], expected.as_bytes());
            }
        }
        assert!(connect(b"/no/such/socket").is_none());
    }

    #[test]
    fn the_status_adds_up_the_shards() {
        let shards = [vec![("queued_recipients", 3), ("messages_accepted_total", 2)], vec![("queued_recipients", 4)]];
        assert_eq!(status(&shards), "7 recipients queued, 0 connections in, 2 messages accepted since the start");
    }

    async fn play_shard(port: Port<Crossing>, answers: bool) {
        loop {
            let (_, Crossing::Order(_, answer)) = port.receive().await else { continue };
            if answers {
                let _ = answer.send(Report::Metrics(vec![("queued_recipients", 2)]));
            }
        }
    }

    /// What the service manager hears first of two shards, of which the second answers or does not.
    fn heard(second_answers: bool) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let local = tokio::task::LocalSet::new();
        let (ports, inlet) = mesh(2, 1, 4);
        for (port, answers) in ports.into_iter().zip([true, second_answers]) {
            local.spawn_local(play_shard(port, answers));
        }
        let hearing = local.run_until(async {
            let manager = tokio::net::UnixDatagram::bind(&path).expect("bound");
            let notifier = Notifier(connect(path.as_os_str().as_bytes()).map(Arc::new));
            let mut said = [0; 256];
            tokio::select! {
                () = notifier.watch(Desk::new(inlet)) => panic!("it watches for ever"),
                length = manager.recv(&mut said) => said[..length.expect("said")].to_vec(),
            }
        });
        String::from_utf8(runtime.block_on(hearing)).expect("text")
    }

    #[test]
    fn the_watchdog_is_fed_only_while_every_shard_answers() {
        let well = heard(true);
        assert!(well.starts_with("WATCHDOG=1\nSTATUS=4 recipients queued"), "{well}");
        let ill = heard(false);
        assert!(ill.starts_with("STATUS=") && !ill.contains("WATCHDOG"), "{ill}");
    }
}
