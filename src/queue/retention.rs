//! Retention: what becomes of messages all of whose recipients have ended. Content is removed only when nothing names it;
//! its header and the outcome stay longer; then nothing stays.

use super::row::{self, Content, Row};
use super::rows::{EXPIRY, Slot};
use super::state::HEADER_BYTES_MAX;
use super::{Error, MessageId, Queue, find, state};
use crate::events::Event;

/// Messages dealt with in one round of the housekeeping.
const MESSAGES_PER_ROUND: usize = 1000;

/// The key of a message in the table of expiries.
pub(super) fn expiry_key(at_s: u32, message: MessageId) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&at_s.to_be_bytes());
    key[4..].copy_from_slice(&row::key(message));
    key
}

impl Queue {
    /// Deals with messages whose retention has come to an end. True: there are more. A checkpoint must follow before the
    /// next call.
    pub(super) async fn retain(&self) -> bool {
        let keys = self.expired_keys();
        let Some(keys) = self.sound(keys) else { return false };
        let more = keys.len() == MESSAGES_PER_ROUND;
        for key in keys {
            let result = self.retain_message(key).await;
            if self.sound(result).is_none() {
                return false;
            }
        }
        more
    }

    /// The first keys of the table of expiries whose time has come.
    fn expired_keys(&self) -> Result<Vec<[u8; 12]>, Error> {
        let now_s = self.now_s();
        let mut keys = Vec::new();
        let index = self.core.state.borrow().rows.index().clone();
        index.scan(EXPIRY, &[], &mut |key, _| {
            let Ok(key) = <[u8; 12]>::try_from(key) else { return true };
            let [a, b, c, d, ..] = key;
            if u32::from_be_bytes([a, b, c, d]) > now_s {
                return false;
            }
            keys.push(key);
            keys.len() < MESSAGES_PER_ROUND
        })?;
        Ok(keys)
    }

    async fn retain_message(&self, key: [u8; 12]) -> Result<(), Error> {
        let message = row::id_of(&key[4..]).map_err(|why| Error::Damaged(why.to_string()))?;
        let row = self.core.state.borrow().rows.done(message)?;
        if let Some(row) = row {
            let header = self.header_to_keep(&row).await;
            self.retain_row(message, row, header)?;
        }
        self.core.state.borrow_mut().expired.push(key);
        Ok(())
    }

    /// The header, read back, if it has to outlive the content.
    async fn header_to_keep(&self, row: &Row) -> Option<Box<[u8]>> {
        let over = {
            let state = self.core.state.borrow();
            state.is_over(row, self.now()) || state.expiry_s(row) > self.now_s()
        };
        let Content::Kept(extent) = &row.content else { return None };
        if over {
            return None;
        }
        let len = extent.len.min(HEADER_BYTES_MAX as u32);
        match self.core.journal.read(extent.position, extent.skip, len).await {
            Ok(bytes) => Some(state::header_of(&bytes)),
            // A damaged content is removed like any other; the placeholder then has no header.
            Err(why) => {
                self.core.log.emit(&Event::Trouble(&why));
                Some(Box::default())
            }
        }
    }

    /// Takes away what of a message is over; the rest is looked at again later.
    fn retain_row(&self, message: MessageId, mut row: Row, header: Option<Box<[u8]>>) -> Result<(), Error> {
        let now_s = self.now_s();
        let state = &mut *self.core.state.borrow_mut();
        if state.is_over(&row, self.now()) {
            if let Content::Kept(extent) = &row.content {
                state.segments.release(extent, now_s);
            }
            state.returned.forget(message, state.rows.index())?;
            state.rows.set(message, Slot::Gone(find::key_of(&row, message)));
            return Ok(());
        }
        if let (Content::Kept(extent), Some(header)) = (&row.content, header) {
            state.segments.release(extent, now_s);
            row.content = Content::Removed(header);
        }
        state.rows.set(message, Slot::Done(row.into()));
        Ok(())
    }
}
