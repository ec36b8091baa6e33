//! TLSA records of a host, as far as DNSSEC vouches for them (RFC 7672 §2.1 and §2.2).
//!
//! | the host's addresses | its TLSA records | the answer |
//! |---|---|---|
//! | not secure | not asked for: a server that does not sign may not even answer such questions (§2.2.2) | none |
//! | secure | secure | these |
//! | secure | provably absent, or not secure | none |
//! | bogus, or nobody answers | or this | trouble: absence must be proven (§2.1.1) |
//!
//! Where the host is an alias, the records of the name that it stands for come first, if the whole way there is secure.

use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::{NEGATIVE_TTL_UNKNOWN, ask, host_name, ttl_of};
use crate::assurance::dane::{DATA_BYTES_MAX, RECORDS_MAX, Record, Tlsa};
use crate::dns::Answer;

/// Aliases that are followed.
const ALIASES_MAX: usize = 8;

/// The records of the SMTP service at `port` of `host`.
pub(super) async fn look_up(resolver: &TokioResolver, host: &str, port: u16) -> Answer {
    let (bases, mut ttl) = match bases(resolver, host).await {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    for base in bases {
        match records(resolver, &base, port).await {
            Ok(Some((records, ttl))) => return Answer::Tlsa(Tlsa { base, records }, ttl),
            Ok(None) => {}
            Err(trouble @ Answer::Trouble(_)) => return trouble,
            Err(absent) => ttl = ttl.min(absent.ttl()),
        }
    }
    Answer::NoData(ttl)
}

/// The names under which records are looked for, in order, and how long that holds; none where the host is in no signed
/// zone. Aliases are followed one by one: where a secure one leads to what is not signed, it still is secure.
async fn bases(resolver: &TokioResolver, host: &str) -> Result<(Vec<Box<str>>, Duration), Answer> {
    let mut name: Box<str> = host.into();
    for _ in 0..ALIASES_MAX {
        // The way to here was secure.
        let own = (*name != *host).then(|| host.into());
        match alias(resolver, &name).await? {
            Some((target, true)) => name = target,
            Some((_, false)) => return Ok((own.into_iter().collect(), NEGATIVE_TTL_UNKNOWN)),
            None => {
                let (is_secure, ttl) = has_secure_address(resolver, &name).await?;
                return Ok((is_secure.then_some(name).into_iter().chain(own).collect(), ttl));
            }
        }
    }
    Err(Answer::Trouble("the name is an alias of too many others".into()))
}

/// What `name` is an alias of, if it is one, and whether that is secure.
async fn alias(resolver: &TokioResolver, name: &str) -> Result<Option<(Box<str>, bool)>, Answer> {
    let lookup = match ask(resolver, name, RecordType::CNAME).await {
        Ok(lookup) => lookup,
        Err(trouble @ Answer::Trouble(_)) => return Err(trouble),
        Err(_) => return Ok(None),
    };
    let is_secure = is_secure(&lookup)?;
    let target = lookup.answers().iter().find_map(|record| match &record.data {
        RData::CNAME(target) => Some(host_name(target)),
        _ => None,
    });
    Ok(target.map(|target| (target, is_secure)))
}

/// Whether `name` has an address that DNSSEC vouches for, and how long that holds.
async fn has_secure_address(resolver: &TokioResolver, name: &str) -> Result<(bool, Duration), Answer> {
    let mut absent = NEGATIVE_TTL_UNKNOWN;
    for kind in [RecordType::A, RecordType::AAAA] {
        match ask(resolver, name, kind).await {
            Ok(lookup) => return Ok((is_secure(&lookup)?, ttl_of(lookup.answers()))),
            Err(trouble @ Answer::Trouble(_)) => return Err(trouble),
            Err(none) => absent = none.ttl(),
        }
    }
    Ok((false, absent))
}

/// TLSA records at the port of `base`; `None` where they are not secure.
async fn records(resolver: &TokioResolver, base: &str, port: u16) -> Result<Option<(Vec<Record>, Duration)>, Answer> {
    let lookup = ask(resolver, &format!("_{port}._tcp.{base}"), RecordType::TLSA).await?;
    let records: Vec<Record> = lookup
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::TLSA(tlsa) => Some(Record {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.get(..DATA_BYTES_MAX.min(tlsa.cert_data.len())).unwrap_or_default().into(),
            }),
            _ => None,
        })
        .take(RECORDS_MAX)
        .collect();
    let is_secure = is_secure(&lookup)? && !records.is_empty();
    Ok(is_secure.then(|| (records, ttl_of(lookup.answers()))))
}

/// Whether DNSSEC vouches for all of an answer, aliases included; trouble where it ought to and does not.
pub(super) fn is_secure(lookup: &Lookup) -> Result<bool, Answer> {
    let proofs = || lookup.answers().iter().map(|record| record.proof);
    if proofs().any(|proof| matches!(proof, Proof::Bogus | Proof::Indeterminate)) {
        return Err(Answer::Trouble("DNSSEC could not validate the answer".into()));
    }
    Ok(proofs().all(|proof| proof == Proof::Secure))
}
