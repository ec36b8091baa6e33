//! The processes of a server under test, whatever they do: fork, change their session, end unseen.
//!
//! Where the machine lets us, a server runs in a control group of its own (cgroup v2, which a process cannot leave by
//! itself). The kernel then counts its CPU time to the microsecond, with that of processes that have long ended.
//! Elsewhere (a container without the right to make one) its processes are those below us that are not our own program,
//! and time of processes that ended without their parent's wait is not seen: the record says so.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::{Failure, clock};

/// How often it is looked whether processes have ended.
const POLL: Duration = Duration::from_millis(10);
/// How long killed processes may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(30);

/// The processes of one server. Dropping it kills them.
pub struct Group {
    /// The control group's folder.
    folder: Option<PathBuf>,
    /// Its name below the mount point.
    name: String,
    /// Outlives us, and ends what we leave behind if we are killed.
    guard: Option<Child>,
}

/// What the guard does: waits until the other end of its input is gone, and ends the group.
const GUARD: &str = "trap '' INT TERM; read _; echo 1 >\"$1/cgroup.kill\"; until rmdir \"$1\"; do sleep 0.1; done";

impl Group {
    /// A group without processes.
    pub fn make() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let made = place(&read("/proc/self/mounts"), &read("/proc/self/cgroup")).and_then(|(mount, own)| {
            let name = format!("{own}/ringload-{}-{number}", std::process::id());
            let folder = PathBuf::from(format!("{mount}{name}"));
            fs::create_dir(&folder).ok().map(|()| (folder, name.trim_start_matches('/').to_owned()))
        });
        match made {
            Some((folder, name)) => Self { guard: guard(&folder), folder: Some(folder), name },
            None => {
                adopt_orphans();
                Self { folder: None, name: String::new(), guard: None }
            }
        }
    }

    /// Makes the process that `command` starts, and all that it starts, belong to the group.
    pub fn enter(&self, command: &mut Command) -> Result<(), Failure> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let path = folder.join("cgroup.procs");
        let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", path.display()));
        let procs = File::options().write(true).open(&path).map_err(failed)?;
        // SAFETY: between fork and exec one system call is made, on a descriptor that this closure owns.
        unsafe {
            command.pre_exec(move || match libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1) {
                1 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        Ok(())
    }

    /// Its name for `perf stat -G`, where it is a control group.
    pub fn name(&self) -> Option<&str> {
        self.folder.as_ref().map(|_| self.name.as_str())
    }

    /// Seconds of CPU time in user mode and in the kernel since it was made, where it is a control group.
    pub fn cpu(&self) -> Option<(f64, f64)> {
        let stat = fs::read_to_string(self.folder.as_ref()?.join("cpu.stat")).ok()?;
        let seconds = |name: &str| {
            let micros = stat.lines().find_map(|line| line.strip_prefix(name))?.trim().parse::<f64>().ok()?;
            Some(micros / 1e6)
        };
        Some((seconds("user_usec ")?, seconds("system_usec ")?))
    }

    /// The processes that run now.
    pub fn pids(&self) -> Vec<u32> {
        let Some(folder) = &self.folder else { return descendants() };
        let procs = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        procs.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Waits until none runs any more; whether that came.
    pub fn wait_empty(&self, patience: Duration) -> bool {
        clock::wait_for(patience, POLL, || self.pids().is_empty().then_some(())).is_some()
    }

    /// Ends all of them with SIGKILL.
    pub fn kill(&self) {
        let at_once = self.folder.as_ref().map(|folder| fs::write(folder.join("cgroup.kill"), "1"));
        let ended = clock::wait_for(KILL_PATIENCE, POLL, || {
            let pids = self.pids();
            if !matches!(at_once, Some(Ok(()))) {
                pids.iter().for_each(|pid| signal(*pid, libc::SIGKILL));
            }
            pids.is_empty().then_some(())
        });
        if ended.is_none() {
            let _ = writeln!(io::stderr(), "ringload: processes of {} cannot be ended", self.name);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        if let Some(folder) = &self.folder {
            // Fails only where a process cannot be ended, which was said.
            let _ = fs::remove_dir(folder);
        }
        if let Some(guard) = &mut self.guard {
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }
}

/// Starts the guard of a control group; without a shell there is none.
fn guard(folder: &Path) -> Option<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", GUARD, "sh"]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).spawn().ok()
}

/// Sends a signal to a process of the server.
fn signal(pid: u32, number: libc::c_int) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: sends a signal to a number; a process that has ended meanwhile is none.
        unsafe { libc::kill(pid, number) };
    }
}

/// Where cgroup v2 is mounted, and our own group below it.
fn place<'a>(mounts: &'a str, own: &'a str) -> Option<(&'a str, &'a str)> {
    let words = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = words.into_iter().find(|words| words.get(2) == Some(&"cgroup2"))?[1];
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some((mount, own.trim_end_matches('/')))
}

/// Makes orphans below us our children, so that they can be found.
fn adopt_orphans() {
    // SAFETY: sets a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
}

/// All processes below this one, without this program's own (generators, sinks) and what has ended.
fn descendants() -> Vec<u32> {
    let own = std::process::id();
    let program = fs::read_link("/proc/self/exe").ok();
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in folders.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(parent) = parent_of_living(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![own];
    while let Some(parent) = open.pop() {
        for pid in children.remove(&parent).unwrap_or_default() {
            if fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe")).ok() != program {
                found.push(pid);
                open.push(pid);
            }
        }
    }
    found
}

/// The parent of `/proc/PID/stat`, unless the process is a zombie.
fn parent_of_living(stat: &str) -> Option<u32> {
    let mut words = stat.rsplit_once(") ")?.1.split(' ');
    let state = words.next()?;
    words.next().filter(|_| state != "Z")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_place_is_read_from_the_mounts() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(place(mounts, "4:memory:/a\n0::/x/y\n"), Some(("/sys/fs/cgroup/unified", "/x/y")));
        assert_eq!(place(mounts, "0::/\n"), Some(("/sys/fs/cgroup/unified", "")));
        assert_eq!(place("", "0::/\n"), None);
    }

    #[test]
    fn parents_are_read_whatever_the_name() {
        assert_eq!(parent_of_living("7 (a) b) S 5 7 7"), Some(5));
        assert_eq!(parent_of_living("7 (a) Z 5 7 7"), None);
    }

    #[test]
    fn what_forks_and_leaves_is_found_and_ended() {
        let group = Group::make();
        // The shell ends at once and leaves a process of another session behind.
        let mut command = Command::new("sh");
        command.args(["-c", "setsid sleep 1000 & "]).stdin(Stdio::null()).stdout(Stdio::null());
        group.enter(&mut command).expect("it can be entered");
        assert!(command.status().expect("sh runs").success());
        let left = clock::wait_for(KILL_PATIENCE, POLL, || {
            let pids = group.pids();
            let sleeps =
                |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "sleep\n");
            (pids.len() == 1 && pids.iter().all(sleeps)).then_some(pids)
        });
        assert!(left.is_some(), "{:?}", group.pids());
        group.kill();
        assert!(group.pids().is_empty());
    }
}
