//! The frame: a header of [`HEADER_BYTES`], the payload, zeros up to the next multiple of [`ALIGNMENT`]. Pure.
//!
//! | bytes | what it is |
//! |---|---|
//! | 0..4 | `jrnl` |
//! | 4..8 | the segment's salt, drawn when its first frame was written |
//! | 8..12 | the segment's number |
//! | 12..16 | length of the payload |
//! | 16..20 | where in the segment the frames of earlier batches end: all of them were durable when this was written |
//! | 20..24 | CRC-32 of bytes 0..20 and the payload |
//!
//! Numbers are little-endian. The salt keeps a payload from passing for a frame: who sends it cannot know the salt.
//! A batch begins at the first multiple of [`BLOCK_BYTES`] after the earlier ones, so that no block with durable frames
//! is ever written again; zeros fill the gap. Where the earlier ones end tells damage from a torn tail: what precedes a
//! later batch had been flushed.

use crate::buffer::{BLOCK_BYTES, Buffer};

/// Bytes of a frame before its payload.
pub(super) const HEADER_BYTES: u32 = 24;

/// Frames begin at multiples of it.
pub(super) const ALIGNMENT: u32 = 8;

/// The longest frame, header included.
pub(super) const FRAME_BYTES_MAX: u32 = 1 << 30;

const MAGIC: [u8; 4] = *b"jrnl";

/// A frame's header. That it parses does not mean that the frame is whole: see [`Header::fits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub salt: u32,
    pub segment: u32,
    pub payload_bytes: u32,
    pub earlier_end: u32,
    crc: u32,
}

/// Where in the segment a batch begins if the frames before it end at `earlier_end`.
pub(super) fn batch_begin(earlier_end: u32) -> u32 {
    earlier_end.next_multiple_of(BLOCK_BYTES as u32)
}

/// Bytes that a frame with this payload takes in its segment; `None` beyond [`FRAME_BYTES_MAX`].
pub(super) fn frame_bytes(payload_bytes: usize) -> Option<u32> {
    let padded = payload_bytes.checked_add(HEADER_BYTES as usize)?.checked_next_multiple_of(ALIGNMENT as usize)?;
    u32::try_from(padded).ok().filter(|bytes| *bytes <= FRAME_BYTES_MAX)
}

/// Adds a frame to `out`. The payload must have passed [`frame_bytes`].
pub(super) fn encode(out: &mut Buffer, salt: u32, segment: u32, earlier_end: u32, parts: &[&[u8]]) {
    let start = out.len();
    let payload_bytes: usize = parts.iter().map(|part| part.len()).sum();
    out.extend_from_slice(&MAGIC);
    for field in [salt, segment, payload_bytes as u32, earlier_end, 0] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    let payload = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    let crc = checksum(&out[start..payload - 4], &out[payload..]);
    out[payload - 4..payload].copy_from_slice(&crc.to_le_bytes());
    out.pad(ALIGNMENT as usize);
}

/// Whether a frame may begin with these bytes.
pub(super) fn looks_like_a_frame(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

impl Header {
    /// Reads the header at the beginning of `bytes`, where one is.
    pub(super) fn parse(bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.get(..HEADER_BYTES as usize)?;
        let field = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        looks_like_a_frame(bytes).then(|| Header {
            salt: field(4),
            segment: field(8),
            payload_bytes: field(12),
            earlier_end: field(16),
            crc: field(20),
        })
    }

    /// Bytes of the whole frame; `None` if no frame can be that long.
    pub(super) fn frame_bytes(&self) -> Option<u32> {
        frame_bytes(self.payload_bytes as usize)
    }

    /// Whether `payload` is what this header was written with, and the header itself is unharmed.
    pub(super) fn fits(&self, payload: &[u8]) -> bool {
        let mut header = MAGIC.to_vec();
        for field in [self.salt, self.segment, self.payload_bytes, self.earlier_end] {
            header.extend_from_slice(&field.to_le_bytes());
        }
        payload.len() == self.payload_bytes as usize && checksum(&header, payload) == self.crc
    }
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_parses_and_fits() {
        let mut out = Buffer::default();
        encode(&mut out, 7, 3, 40, &[b"one", b"", b" two"]);
        let header = Header::parse(&out).expect("a header was written");
        assert_eq!((header.salt, header.segment, header.payload_bytes, header.earlier_end), (7, 3, 7, 40));
        assert_eq!(header.frame_bytes(), Some(out.len() as u32));
        assert_eq!(out.len() % ALIGNMENT as usize, 0);
        assert!(header.fits(&out[HEADER_BYTES as usize..][..7]));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut out = Buffer::default();
        encode(&mut out, 7, 3, 40, &[b"payload!"]);
        for bit in 0..out.len() * 8 {
            let mut flipped = out.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let whole = Header::parse(&flipped).is_some_and(|header| {
                let payload = &flipped[HEADER_BYTES as usize..];
                header.fits(payload)
            });
            assert!(!whole, "bit {bit}");
        }
    }

    #[test]
    fn a_frame_is_at_most_one_gibibyte() {
        let payload = (FRAME_BYTES_MAX - HEADER_BYTES) as usize;
        assert_eq!(frame_bytes(payload), Some(FRAME_BYTES_MAX));
        assert_eq!(frame_bytes(payload + 1), None);
        assert_eq!(frame_bytes(usize::MAX), None);
    }
}
