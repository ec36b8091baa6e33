//! Starting shards: one pinned executor per core, and what happens when one ends or panics.
//!
//! A panic of a shard, at its start or later, stops the process (exit code 70 after one line that names the shard): its state
//! may be half changed, and recovery from disk is proven. Tasks that serve one peer catch their own panics above this crate.

#![expect(clippy::disallowed_methods, reason = "the door itself: the clock begins here, and a panic ends the process")]

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant as Clock;

use crate::Reactor;
use crate::reactor::Backend;
use crate::ring::{Executor, OnPanic, Place};

/// The exit code of a process that a panic stopped: EX_SOFTWARE of sysexits(3).
const EXIT_SOFTWARE: i32 = 70;

/// Shards that were started.
pub struct Running(Vec<JoinHandle<()>>);

impl Running {
    /// Waits until every shard's future has ended.
    pub fn join(self) -> io::Result<()> {
        for thread in self.0 {
            thread.join().map_err(|_| io::Error::other("a shard ended in a panic"))?;
        }
        Ok(())
    }
}

/// How many shards `auto` is: the cores that this process may use (affinity and cgroup quota).
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Starts `shards` threads, each pinned to a core of its own (or sharing when there are more shards than cores), and
/// runs `body(reactor, shard)` on each. When one cannot start, none does, and the error says why.
pub fn launch<F>(shards: usize, body: impl Fn(Reactor, usize) -> F + Send + Clone + 'static) -> io::Result<Running>
where
    F: Future<Output = ()> + 'static,
{
    let usable = usable_cores()?;
    let began = Clock::now();
    let (report, reports) = mpsc::channel();
    let mut waiting = Vec::with_capacity(shards);
    for number in 0..shards {
        let core = if shards <= usable.len() { Some(usable[number]) } else { None };
        let place = Place { number, shards, on_panic: OnPanic::Exit, began };
        let (go, may_go) = mpsc::channel();
        let (report, body) = (report.clone(), body.clone());
        let thread = std::thread::Builder::new()
            .name(format!("shard-{number}"))
            .spawn(move || or_die(&format!("shard {number}"), || shard(core, place, &report, &may_go, body)))?;
        waiting.push((thread, go));
    }
    for _ in 0..shards {
        reports.recv().expect("each shard reports, or ends the process")?;
    }
    Ok(Running(
        waiting
            .into_iter()
            .map(|(thread, go): (_, mpsc::Sender<()>)| {
                let _ = go.send(());
                thread
            })
            .collect(),
    ))
}

/// A shard's thread: reports whether its executor could be made, waits for all the others, and runs.
fn shard<F>(
    core: Option<usize>,
    place: Place,
    report: &mpsc::Sender<io::Result<()>>,
    may_go: &mpsc::Receiver<()>,
    body: impl FnOnce(Reactor, usize) -> F,
) where
    F: Future<Output = ()> + 'static,
{
    let executor = match Executor::new(core, place) {
        Ok(executor) => executor,
        Err(error) => {
            let error = io::Error::new(error.kind(), format!("shard {} cannot start: {error}", place.number));
            // The launcher waits for every report; if it is gone, so is the process.
            let _ = report.send(Err(error));
            return;
        }
    };
    if report.send(Ok(())).is_ok() && may_go.recv().is_ok() {
        executor.run(|handle| body(Reactor(Backend::Ring(handle)), place.number));
    }
}

/// Runs `body` on the current thread's own executor to its end (tools and tests). A panic of any task unwinds to the
/// caller.
pub fn run<F, T>(body: impl FnOnce(Reactor) -> F) -> io::Result<T>
where
    F: Future<Output = T> + 'static,
    T: 'static,
{
    let place = Place { number: 0, shards: 1, on_panic: OnPanic::Unwind, began: Clock::now() };
    Ok(Executor::new(None, place)?.run(|handle| body(Reactor(Backend::Ring(handle)))))
}

/// Does `work`; a panic of it ends the process.
pub fn or_die<T>(who: &str, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| die(who, &*panic))
}

/// Ends the process because `who` panicked: one that went on without it would be half alive.
pub fn die(who: &str, panic: &(dyn Any + Send)) -> ! {
    let what = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    eprintln!("{who} panicked ({what}): the process stops and recovers from disk at its next start");
    std::process::exit(EXIT_SOFTWARE);
}

/// The numbers of the cores that this process may run on.
fn usable_cores() -> io::Result<Vec<usize>> {
    // SAFETY: cpu_set_t is plain bits, for which zero is a value; the call writes no more than its size.
    let (result, set) = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        (libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set), set)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every index below CPU_SETSIZE lies inside the set.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect())
}
