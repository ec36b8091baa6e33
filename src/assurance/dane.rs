//! TLSA records: which can be used for SMTP, and which certificate one names (RFC 6698, 7671, 7672).

use aws_lc_rs::digest::{SHA256, SHA512, digest};

/// Records of one host that are looked at.
pub const RECORDS_MAX: usize = 32;

/// Octets of a record's data, at most: a whole certificate.
pub const DATA_BYTES_MAX: usize = 16 * 1024;

const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;

/// A TLSA record (RFC 6698 §2.1), as it was published.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// 0 to 3; the others mean nothing.
    pub usage: u8,
    /// 0: the whole certificate; 1: its public key.
    pub selector: u8,
    /// 0: as it is; 1: SHA-256; 2: SHA-512.
    pub matching: u8,
    /// What is compared.
    pub data: Box<[u8]>,
}

/// The DNSSEC-validated records of a host's SMTP port; not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlsa {
    /// The TLSA base domain (RFC 7672 §2.2.2): the name that the host must show.
    pub base: Box<str>,
    /// All of them.
    pub records: Vec<Record>,
}

impl Tlsa {
    /// The records that say something to an SMTP client. None: encryption is demanded, but nobody can be verified
    /// (RFC 7672 §2.2, §3.1.3).
    ///
    /// Of digests of the same thing only the strongest counts (RFC 7671 §9).
    pub fn usable(&self) -> Vec<Record> {
        let usable = || self.records.iter().filter(|record| record.is_usable());
        let strongest = |record: &Record| {
            let same = |other: &&Record| (other.usage, other.selector) == (record.usage, record.selector);
            usable().filter(same).map(|other| other.matching).max() == Some(record.matching)
        };
        usable().filter(|record| record.matching == 0 || strongest(record)).cloned().collect()
    }
}

impl Record {
    /// Usages 2 and 3 alone are for SMTP: nobody says which authorities both sides trust (RFC 7672 §3.1.3).
    fn is_usable(&self) -> bool {
        let size_fits = match self.matching {
            0 => (1..=DATA_BYTES_MAX).contains(&self.data.len()),
            1 => self.data.len() == 32,
            2 => self.data.len() == 64,
            _ => false,
        };
        matches!(self.usage, DANE_TA | DANE_EE) && matches!(self.selector, 0 | 1) && size_fits
    }

    /// Whether it names a server's own certificate.
    pub fn is_of_end_entity(&self) -> bool {
        self.usage == DANE_EE
    }

    /// Whether it names an authority's.
    pub fn is_of_authority(&self) -> bool {
        self.usage == DANE_TA
    }

    /// The authority's certificate, where the record holds all of it.
    pub fn authority(&self) -> Option<&[u8]> {
        (self.is_of_authority() && self.selector == 0 && self.matching == 0).then_some(&self.data)
    }

    /// Whether it names this certificate: all of it, and its SubjectPublicKeyInfo, both DER.
    pub fn names(&self, certificate: &[u8], public_key: &[u8]) -> bool {
        let selected = if self.selector == 0 { certificate } else { public_key };
        match self.matching {
            0 => *self.data == *selected,
            1 => *self.data == *digest(&SHA256, selected).as_ref(),
            2 => *self.data == *digest(&SHA512, selected).as_ref(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(usage: u8, selector: u8, matching: u8, data: &[u8]) -> Record {
        Record { usage, selector, matching, data: data.into() }
    }

    fn usable(records: Vec<Record>) -> Vec<(u8, u8, u8)> {
        let tlsa = Tlsa { base: "mx.example.com".into(), records };
        tlsa.usable().iter().map(|record| (record.usage, record.selector, record.matching)).collect()
    }

    #[test]
    fn only_usages_2_and_3_with_data_of_the_right_size_are_usable() {
        let cases = [
            (record(3, 1, 1, &[7; 32]), true),
            (record(2, 0, 1, &[7; 32]), true),
            (record(3, 0, 2, &[7; 64]), true),
            (record(3, 1, 0, b"key"), true),
            (record(0, 1, 1, &[7; 32]), false),
            (record(1, 1, 1, &[7; 32]), false),
            (record(4, 1, 1, &[7; 32]), false),
            (record(255, 1, 1, &[7; 32]), false),
            (record(3, 2, 1, &[7; 32]), false),
            (record(3, 1, 3, &[7; 32]), false),
            (record(3, 1, 1, &[7; 20]), false),
            (record(3, 1, 2, &[7; 32]), false),
            (record(3, 1, 0, b""), false),
        ];
        for (record, expected) in cases {
            assert_eq!(usable(vec![record.clone()]).len() == 1, expected, "{record:?}");
        }
    }

    #[test]
    fn of_digests_of_the_same_thing_the_strongest_counts() {
        let records = vec![
            record(3, 1, 1, &[1; 32]),
            record(3, 1, 2, &[1; 64]),
            record(3, 1, 2, &[2; 64]),
            record(3, 1, 0, b"key"),
            record(3, 0, 1, &[1; 32]),
            record(2, 1, 1, &[1; 32]),
            // A digest that cannot be read is no stronger one.
            record(2, 1, 2, &[1; 63]),
        ];
        assert_eq!(usable(records), [(3, 1, 2), (3, 1, 2), (3, 1, 0), (3, 0, 1), (2, 1, 1)]);
    }

    #[test]
    fn a_record_names_the_certificate_or_the_key_as_it_is_or_by_its_digest() {
        let (certificate, key) = (b"certificate".as_slice(), b"key".as_slice());
        let of = |algorithm, data| digest(algorithm, data).as_ref().to_vec();
        for (selector, selected, other) in [(0, certificate, key), (1, key, certificate)] {
            for (matching, data, wrong) in [
                (0, selected.to_vec(), other.to_vec()),
                (1, of(&SHA256, selected), of(&SHA256, other)),
                (2, of(&SHA512, selected), of(&SHA512, other)),
            ] {
                assert!(record(3, selector, matching, &data).names(certificate, key), "{selector} {matching}");
                assert!(!record(3, selector, matching, &wrong).names(certificate, key), "{selector} {matching}");
            }
        }
    }
}
