//! Contents in memory: of fresh messages until their first attempts end, and of those read back for an attempt.

use std::collections::HashMap;
use std::sync::Arc;

use super::MessageId;
use crate::config::Limits;

/// The part of the shard's content memory that the queue may use; the rest is for what is being received.
const SHARE: usize = 2;

/// Contents within a budget of bytes. What does not fit is read back from the journal when it is needed.
#[derive(Default)]
pub struct Contents {
    kept: HashMap<MessageId, Arc<Vec<u8>>>,
    bytes: usize,
    bytes_max: usize,
}

impl Contents {
    /// Keeps to the budget of `limits` from now on.
    pub fn configure(&mut self, limits: &Limits) {
        self.bytes_max = limits.content_memory_bytes_max / SHARE;
    }

    /// Keeps `content` if there is room for it.
    pub fn keep(&mut self, id: MessageId, content: &Arc<Vec<u8>>) {
        if self.bytes + content.len() <= self.bytes_max && !self.kept.contains_key(&id) {
            self.bytes += content.len();
            self.kept.insert(id, content.clone());
        }
    }

    /// The content of `id`, if it is here.
    pub fn get(&self, id: MessageId) -> Option<Arc<Vec<u8>>> {
        self.kept.get(&id).cloned()
    }

    /// Lets go of a content.
    pub fn remove(&mut self, id: MessageId) -> Option<Arc<Vec<u8>>> {
        let content = self.kept.remove(&id)?;
        self.bytes -= content.len();
        Some(content)
    }

    /// Bytes kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_holds() {
        let mut contents = Contents { bytes_max: 10, ..Contents::default() };
        let six = Arc::new(vec![0; 6]);
        contents.keep(MessageId(1), &six);
        contents.keep(MessageId(1), &six);
        contents.keep(MessageId(2), &six);
        assert_eq!((contents.bytes(), contents.get(MessageId(2))), (6, None));
        assert_eq!(contents.remove(MessageId(1)), Some(six.clone()));
        contents.keep(MessageId(2), &six);
        assert_eq!((contents.bytes(), contents.get(MessageId(2))), (6, Some(six)));
    }
}
