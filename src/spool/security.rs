//! The bytes of what protected a session: a length, and so many bytes, which older or newer facts may differ in.

use std::sync::Arc;

use super::encode::{Corrupt, Reader, put_bytes};
use crate::assurance::{AskedBy, Channel, Plain, Policy, Security, Verified};

const POLICIES: [(u8, Policy); 8] = [
    (0, Policy::Off),
    (1, Policy::Opportunistic),
    (2, Policy::Required),
    (3, Policy::Verified),
    (4, Policy::Dane),
    (5, Policy::MtaSts),
    (6, Policy::RequireTls),
    (7, Policy::Waived),
];
const ASKED_BY: [(u8, AskedBy); 5] =
    [(0, AskedBy::Configuration), (1, AskedBy::Route), (2, AskedBy::Tlsa), (3, AskedBy::Domain), (4, AskedBy::Message)];
const VERIFIED: [(u8, Verified); 3] = [(0, Verified::No), (1, Verified::Dane), (2, Verified::Authority)];

const OFF: u8 = 0;
const NOT_OFFERED: u8 = 1;
const FALLBACK: u8 = 2;
const REFUSED: u8 = 3;
const ENCRYPTED: u8 = 4;

/// Octets of the reason of a fallback that are kept.
const WHY_BYTES_MAX: usize = 256;

/// Appends what protected a session.
pub(super) fn put_security(out: &mut Vec<u8>, security: &Security) {
    let mut facts = Vec::with_capacity(64);
    facts.extend([byte(&POLICIES, security.policy), byte(&ASKED_BY, security.asked_by)]);
    match &security.channel {
        Channel::Plain(Plain::Off) => facts.push(OFF),
        Channel::Plain(Plain::NotOffered) => facts.push(NOT_OFFERED),
        Channel::Plain(Plain::Fallback(why)) => {
            facts.push(FALLBACK);
            put_bytes(&mut facts, &why.as_bytes()[..why.floor_char_boundary(WHY_BYTES_MAX)]);
        }
        Channel::Refused => facts.push(REFUSED),
        Channel::Encrypted { protocol, cipher, verified } => {
            facts.extend([ENCRYPTED, byte(&VERIFIED, *verified)]);
            put_bytes(&mut facts, protocol.as_bytes());
            put_bytes(&mut facts, cipher.as_bytes());
        }
    }
    put_bytes(out, &facts);
}

/// Reads what [`put_security`] wrote; nothing where this program does not know the words.
pub(super) fn security(reader: &mut Reader<'_>) -> Result<Option<Arc<Security>>, Corrupt> {
    let facts = &mut Reader::new(reader.bytes()?);
    let (policy, asked_by) = (of_byte(&POLICIES, facts.byte()?), of_byte(&ASKED_BY, facts.byte()?));
    let channel = match facts.byte()? {
        OFF => Some(Channel::Plain(Plain::Off)),
        NOT_OFFERED => Some(Channel::Plain(Plain::NotOffered)),
        FALLBACK => Some(Channel::Plain(Plain::Fallback(facts.text()?.into()))),
        REFUSED => Some(Channel::Refused),
        ENCRYPTED => {
            let verified = of_byte(&VERIFIED, facts.byte()?);
            let (protocol, cipher) = (facts.text()?.to_owned().into(), facts.text()?.to_owned().into());
            verified.map(|verified| Channel::Encrypted { protocol, cipher, verified })
        }
        _ => None,
    };
    let security = || Some(Security { policy: policy?, asked_by: asked_by?, channel: channel? });
    Ok(security().map(Arc::new))
}

fn byte<T: Copy + PartialEq>(table: &[(u8, T)], wanted: T) -> u8 {
    table.iter().find(|(_, known)| *known == wanted).map_or(u8::MAX, |(byte, _)| *byte)
}

fn of_byte<T: Copy>(table: &[(u8, T)], wanted: u8) -> Option<T> {
    table.iter().find(|(byte, _)| *byte == wanted).map(|(_, known)| *known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_protected_a_session_is_read_as_it_was_written() {
        let encrypted = |verified| Channel::Encrypted { protocol: "TLSv1.3".into(), cipher: "TLS_X".into(), verified };
        let mut channels = vec![Channel::Plain(Plain::Off), Channel::Plain(Plain::NotOffered), Channel::Refused];
        channels.push(Channel::Plain(Plain::Fallback("the peer speaks nothing that is known".into())));
        channels.extend(VERIFIED.map(|(_, verified)| encrypted(verified)));
        for ((_, policy), (_, asked_by)) in POLICIES.into_iter().flat_map(|policy| ASKED_BY.map(|by| (policy, by))) {
            for channel in &channels {
                let written = Security { policy, asked_by, channel: channel.clone() };
                let mut bytes = Vec::new();
                put_security(&mut bytes, &written);
                bytes.push(77);
                let mut reader = Reader::new(&bytes);
                assert_eq!(security(&mut reader).expect("understood").as_deref(), Some(&written));
                assert_eq!(reader.byte(), Ok(77), "what follows is not touched");
            }
        }
    }

    #[test]
    fn words_that_are_not_known_yet_say_nothing_and_cuts_are_no_panic() {
        let of = |facts: &[u8]| {
            let mut bytes = Vec::new();
            put_bytes(&mut bytes, facts);
            security(&mut Reader::new(&bytes))
        };
        for facts in [[9, 0, OFF], [0, 9, OFF], [0, 0, 9]] {
            assert_eq!(of(&facts), Ok(None), "{facts:?}");
        }
        for facts in [&[][..], &[0], &[0, 0], &[0, 0, ENCRYPTED], &[0, 0, ENCRYPTED, 0, 9], &[0, 0, FALLBACK, 3, 1]] {
            assert!(of(facts).is_err(), "{facts:?}");
        }
    }
}
