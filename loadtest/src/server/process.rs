//! Processes of ours, and ports of loopback.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::{Failure, clock};

/// How often a process's state is looked at.
const POLL: Duration = Duration::from_millis(10);
/// How long a greeting may take once the connection is there.
const GREETING_PATIENCE: Duration = Duration::from_secs(2);

/// The ports for servers under test, below Linux's own choice for outgoing connections (from 32768).
const FREE_PORTS: Range<u16> = 10_000..32_000;
/// How many of them are tried.
const FREE_PORT_TRIES: usize = 100;

/// A child process, killed when dropped.
pub(crate) struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command` without input. It does not outlive the thread that starts it.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        // SAFETY: between fork and exec one system call is made, on numbers.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        let name = Path::new(command.get_program()).file_name().unwrap_or(OsStr::new("?")).display().to_string();
        let child = command.stdin(Stdio::null()).spawn();
        let child = child
            .map_err(|error| Failure::Failed(format!("cannot start {}: {error}", command.get_program().display())))?;
        Ok(Self { child, name })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.try_wait().map_err(|error| Failure::Failed(format!("{}: {error}", self.name)))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, number: libc::c_int) {
        if let Ok(pid) = libc::pid_t::try_from(self.pid()) {
            // SAFETY: a signal to our own child, which is not yet waited for, so that its id cannot be another's.
            unsafe { libc::kill(pid, number) };
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(mut self, patience: Duration) -> Result<ExitStatus, Failure> {
        self.signal(libc::SIGTERM);
        self.wait(patience)
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<ExitStatus, Failure> {
        let ended = clock::wait_for(patience, POLL, || self.ended().transpose());
        ended.unwrap_or_else(|| Err(Failure::Failed(format!("{} has not ended in {patience:?}", self.name))))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end and gives what it wrote to stdout.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output();
    let failed = |why: &dyn std::fmt::Display| Failure::Failed(format!("{}: {why}", command.get_program().display()));
    let output = output.map_err(|error| failed(&error))?;
    if !output.status.success() {
        return Err(failed(&format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A port of loopback that nobody uses, below those that Linux gives to outgoing connections: a server that is killed
/// and started again finds it free.
pub(crate) fn free_address() -> Result<SocketAddr, Failure> {
    let mut candidates =
        (0..FREE_PORT_TRIES).map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(FREE_PORTS))));
    let free = candidates.find(|address| TcpListener::bind(address).is_ok());
    free.ok_or_else(|| Failure::Failed(format!("no free port among {FREE_PORTS:?}")))
}

/// Waits until an SMTP server greets at `address`. `process` must not end meanwhile.
pub(crate) fn wait_greeting(address: SocketAddr, process: &mut Process, patience: Duration) -> Result<(), Failure> {
    let greeted = clock::wait_for(patience, POLL, || match process.ended() {
        Err(failure) => Some(Err(failure)),
        Ok(Some(status)) => Some(Err(Failure::Failed(format!("{} ended with {status}", process.name)))),
        Ok(None) => greets(address).ok().filter(|greets| *greets).map(|_| Ok(())),
    });
    greeted.unwrap_or_else(|| Err(Failure::Failed(format!("{} does not greet at {address}", process.name))))
}

fn greets(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, GREETING_PATIENCE)?;
    stream.set_read_timeout(Some(GREETING_PATIENCE))?;
    let mut code = [0; 3];
    stream.read_exact(&mut code)?;
    Ok(&code == b"220")
}

/// The program `name`: beside this one, or in the path.
pub(crate) fn program(name: &str) -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(|folder| folder.join(name)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| name.into())
}
