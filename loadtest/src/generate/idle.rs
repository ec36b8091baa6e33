//! Connections that are opened and then say nothing.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ringpost::smtp::client::Result;

use super::connection::Open;
use super::thread::Thread;

/// Connections of a thread that are being opened at a time: a crowd at the door is another experiment.
const OPENING_MAX: usize = 32;
/// How often the end is looked for.
const POLL: Duration = Duration::from_millis(50);

/// Opens the thread's connections, keeps them for `time` after the last one, and says QUIT on each.
pub(super) async fn hold(thread: &Rc<Thread>, numbers: Vec<u32>, time: Duration) {
    let share = numbers.len().div_ceil(OPENING_MAX).max(1);
    let openers: Vec<_> =
        numbers.chunks(share).map(|share| thread.reactor.spawn(open(thread.clone(), share.to_vec()))).collect();
    let mut connections = Vec::new();
    for opener in openers {
        connections.extend(opener.await);
    }
    let began = thread.reactor.now();
    while !thread.plan.stop.load(Ordering::Relaxed) && thread.reactor.now().since(began) < time {
        thread.reactor.sleep(POLL).await;
    }
    for connection in connections {
        connection.close(thread).await;
    }
}

async fn open(thread: Rc<Thread>, numbers: Vec<u32>) -> Vec<Open> {
    let mut connections = Vec::new();
    for number in numbers {
        if thread.plan.stop.load(Ordering::Relaxed) {
            break;
        }
        match Open::new(&thread, number).await {
            Ok(connection) => connections.push(connection),
            Err(not_open) => {
                let results: Vec<Result> = not_open.results(1);
                thread.tally.borrow_mut().count(&results);
                thread.plan.progress.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    connections
}
