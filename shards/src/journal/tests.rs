//! The journal on real files.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use futures::future::join_all;

use super::*;
use crate::buffer::Buffer;
use crate::launch;
use crate::small_disk::SmallDisk;

const OPTIONS: Options =
    Options { segment_bytes: 256 * 1024, reserve_bytes: 32 * 1024, pending_bytes_max: 1024 * 1024 };

/// Runs `body` on a real reactor.
fn run<F, T>(path: PathBuf, body: impl FnOnce(Reactor, PathBuf) -> F) -> T
where
    F: Future<Output = T> + 'static,
    T: 'static,
{
    launch::run(|reactor| body(reactor, path)).expect("an executor")
}

/// A journal in a folder of its own, for the length of a test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a folder for the test"))
    }

    fn segment(&self, number: u32) -> PathBuf {
        self.0.path().join(segment_name(number))
    }

    fn run<F, T>(&self, body: impl FnOnce(Reactor, PathBuf) -> F) -> T
    where
        F: Future<Output = T> + 'static,
        T: 'static,
    {
        run(self.0.path().to_path_buf(), body)
    }

    /// Opens the journal and gives every frame from `from` on.
    fn replay(&self, from: Position) -> Result<Vec<(Position, Vec<u8>)>, Error> {
        self.run(async move |reactor, path| Ok(open(&reactor, &path, from).await?.1))
    }
}

async fn open(reactor: &Reactor, path: &Path, from: Position) -> Result<(Journal, Vec<(Position, Vec<u8>)>), Error> {
    let mut frames = Vec::new();
    let mut replay = |position, payload: &[u8]| frames.push((position, payload.to_vec()));
    let journal = Journal::open(reactor, path, OPTIONS, from, &mut replay).await?;
    Ok((journal, frames))
}

/// Appends one frame, waits until it is durable and gives its place.
async fn write(journal: &Journal, payload: &[u8]) -> Position {
    journal.room(payload.len(), Class::Ordinary).await.expect("room");
    let (position, commit) = journal.append(&[payload], Class::Ordinary).expect("room for a frame");
    commit.durable().await.expect("a flush");
    position
}

fn change_byte(path: &Path, offset: u64) {
    let mut file = fs::File::options().read(true).write(true).open(path).expect("a segment");
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut byte)).expect("a byte");
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(&[byte[0] ^ 0x40])).expect("a changed byte");
}

#[test]
fn frames_come_back_in_order_after_a_restart() {
    let folder = Folder::new();
    let written = folder.run(async |reactor, path| {
        let (journal, frames) = open(&reactor, &path, Position::default()).await.expect("a new journal");
        assert_eq!((frames.len(), journal.tail(), journal.segments()), (0, Position::default(), vec![0]));
        let first = write(&journal, b"first").await;
        let (second, commit) = journal.append(&[b"sec", b"", b"ond"], Class::Urgent).expect("room for a frame");
        commit.durable().await.expect("a flush");
        assert_eq!(journal.read(second, 3, 2).await.expect("bytes"), b"on");
        vec![(first, b"first".to_vec()), (second, b"second".to_vec()), (write(&journal, b"").await, Vec::new())]
    });
    assert_eq!(folder.replay(Position::default()).expect("whole frames"), written);
    assert_eq!(folder.replay(written[1].0).expect("whole frames"), written[1..]);
}

#[test]
fn a_reopened_journal_goes_on_after_the_last_frame() {
    let folder = Folder::new();
    for round in 0..5_u8 {
        let frames = folder.run(async move |reactor, path| {
            let (journal, frames) = open(&reactor, &path, Position::default()).await.expect("a journal");
            write(&journal, &[round; 100]).await;
            frames
        });
        let expected: Vec<_> = (0..round).map(|earlier| vec![earlier; 100]).collect();
        assert_eq!(frames.into_iter().map(|(_, payload)| payload).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn frames_appended_together_share_a_flush() {
    let statistics = Folder::new().run(async |reactor, path| {
        let (journal, _) = open(&reactor, &path, Position::default()).await.expect("a new journal");
        let commits = (0..500).map(|n: u32| journal.append(&[&n.to_le_bytes()], Class::Ordinary).expect("room").1);
        let outcomes = join_all(commits.map(Commit::durable)).await;
        assert!(outcomes.iter().all(Result::is_ok));
        journal.statistics()
    });
    assert_eq!((statistics.frames, statistics.pending_bytes), (500, 0));
    assert!(statistics.flushes <= 2, "{} flushes", statistics.flushes);
}

#[test]
fn a_frame_is_readable_before_it_is_durable() {
    Folder::new().run(async |reactor, path| {
        let (journal, _) = open(&reactor, &path, Position::default()).await.expect("a new journal");
        let (first, _) = journal.append(&[b"first"], Class::Ordinary).expect("room for a frame");
        let (second, _) = journal.append(&[b"second"], Class::Ordinary).expect("room for a frame");
        assert_eq!(journal.read(second, 0, 6).await.expect("bytes"), b"second");
        assert_eq!(journal.read(first, 1, 4).await.expect("bytes"), b"irst");
        journal.durable_until(journal.tail()).await.expect("a flush");
        assert_eq!(journal.statistics().pending_bytes, 0);
    });
}

#[test]
fn a_torn_last_frame_is_dropped_wherever_it_is_torn() {
    let folder = Folder::new();
    let (kept, torn, end) = folder.run(async |reactor, path| {
        let (journal, _) = open(&reactor, &path, Position::default()).await.expect("a new journal");
        let kept = write(&journal, b"kept").await;
        let torn = write(&journal, &[0xAA; 100]).await;
        (kept, torn, journal.tail())
    });
    let whole = fs::read(folder.segment(0)).expect("a segment");
    for cut in torn.offset..end.offset {
        // What was not written is what the file held before: zeros, or nothing where the file itself is shorter.
        let mut zeroed = whole.clone();
        zeroed[cut as usize..].fill(0);
        for image in [&zeroed[..], &whole[..cut as usize]] {
            fs::write(folder.segment(0), image).expect("a torn segment");
            let padding =
                image.len() == whole.len() && whole[cut as usize..end.offset as usize].iter().all(|b| *b == 0);
            let frames = folder.replay(Position::default()).expect("a torn tail is no damage");
            assert_eq!(frames.len(), if padding { 2 } else { 1 }, "cut at {cut}");
            assert_eq!(frames[0], (kept, b"kept".to_vec()));
        }
    }
}

#[test]
fn what_follows_a_torn_frame_never_comes_back() {
    let folder = Folder::new();
    let (torn, tail) = folder.run(async |reactor, path| {
        let (journal, _) = open(&reactor, &path, Position::default()).await.expect("a new journal");
        let (torn, _) = journal.append(&[&[1; 100]], Class::Ordinary).expect("room for a frame");
        let (_, commit) = journal.append(&[&[2; 100]], Class::Ordinary).expect("room for a frame");
        commit.durable().await.expect("a flush");
        (torn, journal.tail())
    });
    change_byte(&folder.segment(0), u64::from(torn.offset) + 30);
    // A new frame of the same length ends where the stale one, whole and of the same batch, would begin.
    folder.run(async |reactor, path| {
        let (journal, frames) = open(&reactor, &path, Position::default()).await.expect("a torn tail is no damage");
        assert!(frames.is_empty());
        write(&journal, &[3; 100]).await;
    });
    let frames = folder.replay(Position::default()).expect("whole frames");
    assert_eq!(frames, vec![(torn, vec![3; 100])]);
    let bytes = fs::read(folder.segment(0)).expect("a segment");
    assert!(bytes[frames[0].1.len() + 32..tail.offset as usize].iter().all(|byte| *byte == 0));
}

#[test]
fn damage_before_a_later_batch_is_an_error() {
    let folder = Folder::new();
    let (first, last) = folder.run(async |reactor, path| {
        let (journal, _) = open(&reactor, &path, Position::default()).await.expect("a new journal");
        write(&journal, &[7; 100]).await;
        let first = write(&journal, &[1; 100]).await;
        (first, write(&journal, &[2; 100]).await)
    });
    let whole = fs::read(folder.segment(0)).expect("a segment");
    for offset in first.offset..first.offset + 24 + 100 {
        change_byte(&folder.segment(0), u64::from(offset));
        let error = folder.replay(Position::default()).expect_err("damage");
        assert!(matches!(error, Error::Damaged { segment: 0, offset: 128 }), "{offset}: {error}");
        fs::write(folder.segment(0), &whole).expect("the undamaged segment");
    }
    change_byte(&folder.segment(0), u64::from(last.offset) + 50);
    assert_eq!(folder.replay(Position::default()).expect("the last batch may be torn").len(), 2);
}

#[test]
fn a_batch_begins_at_a_block_and_a_hole_before_it_is_damage() {
    let folder = Folder::new();
    let lost = folder.run(async |reactor, path| {
        let (journal, _) = open(&reactor, &path, Position::default()).await.expect("a new journal");
        let (_, first) = journal.append(&[b"one"], Class::Ordinary).expect("there is room");
        let (lost, second) = journal.append(&[b"of the same batch"], Class::Ordinary).expect("there is room");
        first.durable().await.expect("flushed");
        second.durable().await.expect("flushed");
        let next = write(&journal, b"two").await;
        assert_eq!((next.offset as usize, lost.offset), (BLOCK_BYTES, 32), "no block is written twice");
        lost
    });
    assert_eq!(folder.replay(lost).expect("whole frames").len(), 2, "replay passes over the padding");
    let mut bytes = fs::read(folder.segment(0)).expect("a segment");
    bytes[lost.offset as usize..BLOCK_BYTES].fill(0);
    fs::write(folder.segment(0), &bytes).expect("a block that lost its end");
    let error = folder.replay(Position::default()).expect_err("a durable frame is missing");
    assert!(matches!(error, Error::Damaged { segment: 0, offset } if offset == lost.offset), "{error}");
}

#[test]
fn a_payload_that_looks_like_a_frame_is_not_taken_for_one() {
    let folder = Folder::new();
    let mut forged = Buffer::default();
    frame::encode(&mut forged, 0x1234_5678, 0, 4096, &[b"forged"]);
    let torn = folder.run(async move |reactor, path| {
        let (journal, _) = open(&reactor, &path, Position::default()).await.expect("a new journal");
        write(&journal, b"kept").await;
        write(&journal, &forged.repeat(200)).await
    });
    change_byte(&folder.segment(0), u64::from(torn.offset));
    assert_eq!(folder.replay(Position::default()).expect("a torn tail is no damage").len(), 1);
}

/// Fills several segments with frames of 30,000 bytes and gives their places.
fn fill_segments(folder: &Folder) -> Vec<Position> {
    folder.run(async |reactor, path| {
        let (journal, _) = open(&reactor, &path, Position::default()).await.expect("a new journal");
        let mut positions = Vec::new();
        for n in 0..30_u8 {
            positions.push(write(&journal, &[n; 30_000]).await);
        }
        assert_eq!(journal.segments(), vec![0, 1, 2, 3]);
        positions
    })
}

#[test]
fn a_full_segment_is_followed_by_the_next() {
    let folder = Folder::new();
    let positions = fill_segments(&folder);
    assert!(positions.is_sorted() && positions.iter().all(|position| position.offset < OPTIONS.segment_bytes));
    let frames = folder.replay(Position::default()).expect("whole frames");
    let expected: Vec<_> = positions.iter().copied().zip((0..30_u8).map(|n| vec![n; 30_000])).collect();
    assert_eq!(frames, expected);
    assert_eq!(folder.replay(positions[20]).expect("whole frames"), expected[20..]);
}

#[test]
fn damage_in_an_earlier_segment_is_an_error() {
    let folder = Folder::new();
    let positions = fill_segments(&folder);
    let mut backwards = positions.iter().rev().filter(|position| position.segment == 1);
    let (last, before) = (backwards.next().expect("a frame"), backwards.next().expect("one before it"));
    change_byte(&folder.segment(1), u64::from(last.offset) + 1000);
    let error = folder.replay(Position::default()).expect_err("damage");
    let whole_until = before.offset + frame::frame_bytes(30_000).expect("it is short");
    assert!(matches!(error, Error::Damaged { segment: 1, offset } if offset == whole_until), "{error}");
    assert!(folder.replay(Position { segment: 2, offset: 0 }).is_ok());
}

#[test]
fn a_segment_that_is_missing_is_damage() {
    let folder = Folder::new();
    let positions = fill_segments(&folder);
    fs::remove_file(folder.segment(2)).expect("a segment");
    let error = folder.replay(Position::default()).expect_err("damage");
    assert!(matches!(error, Error::Damaged { segment: 2, offset: 0 }), "{error}");
    let from = *positions.iter().find(|position| position.segment == 2).expect("a frame in segment 2");
    assert!(matches!(folder.replay(from), Err(Error::Damaged { segment: 2, .. })));
}

#[test]
fn old_segments_are_removed_and_newer_ones_stay_readable() {
    let folder = Folder::new();
    let positions = fill_segments(&folder);
    folder.run(async move |reactor, path| {
        let (journal, _) = open(&reactor, &path, positions[29]).await.expect("a journal");
        journal.remove(0).await.expect("a removed segment");
        journal.remove(1).await.expect("a removed segment");
        assert_eq!(journal.segments(), vec![2, 3]);
        for (n, position) in positions.iter().enumerate().filter(|(_, position)| position.segment >= 2) {
            assert_eq!(journal.read(*position, 29_999, 1).await.expect("a byte"), [n as u8]);
        }
        assert!(matches!(journal.read(positions[0], 0, 1).await, Err(Error::Io(_))));
    });
    assert!(!folder.segment(0).exists() && !folder.segment(1).exists());
}

#[test]
fn an_oversized_frame_gets_a_segment_of_its_own_size() {
    let folder = Folder::new();
    let large = vec![0x5A; 3 * OPTIONS.segment_bytes as usize];
    let payload = large.clone();
    let place = folder.run(async move |reactor, path| {
        let (journal, _) = open(&reactor, &path, Position::default()).await.expect("a new journal");
        write(&journal, b"before").await;
        assert!(journal.append(&[&payload], Class::Ordinary).is_err(), "no segment for it is ready yet");
        let place = write(&journal, &payload).await;
        assert_eq!(journal.read(place, payload.len() as u32 - 1, 1).await.expect("a byte"), [0x5A]);
        write(&journal, &[1; 200_000]).await;
        place
    });
    assert_eq!(place, Position { segment: 1, offset: 0 });
    let frames = folder.replay(Position::default()).expect("whole frames");
    assert_eq!(frames.iter().map(|(_, payload)| payload.len()).collect::<Vec<_>>(), [6, large.len(), 200_000]);
    assert_eq!(frames[1], (place, large));
    assert!(fs::metadata(folder.segment(1)).expect("its file").len() < 4 * u64::from(OPTIONS.segment_bytes));
}

#[test]
fn erased_means_gone_from_the_disk() {
    let folder = Folder::new();
    let positions = fill_segments(&folder);
    let blocks_before = fs::metadata(folder.segment(1)).expect("a segment").blocks();
    folder.run(async move |reactor, path| {
        let (journal, _) = open(&reactor, &path, positions[29]).await.expect("a journal");
        let extents = positions.iter().filter(|position| position.segment == 1);
        let extents = extents.map(|position| Extent { position: *position, skip: 10, len: 29_000 }).collect();
        journal.erase(extents).await.expect("erased extents");
        let frame = journal.read(positions[29], 0, 30_000).await.expect("bytes");
        assert!(frame.iter().all(|byte| *byte == 29));
    });
    let bytes = fs::read(folder.segment(1)).expect("a segment");
    let blocks = fs::metadata(folder.segment(1)).expect("a segment").blocks();
    assert_eq!(bytes.len(), OPTIONS.segment_bytes as usize);
    let longest = bytes.chunk_by(|a, b| a == b && *a != 0).map(<[u8]>::len).max();
    assert_eq!(longest, Some(990), "only what was not erased is left");
    // Of each of the 8 frames the first block and the last are left, of 512-byte units 8 each.
    assert!(blocks <= 8 * 2 * 8 + 8 && blocks < blocks_before / 3, "{blocks_before} blocks became {blocks}");
}

#[test]
fn only_what_is_to_be_kept_stays_on_disk() {
    let folder = Folder::new();
    let positions = fill_segments(&folder);
    let of_one: Vec<Position> = positions.iter().copied().filter(|position| position.segment == 1).collect();
    let extent = |position, skip, len| Extent { position, skip, len };
    // Out of order, two of one frame, and the first frame not among them.
    let kept = [extent(of_one[5], 20_000, 100), extent(of_one[2], 9_000, 200), extent(of_one[2], 50, 300)];
    for round in ["at first", "once more"] {
        let byte_of = positions.clone();
        folder.run(async move |reactor, path| {
            let (journal, frames) = open(&reactor, &path, byte_of[29]).await.expect("a journal");
            assert_eq!(frames.len(), 1, "{round}: replay is as before");
            journal.keep_only(1, kept.to_vec()).await.expect("a trimmed segment");
            for Extent { position, skip, len } in kept {
                let number = byte_of.iter().position(|other| *other == position).expect("it was written") as u8;
                let bytes = journal.read(position, skip, len).await.expect("bytes");
                assert!(
                    bytes.len() == len as usize && bytes.iter().all(|byte| *byte == number),
                    "{round}: {position:?}"
                );
            }
        });
        let bytes = fs::read(folder.segment(1)).expect("a segment");
        assert_eq!(bytes.len(), OPTIONS.segment_bytes as usize);
        let left = bytes[frame::HEADER_BYTES as usize..].iter().filter(|byte| **byte != 0).count();
        assert_eq!(left, 600, "{round}: what was to be kept and nothing else");
        let blocks = fs::metadata(folder.segment(1)).expect("a segment").blocks();
        assert!(blocks <= 7 * 8, "{round}: {blocks} units of 512 bytes");
    }
    assert_eq!(folder.replay(positions[29]).expect("a journal").len(), 1);
}

#[test]
fn a_full_disk_refuses_ordinary_frames_first_and_recovers() {
    const MIB: usize = 1024 * 1024;
    let options = Options { segment_bytes: 4 * MIB as u32, reserve_bytes: MIB as u32, pending_bytes_max: 4 * MIB };
    let disk = SmallDisk::new(26);
    let open = async |reactor: &Reactor, path: &Path, options: Options, frames: &mut Vec<usize>| {
        let mut replay = |_, payload: &[u8]| frames.push(payload.len());
        Journal::open(reactor, path, options, Position::default(), &mut replay).await.expect("a journal")
    };
    let reopened = options.clone();
    let durable = run(disk.path(), async move |reactor, path| {
        let journal = open(&reactor, &path, options, &mut Vec::new()).await;
        // With its header it fills its blocks.
        let payload = vec![1; 64 * 1024 - 24];
        let write_while_there_is_room = async |class: Class| {
            let mut durable = 0;
            while journal.room(payload.len(), class).await.is_ok() {
                let (_, commit) = journal.append(&[&payload], class).expect("room was promised");
                commit.durable().await.expect("a full disk fails no flush");
                durable += 1;
            }
            durable
        };
        let mut durable = write_while_there_is_room(Class::Ordinary).await;
        assert!(journal.append(&[&payload], Class::Ordinary).is_err() && !journal.has_room_for(payload.len()));
        assert!(journal.statistics().full && !journal.statistics().failed);
        assert!(journal.room(8 * MIB, Class::Ordinary).await.is_err(), "nor a segment for an oversized frame");
        let segments = journal.segments().len();
        assert_eq!(segments, 6, "6 segments of 4 MiB fit");
        assert!(!path.join(segment_name(6)).exists(), "no part of a seventh is left");

        durable += write_while_there_is_room(Class::Urgent).await;
        assert!(durable * 64 * 1024 > 23 * MIB, "the reserve was used");
        assert!(journal.append(&[&payload], Class::Urgent).is_err());

        journal.remove(0).await.expect("a removed segment");
        while !journal.has_room_for(payload.len()) {
            reactor.sleep(std::time::Duration::from_millis(50)).await;
        }
        durable += write_while_there_is_room(Class::Ordinary).await;
        assert!(!journal.statistics().failed);
        durable
    });
    let removed = 4 * MIB / (64 * 1024);
    let frames = run(disk.path(), async move |reactor, path| {
        let mut frames = Vec::new();
        open(&reactor, &path, reopened, &mut frames).await;
        frames
    });
    assert_eq!(frames.len(), durable - removed);
}

#[test]
fn room_waits_while_too_much_is_pending() {
    Folder::new().run(async |reactor, path| {
        let options = Options { pending_bytes_max: 10_000, ..OPTIONS };
        let journal =
            Journal::open(&reactor, &path, options, Position::default(), &mut |_, _| {}).await.expect("a journal");
        let (_, commit) = journal.append(&[&[1; 20_000]], Class::Ordinary).expect("room for a frame");
        let mut room = Box::pin(journal.room(1, Class::Ordinary));
        assert!(futures::poll!(&mut room).is_pending());
        commit.durable().await.expect("a flush");
        room.await.expect("room");
    });
}

#[test]
fn a_failed_flush_is_the_end() {
    let folder = Folder::new();
    folder.run(async |reactor, path| {
        let (journal, _) = open(&reactor, &path, Position::default()).await.expect("a new journal");
        let kept = write(&journal, b"kept").await;
        // A file that is open for reading only refuses the write, as a broken disk would.
        let broken = fs::File::open(path.join(segment_name(0))).expect("a segment");
        journal.0.shared.with(|state| state.replace_file(File::real(&reactor, broken)));
        let (lost, commit) = journal.append(&[b"lost"], Class::Ordinary).expect("room for a frame");
        let (_, later) = journal.append(&[b"later"], Class::Ordinary).expect("room for a frame");
        assert!(matches!(commit.durable().await, Err(Error::Io(_))));
        assert!(matches!(later.durable().await, Err(Error::Io(_))));
        assert!(journal.append(&[b"never"], Class::Urgent).is_err() && !journal.has_room_for(1));
        assert!(journal.room(1, Class::Urgent).await.is_err());
        assert!(journal.durable_until(journal.tail()).await.is_err() && journal.read(lost, 0, 1).await.is_err());
        assert!(journal.read(kept, 0, 1).await.is_err() && journal.statistics().failed);
    });
    assert_eq!(folder.replay(Position::default()).expect("whole frames").len(), 1);
}
