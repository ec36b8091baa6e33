//! Bytes in memory that a device can take directly: aligned to the blocks of disks, and padded to them.
//!
//! Pure. Owns: its memory, which it keeps when it is cleared. Never: reads or writes a file (`file` does).
//! Limits: grows as a `Vec` does; who fills it bounds it.

use std::ops::{Deref, DerefMut};

/// Bytes of a block: memory, offset and length of a direct write are multiples of it. No disk has larger sectors.
pub const BLOCK_BYTES: usize = 4096;

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK_BYTES]);

const ZEROS: Block = Block([0; BLOCK_BYTES]);

/// A growing buffer whose first byte is aligned to [`BLOCK_BYTES`].
#[derive(Default)]
pub struct Buffer {
    blocks: Vec<Block>,
    len: usize,
}

impl Buffer {
    /// Zeros, in whole blocks: at least `bytes` of them.
    pub fn zeros(bytes: usize) -> Self {
        let blocks = vec![ZEROS; bytes.div_ceil(BLOCK_BYTES)];
        Self { len: blocks.len() * BLOCK_BYTES, blocks }
    }

    /// Adds `bytes` at the end.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let start = self.len;
        self.grow(start + bytes.len());
        self[start..].copy_from_slice(bytes);
    }

    /// Adds zeros until the length is a multiple of `alignment`.
    pub fn pad(&mut self, alignment: usize) {
        let start = self.len;
        self.grow(start.next_multiple_of(alignment));
        self[start..].fill(0);
    }

    /// Forgets the bytes and keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Bytes that it can hold without asking for memory.
    pub fn capacity(&self) -> usize {
        self.blocks.capacity() * BLOCK_BYTES
    }

    fn grow(&mut self, len: usize) {
        let blocks = len.div_ceil(BLOCK_BYTES);
        if blocks > self.blocks.len() {
            self.blocks.resize(blocks, ZEROS);
        }
        self.len = len;
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: a block is nothing but its bytes, and `len` is within the blocks, all of which are initialised.
        unsafe { std::slice::from_raw_parts(self.blocks.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed for as long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.blocks.as_mut_ptr().cast(), self.len) }
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        let mut buffer = Self::default();
        buffer.extend_from_slice(&bytes);
        buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_aligned_and_holds_what_was_added() {
        let mut buffer = Buffer::default();
        let mut expected = Vec::new();
        for length in [0, 1, 4095, 4096, 4097, 70_000] {
            let bytes = vec![length as u8 | 1; length];
            buffer.extend_from_slice(&bytes);
            expected.extend_from_slice(&bytes);
            assert_eq!(*buffer, expected[..]);
            assert_eq!(buffer.as_ptr() as usize % BLOCK_BYTES, 0);
        }
    }

    #[test]
    fn padding_is_zero_also_where_something_else_was() {
        let mut buffer = Buffer::from(vec![7; 10_000]);
        buffer.clear();
        buffer.extend_from_slice(&[1, 2, 3]);
        buffer.pad(8);
        assert_eq!(*buffer, [1, 2, 3, 0, 0, 0, 0, 0]);
        buffer.pad(BLOCK_BYTES);
        assert_eq!(buffer.len(), BLOCK_BYTES);
        assert!(buffer[3..].iter().all(|byte| *byte == 0));
    }
}
