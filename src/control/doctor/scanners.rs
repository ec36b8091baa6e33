//! Whether the scanners that look at messages take connections. Nothing is said to them.

use std::io::{Error, ErrorKind, Result};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Finding, error, fine, warning};
use crate::config::Config;
use crate::config::screening::{OnFailure, Scanner, ScannerAddress};

/// How long one address may take for a connection: a scanner is near.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let clamav = config.screening.clamav.as_ref().map(|clamav| {
        judged(
            "clamd",
            "[screening.clamav] address",
            "systemctl status clamav-daemon",
            clamav,
            connect(&clamav.address),
        )
    });
    let rspamd = config.screening.rspamd.as_ref().map(|rspamd| {
        let scanner = &rspamd.scanner;
        judged("rspamd", "[screening.rspamd] url", "systemctl status rspamd", scanner, connect(&scanner.address))
    });
    clamav.into_iter().chain(rspamd).collect()
}

fn judged(name: &str, key: &str, status: &str, scanner: &Scanner, connected: Result<()>) -> Finding {
    let address = &scanner.address;
    let Err(why) = connected else { return fine(format!("{name} takes connections at {address}")) };
    let remedy = match why.kind() {
        ErrorKind::PermissionDenied => format!(
            "let the server's user open it (usermod -aG with the group of {address}, then restart), or write another in {key}"
        ),
        _ => format!("start it (`{status}`), or write in {key} where it listens"),
    };
    let what = format!("{name} cannot be reached at {address}: {why}");
    match scanner.on_failure {
        OnFailure::Defer => error(format!("{what}; while that is so, screened messages get 451"), remedy),
        OnFailure::Accept => warning(format!("{what}; while that is so, messages are taken unscreened"), remedy),
    }
}

fn connect(address: &ScannerAddress) -> Result<()> {
    match address {
        ScannerAddress::Unix(path) => UnixStream::connect(path).map(drop),
        ScannerAddress::Tcp(host, port) => {
            let mut last = Error::new(ErrorKind::NotFound, "its name has no address");
            for address in (&**host, *port).to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, PATIENCE) {
                    Ok(_) => return Ok(()),
                    Err(why) => last = why,
                }
            }
            Err(last)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;

    #[test]
    fn scanners_take_connections_or_are_told_with_what_becomes_of_messages() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("clamd.ctl");
        let rspamd = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = rspamd.local_addr().expect("its address");
        let text = format!(
            "[server]\nhostname = 'mta.test'\ndata_dir = 'data'\n[[listener]]\nkind = 'relay'\n\
             address = '127.0.0.1:2525'\ntls = 'off'\nnetworks = ['127.0.0.0/8']\n\
             [screening.clamav]\naddress = 'unix:{}'\n[screening.rspamd]\nurl = 'http://{address}'\non_failure = 'accept'\n",
            path.display()
        );
        let config = Config::parse(&text, Path::new("/")).expect("good");
        let clamd = UnixListener::bind(&path).expect("bound");
        let clamd_is_fine = fine(format!("clamd takes connections at unix:{}", path.display()));
        assert_eq!(examine(&config), [clamd_is_fine, fine(format!("rspamd takes connections at {address}"))]);
        drop((clamd, rspamd));
        let found: Vec<String> = examine(&config).iter().map(ToString::to_string).collect();
        assert!(found[0].starts_with("error    clamd cannot be reached at unix:/"), "{found:?}");
        assert!(found[0].contains("get 451\n         -> start it (`systemctl status clamav-daemon`)"), "{found:?}");
        assert!(
            found[1].starts_with("warning  rspamd cannot be reached") && found[1].contains("unscreened"),
            "{found:?}"
        );
    }
}
