//! Which core the parts of an experiment run on.
//!
//! A server has all cores; the generator and the sinks, of one thread each, take one core each, from the last one down:
//! it is the same in every repetition and for every server.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes the process that `command` starts run on one core, counted from the last one down.
pub(super) fn on_core(command: &mut Command, from_last: usize) {
    let cores = shards::launch::cores();
    let core = cores - 1 - from_last % cores;
    // SAFETY: between fork and exec only system calls are made, on values of this closure.
    unsafe { command.pre_exec(move || pin_to_nth(core)) };
}

/// Leaves this thread the `nth` of its cores only.
fn pin_to_nth(nth: usize) -> io::Result<()> {
    // SAFETY: cpu_set_t is plain bits, for which zero is a value; indices stay below CPU_SETSIZE, and the calls read and
    // write no more than the sets' size.
    unsafe {
        let (mut all, mut one): (libc::cpu_set_t, libc::cpu_set_t) = (std::mem::zeroed(), std::mem::zeroed());
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut all) != 0 {
            return Err(io::Error::last_os_error());
        }
        let usable = (0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &all)).nth(nth);
        // Fewer cores than thought: then wherever the system likes.
        let Some(core) = usable else { return Ok(()) };
        libc::CPU_SET(core, &mut one);
        if libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
