//! Debian's Postfix as the yardstick: an instance of its own in a temporary folder, settings honest (it flushes before
//! 250, as shipped) and not hobbled (process and concurrency limits as ours, no per-client limits).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{free_address, output, wait_listening};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Into the queue, where it stays.
    Accept,
    /// Into the queue and on to the next hop.
    Relay,
}

/// A running Postfix.
pub struct Postfix {
    folder: TempDir,
    /// Where it accepts.
    pub address: SocketAddr,
}

impl Postfix {
    /// Starts it and waits until it accepts.
    pub fn start(mode: Mode, next_hop: SocketAddr) -> Self {
        let folder = tempfile::Builder::new().prefix("ringpost-postfix-").tempdir().expect("a folder");
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions");
        for name in ["conf", "queue", "data"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        output(Command::new("chown").arg("postfix").arg(folder.path().join("data")));
        let address = free_address();
        fs::write(folder.path().join("conf/main.cf"), main_cf(folder.path(), mode, next_hop)).expect("written");
        fs::write(folder.path().join("conf/master.cf"), master_cf(address)).expect("written");
        let postfix = Self { folder, address };
        output(&mut postfix.command("start"));
        wait_listening("Postfix", address);
        postfix
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new("/usr/sbin/postfix");
        command.arg("-c").arg(self.folder.path().join("conf")).arg(verb);
        command
    }

    fn queue(&self) -> PathBuf {
        self.folder.path().join("queue")
    }

    /// The master and its children.
    pub fn pids(&self) -> Vec<u32> {
        let master = fs::read_to_string(self.queue().join("pid/master.pid")).expect("the master's pid");
        let master: u32 = master.trim().parse().expect("a number");
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).expect("its children");
        std::iter::once(master).chain(children.split_whitespace().map(|pid| pid.parse().expect("a number"))).collect()
    }

    /// Whether nothing waits for delivery.
    pub fn is_empty(&self) -> bool {
        ["maildrop", "incoming", "active", "deferred"].iter().all(|name| !holds_files(&self.queue().join(name)))
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = self.command("stop").output();
    }
}

fn holds_files(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| if entry.path().is_dir() { holds_files(&entry.path()) } else { true })
    })
}

fn main_cf(folder: &Path, mode: Mode, next_hop: SocketAddr) -> String {
    let hold = if mode == Mode::Accept { "smtpd_client_restrictions = static:HOLD\n" } else { "" };
    let folder = folder.display();
    format!(
        "compatibility_level = 3.6\nqueue_directory = {folder}/queue\ndata_directory = {folder}/data\n\
         maillog_file = {folder}/log\nmaillog_file_prefixes = /tmp, /var\n\
         myhostname = postfix.test\nmydestination =\nalias_maps =\nmynetworks = 127.0.0.0/8\n\
         inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nrelayhost = [{}]:{}\n{hold}\
         smtpd_recipient_restrictions = permit_mynetworks, reject\ndefault_process_limit = 100\n\
         smtpd_client_connection_count_limit = 0\nsmtpd_client_connection_rate_limit = 0\n\
         smtp_destination_concurrency_limit = 20\ninitial_destination_concurrency = 20\n",
        next_hop.ip(),
        next_hop.port()
    )
}

/// The services of Postfix's own default, none in a chroot, with smtpd on our port.
fn master_cf(address: SocketAddr) -> String {
    format!(
        "{address} inet n - n - - smtpd\npickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\ntlsmgr unix - - n 1000? 1 tlsmgr\nrewrite unix - - n - - trivial-rewrite\n\
         bounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\n\
         verify unix - - n - 1 verify\nflush unix n - n 1000? 0 flush\nproxymap unix - - n - - proxymap\n\
         proxywrite unix - - n - 1 proxymap\nsmtp unix - - n - - smtp\nrelay unix - - n - - smtp\n\
         showq unix n - n - - showq\nerror unix - - n - - error\nretry unix - - n - - error\n\
         anvil unix - - n - 1 anvil\nscache unix - - n - 1 scache\npostlog unix-dgram n - n - 1 postlogd\n"
    )
}
