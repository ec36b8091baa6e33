//! `[[listener]]`: where connections are taken, and what for.

use std::sync::Arc;

use super::read::{Placed, Reading, Section, text, truth, word};
use super::validate::values;
use super::{Listener, ListenerKind, ListenerTls, Pool, egress, units};

const KINDS: &[(&str, ListenerKind)] =
    &[("submission", ListenerKind::Submission), ("relay", ListenerKind::Relay), ("bounce", ListenerKind::Bounce)];
const TLS: &[(&str, ListenerTls)] = &[
    ("implicit", ListenerTls::Implicit),
    ("starttls", ListenerTls::StartTls),
    ("optional", ListenerTls::Optional),
    ("off", ListenerTls::Off),
];

/// Reads every `[[listener]]`: those without mistakes, and whether that is all of them.
pub(super) fn listeners(
    document: &mut Section<'_>,
    tls_is_set: bool,
    one_shard: bool,
    pools: &[Arc<Pool>],
    reading: &mut Reading,
) -> (Vec<Placed<Listener>>, bool) {
    let sections = document.sections("listener", reading);
    if sections.is_empty() {
        reading.missing(document.line, "[[listener]] is missing: without one nothing can be received");
    }
    let mut listeners: Vec<Placed<Listener>> = Vec::with_capacity(sections.len());
    let mut all_read = true;
    for section in sections {
        let Some(new) = listener(section, tls_is_set, pools, reading) else {
            all_read = false;
            continue;
        };
        let address = new.value.address;
        if address.port() == 0 && !one_shard {
            reading.mistake(new.line, "listener.address: port 0 (any free port) needs `shards = 1`");
        }
        match listeners.iter().find(|other| address.port() != 0 && other.value.address == address) {
            Some(other) => {
                let text = format!(
                    "listener.address: {address} is used already in line {}: give this one another",
                    other.line
                );
                reading.mistake(new.line, text);
                all_read = false;
            }
            None => listeners.push(new),
        }
    }
    (listeners, all_read)
}

/// One `[[listener]]`; its line is that of its address.
fn listener(
    mut section: Section<'_>,
    tls_is_set: bool,
    pools: &[Arc<Pool>],
    reading: &mut Reading,
) -> Option<Placed<Listener>> {
    let kind = section.required("kind", reading, word(KINDS));
    let address = section.required("address", reading, text(units::socket_address));
    let tls = section.required("tls", reading, word(TLS));
    let networks = section.list("networks", reading, text(units::network));
    let return_path = section.optional("return_path", reading, truth);
    let (standard, standard_line) = egress::standard(&mut section, pools, reading);
    let line = section.line;
    section.end(reading);
    if let Some(tls) = &tls {
        if tls.value != ListenerTls::Off && !tls_is_set {
            reading.mistake(tls.line, "listener.tls: needs the section [tls] with a certificate, or tls = \"off\"");
        }
        let kind = kind.as_ref().map(|kind| kind.value);
        if kind == Some(ListenerKind::Bounce) && matches!(tls.value, ListenerTls::Implicit | ListenerTls::StartTls) {
            reading.mistake(
                tls.line,
                "listener.tls: other servers bring bounces, and not all can do TLS: write \"optional\"",
            );
        }
        if tls.value == ListenerTls::Off && kind == Some(ListenerKind::Submission) {
            reading.mistake(tls.line, "listener.tls: submission needs TLS (AUTH is offered inside TLS only)");
        }
    }
    if let (Some(ListenerKind::Bounce), Some(return_path)) = (kind.as_ref().map(|kind| kind.value), &return_path) {
        reading.mistake(return_path.line, "listener.return_path: is about what is sent; nothing that comes here is");
    }
    match (kind.as_ref().map(|kind| kind.value), &networks) {
        (Some(ListenerKind::Relay), None) => {
            reading.mistake(line, "listener.networks is missing: a relay listener must say who may use it");
        }
        (Some(ListenerKind::Submission), Some(networks)) => {
            reading.mistake(networks.line, "listener.networks: only for kind = \"relay\"; submission asks for AUTH");
        }
        (Some(ListenerKind::Bounce), Some(networks)) => {
            reading
                .mistake(networks.line, "listener.networks: only for kind = \"relay\"; bounces come from everywhere");
        }
        _ => {}
    }
    let is_relay = kind.as_ref().is_none_or(|kind| kind.value == ListenerKind::Relay);
    if let (false, Some(line)) = (is_relay, standard_line) {
        let text = "listener: pool, tenant, routing_headers and preflight are only for kind = \"relay\"; of a submission the account has them";
        reading.mistake(line, text);
    }
    let address = address?;
    let networks = networks.map(|networks| values(networks.value)).unwrap_or_default();
    Some(Placed {
        line: address.line,
        value: Listener {
            kind: kind?.value,
            address: address.value,
            line: address.line,
            tls: tls?.value,
            networks,
            return_path: return_path.is_some_and(|wanted| wanted.value),
            standard: Arc::new(standard),
        },
    })
}
