//! What a result was measured on.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::sample::Disk;
use crate::Failure;
use crate::clock::Stopwatch;

/// Flushes by which a disk is judged.
const PROBES: u32 = 300;
/// Octets of each.
const PROBE_BYTES: usize = 4096;

/// The machine, and what was on it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Cores that we may use.
    pub cores: usize,
    /// Memory.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution.
    pub system: String,
    /// The load average of the last minute before the experiment: beside a busy neighbour nothing is measured well.
    pub load_before: f64,
    /// The device below the queues, where there is one.
    pub disk: Option<String>,
    /// The file system below the queues.
    pub file_system: String,
    /// Microseconds of writing 4 KiB and `fdatasync`, half of the time at most.
    pub flush_p50_us: u64,
    /// … 99 % of the time.
    pub flush_p99_us: u64,
    /// The version of ringload.
    pub ringload: String,
}

impl Machine {
    /// Looks around, and tries the disk below `folder`.
    ///
    /// # Errors
    /// [`Failure::Failed`] where the folder cannot be written to.
    pub(super) fn look(folder: &Path) -> Result<Self, Failure> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let flushes = probe(&folder.join("probe"));
        let flushes = flushes.map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))?;
        Ok(Self {
            processor: value(&read("/proc/cpuinfo"), "model name"),
            cores: shards::launch::cores(),
            memory_bytes: value(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: value(&read("/etc/os-release"), "PRETTY_NAME").trim_matches('"').to_owned(),
            load_before: read("/proc/loadavg").split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0),
            disk: Disk::below(folder)?.map(|disk| disk.name),
            file_system: file_system_of(folder),
            flush_p50_us: flushes.value_at_quantile(0.5),
            flush_p99_us: flushes.value_at_quantile(0.99),
            ringload: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}

/// The kind of the file system below a folder.
pub(super) fn file_system_of(folder: &Path) -> String {
    file_system(&fs::read_to_string("/proc/self/mounts").unwrap_or_default(), folder)
}

/// The kind of the file system that is mounted closest above `folder`.
fn file_system(mounts: &str, folder: &Path) -> String {
    let fields = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let above = fields.filter(|(point, _)| folder.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map_or_else(String::new, |(_, kind)| kind.to_owned())
}

/// The value of the first line that begins with `name`, whatever stands between.
fn value(text: &str, name: &str) -> String {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
    rest.trim_start_matches(['\t', ' ', ':', '=']).trim().to_owned()
}

/// How long the disk takes to make 4 KiB durable, in microseconds, within a file that has its blocks already.
fn probe(path: &Path) -> io::Result<Histogram<u64>> {
    let file = File::create(path)?;
    let block = [b'x'; PROBE_BYTES];
    for number in 0..u64::from(PROBES) {
        file.write_all_at(&block, number * PROBE_BYTES as u64)?;
    }
    file.sync_all()?;
    let mut histogram = Histogram::new_with_max(60_000_000, 3).expect("bounds that a histogram can have");
    for number in 0..u64::from(PROBES) {
        let began = Stopwatch::start();
        file.write_all_at(&block, number * PROBE_BYTES as u64)?;
        file.sync_data()?;
        histogram.saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    fs::remove_file(path)?;
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_says_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let machine = Machine::look(folder.path()).expect("a folder that can be written to");
        assert!(machine.cores > 0 && machine.memory_bytes > 1 << 20, "{machine:?}");
        assert!(!machine.kernel.is_empty() && machine.flush_p99_us >= machine.flush_p50_us, "{machine:?}");
        assert_eq!(value("a\t: 1\nmodel name\t: X 9\n", "model name"), "X 9");
        assert_eq!(value("PRETTY_NAME=\"Y\"\n", "PRETTY_NAME"), "\"Y\"");
        assert!(!folder.path().join("probe").exists());
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp2 xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/x")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/home")), "ext4");
    }
}
