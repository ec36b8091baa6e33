//! What a TXT record says of a key that signs (RFC 6376 §3.6.1). Pure.

use super::dmarc::State;
use super::{Finding, Kind, Receiver, Rule, Zone};
use crate::authentication::Signer;

const DKIM: Rule = Rule { id: "dkim", source: "RFC 6376 §3.6.1", asked_by: Receiver::ALL };

/// How a published record stands to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// It publishes the key.
    Publishes,
    /// It does, and asks receivers to treat what is signed as if it were not (`t=y`).
    Tests,
    /// It publishes another key.
    Another,
    /// It says that the key is no longer used (`p=` without a value).
    Revoked,
}

/// What DNS says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// One record, which says this.
    Says(Says),
    /// No record.
    Nothing,
    /// Several, of which receivers may take any.
    Several,
    /// DNS does not answer; why.
    Unknown(String),
}

/// Compares what DNS has at `name` with the record `wanted`.
pub async fn published(zone: &impl Zone, name: &str, wanted: &str) -> Published {
    match zone.ask(name, Kind::Txt).await {
        Err(why) => Published::Unknown(why),
        Ok(records) => match &records[..] {
            [] => Published::Nothing,
            [record] => Published::Says(says(record, wanted)),
            _ => Published::Several,
        },
    }
}

/// Whether DNS publishes the key of `signer`, and so whether its signature holds.
pub(super) async fn examine(zone: &impl Zone, signer: &Signer) -> (Finding, State) {
    let (name, wanted) = match signer.record() {
        Ok(record) => record,
        Err(why) => return (DKIM.unknown(why.to_string(), "try again"), State::Unknown),
    };
    let remedy = format!("publish this TXT record at {name}: {wanted}");
    let finding = match published(zone, &name, &wanted).await {
        Published::Says(Says::Publishes) => DKIM.pass(format!("{name} publishes the key that signs")),
        Published::Says(Says::Tests) => DKIM.warn(format!("{name} is for tests (t=y): it counts for nothing"), remedy),
        Published::Says(Says::Another) => {
            DKIM.fail(format!("{name} publishes another key than that which signs"), remedy)
        }
        Published::Says(Says::Revoked) => DKIM.fail(format!("{name} publishes no key: the key is revoked"), remedy),
        Published::Nothing => DKIM.fail(format!("DNS has no record {name}"), remedy),
        Published::Several => DKIM.fail(format!("{name} has several TXT records"), remedy),
        Published::Unknown(why) => DKIM.unknown(format!("{name} cannot be read: {why}"), "try again"),
    };
    let state = State::of(Some(finding.verdict));
    (finding, state)
}

/// What `record` says of the key that `wanted` would publish.
fn says(record: &str, wanted: &str) -> Says {
    let key = value(record, "p").unwrap_or_default();
    // Without `k=` it is an RSA key.
    let kind = |record| value(record, "k").filter(|kind| !kind.is_empty()).unwrap_or_else(|| "rsa".into());
    let is_version = value(record, "v").is_none_or(|version| version == "DKIM1");
    if key.is_empty() {
        return Says::Revoked;
    }
    if !is_version || Some(key) != value(wanted, "p") || !kind(record).eq_ignore_ascii_case(&kind(wanted)) {
        return Says::Another;
    }
    let flags = value(record, "t").unwrap_or_default();
    if flags.split(':').any(|flag| flag == "y") { Says::Tests } else { Says::Publishes }
}

/// The value of a tag, without white space: records are often cut into pieces and folded.
fn value(record: &str, tag: &str) -> Option<String> {
    let tags = record.split(';').filter_map(|tag| tag.split_once('='));
    let mut found = tags.filter(|(name, _)| name.trim() == tag).map(|(_, value)| value);
    found.next().map(|value| value.split_ascii_whitespace().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_publishes_the_key_or_another_or_none() {
        let wanted = "v=DKIM1; k=rsa; p=MIIBCg==";
        for (record, expected) in [
            ("v=DKIM1; k=rsa; p=MIIBCg==", Says::Publishes),
            ("k=rsa;p=MII BCg==;", Says::Publishes),
            ("p=MIIBCg==", Says::Publishes),
            ("v=DKIM1; h=sha256; n=a note; p=MIIBCg==; s=email", Says::Publishes),
            ("v=DKIM1; t=y:s; p=MIIBCg==", Says::Tests),
            ("v=DKIM1; k=rsa; p=MIIBCh==", Says::Another),
            ("v=DKIM1; k=ed25519; p=MIIBCg==", Says::Another),
            ("v=DKIM2; p=MIIBCg==", Says::Another),
            ("v=DKIM1; p=", Says::Revoked),
            ("v=spf1 -all", Says::Revoked),
        ] {
            assert_eq!(says(record, wanted), expected, "{record}");
        }
    }
}
