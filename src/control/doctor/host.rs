//! The host: kernel, limits, disk, clock, ports, and the files of secrets.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use shards::probe::disk::{self, Kind};

use super::{Finding, chain, error, fine, warning};
use crate::config::Config;
use crate::control::socket;

/// Less room than this fills up within an hour of trouble.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// A flush that takes longer makes every 250 late: disks with a cache of their own take a tenth.
const FLUSH_MAX: Duration = Duration::from_millis(20);

pub(super) fn examine(file: &Path, config: &Config) -> Vec<Finding> {
    let mut findings = vec![ring(config)];
    findings.extend(limits(config));
    findings.push(data_directory(&config.data_dir));
    findings.push(clock());
    findings.extend(ports(config));
    findings.extend(config.tls.iter().flat_map(|files| chain::examine(files, &config.hostname)));
    let key = config.tls.as_ref().map(|files| &files.private_key);
    let token = config.http.as_ref().map(|http| &http.token_file);
    findings.extend(key.into_iter().chain(token).filter_map(|secret| private(secret)));
    findings.extend(private(file).filter(|_| !config.accounts.is_empty()));
    findings
}

fn ring(config: &Config) -> Finding {
    let fatal = shards::probe::probe(config.shards, 0).into_iter().find(|finding| finding.fatal);
    fatal.map_or_else(|| fine("io_uring works"), |finding| error(finding.problem, finding.remedy))
}

/// What is not fatal: [`ring`] has told the rest.
fn limits(config: &Config) -> Vec<Finding> {
    let connections = config.delivery.connections_max as usize + config.limits.connections_per_address_max;
    let found = shards::probe::probe(config.shards, connections * config.shards);
    if found.is_empty() {
        return vec![fine("the limits of locked memory and open files suffice")];
    }
    let lacking = found.into_iter().filter(|finding| !finding.fatal);
    lacking.map(|finding| warning(finding.problem, finding.remedy)).collect()
}

fn data_directory(directory: &Path) -> Finding {
    let shown = directory.display();
    // Where it is yet to be made, what it will be made in counts.
    let there = directory.ancestors().find(|directory| directory.is_dir()).unwrap_or(Path::new("/"));
    let disk = match disk::measure(there) {
        Ok(disk) => disk,
        Err(why) => {
            let remedy = match why.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room, or mount a larger disk there",
                _ => "give it to Ringpost's user",
            };
            return error(format!("{} cannot be written: {why}", there.display()), remedy);
        }
    };
    let (free_mib, flush_ms) = (disk.free_bytes >> 20, disk.flush.as_secs_f64() * 1e3);
    match disk.kind {
        Kind::Memory => error(format!("{shown} is in memory: a restart loses all mail"), "set data_dir to a disk"),
        Kind::Network => error(
            format!("{shown} is on another host: its locks and flushes are not this host's"),
            "set data_dir to a disk of this host",
        ),
        Kind::Layer => error(
            format!("{shown} is a container's own layer: it goes with the container"),
            "mount a volume there (Docker: -v ringpost:/var/lib/ringpost)",
        ),
        Kind::Disk if disk.free_bytes < FREE_BYTES_MIN => error(
            format!("{shown} has {free_mib} MiB left: when they are used, new mail gets 452"),
            "make room, or mount a larger disk there",
        ),
        Kind::Disk if disk.flush > FLUSH_MAX => warning(
            format!("a flush of {shown} takes {flush_ms:.1} ms, and every 250 waits for one"),
            "use a disk with a write cache that survives power loss; commits are grouped, so only latency suffers",
        ),
        Kind::Disk => fine(format!("{shown}: {free_mib} MiB left, a flush takes {flush_ms:.1} ms")),
    }
}

fn clock() -> Finding {
    if shards::probe::clock_is_synchronised() {
        return fine("the clock follows a time server");
    }
    warning(
        "the clock follows no time server: dates in mail, retries and certificates depend on it",
        "run systemd-timesyncd or chrony (in a container: on its host)",
    )
}

fn ports(config: &Config) -> Vec<Finding> {
    if UnixStream::connect(socket::path(&config.data_dir)).is_ok() {
        return vec![fine("ringpost runs, so its ports are its own")];
    }
    config.listeners.iter().map(|listener| port(listener.address)).collect()
}

fn port(address: SocketAddr) -> Finding {
    let number = address.port();
    match TcpListener::bind(address) {
        Ok(_) => fine(format!("{address} is free")),
        Err(why) if why.kind() == ErrorKind::AddrInUse => warning(
            format!("{address} is taken"),
            format!(
                "right where `systemctl list-sockets` shows a socket of Ringpost; else `ss -ltnp 'sport = :{number}'` shows whose it is"
            ),
        ),
        Err(why) if why.kind() == ErrorKind::PermissionDenied => warning(
            format!("{address} may not be listened on by this user"),
            "right where a socket unit passes it; else give the service CAP_NET_BIND_SERVICE",
        ),
        Err(why) => error(format!("{address} cannot be listened on: {why}"), "write an address of this host"),
    }
}

/// Whether others on this host can read a secret.
fn private(path: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    let shown = path.display();
    (mode & 0o007 != 0)
        .then(|| warning(format!("{shown} can be read by everybody on this host"), format!("chmod o= {shown}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_or_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("its address");
        assert!(matches!(port(address), Finding::Warning(what, _) if what == format!("{address} is taken")));
        drop(taken);
        assert_eq!(port(address), Finding::Fine(format!("{address} is free")));
        assert!(matches!(port("192.0.2.1:25".parse().expect("an address")), Finding::Error(..)));
    }

    #[test]
    fn mail_in_memory_is_an_error_and_a_folder_to_be_made_is_not() {
        let memory = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        assert!(matches!(data_directory(memory.path()), Finding::Error(what, _) if what.contains("in memory")));
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!matches!(data_directory(&folder.path().join("yet/to/be/made")), Finding::Error(..)));
    }

    #[test]
    fn secrets_are_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = folder.path().join("key.pem");
        std::fs::write(&secret, "secret").expect("written");
        let mode = |mode| std::fs::set_permissions(&secret, PermissionsExt::from_mode(mode)).expect("set");
        mode(0o640);
        assert_eq!(private(&secret), None);
        mode(0o644);
        assert!(matches!(private(&secret), Some(Finding::Warning(..))));
    }
}
