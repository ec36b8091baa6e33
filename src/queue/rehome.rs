//! A change of `[server] shards`: what was learned of egress paths moves to the shards that are their homes now, before any
//! shard starts.
//!
//! The new home has it on disk before the old one forgets it. So a crash in between leaves it at both, and the next start goes
//! on: of two the newer one counts. While nothing is out of place, a start only looks. What finds no room begins anew: at the
//! new home ([`ENTRIES_MAX`] entries), or on a full disk, where it stays until a start finds room.

use std::collections::HashMap;
use std::path::Path;

use shards::Reactor;
use shards::index::{self, Batch, Index};

use super::Error;
use super::learned::{ENTRIES_MAX, home, learned_at_s};
use super::open::{directory_name, shard_of};
use super::rows::{LEARNED, TABLES};

/// An entry of the table, as it is.
type Entry = (Vec<u8>, Vec<u8>);

/// Moves what is at another place than `shards` shards look for it in `directory`, where the shards of `partitions` have one.
/// Gives how many entries.
///
/// # Errors
/// The storage fails.
pub async fn rehome(
    reactor: &Reactor,
    directory: &Path,
    partitions: Vec<usize>,
    shards: usize,
) -> Result<usize, Error> {
    let mut moved: HashMap<usize, Vec<Entry>> = HashMap::new();
    let mut left: Vec<(usize, Vec<Entry>)> = Vec::new();
    for shard in partitions {
        let misplaced = misplaced(&open(reactor, directory, shard).await?, shard, shards)?;
        for (home, entry) in &misplaced {
            moved.entry(*home).or_default().push(entry.clone());
        }
        left.push((shard, misplaced.into_iter().map(|(_, entry)| entry).collect()));
    }
    let mut count = 0;
    for (home, entries) in moved {
        let index = open(reactor, directory, home).await?;
        let batch = newer(&index, entries)?;
        count += batch.changes.len();
        match index.commit(batch).await {
            Err(index::Error::Full) => return Ok(0),
            committed => committed?,
        }
    }
    for (shard, entries) in left.into_iter().filter(|(_, entries)| !entries.is_empty()) {
        let changes = entries.into_iter().map(|(path, _)| (LEARNED, path, None)).collect();
        match open(reactor, directory, shard).await?.commit(Batch { changes }).await {
            Err(index::Error::Full) => return Ok(count),
            committed => committed?,
        }
    }
    Ok(count)
}

/// The shards that have a partition, also those that are no longer opened.
pub(super) fn partitions(directory: &Path) -> Result<Vec<usize>, Error> {
    let io = |why| Error::Io(directory.to_path_buf(), why);
    let mut shards = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(io)? {
        shards.extend(entry.map_err(io)?.file_name().to_str().and_then(shard_of));
    }
    shards.sort_unstable();
    Ok(shards)
}

async fn open(reactor: &Reactor, directory: &Path, shard: usize) -> Result<Index, Error> {
    Ok(Index::open(reactor, &directory.join(directory_name(shard)).join("index"), TABLES).await?)
}

/// What is kept on `shard` whose home is another one, with its home.
fn misplaced(index: &Index, shard: usize, shards: usize) -> Result<Vec<(usize, Entry)>, Error> {
    let mut found = Vec::new();
    index.scan(LEARNED, &[], &mut |path, row| {
        if let Ok(text) = std::str::from_utf8(path) {
            let home = home(text, shards);
            if home != shard {
                found.push((home, (path.to_vec(), row.to_vec())));
            }
        }
        true
    })?;
    Ok(found)
}

/// What of `entries` is newer than what `index` has, as far as there is room.
fn newer(index: &Index, entries: Vec<Entry>) -> Result<Batch, Error> {
    let room = ENTRIES_MAX.saturating_sub(usize::try_from(index.len(LEARNED)?).unwrap_or(usize::MAX));
    let mut newest: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut added = 0;
    for (path, row) in entries {
        let known = match newest.get(&path) {
            Some(known) => Some(known.clone()),
            None => index.get(LEARNED, &path)?,
        };
        match known {
            Some(known) if learned_at_s(&known) >= learned_at_s(&row) => {}
            None if added >= room => {}
            known => {
                added += usize::from(known.is_none());
                newest.insert(path, row);
            }
        }
    }
    Ok(Batch { changes: newest.into_iter().map(|(path, row)| (LEARNED, path, Some(row))).collect() })
}
