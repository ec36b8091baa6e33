//! The flushes that a server asks of its file system, counted by the kernel.
//!
//! A tracepoint of the file system is met by every way to flush (fsync, fdatasync, O_DSYNC, io_uring), whatever process
//! or kernel thread of the server goes it; counting it in the server's control group leaves all others out. It costs the
//! server well below a microsecond for each. `perf stat` does the counting; where it is missing, where the server has no
//! control group, or on file systems without such a tracepoint, there is no such figure.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::server::group::Group;

/// What flushes meet, by file system.
const TRACEPOINTS: [(&str, &str); 3] =
    [("ext4", "ext4:ext4_sync_file_enter"), ("xfs", "xfs:xfs_file_fsync"), ("btrfs", "btrfs:btrfs_sync_file")];

/// A count under way.
pub(super) struct FlushCalls {
    perf: Child,
    result: PathBuf,
}

impl FlushCalls {
    /// Begins to count, if it can.
    pub(super) fn start(group: &Group, file_system: &str, result: PathBuf) -> Option<Self> {
        let (_, tracepoint) = TRACEPOINTS.iter().find(|(name, _)| *name == file_system)?;
        let mut command = Command::new("perf");
        command.args(["stat", "-a", "-x,", "-e", tracepoint, "-G", group.name()?, "-o"]).arg(&result);
        // It counts from before its command begins until that has ended: `cat` answers, and ends with its input.
        let perf =
            command.args(["--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut this = Self { perf: perf.ok()?, result };
        this.perf.stdin.as_mut()?.write_all(b"\n").ok()?;
        this.perf.stdout.as_mut()?.read_exact(&mut [0]).ok()?;
        Some(this)
    }

    /// How many there were.
    pub(super) fn stop(mut self) -> Option<f64> {
        drop(self.perf.stdin.take());
        self.perf.wait().ok()?;
        count(&fs::read_to_string(&self.result).ok()?)
    }
}

impl Drop for FlushCalls {
    fn drop(&mut self) {
        drop(self.perf.stdin.take());
        let _ = self.perf.wait();
        // It says no more than its number.
        let _ = fs::remove_file(&self.result);
    }
}

/// The number of perf's one line, which begins with it.
fn count(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| !line.is_empty() && !line.starts_with('#'))?;
    line.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_read_from_what_perf_says() {
        let text = "# started on Mon\n\n10,,ext4:ext4_sync_file_enter,ringload-1-0,7480465,100.00,,\n";
        assert_eq!(count(text), Some(10.0));
        assert_eq!(count("# started\n\n<not counted>,,ext4:ext4_sync_file_enter,x,0,0.00,,\n"), None);
    }
}
