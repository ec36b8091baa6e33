//! Makes new inputs of kept ones. The same seed makes the same input everywhere.

use fastrand::Rng;

/// Bytes of an input. Large enough to pass every bound on lines, replies and headers that could be forgotten.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Changes of one input, at most.
const CHANGES_MAX: usize = 6;
/// Repetitions of a piece: what is not linear shows.
const REPETITIONS_MAX: usize = 4_000;

/// Bytes that mean something to a parser of lines, paths, headers or numbers.
const TELLING: &[u8] = b"\r\n\0\t .:;,<>[]()\"\\'@=-+*/?&%#{}|~0129azAZ\x7f\x80\xc3\xe2\xff";

/// An input made of one or two of `kept`, with `words` of the target's language strewn in.
pub fn input(random: &mut Rng, kept: &[&[u8]], words: &[&str]) -> Vec<u8> {
    let mut bytes = pick(random, kept).map_or_else(Vec::new, <[u8]>::to_vec);
    for _ in 0..random.usize(1..=CHANGES_MAX) {
        change(random, &mut bytes, kept, words);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn pick<'a>(random: &mut Rng, kept: &[&'a [u8]]) -> Option<&'a [u8]> {
    random.choice(kept.iter().copied())
}

fn change(random: &mut Rng, bytes: &mut Vec<u8>, kept: &[&[u8]], words: &[&str]) {
    match random.u8(0..10) {
        0 => replace(random, bytes, 1),
        1 => *bytes = piece(random, bytes),
        2 => {
            let range = range(random, bytes.len());
            bytes.drain(range);
        }
        3 => {
            let telling = [TELLING[random.usize(..TELLING.len())]];
            insert(random, bytes, &telling);
        }
        4 | 5 => {
            if let Some(word) = random.choice(words) {
                insert(random, bytes, word.as_bytes());
            }
        }
        6 => {
            if let Some(other) = pick(random, kept) {
                let other = piece(random, other);
                insert(random, bytes, &other);
            }
        }
        7 => repeat(random, bytes),
        8 => {
            let count = random.usize(1..=8);
            replace(random, bytes, count);
        }
        _ => swap_lines(random, bytes),
    }
}

fn range(random: &mut Rng, length: usize) -> std::ops::Range<usize> {
    let start = random.usize(..=length);
    // Short ones mostly.
    let most = if random.bool() { 8 } else { length };
    start..start + random.usize(..=(length - start).min(most))
}

fn piece(random: &mut Rng, bytes: &[u8]) -> Vec<u8> {
    bytes[range(random, bytes.len())].to_vec()
}

fn insert(random: &mut Rng, bytes: &mut Vec<u8>, what: &[u8]) {
    let at = random.usize(..=bytes.len());
    bytes.splice(at..at, what.iter().copied());
}

fn replace(random: &mut Rng, bytes: &mut [u8], count: usize) {
    for _ in 0..count.min(bytes.len()) {
        let at = random.usize(..bytes.len());
        bytes[at] = match random.u8(0..4) {
            0 => bytes[at] ^ (1 << random.u8(0..8)),
            1 => bytes[at].wrapping_add(random.u8(..)),
            _ => TELLING[random.usize(..TELLING.len())],
        };
    }
}

fn repeat(random: &mut Rng, bytes: &mut Vec<u8>) {
    let piece = piece(random, bytes);
    let room = INPUT_BYTES_MAX.saturating_sub(bytes.len());
    // Rarely so often that it takes long.
    let most = if random.u8(0..16) == 0 { REPETITIONS_MAX } else { 40 };
    let times = random.usize(..=most).min(room / piece.len().max(1));
    insert(random, bytes, &piece.repeat(times));
}

/// Lines are what most of these languages are made of.
fn swap_lines(random: &mut Rng, bytes: &mut Vec<u8>) {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.len() > 1 {
        let (one, other) = (random.usize(..lines.len()), random.usize(..lines.len()));
        lines.swap(one, other);
        *bytes = lines.concat();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_an_input_once_and_for_all_and_within_its_bound() {
        let kept: [&[u8]; 2] = [b"MAIL FROM:<a@b>\r\nDATA\r\n", b""];
        for seed in 0..2_000 {
            let made = || input(&mut Rng::with_seed(seed), &kept, &["RCPT TO:"]);
            assert_eq!(made(), made(), "SEED={seed}");
            assert!(made().len() <= INPUT_BYTES_MAX, "SEED={seed}");
        }
    }
}
