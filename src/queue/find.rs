//! Finding messages by their Message-ID, as long as a placeholder is left of them.
//!
//! The index has a key for each message that it has a row of: the bucket of its number, a checksum of its Message-ID, and
//! the rest of its number. So the keys of messages that came together lie together, and writing them touches few pages;
//! looking one up asks each bucket once. A checksum says where to look, the row says whether that was it.
//! Limits: [`FOUND_MAX`] messages of one Message-ID are found, the oldest first. Messages that a version without this
//! table wrote are not found.

use super::row::Row;
use super::rows::MESSAGE_IDS;
use super::{Error, MessageId, Queue};
use crate::spool::encode::Corrupt;
use shards::index::Index;

/// Messages found of one Message-ID.
const FOUND_MAX: usize = 100;
/// Keys of one bucket that are looked at: more than a few have the same checksum by intent only.
const CANDIDATES_PER_BUCKET_MAX: usize = 1000;
/// Buckets asked before other work gets its turn.
const BUCKETS_PER_TURN: usize = 200;
/// Messages of a bucket, as a power of two.
const BUCKET_BITS: u32 = 14;
/// Bytes of a key before the rest of the number.
const PREFIX_BYTES: usize = 9;

/// A message's key in the table.
pub(super) type Key = [u8; PREFIX_BYTES + 2];

/// The key of message `id`, whose Message-ID is `message_id`.
pub(super) fn key(message_id: &str, id: MessageId) -> Key {
    let rest = (id.number() & ((1 << BUCKET_BITS) - 1)) as u16;
    let mut key = [0; PREFIX_BYTES + 2];
    key[..PREFIX_BYTES].copy_from_slice(&prefix(id.number() >> BUCKET_BITS, checksum(message_id)));
    key[PREFIX_BYTES..].copy_from_slice(&rest.to_be_bytes());
    key
}

/// The key of a row, where it has one.
pub(super) fn key_of(row: &Row, id: MessageId) -> Option<Key> {
    row.tagged.message_id.as_deref().map(|message_id| key(message_id, id))
}

fn checksum(message_id: &str) -> u32 {
    crc32fast::hash(message_id.as_bytes())
}

fn prefix(bucket: u64, checksum: u32) -> [u8; PREFIX_BYTES] {
    let mut prefix = [0; PREFIX_BYTES];
    prefix[..5].copy_from_slice(&bucket.to_be_bytes()[3..]);
    prefix[5..].copy_from_slice(&checksum.to_be_bytes());
    prefix
}

/// The bucket, checksum and message of a key.
fn parse(key: &[u8], shard: usize) -> Result<(u64, u32, MessageId), Corrupt> {
    let [a, b, c, d, e, f, g, h, i, j, k] =
        *<&Key>::try_from(key).map_err(|_| Corrupt("a Message-ID's key has another length"))?;
    let bucket = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
    let number = (bucket << BUCKET_BITS) | u64::from(u16::from_be_bytes([j, k]));
    Ok((bucket, u32::from_be_bytes([f, g, h, i]), MessageId::new(shard, number)))
}

impl Queue {
    /// Everything about the messages of this Message-ID, in the order of ids.
    pub(super) async fn find(&self, message_id: &str) -> Result<Vec<serde_json::Value>, Error> {
        let mut ids = self.core.state.borrow().rows.changed_with(message_id);
        let mut bucket = Some(0);
        let mut asked = 0;
        while let Some(next) = bucket
            && ids.len() < FOUND_MAX
        {
            bucket = self.ask_bucket(next, message_id, &mut ids)?;
            asked += 1;
            if asked % BUCKETS_PER_TURN == 0 {
                self.core.reactor.yield_now().await;
            }
        }
        ids.sort_unstable();
        ids.dedup();
        let mut found = Vec::new();
        for id in ids {
            // It may be forgotten by now.
            found.extend(self.show(id).await?);
        }
        Ok(found)
    }

    /// Adds the messages of a Message-ID in the first bucket that is not before `bucket`; gives the next one to ask.
    fn ask_bucket(&self, bucket: u64, message_id: &str, ids: &mut Vec<MessageId>) -> Result<Option<u64>, Error> {
        let state = self.core.state.borrow();
        let (candidates, next) = candidates(state.rows.index(), self.core.shard, bucket, checksum(message_id))?;
        for id in candidates {
            let is_it = |row: &Row| row.tagged.message_id.as_deref() == Some(message_id);
            let queued = state.rows.read(id, is_it)?;
            let is_found = match queued {
                Some(is_found) => is_found,
                None => state.rows.done(id)?.is_some_and(|row| is_it(&row)),
            };
            if is_found {
                ids.push(id);
            }
        }
        Ok(next)
    }
}

/// The messages of a bucket whose Message-ID may have this checksum, and the next bucket that may hold any.
fn candidates(index: &Index, shard: usize, bucket: u64, checksum: u32) -> Result<(Vec<MessageId>, Option<u64>), Error> {
    let mut found = Vec::new();
    let mut next = None;
    let mut corrupt = None;
    index.scan(MESSAGE_IDS, &prefix(bucket, checksum), &mut |key, _| match parse(key, shard) {
        Ok((at, sum, id)) if (at, sum) == (bucket, checksum) && found.len() < CANDIDATES_PER_BUCKET_MAX => {
            found.push(id);
            true
        }
        // The next key tells which bucket is there at all: its own, or the one behind it if the checksum is passed.
        Ok((at, sum, _)) => {
            next = Some(if at == bucket || sum > checksum { at + 1 } else { at });
            false
        }
        Err(why) => {
            corrupt = Some(why);
            false
        }
    })?;
    match corrupt {
        None => Ok((found, next)),
        Some(why) => Err(Error::Damaged(why.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_its_message_again() {
        for number in [1, (1 << BUCKET_BITS) - 1, 1 << BUCKET_BITS, (1 << 52) - 1] {
            let id = MessageId::new(3, number);
            let (bucket, sum, again) = parse(&key("<a@b>", id), 3).expect("a key");
            assert_eq!((bucket, sum, again), (number >> BUCKET_BITS, checksum("<a@b>"), id));
        }
        assert!(parse(b"short", 0).is_err());
    }

    #[test]
    fn keys_of_messages_that_came_together_lie_together() {
        let (early, late) = (MessageId::new(0, 5), MessageId::new(0, 1 << BUCKET_BITS));
        assert!(key("<z@z>", early) < key("<a@a>", late) && key("<a@a>", early) < key("<z@z>", late));
    }
}
