//! What a server costs, seen from outside: `/proc` of all its processes, and the disk below its data.
//!
//! CPU and disk bytes include children that have ended and were waited for, which is how a server that makes a process
//! per delivery is seen. Memory is the proportional share (PSS), so that pages which processes share count once; pages
//! of mapped files (an index, a program's text), which the kernel can take back at any time, are counted apart.
//! Flushes are those that reached the disk, the whole device's: whatever else writes to it is counted too.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Failure;

/// What processes have used, and hold now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// CPU seconds in user mode.
    pub(super) user_s: f64,
    /// CPU seconds in the kernel.
    pub(super) system_s: f64,
    /// Memory of their own: heap, stacks, shared memory.
    pub(super) memory_bytes: f64,
    /// Pages of mapped files.
    pub(super) mapped_bytes: f64,
    /// Bytes that went, or will go, to a disk.
    pub(super) written_bytes: f64,
    /// How many processes there are.
    pub(super) processes: f64,
}

impl Usage {
    /// Of all these processes together; what ends meanwhile counts as far as it can be seen.
    pub(super) fn of(pids: &[u32]) -> Self {
        let mut sum = Self::default();
        for one in pids.iter().filter_map(|pid| Self::of_process(*pid)) {
            sum.user_s += one.user_s;
            sum.system_s += one.system_s;
            sum.memory_bytes += one.memory_bytes;
            sum.mapped_bytes += one.mapped_bytes;
            sum.written_bytes += one.written_bytes;
            sum.processes += 1.0;
        }
        sum
    }

    fn of_process(pid: u32) -> Option<Self> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        let (user_s, system_s) = cpu(&read("stat")?)?;
        let memory = read("smaps_rollup").unwrap_or_default();
        let kib = |name: &str| field(&memory, name).unwrap_or(0) as f64 * 1024.0;
        Some(Self {
            user_s,
            system_s,
            memory_bytes: kib("Pss_Anon:") + kib("Pss_Shmem:"),
            mapped_bytes: kib("Pss_File:"),
            written_bytes: field(&read("io").unwrap_or_default(), "write_bytes:").unwrap_or(0) as f64,
            processes: 1.0,
        })
    }
}

/// User and system seconds of `/proc/PID/stat`, those of children that were waited for included (proc(5)).
fn cpu(stat: &str) -> Option<(f64, f64)> {
    // The name in parentheses may hold anything; utime is the 14th field, the 12th after the name.
    let after_name = &stat[stat.rfind(')')? + 1..];
    let ticks: Vec<f64> = after_name.split_whitespace().skip(11).take(4).filter_map(|word| word.parse().ok()).collect();
    let [user, system, children_user, children_system] = ticks[..] else { return None };
    // SAFETY: asks for a number.
    let ticks_per_s = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    Some(((user + children_user) / ticks_per_s, (system + children_system) / ticks_per_s))
}

/// The number after `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// The disk below a folder.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    stat: PathBuf,
    /// The device's name, as in `/sys/block`.
    pub(super) name: String,
}

impl Disk {
    /// `None` where the file system has no disk of its own (tmpfs, overlay, network).
    ///
    /// # Errors
    /// [`Failure::Failed`] where the folder cannot be looked at.
    pub(super) fn below(folder: &Path) -> Result<Option<Self>, Failure> {
        let broken = |error: std::io::Error| Failure::Failed(format!("{}: {error}", folder.display()));
        let device = fs::metadata(folder).map_err(broken)?.dev();
        let link = format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device));
        let Ok(mut path) = fs::canonicalize(link) else { return Ok(None) };
        // Flushes are counted for whole devices.
        if path.join("partition").exists() {
            path.pop();
        }
        let name = path.file_name().map(|name| name.display().to_string()).unwrap_or_default();
        Ok(Some(Self { stat: path.join("stat"), name }))
    }

    /// Flushes since the machine started.
    pub(super) fn flushes(&self) -> f64 {
        flushes(&fs::read_to_string(&self.stat).unwrap_or_default())
    }
}

/// The 16th number of a block device's `stat` (Linux, Documentation/block/stat.rst).
fn flushes(stat: &str) -> f64 {
    stat.split_whitespace().nth(15).and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_counts_children_and_any_name() {
        let stat = "7 (a) b)) S 1 7 7 0 -1 4194560 1 2 3 4 100 50 20 10 20 0 1 0 5 6 7";
        assert_eq!(cpu(stat), Some((1.2, 0.6)));
        assert_eq!(cpu("7 (a) S 1"), None);
    }

    #[test]
    fn our_own_process_is_seen() {
        let usage = Usage::of(&[std::process::id(), u32::MAX]);
        assert!(usage.memory_bytes > 0.0 && usage.mapped_bytes > 0.0, "{usage:?}");
        assert!(usage.processes == 1.0, "{usage:?}");
    }

    #[test]
    fn flushes_are_the_sixteenth_number() {
        assert_eq!(flushes(" 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n"), 16.0);
        assert_eq!(flushes("1 2 3"), 0.0);
    }
}
