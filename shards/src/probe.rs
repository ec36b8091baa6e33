//! The start-up probe: what this host lacks for the ring, said plainly, with the remedy.
//!
//! It first raises the soft limits to the hard ones (nobody gains from the difference), then measures, then judges; the
//! judgement is a pure function of the [`Facts`].

pub mod disk;

use std::io;

use io_uring::{IoUring, squeue};

/// Something that is missing, or close to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether starting makes no sense.
    pub fatal: bool,
    /// What is wrong: one sentence with the measured value.
    pub problem: String,
    /// What to do: one sentence, with the command or the setting.
    pub remedy: String,
}

/// Memory that the rings of one shard lock.
const LOCKED_BYTES_PER_SHARD: u64 = 512 * 1024;
/// Open files beside connections: segments, the index, rings, the control plane.
const OTHER_FILES: u64 = 256;
/// CAP_IPC_LOCK of capabilities(7): locks memory without limit.
const CAPABILITY_IPC_LOCK: u32 = 14;

/// Looks for io_uring (blocked by seccomp or `kernel.io_uring_disabled`), locked memory (at least 512 KiB a shard) and
/// open files (at least `connections` + 256). Raises this process's soft limits to its hard limits.
pub fn probe(shards: usize, connections: usize) -> Vec<Finding> {
    let needs = Needs {
        locked_bytes: LOCKED_BYTES_PER_SHARD.saturating_mul(shards as u64),
        files: OTHER_FILES.saturating_add(connections as u64),
    };
    judge(&Facts::measure(), needs)
}

/// Whether the host's clock follows a time server, as far as the kernel has been told (adjtimex(2)).
pub fn clock_is_synchronised() -> bool {
    // SAFETY: timex is plain bits, for which zero is a value (it asks for no change); the call writes no more than its size.
    let state = unsafe {
        let mut clock: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut clock)
    };
    state >= 0 && state != libc::TIME_ERROR
}

/// What the shards and connections of a configuration need.
#[derive(Clone, Copy, Debug)]
struct Needs {
    locked_bytes: u64,
    files: u64,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
struct Facts {
    /// The error number with which a ring like ours was refused.
    ring_refused: Option<i32>,
    /// `kernel.io_uring_disabled`, where the kernel has it: 0 allowed, 1 for a group only, 2 for nobody.
    ring_disabled: Option<u8>,
    /// Bytes that may be locked; `None` where the limit does not bind.
    locked_bytes_max: Option<u64>,
    /// Files that may be open.
    files_max: u64,
}

impl Facts {
    fn measure() -> Facts {
        let locked = raise(libc::RLIMIT_MEMLOCK);
        let files = raise(libc::RLIMIT_NOFILE);
        Facts {
            ring_refused: try_ring().err().map(|error| error.raw_os_error().unwrap_or(libc::EIO)),
            ring_disabled: read_number("/proc/sys/kernel/io_uring_disabled"),
            locked_bytes_max: (!may_lock_without_limit()).then_some(locked),
            files_max: files,
        }
    }
}

fn judge(facts: &Facts, needs: Needs) -> Vec<Finding> {
    let ring = facts.ring_refused.map(|errno| ring_finding(errno, facts.ring_disabled));
    let locked = facts.locked_bytes_max.filter(|&most| most < needs.locked_bytes).map(|most| Finding {
        fatal: true,
        problem: format!(
            "{} KiB of memory may be locked, and these shards lock up to {} KiB",
            most / 1024,
            needs.locked_bytes / 1024
        ),
        remedy: format!(
            "set LimitMEMLOCK={} in the systemd unit, or `memlock` in /etc/security/limits.conf, or use fewer shards",
            needs.locked_bytes
        ),
    });
    let files = (facts.files_max < needs.files).then(|| Finding {
        fatal: facts.files_max < OTHER_FILES,
        problem: format!("{} files may be open, and all allowed connections need {}", facts.files_max, needs.files),
        remedy: format!(
            "set LimitNOFILE={} in the systemd unit, or `nofile` in /etc/security/limits.conf, or allow fewer connections",
            needs.files
        ),
    });
    [ring, locked, files].into_iter().flatten().collect()
}

fn ring_finding(errno: i32, disabled: Option<u8>) -> Finding {
    let (problem, remedy) = match (errno, disabled) {
        (libc::EPERM, Some(value @ 1..)) => (
            format!("io_uring is switched off on this host: kernel.io_uring_disabled is {value}"),
            "run `sysctl kernel.io_uring_disabled=0`, and put it in /etc/sysctl.d to keep it".to_owned(),
        ),
        (libc::EPERM | libc::EACCES, _) => (
            "io_uring is forbidden to this process, as the default seccomp profiles of containers do".to_owned(),
            "allow the system calls io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile \
             (Docker: --security-opt seccomp=PROFILE.json; systemd: SystemCallFilter=@io-event)"
                .to_owned(),
        ),
        (libc::ENOSYS, _) => (
            "this kernel has no io_uring, or a seccomp profile hides it".to_owned(),
            "use Linux 6.1 or newer with CONFIG_IO_URING, and allow the io_uring system calls".to_owned(),
        ),
        (libc::EINVAL, _) => (
            "this kernel's io_uring is too old: it does not know SINGLE_ISSUER with DEFER_TASKRUN".to_owned(),
            "use Linux 6.1 or newer".to_owned(),
        ),
        (libc::ENOMEM, _) => (
            "the kernel has no memory to lock for io_uring".to_owned(),
            "raise LimitMEMLOCK in the systemd unit, or `memlock` in /etc/security/limits.conf".to_owned(),
        ),
        _ => (
            format!("io_uring cannot be used: {}", io::Error::from_raw_os_error(errno)),
            "run `strace -e io_uring_setup` on the command to see the refused call".to_owned(),
        ),
    };
    Finding { fatal: true, problem, remedy }
}

/// Makes a ring with the flags that ours has, and lets it go.
fn try_ring() -> io::Result<()> {
    IoUring::<squeue::Entry>::builder().setup_single_issuer().setup_defer_taskrun().build(4).map(drop)
}

/// What names a limit; the C libraries differ.
#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

/// Raises a soft limit to its hard limit where it can, and says what it is then.
fn raise(resource: Resource) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit outlives both calls, which read and write no more than it.
    unsafe {
        if libc::getrlimit(resource, &raw mut limit) != 0 {
            return 0;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        if libc::setrlimit(resource, &raw const raised) == 0 { raised.rlim_cur } else { limit.rlim_cur }
    }
}

fn may_lock_without_limit() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|bits| bits >> CAPABILITY_IPC_LOCK & 1 == 1)
}

fn read_number(path: &str) -> Option<u8> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Facts, Needs, judge, probe};

    const SOUND: Facts =
        Facts { ring_refused: None, ring_disabled: Some(0), locked_bytes_max: Some(8 << 20), files_max: 20_000 };
    const NEEDS: Needs = Needs { locked_bytes: 1 << 20, files: 10_256 };

    #[test]
    fn a_sound_host_has_no_findings() {
        assert_eq!(judge(&SOUND, NEEDS), []);
    }

    #[test]
    fn a_switch_and_a_seccomp_profile_are_told_apart() {
        let switched_off = Facts { ring_refused: Some(libc::EPERM), ring_disabled: Some(2), ..SOUND };
        let forbidden = Facts { ring_disabled: Some(0), ..switched_off };
        let [switch] = &judge(&switched_off, NEEDS)[..] else { panic!("one finding") };
        let [seccomp] = &judge(&forbidden, NEEDS)[..] else { panic!("one finding") };
        assert!(switch.fatal && switch.remedy.contains("sysctl kernel.io_uring_disabled=0"));
        assert!(seccomp.fatal && seccomp.remedy.contains("seccomp"));
    }

    #[test]
    fn an_old_kernel_is_named() {
        let findings = judge(&Facts { ring_refused: Some(libc::EINVAL), ..SOUND }, NEEDS);
        assert!(findings[0].fatal && findings[0].remedy.contains("6.1"));
    }

    #[test]
    fn too_little_locked_memory_is_fatal_and_too_few_files_are_not() {
        let small = Facts { locked_bytes_max: Some(64 << 10), files_max: 1024, ..SOUND };
        let [locked, files] = &judge(&small, NEEDS)[..] else { panic!("two findings") };
        assert!(locked.fatal && locked.problem.contains("64 KiB") && locked.remedy.contains("1048576"));
        assert!(!files.fatal && files.problem.contains("1024") && files.remedy.contains("10256"));
        let [files] = &judge(&Facts { files_max: 255, ..SOUND }, NEEDS)[..] else { panic!("one finding") };
        assert!(files.fatal, "there are not enough for the queue itself");
    }

    #[test]
    fn this_host_can_be_measured() {
        assert_eq!(probe(1, 0), [], "the tests of this crate need a working ring");
    }
}
