//! The host: kernel, limits, disk, clock, ports, the addresses and proxies that mail leaves by, and the files of secrets.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use hyper::Method;
use shards::probe;
use shards::probe::disk::{self, Kind};

use super::{Finding, chain, error, fine, warning};
use crate::config::Config;
use crate::control::client::{self, ClientError};
use crate::control::ports::{self, Obstacle};
use crate::control::socket;

/// Less room than this fills up within an hour of trouble.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// A flush that takes longer makes every 250 late: disks with a cache of their own take a tenth.
const FLUSH_MAX: Duration = Duration::from_millis(20);
/// How long a proxy may take for a connection: it is near.
const PROXY_PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn examine(file: &Path, config: &Config) -> Vec<Finding> {
    let mut findings = vec![ring(config)];
    findings.extend(limits(config));
    findings.push(data_directory(&config.data_dir));
    findings.push(clock());
    findings.extend(listeners(config));
    findings.extend(sources(config));
    findings.extend(proxies(config));
    findings.extend(config.tls.iter().flat_map(|files| chain::examine(files, &config.hostname)));
    let key = config.tls.as_ref().map(|files| &*files.private_key);
    let token = config.http.as_ref().map(|http| &*http.token_file.path);
    findings.extend(key.into_iter().chain(token).filter_map(private));
    findings.extend(private(file).filter(|_| !config.accounts.is_empty()));
    findings
}

fn ring(config: &Config) -> Finding {
    let fatal = probe::probe(config.shards, 0).into_iter().find(|finding| finding.fatal);
    fatal.map_or_else(|| fine("io_uring works"), |finding| error(finding.problem, finding.remedy))
}

fn limits(config: &Config) -> Vec<Finding> {
    let connections = config.delivery.connections_max as usize + config.limits.connections_per_address_max;
    judged(probe::probe(config.shards, connections * config.shards))
}

/// What is not fatal: [`ring`] has told the rest.
fn judged(found: Vec<probe::Finding>) -> Vec<Finding> {
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
    if probe::clock_is_synchronised() {
        return fine("the clock follows a time server");
    }
    warning(
        "the clock follows no time server: dates in mail, retries and certificates depend on it",
        "run systemd-timesyncd or chrony (in a container: on its host)",
    )
}

fn listeners(config: &Config) -> Vec<Finding> {
    let wanted: Vec<SocketAddr> = config.listeners.iter().map(|listener| listener.address).collect();
    let answer = client::request(&socket::path(&config.data_dir), Method::GET, "/api/v1/listeners", None);
    match answer.map(|answer| serde_json::from_value::<Vec<SocketAddr>>(answer["listeners"].clone())) {
        Ok(Ok(running)) => listened(&wanted, &running),
        // The server opens the control plane's address itself.
        Err(ClientError::NotRunning(_)) => {
            wanted.into_iter().chain(config.http.as_ref().map(|http| http.address)).map(port).collect()
        }
        Err(why) => vec![warning(
            format!("ringpost runs, and where it listens cannot be asked: {why}"),
            "run this command as root, or as the user that ringpost runs as",
        )],
        Ok(Err(_)) => vec![warning(
            "ringpost runs in another version, which does not tell where it listens",
            "restart it: `systemctl restart ringpost`",
        )],
    }
}

/// What is configured beside what the server that runs on the data directory listens on.
fn listened(wanted: &[SocketAddr], running: &[SocketAddr]) -> Vec<Finding> {
    let remedy = "it runs by another configuration: restart it (`systemctl restart ringpost`), or name the file that it was \
                  started with: -c FILE";
    let difference = |of: &[SocketAddr], than: &[SocketAddr]| {
        let only: Vec<String> = of.iter().filter(|address| !than.contains(address)).map(ToString::to_string).collect();
        (!only.is_empty()).then(|| only.join(", "))
    };
    let missing = difference(wanted, running)
        .map(|addresses| warning(format!("ringpost runs, and does not listen at {addresses}"), remedy));
    let more = difference(running, wanted).map(|addresses| {
        warning(format!("ringpost runs, and listens at {addresses}, which this configuration does not name"), remedy)
    });
    let differing: Vec<Finding> = missing.into_iter().chain(more).collect();
    if differing.is_empty() {
        vec![fine("ringpost runs, and listens where this configuration says")]
    } else {
        differing
    }
}

fn port(address: SocketAddr) -> Finding {
    let number = address.port();
    match ports::look(address, &[]) {
        Ok(()) => fine(format!("{address} is free")),
        Err(Obstacle::Taken) => warning(
            format!("{address} is taken"),
            format!(
                "right where `systemctl list-sockets` shows a socket of Ringpost; else `ss -ltnp 'sport = :{number}'` shows whose it is"
            ),
        ),
        Err(Obstacle::Forbidden) => warning(
            format!("{address} may not be listened on by this user"),
            "right where a socket unit passes it; else give the service CAP_NET_BIND_SERVICE",
        ),
        Err(Obstacle::Foreign) => error(
            format!("{address} cannot be listened on: this host does not have that address"),
            "write one that `ip address` shows, or 0.0.0.0 or [::] for all",
        ),
        Err(Obstacle::Other(why)) => {
            error(format!("{address} cannot be listened on: {why}"), "write an address of this host")
        }
    }
}

/// Whether the addresses that mail is to leave from are this host's; a proxy has its own.
fn sources(config: &Config) -> Vec<Finding> {
    let members = config.pools.iter().flat_map(|pool| &pool.members).map(|member| &*member.source);
    let own: BTreeSet<(&str, IpAddr)> = members
        .filter(|source| source.proxy.is_none())
        .flat_map(|source| source.addresses.iter().map(|address| (&*source.name, *address)))
        .collect();
    own.into_iter().map(|(name, address)| source(name, address)).collect()
}

/// Whether the proxies that mail is to leave by can be reached. Nothing is said to them.
fn proxies(config: &Config) -> Vec<Finding> {
    let members = config.pools.iter().flat_map(|pool| &pool.members).map(|member| &*member.source);
    let all: BTreeSet<(&str, SocketAddr)> =
        members.filter_map(|source| source.proxy.map(|proxy| (&*source.name, proxy))).collect();
    all.into_iter().map(|(name, address)| proxy(name, address)).collect()
}

fn proxy(name: &str, address: SocketAddr) -> Finding {
    match TcpStream::connect_timeout(&address, PROXY_PATIENCE) {
        Ok(_) => fine(format!("the source {name} reaches its proxy {address}")),
        Err(why) => error(
            format!("the source {name}: its proxy {address} cannot be reached: {why}; nothing leaves from it"),
            "start HAProxy there with a `bind` of this address and `accept-proxy`, let a firewall between pass it, or write the address \
             that it listens on in `proxy`",
        ),
    }
}

fn source(name: &str, address: IpAddr) -> Finding {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => fine(format!("the source {name} has its address {address} on this host")),
        Err(why) if why.kind() == ErrorKind::AddrNotAvailable => error(
            format!("the source {name}: {address} is no address of this host, so nothing leaves from it"),
            format!(
                "add it to this host's network configuration (until a reboot: `ip address add {address}/{} dev INTERFACE`), or \
                 write one that `ip address` shows",
                if address.is_ipv4() { 32 } else { 128 }
            ),
        ),
        Err(why) => error(
            format!("the source {name}: {address} cannot be sent from: {why}"),
            "write an address in [[source]] that `ip address` shows",
        ),
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
    use std::net::TcpListener;

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
    fn limits_suffice_or_each_that_does_not_is_told_with_its_remedy() {
        assert_eq!(judged(Vec::new()), [fine("the limits of locked memory and open files suffice")]);
        let found = |fatal| probe::Finding { fatal, problem: "too few".into(), remedy: "raise it".into() };
        assert_eq!(judged(vec![found(true), found(false)]), [warning("too few", "raise it")]);
        assert_eq!(judged(vec![found(true)]), [], "`ring` tells it, and they do not suffice");
    }

    #[test]
    fn every_address_of_a_source_is_on_this_host_or_told() {
        let text = "[server]\nhostname = 'mta.test'\ndata_dir = 'data'\n[[listener]]\nkind = 'relay'\n\
                    address = '127.0.0.1:2525'\ntls = 'off'\nnetworks = ['127.0.0.0/8']\n\
                    [[source]]\nname = 'here'\naddresses = ['127.0.0.9']\n\
                    [[source]]\nname = 'afar'\naddresses = ['192.0.2.1', '2001:db8::1']\n\
                    [[source]]\nname = 'behind'\naddresses = ['192.0.2.2']\nproxy = '127.0.0.1:1'\n\
                    [[pool]]\nname = 'both'\nsources = [{ source = 'here', weight = 1 }, { source = 'afar', weight = 1 }]\n";
        let config = Config::parse(text, Path::new("/")).expect("good");
        let found: Vec<String> = sources(&config).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 3, "each once, and none behind a proxy: {found:?}");
        assert!(found[2].starts_with("ok       the source here has its address 127.0.0.9"), "{found:?}");
        for (line, command) in [(&found[0], "ip address add 192.0.2.1/32 dev"), (&found[1], "add 2001:db8::1/128 dev")]
        {
            assert!(line.starts_with("error    the source afar: ") && line.contains(command), "{line}");
        }
    }

    #[test]
    fn a_server_that_listens_elsewhere_runs_by_another_configuration() {
        let at = |ports: &[u16]| ports.iter().map(|port| ([127, 0, 0, 1], *port).into()).collect::<Vec<SocketAddr>>();
        let told = |wanted: &[u16], running: &[u16]| {
            let findings = listened(&at(wanted), &at(running));
            findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(told(&[25, 587], &[587, 25]), "ok       ringpost runs, and listens where this configuration says");
        let both = told(&[25, 465], &[25, 2525]);
        assert!(both.starts_with("warning  ringpost runs, and does not listen at 127.0.0.1:465\n"), "{both}");
        assert!(both.contains("\nwarning  ringpost runs, and listens at 127.0.0.1:2525, which"), "{both}");
        assert!(both.contains("-> it runs by another configuration: restart it"), "{both}");
    }

    #[test]
    fn proxies_are_reached_or_told() {
        let proxy = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = proxy.local_addr().expect("its address");
        let text = format!(
            "[server]\nhostname = 'mta.test'\ndata_dir = 'data'\n[[listener]]\nkind = 'relay'\n\
             address = '127.0.0.1:2525'\ntls = 'off'\nnetworks = ['127.0.0.0/8']\n\
             [[source]]\nname = 'behind'\naddresses = ['192.0.2.2']\nproxy = '{address}'\n"
        );
        let config = Config::parse(&text, Path::new("/")).expect("good");
        assert_eq!(proxies(&config), [fine(format!("the source behind reaches its proxy {address}"))]);
        drop(proxy);
        let found = proxies(&config);
        assert!(matches!(&found[..], [Finding::Error(what, _)] if what.contains("its proxy")), "{found:?}");
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
