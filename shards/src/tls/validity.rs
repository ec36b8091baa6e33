//! From when until when certificates are valid: the one thing that is read of them here (RFC 5280 §4.1.2.5).

use rustls::pki_types::CertificateDer;

use super::TlsError;
use super::config::certificates;
use crate::Timestamp;

/// Tags of X.690.
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;

/// A certificate's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The beginning.
    pub from: Timestamp,
    /// The end.
    pub until: Timestamp,
}

/// The validity of each certificate of a PEM file, in its order.
///
/// # Errors
/// It is not PEM, or holds no certificate, or one whose times cannot be read.
pub fn validities(pem: &[u8]) -> Result<Vec<Validity>, TlsError> {
    let odd = || TlsError::CertificatePem("a certificate's validity cannot be read".into());
    certificates(pem)?.iter().map(|certificate| validity(certificate).ok_or_else(odd)).collect()
}

fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (mut certificate, _) = expect(certificate, SEQUENCE)?;
    let (mut fields, _) = expect(take(&mut certificate)?, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        take(&mut fields)?;
    }
    expect(take(&mut fields)?, INTEGER)?;
    // The signature's algorithm and the issuer.
    take(&mut fields)?;
    take(&mut fields)?;
    let (mut times, _) = expect(take(&mut fields)?, SEQUENCE)?;
    Some(Validity { from: time(take(&mut times)?)?, until: time(take(&mut times)?)? })
}

/// The first element of `rest`, whole; `rest` is what follows.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (_, behind) = expect(rest, *rest.first()?)?;
    let element = &rest[..rest.len() - behind.len()];
    *rest = behind;
    Some(element)
}

/// The content of an element with this tag, and what follows it.
fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    if found == tag { rest.split_at_checked(length) } else { None }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(element: &[u8]) -> Option<Timestamp> {
    let tag = *element.first()?;
    let (digits, _) = expect(element, tag)?;
    let digits = std::str::from_utf8(digits).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year: u64 = digits[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (digits[..4].parse().ok()?, &digits[4..]),
        _ => return None,
    };
    let number = |at: usize| rest[at..at + 2].parse::<u64>().ok();
    let days = days_since_epoch(year, number(0)?, number(2)?)?;
    let seconds = days * 86_400 + number(4)? * 3_600 + number(6)? * 60 + number(8)?;
    Some(Timestamp::from_millis(seconds * 1_000))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that a leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate that is valid between two dates.
    fn certificate(from: (i32, u8, u8), until: (i32, u8, u8)) -> String {
        let mut parameters = rcgen::CertificateParams::new(["mx.test".into()]).expect("parameters");
        parameters.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        parameters.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let key = rcgen::KeyPair::generate().expect("a key");
        parameters.self_signed(&key).expect("a certificate").pem()
    }

    fn seconds(validity: Validity) -> (u64, u64) {
        (validity.from.as_secs(), validity.until.as_secs())
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let chain = certificate((1999, 12, 31), (2049, 12, 31)) + &certificate((2024, 2, 29), (2050, 1, 1));
        let read: Vec<(u64, u64)> =
            validities(chain.as_bytes()).expect("validities").into_iter().map(seconds).collect();
        assert_eq!(read, [(946_598_400, 2_524_521_600), (1_709_164_800, 2_524_608_000)]);
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let cases = [
            ((1970, 1, 1), Some(0)),
            ((2000, 2, 29), Some(11_016)),
            ((2000, 3, 1), Some(11_017)),
            ((2100, 3, 1), Some(47_541)),
            ((1969, 12, 31), None),
            ((2026, 13, 1), None),
            ((2026, 1, 32), None),
        ];
        for ((year, month, day), days) in cases {
            assert_eq!(days_since_epoch(year, month, day), days, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn what_is_cut_off_or_odd_is_no_time() {
        let pem = certificate((2020, 1, 1), (2030, 1, 1));
        let der = certificates(pem.as_bytes()).expect("one").remove(0);
        assert!(validity(&der).is_some());
        for length in 0..der.len() {
            let _ = validity(&CertificateDer::from(&der[..length]));
        }
        for odd in
            [&b"\x17\x0d2601010000000"[..], b"\x17\x0d26010100000\xc3Z", b"\x18\x0d260101000000Z", b"\x17\x85", b""]
        {
            assert_eq!(time(odd), None, "{odd:?}");
        }
    }
}
