//! The journal's two tasks: one flushes batches, one keeps a spare segment ready.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::future::select;

use super::state::{Order, Spare};
use super::{Shared, segment_name};
use crate::file::{Directory, File};
use crate::{Instant, Reactor};

/// Pause before a segment that the disk had no room for is tried again.
const PREPARATION_RETRY: Duration = Duration::from_secs(1);

/// From the beginning of one flush of a crowd to the next, where more is on its way.
const CROWD_PACE: Duration = Duration::from_millis(6);

/// Flushes batch after batch, for ever; ends when a flush fails.
pub(super) async fn write(shared: Rc<Shared>) {
    loop {
        let runs = poll_fn(|context| shared.with(|state| state.poll_batch(context.waker()))).await;
        let begun = shared.reactor.now();
        for mut run in runs {
            let (bytes, written) = run.file.write_synced(u64::from(run.offset), mem::take(&mut run.bytes)).await;
            run.bytes = bytes;
            if let Err(error) = written {
                return shared.with(|state| state.fail(&error));
            }
            shared.with(|state| state.run_is_flushed(run));
        }
        if shared.with(|state| state.batch_is_flushed()) {
            gather(&shared, begun + CROWD_PACE).await;
        }
    }
}

/// Waits until what is expected has come, but no longer than `until`. Those who make up a crowd wait for one another
/// anyhow, and a flush that is shared by more of them costs each less.
async fn gather(shared: &Shared, until: Instant) {
    let patience = until.since(shared.reactor.now());
    if !patience.is_zero() {
        let all_here = poll_fn(|context| shared.with(|state| state.poll_all_here(context.waker())));
        select(pin!(all_here), pin!(shared.reactor.sleep(patience))).await;
    }
}

/// Keeps one spare segment ready, for ever. A spare that cannot be made, for whatever reason, is a full disk to those
/// who append: nothing is lost, and it is tried again.
pub(super) async fn prepare(shared: Rc<Shared>) {
    loop {
        let mut order = poll_fn(|context| shared.with(|state| state.poll_order(context.waker()))).await;
        match make(&shared, &mut order).await {
            Ok(file) => {
                let salt = new_salt(&shared.reactor);
                shared.with(|state| state.spare_is_ready(Spare { file, salt, bytes: order.bytes }));
            }
            Err(_) => {
                shared.with(|state| state.spare_is_refused(order.bytes));
                // An ordinary spare may still fit where an oversized one did not.
                if !shared.with(|state| state.is_oversized(order.bytes)) {
                    shared.reactor.sleep(PREPARATION_RETRY).await;
                }
            }
        }
    }
}

async fn make(shared: &Shared, order: &mut Order) -> io::Result<File> {
    if order.replaced.take().is_some() {
        shared.directory.remove(&segment_name(order.number)).await?;
    }
    new_segment(&shared.directory, order.number, order.bytes).await
}

/// Makes a segment's file: zero-filled, flushed, its name durable. After an error no such file is left.
pub(super) async fn new_segment(directory: &Directory, number: u32, bytes: u32) -> io::Result<File> {
    let name = segment_name(number);
    let file = directory.create(&name, u64::from(bytes)).await?;
    if let Err(error) = directory.sync().await {
        drop(file);
        directory.remove(&name).await?;
        return Err(error);
    }
    Ok(file)
}

/// What keeps a payload from passing for a frame of a new segment.
pub(super) fn new_salt(reactor: &Reactor) -> u32 {
    reactor.random() as u32
}
