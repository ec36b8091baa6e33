//! Reverse-paths of our own, one for each recipient of a message (VERP), and their way back.
//!
//! The local part is `b1` and 40 letters and digits: the message, the recipient's index, the day of arrival and a keyed
//! checksum (HMAC-SHA256, cut to 104 bits). Letter case does not count, as some servers change it. It names no address, and
//! nobody without the key can make one that is good. It is the same at every attempt, as greylisting wants it.

use aws_lc_rs::{constant_time, hmac};
use memchr::memmem;
use shards::Timestamp;

use crate::queue::MessageId;
use crate::smtp::path::Mailbox;

/// What a token begins with: its format.
const PREFIX: &str = "b1";
/// Octets of what a token says.
const SAID_BYTES: usize = 12;
/// Octets of its checksum.
const MAC_BYTES: usize = 13;
/// Letters and digits of a token behind the prefix.
const CODED_BYTES: usize = (SAID_BYTES + MAC_BYTES) * 8 / 5;
/// RFC 4648 §6, lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Places in a report that are looked at for a token.
const PLACES_MAX: usize = 64;
const DAY_S: u64 = 24 * 60 * 60;

/// Octets of a key.
pub const KEY_BYTES: usize = 32;
/// The longest domain of return paths: with a token it still is an address.
pub const DOMAIN_BYTES_MAX: usize = 200;

/// The return path's domain and what makes and checks its addresses.
#[derive(Debug)]
pub struct ReturnPath {
    domain: Box<str>,
    /// The first one makes tokens, all check them.
    keys: Box<[hmac::Key]>,
    valid_days: u32,
    feedback: Box<[Box<str>]>,
}

/// Which recipient of which message something came back about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The message.
    pub message: MessageId,
    /// The recipient's index in it.
    pub index: u16,
}

/// Whom a mailbox of the return path's domain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressee {
    /// What comes back about one recipient.
    Recipient(Token),
    /// Complaints, which name the recipient in their content.
    Feedback,
}

impl ReturnPath {
    /// The return path at `domain` (lower case). The first of `keys` makes tokens, all check them. A token is good for so
    /// many days after its message came. `feedback`: local parts (lower case) to which complaints are sent.
    pub fn new(domain: &str, keys: &[[u8; KEY_BYTES]], valid_days: u32, feedback: &[Box<str>]) -> ReturnPath {
        let keys = keys.iter().map(|key| hmac::Key::new(hmac::HMAC_SHA256, key)).collect();
        ReturnPath { domain: domain.into(), keys, valid_days, feedback: feedback.into() }
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The reverse-path for one recipient of a message that came at `arrival`. `None` if there is no key.
    pub fn address(&self, token: Token, arrival: Timestamp) -> Option<Mailbox> {
        let mut bytes = [0; SAID_BYTES + MAC_BYTES];
        bytes[..8].copy_from_slice(&token.message.0.to_be_bytes());
        bytes[8..10].copy_from_slice(&token.index.to_be_bytes());
        bytes[10..12].copy_from_slice(&day_of(arrival).to_be_bytes());
        let mac = mac(self.keys.first()?, &bytes[..SAID_BYTES]);
        bytes[SAID_BYTES..].copy_from_slice(&mac);
        Mailbox::parse(&format!("{PREFIX}{}@{}", encode(&bytes), self.domain), false).ok()
    }

    /// Whether a mailbox is at the return path's domain.
    pub fn is_at(&self, mailbox: &Mailbox) -> bool {
        mailbox.domain().eq_ignore_ascii_case(&self.domain)
    }

    /// Whom a mailbox is for; nobody where its token is not ours, or too old.
    pub fn addressee(&self, mailbox: &Mailbox, now: Timestamp) -> Option<Addressee> {
        if !self.is_at(mailbox) {
            return None;
        }
        let local = mailbox.local();
        if self.feedback.iter().any(|name| local.eq_ignore_ascii_case(name)) {
            return Some(Addressee::Feedback);
        }
        self.token(local.as_bytes(), now).map(Addressee::Recipient)
    }

    /// The first good token that a report's content names.
    pub fn find(&self, content: &[u8], now: Timestamp) -> Option<Token> {
        let at_domain = format!("@{}", self.domain);
        let lower = content.to_ascii_lowercase();
        let places = memmem::find_iter(&lower, at_domain.as_bytes()).take(PLACES_MAX);
        let mut tokens = places.filter_map(|end| {
            let start = end.checked_sub(PREFIX.len() + CODED_BYTES)?;
            self.token(&lower[start..end], now)
        });
        tokens.next()
    }

    fn token(&self, local: &[u8], now: Timestamp) -> Option<Token> {
        let (prefix, coded) = local.split_at_checked(PREFIX.len())?;
        if !prefix.eq_ignore_ascii_case(PREFIX.as_bytes()) {
            return None;
        }
        let bytes = decode(coded)?;
        let (said, checksum) = bytes.split_at(SAID_BYTES);
        let is_ours = |key| constant_time::verify_slices_are_equal(&mac(key, said), checksum).is_ok();
        if !self.keys.iter().any(is_ours) {
            return None;
        }
        let message = MessageId(u64::from_be_bytes(said[..8].try_into().ok()?));
        let index = u16::from_be_bytes(said[8..10].try_into().ok()?);
        let day = u16::from_be_bytes(said[10..12].try_into().ok()?);
        let age_days = u32::from(day_of(now)).saturating_sub(day.into());
        (age_days <= self.valid_days).then_some(Token { message, index })
    }
}

/// The day since the epoch; good until 2149.
fn day_of(time: Timestamp) -> u16 {
    u16::try_from(time.as_secs() / DAY_S).unwrap_or(u16::MAX)
}

fn mac(key: &hmac::Key, said: &[u8]) -> [u8; MAC_BYTES] {
    let mut context = hmac::Context::with_key(key);
    context.update(b"ringpost return path 1\0");
    context.update(said);
    let tag = context.sign();
    let mut cut = [0; MAC_BYTES];
    cut.copy_from_slice(&tag.as_ref()[..MAC_BYTES]);
    cut
}

/// Base32: five octets are eight letters or digits.
fn encode(bytes: &[u8; SAID_BYTES + MAC_BYTES]) -> String {
    let mut coded = String::with_capacity(CODED_BYTES);
    for group in bytes.chunks_exact(5) {
        let bits = group.iter().fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
        coded.extend((0..8).rev().map(|n| char::from(ALPHABET[(bits >> (5 * n)) as usize & 31])));
    }
    coded
}

fn decode(coded: &[u8]) -> Option<[u8; SAID_BYTES + MAC_BYTES]> {
    if coded.len() != CODED_BYTES {
        return None;
    }
    let mut bytes = [0; SAID_BYTES + MAC_BYTES];
    for (group, letters) in bytes.chunks_exact_mut(5).zip(coded.chunks_exact(8)) {
        let mut bits = 0;
        for letter in letters {
            let value = match letter.to_ascii_lowercase() {
                letter @ b'a'..=b'z' => letter - b'a',
                digit @ b'2'..=b'7' => digit - b'2' + 26,
                _ => return None,
            };
            bits = (bits << 5) | u64::from(value);
        }
        group.copy_from_slice(&u64::to_be_bytes(bits)[3..]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_420_000_000);
    const TOKEN: Token = Token { message: MessageId(0x0010_0000_0000_0a2f), index: 17 };

    fn days(days: u64) -> Duration {
        Duration::from_secs(days * DAY_S)
    }

    fn ours(key: u8) -> ReturnPath {
        ReturnPath::new("bounces.example.org", &[[key; KEY_BYTES]], 30, &["fbl".into()])
    }

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text, false).expect("a mailbox")
    }

    #[test]
    fn an_address_leads_back_to_its_recipient_whatever_its_case_and_fits_a_local_part() {
        let address = ours(1).address(TOKEN, NOW).expect("a key");
        assert!(address.local().len() <= 64, "{address}");
        assert_eq!(ours(1).address(TOKEN, NOW), Some(address.clone()), "the same at every attempt");
        for written in [address.as_str().to_owned(), address.as_str().to_uppercase()] {
            assert_eq!(ours(1).addressee(&mailbox(&written), NOW + days(3)), Some(Addressee::Recipient(TOKEN)));
        }
        let other = ours(1).address(Token { index: 18, ..TOKEN }, NOW).expect("a key");
        assert_ne!(other, address);
    }

    #[test]
    fn what_is_forged_foreign_or_too_old_leads_nowhere() {
        let ours_1 = ours(1);
        let address = ours_1.address(TOKEN, NOW).expect("a key");
        assert_eq!(ours_1.addressee(&address, NOW + days(30)), Some(Addressee::Recipient(TOKEN)));
        assert_eq!(ours_1.addressee(&address, NOW + days(31)), None, "too old");
        assert_eq!(ours(2).addressee(&address, NOW), None, "another key");
        let elsewhere = format!("{}@example.org", address.local());
        assert_eq!(ours_1.addressee(&mailbox(&elsewhere), NOW), None, "another domain");
        for at in 0..address.local().len() {
            let mut local = address.local().as_bytes().to_vec();
            local[at] = if local[at] == b'a' { b'b' } else { b'a' };
            let forged = format!("{}@bounces.example.org", String::from_utf8_lossy(&local));
            assert_eq!(ours_1.addressee(&mailbox(&forged), NOW), None, "{forged}");
        }
        for local in ["b1", "b", "postmaster", "b1aaaa", &"b1".repeat(21), &"a".repeat(42)] {
            assert_eq!(ours_1.addressee(&mailbox(&format!("{local}@bounces.example.org")), NOW), None, "{local}");
        }
    }

    #[test]
    fn an_old_key_still_checks_what_it_made() {
        let address = ours(1).address(TOKEN, NOW).expect("a key");
        let both = ReturnPath::new("bounces.example.org", &[[2; KEY_BYTES], [1; KEY_BYTES]], 30, &[]);
        assert_eq!(both.addressee(&address, NOW), Some(Addressee::Recipient(TOKEN)));
        assert_ne!(both.address(TOKEN, NOW), Some(address), "the first key makes");
    }

    #[test]
    fn complaints_have_addresses_of_their_own_and_name_the_token_inside() {
        let ours = ours(1);
        assert_eq!(ours.addressee(&mailbox("FBL@Bounces.Example.org"), NOW), Some(Addressee::Feedback));
        let address = ours.address(TOKEN, NOW).expect("a key");
        let content = format!(
            "Original-Mail-From: <x@bounces.example.org>\r\n\r\nReturn-Path: <{}>\r\n",
            address.as_str().to_uppercase()
        );
        assert_eq!(ours.find(content.as_bytes(), NOW), Some(TOKEN));
        assert_eq!(ours.find(b"@bounces.example.org b1@bounces.example.org", NOW), None);
    }
}
