//! The index on LMDB, on real files.

use std::path::PathBuf;

use super::*;
use crate::launch;
use crate::small_disk::SmallDisk;

const TABLES: &[&str] = &["rows", "facts"];
const ROWS: Table = Table(0);
const FACTS: Table = Table(1);

fn run<F, T>(directory: PathBuf, body: impl FnOnce(Reactor, PathBuf) -> F) -> T
where
    F: Future<Output = T> + 'static,
    T: 'static,
{
    launch::run(|reactor| body(reactor, directory)).expect("an executor")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

fn put(table: Table, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> (Table, Vec<u8>, Option<Vec<u8>>) {
    (table, key.as_ref().to_vec(), Some(value.as_ref().to_vec()))
}

fn delete(table: Table, key: impl AsRef<[u8]>) -> (Table, Vec<u8>, Option<Vec<u8>>) {
    (table, key.as_ref().to_vec(), None)
}

/// The entries of a table from `from` on, at most `max`.
fn entries(index: &Index, table: Table, from: &[u8], max: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        entries.push((key.to_vec(), value.to_vec()));
        entries.len() < max
    };
    index.scan(table, from, &mut visit).expect("a scan");
    entries
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let folder = folder();
    run(folder.path().join("a/b"), async |reactor, path| {
        let index = Index::open(&reactor, &path, TABLES).await.expect("a new index");
        let changes = vec![put(ROWS, "b", "2"), put(FACTS, "b", "other"), put(ROWS, "a", ""), put(ROWS, "c", "3")];
        index.commit(Batch { changes }).await.expect("a commit");
        let changes = vec![put(ROWS, "c", "4"), delete(ROWS, "b"), delete(ROWS, "none"), put(ROWS, "d", "5")];
        index.commit(Batch { changes }).await.expect("a commit");
        assert_eq!(index.get(ROWS, b"c").expect("a read"), Some(b"4".to_vec()));
    });
    run(folder.path().join("a/b"), async |reactor, path| {
        let index = Index::open(&reactor, &path, TABLES).await.expect("the index");
        assert_eq!(index.get(ROWS, b"b").expect("a read"), None);
        assert_eq!(index.get(FACTS, b"b").expect("a read"), Some(b"other".to_vec()));
        assert_eq!((index.len(ROWS).expect("a read"), index.len(FACTS).expect("a read")), (3, 1));
        let keys =
            |from: &[u8], max| entries(&index, ROWS, from, max).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys(b"", 9), [b"a", b"c", b"d"]);
        assert_eq!(keys(b"b", 9), [b"c", b"d"]);
        assert_eq!(keys(b"b", 1), [b"c"]);
        assert!(keys(b"e", 9).is_empty());
    });
}

#[test]
fn a_later_change_of_a_key_wins() {
    run(folder().path().to_path_buf(), async |reactor, path| {
        let index = Index::open(&reactor, &path, TABLES).await.expect("a new index");
        let changes =
            vec![put(ROWS, "k", "1"), delete(ROWS, "k"), put(ROWS, "k", "2"), put(ROWS, "l", "3"), delete(ROWS, "l")];
        index.commit(Batch { changes }).await.expect("a commit");
        assert_eq!(entries(&index, ROWS, b"", 9), [(b"k".to_vec(), b"2".to_vec())]);
    });
}

#[test]
fn a_commit_that_fails_changes_nothing() {
    run(folder().path().to_path_buf(), async |reactor, path| {
        let index = Index::open(&reactor, &path, TABLES).await.expect("a new index");
        index.commit(Batch { changes: vec![put(ROWS, "k", "1")] }).await.expect("a commit");
        let changes = vec![put(FACTS, "f", "1"), put(ROWS, "k", "2"), put(ROWS, [b'x'; 512], "too long a key")];
        let error = index.commit(Batch { changes }).await.expect_err("a key of 512 bytes");
        assert!(matches!(error, Error::Broken(_)), "{error}");
        assert_eq!(index.get(ROWS, b"k").expect("a read"), Some(b"1".to_vec()));
        assert_eq!(index.len(FACTS).expect("a read"), 0);
        index.commit(Batch { changes: vec![put(ROWS, "k", "3")] }).await.expect("a commit");
    });
}

#[test]
fn a_large_batch_is_one_commit_and_the_map_grows_for_it() {
    run(folder().path().to_path_buf(), async |reactor, path| {
        let store = lmdb::Store::open(&reactor, &path, TABLES, 1 << 20).await.expect("a new index");
        let index = Index::new(&reactor, Store::Lmdb(store));
        let row = |n: u64| put(ROWS, n.to_be_bytes(), [n as u8; 40]);
        // Every second row in the order of its key, the others backwards.
        let changes = (0..50_000).map(|n| 2 * n).chain((0..50_000).rev().map(|n| 2 * n + 1)).map(row).collect();
        index.commit(Batch { changes }).await.expect("a commit");
        assert_eq!(index.len(ROWS).expect("a read"), 100_000);
        let mut next = 0_u64;
        let mut visit = |key: &[u8], value: &[u8]| {
            assert_eq!((key, value), (&next.to_be_bytes()[..], &[next as u8; 40][..]));
            next += 1;
            true
        };
        index.scan(ROWS, b"", &mut visit).expect("a scan");
        assert_eq!(next, 100_000);
        let changes = (0..100_000_u64).map(|n| delete(ROWS, n.to_be_bytes())).collect();
        index.commit(Batch { changes }).await.expect("a commit");
        assert_eq!(index.len(ROWS).expect("a read"), 0);
    });
}

#[test]
fn commits_wait_for_each_other_and_end_without_their_caller() {
    run(folder().path().to_path_buf(), async |reactor, path| {
        let index = Index::open(&reactor, &path, TABLES).await.expect("a new index");
        let mut abandoned =
            Box::pin(index.commit(Batch { changes: vec![put(ROWS, "k", "abandoned"), put(FACTS, "k", "")] }));
        assert!(futures::poll!(&mut abandoned).is_pending());
        drop(abandoned);
        let commits = (0..20).map(|n: u8| index.commit(Batch { changes: vec![put(ROWS, "k", [n])] }));
        assert!(futures::future::join_all(commits).await.iter().all(Result::is_ok));
        assert_eq!(index.get(ROWS, b"k").expect("a read"), Some(vec![19]));
        assert_eq!(index.len(FACTS).expect("a read"), 1);
    });
}

#[test]
fn an_index_is_open_once_in_a_process() {
    run(folder().path().to_path_buf(), async |reactor, path| {
        let index = Index::open(&reactor, &path, TABLES).await.expect("a new index");
        assert!(matches!(Index::open(&reactor, &path, TABLES).await, Err(Error::Broken(_))));
        drop(index);
        Index::open(&reactor, &path, TABLES).await.expect("the index, once the other is closed");
    });
}

#[test]
fn a_full_disk_changes_nothing_and_recovers() {
    let disk = SmallDisk::new(8);
    run(disk.path(), async |reactor, path| {
        let index = Index::open(&reactor, &path.join("index"), TABLES).await.expect("a new index");
        let ballast = path.join("ballast");
        std::fs::write(&ballast, vec![1; 4 << 20]).expect("a file of 4 MiB");
        let mut committed = 0_u64;
        let chunk =
            |n: u64| Batch { changes: (0..100).map(|m| put(ROWS, (n * 100 + m).to_be_bytes(), [1; 1000])).collect() };
        let error = loop {
            match index.commit(chunk(committed)).await {
                Ok(()) => committed += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Full), "{error}");
        assert!(committed > 10);
        // A disk may stay full for days; LMDB calls each attempt's short write an I/O error.
        for _ in 0..2 * lmdb::IO_ERRORS_MAX {
            let error = index.commit(chunk(committed)).await.expect_err("there is no room");
            assert!(matches!(error, Error::Full), "{error}");
        }
        assert_eq!(index.len(ROWS).expect("a read"), committed * 100);
        let mut whole = 0;
        let mut visit = |_: &[u8], value: &[u8]| {
            whole += u64::from(value == [1; 1000]);
            true
        };
        index.scan(ROWS, b"", &mut visit).expect("a scan");
        assert_eq!(whole, committed * 100);
        std::fs::remove_file(&ballast).expect("the file");
        index.commit(chunk(committed)).await.expect("a commit, now that there is room");
        assert_eq!(index.len(ROWS).expect("a read"), (committed + 1) * 100);
    });
}
