//! Disk comes back from a segment of which little is needed, and what is needed stays. Proven by reading the files.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use futures::StreamExt;

use super::*;
use crate::queue::row::Content;

/// Octets of each content: it begins and ends within blocks that its neighbours use as well.
const CONTENT_BYTES: usize = 10 << 10;
/// Enough to fill the first segment.
const MESSAGES: usize = 1800;
/// Each so many messages one stays.
const ONE_STAYS_OF: usize = 300;

/// Contents that differ from each other in every line.
fn numbered(number: usize) -> Vec<u8> {
    let mut content = b"Subject: one of many\r\n\r\n".to_vec();
    while content.len() < CONTENT_BYTES {
        content.extend(format!("{MARKER} {number}\r\n").bytes());
    }
    content
}

fn first_segment(directory: &Path) -> PathBuf {
    directory.join("shard-00/journal/00000000.log")
}

fn allocated_bytes(path: &Path) -> u64 {
    path.metadata().expect("a segment").blocks() * 512
}

/// Whether the message of that number stays.
fn stays(number: usize) -> bool {
    number % ONE_STAYS_OF == ONE_STAYS_OF / 2
}

/// Fills the first segment and a part of the second, and then delivers what need not stay.
async fn fill(reactor: &Reactor, queue: &Queue) {
    futures::stream::iter(0..MESSAGES)
        .for_each_concurrent(100, |number| async move {
            let to = if stays(number) { "x@stays.test" } else { "x@goes.test" };
            let one = Message { content: numbered(number), ..message(reactor, queue, "a@sender.test", &[to]) };
            queue.accept(one, "<1@test>").await.expect("it is accepted");
        })
        .await;
    checkpoint(queue).await;
    for _ in (0..MESSAGES).filter(|number| !stays(*number)) {
        settle(queue, &lease_at(queue, "goes.test").await, &delivered()).await;
    }
    checkpoint(queue).await;
}

/// Reads every content that stays back from the disk.
async fn all_that_stays_is_intact(reactor: &Reactor, queue: &Queue) {
    let mut leases = lease_all(reactor, queue).await;
    leases.sort_unstable_by_key(|lease| lease.message);
    assert_eq!(leases.len(), MESSAGES / ONE_STAYS_OF);
    for (turn, lease) in leases.iter().enumerate() {
        let content = queue.content(lease).await.expect("its content");
        assert!(*content == numbered(turn * ONE_STAYS_OF + ONE_STAYS_OF / 2), "message {turn} of those that stay");
        settle(queue, lease, &Outcome::Untried(0)).await;
    }
}

/// What the contents that stay may occupy of the first segment.
const KEPT_BYTES_MAX: u64 = (MESSAGES / ONE_STAYS_OF * (CONTENT_BYTES + (8 << 10)) + (4 << 10)) as u64;

async fn until_trimmed(reactor: &Reactor, queue: &Queue, segment: &Path) {
    until(reactor, queue, "the segment trimmed", || allocated_bytes(segment) <= KEPT_BYTES_MAX).await;
}

#[test]
fn what_is_needed_among_hundreds_that_are_not_survives_trimming_and_a_crash_at_each_step() {
    let mut world = World::new();
    world.config.limits.content_memory_bytes_max = 0;
    let segment = first_segment(world.directory.path());
    // A crash before the segment is trimmed: a while has to pass.
    let before = segment.clone();
    world.run(move |reactor, queue| async move {
        fill(&reactor, &queue).await;
        assert!(allocated_bytes(&before) > KEPT_BYTES_MAX, "it is trimmed a little later");
    });
    // A crash after it was trimmed, and before the index says so.
    let trimmed = segment.clone();
    world.run(move |reactor, queue| async move {
        all_that_stays_is_intact(&reactor, &queue).await;
        until_trimmed(&reactor, &queue, &trimmed).await;
        assert!(queue.core.state.borrow().segments.is_dirty(), "the index does not know");
    });
    // As if the crash had undone a part of it: it is trimmed again, and the index says so.
    let file = std::fs::File::options().write(true).open(&segment).expect("a segment");
    file.write_all_at(&vec![0xAA; 1 << 20], 64 << 10).expect("no content that stays is there");
    assert!(allocated_bytes(&segment) > KEPT_BYTES_MAX);
    let again = segment.clone();
    world.run(move |reactor, queue| async move {
        all_that_stays_is_intact(&reactor, &queue).await;
        until_trimmed(&reactor, &queue, &again).await;
        all_that_stays_is_intact(&reactor, &queue).await;
        queue.close().await.expect("it closes");
    });
    // The last content goes, and the segment with it.
    world.run(move |reactor, queue| async move {
        all_that_stays_is_intact(&reactor, &queue).await;
        for lease in lease_all(&reactor, &queue).await {
            settle(&queue, &lease, &delivered()).await;
        }
        until(&reactor, &queue, "the segment deleted", || !segment.exists()).await;
    });
}

#[test]
fn trimming_leaves_what_retention_keeps() {
    let world = World::new();
    let segment = first_segment(world.directory.path());
    let mut keeping = world.config.clone();
    keeping.retention.content = DAY;
    world.run(move |reactor, queue| async move {
        fill(&reactor, &queue).await;
        queue.configure(Arc::new(keeping));
        let leases = lease_all(&reactor, &queue).await;
        let mut kept: Vec<MessageId> = leases.iter().map(|lease| lease.message).collect();
        for lease in &leases {
            settle(&queue, lease, &delivered()).await;
        }
        until_trimmed(&reactor, &queue, &segment).await;
        kept.sort_unstable();
        for (turn, id) in kept.into_iter().enumerate() {
            let row = queue.core.state.borrow().rows.done(id).expect("the index").expect("it is kept");
            let Content::Kept(extent) = row.content else { panic!("{id} has no content") };
            let content = queue.core.journal.read(extent.position, extent.skip, extent.len).await.expect("bytes");
            assert!(content == numbered(turn * ONE_STAYS_OF + ONE_STAYS_OF / 2), "message {turn} of those kept");
        }
    });
}
