//! `ringpost check`.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use shards::Timestamp;
use shards::tls::{Validity, validities};

use super::Failure;
use crate::config::{Config, Mistake, PASSWORD_UNSET, TlsFiles};
use crate::control::{certificate, clock, signing, trust};
use crate::crossing::Certificate;

/// A certificate that is valid no longer than this should be renewed by now.
const SOON: Duration = Duration::from_secs(14 * 86_400);

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let checked = Config::load(file);
    let (mut mistakes, mut warned) = (Vec::new(), Vec::new());
    let files = match &checked {
        Ok(config) => {
            mistakes.extend(signing::of(config).err().unwrap_or_default());
            mistakes.extend(trust::of(config).err().unwrap_or_default());
            warned.extend(warnings(config).into_iter().map(|text| Mistake { line: 0, text }));
            config.tls.clone()
        }
        Err(found) => {
            mistakes.extend(found.iter().cloned());
            Config::tls_files(file)
        }
    };
    // The certificate is looked at whatever else is wrong.
    if let Some(files) = &files {
        match certificate::load(files) {
            Ok(certificate) => warned.extend(times(&certificate, files, clock::now())),
            Err(error) => mistakes.push(Mistake { line: error.line(files), text: error.to_string() }),
        }
    }
    for Mistake { line, text } in warned {
        eprintln!("{}", Mistake { line, text: format!("warning: {text}") }.in_file(file));
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    match checked {
        Ok(config) if mistakes.is_empty() => {
            println!("{}: OK ({})", file.display(), summary(&config));
            Ok(())
        }
        _ => Err(Failure::Wrong(mistakes.iter().map(|mistake| mistake.in_file(file)).collect())),
    }
}

/// What is not wrong, but will not work as it stands.
fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for account in config.accounts.iter().filter(|account| &*account.password == PASSWORD_UNSET) {
        warnings
            .push(format!("account `{}` has no password yet: set what `ringpost account hash` prints", account.name));
    }
    for webhook in config.webhooks.iter().filter(|webhook| !webhook.url.tls && !is_here(&webhook.url.host)) {
        warnings.push(format!(
            "webhook `{}` goes unencrypted to {}: who listens on the way reads it; write https where it can",
            webhook.name, webhook.url.host
        ));
    }
    warnings
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Certificates of the chain that clients refuse at `now`, or will soon.
fn times(certificate: &Certificate, files: &TlsFiles, now: Timestamp) -> Vec<Mistake> {
    let line = files.lines[0];
    let validities = match validities(&certificate.chain_pem) {
        Ok(validities) => validities,
        Err(why) => return vec![Mistake { line, text: why.to_string() }],
    };
    let warning = |(number, validity): (usize, &Validity)| {
        let which = match number {
            0 => "the certificate".to_owned(),
            _ => format!("certificate {} of the chain", number + 1),
        };
        let text = match *validity {
            Validity { until, .. } if until <= now => {
                format!("{which} expired on {}: clients refuse it; renew it", date(until))
            }
            Validity { from, .. } if from > now => format!("{which} is not valid before {}", date(from)),
            Validity { until, .. } if until.since(now) <= SOON => {
                let days = until.since(now).as_secs() / 86_400;
                format!("{which} expires on {}, in {days} days: renew it", date(until))
            }
            _ => return None,
        };
        Some(Mistake { line, text: format!("tls.certificate: {text}") })
    };
    validities.iter().enumerate().filter_map(warning).collect()
}

fn date(time: Timestamp) -> String {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis);
    time.map_or_else(|_| "a day beyond the calendar".into(), |time| time.strftime("%Y-%m-%d").to_string())
}

fn summary(config: &Config) -> String {
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let mut parts = vec![
        count(config.shards, "shard"),
        count(config.listeners.len(), "listener"),
        count(config.accounts.len(), "account"),
        count(config.routes.len(), "route"),
    ];
    if !config.webhooks.is_empty() {
        parts.push(count(config.webhooks.len(), "webhook"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;

    #[test]
    fn what_is_over_soon_over_or_yet_to_come_is_told() {
        let mut parameters = rcgen::CertificateParams::new(["mx.test".into()]).expect("parameters");
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = parameters.self_signed(&key).expect("a certificate").pem();
        let chain = Certificate { chain_pem: [pem.clone(), pem].concat().into(), key_pem: Vec::new() };
        let files = TlsFiles { lines: [7, 8], certificate: "c.pem".into(), private_key: "k.pem".into() };
        let april = 1_775_001_600_000;
        let told = |millis: u64| {
            let told = times(&chain, &files, Timestamp::from_millis(millis));
            told.into_iter().map(|mistake| (mistake.line, mistake.text)).collect::<Vec<_>>()
        };
        assert!(told(april - 15 * DAY_MS).is_empty());
        let soon = told(april - 10 * DAY_MS);
        assert_eq!(soon[0], (7, "tls.certificate: the certificate expires on 2026-04-01, in 10 days: renew it".into()));
        assert!(soon[1].1.contains("certificate 2 of the chain expires on"), "{soon:?}");
        let over = told(april);
        assert!(over[0].1.ends_with("the certificate expired on 2026-04-01: clients refuse it; renew it"), "{over:?}");
        let early = told(april - 120 * DAY_MS);
        assert!(early[0].1.ends_with("the certificate is not valid before 2026-01-01"), "{early:?}");
    }
}
