//! The keys, their defaults, and what contradicts what.
//!
//! Each section is read whole before anything is decided, so that one run reports all its mistakes. A function that
//! gives `None` has noted why.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{Ident, PasswordHash};

use super::read::{Placed, Reading, Section, number, text, truth, word};
use super::{
    Account, Config, Delivery, Http, Limits, Listener, Mistake, Notices, PASSWORD_UNSET, Pool, Retention, Route,
    TlsFiles, Uncertain,
};
use super::{
    assurance, dkim, egress, limit, listener, log, machine, preflight, reply, retry, return_path, screening, shaping,
    suppression, tls_reports, units, webhook,
};

/// More shards than any machine has cores.
const SHARDS_MAX: u64 = 1024;
/// The smallest content limit that is still mail.
const MESSAGE_BYTES_MIN: u64 = 1 << 10;
/// The largest content limit: content is held in memory while it is received.
const MESSAGE_BYTES_MAX: u64 = 500 << 20;

/// The longest wait for a TCP connection: after it no further address is tried for one connection.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// The longest wait for a reply: all of a transaction's may take no longer.
const REPLY_TIMEOUT_MAX: Duration = Duration::from_secs(1_800);

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

const UNCERTAIN: &[(&str, Uncertain)] = &[("retry", Uncertain::Retry), ("hold", Uncertain::Hold)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Notice {
    Failed,
    Delayed,
    Delivered,
}
const NOTICES: &[(&str, Notice)] =
    &[("failed", Notice::Failed), ("delayed", Notice::Delayed), ("delivered", Notice::Delivered)];

/// Reads the whole of `text`.
pub(super) fn config(text: &str, base_dir: &Path) -> Result<Config, Vec<Mistake>> {
    let (mut reading, mut document) = Reading::begin(text);
    let config = sections(&mut document, base_dir, &mut reading);
    document.end(&mut reading);
    let mistakes = reading.end();
    match config {
        Some(config) if mistakes.is_empty() => Ok(config),
        _ => Err(mistakes),
    }
}

/// The section `[tls]` alone, if that is sound.
pub(super) fn only_tls(text: &str, base_dir: &Path) -> Option<TlsFiles> {
    let (mut reading, mut document) = Reading::begin(text);
    let section = document.section("tls", &mut reading)?;
    tls_files(section, base_dir, &mut reading)
}

fn sections(document: &mut Section<'_>, base_dir: &Path, reading: &mut Reading) -> Option<Config> {
    let server = server(document, base_dir, reading);
    let tls_section = document.section("tls", reading);
    let tls_is_set = tls_section.is_some();
    let tls = tls_section.and_then(|section| tls_files(section, base_dir, reading));
    let one_shard = server.as_ref().is_some_and(|server| server.shards == 1);
    let pools = egress::pools(document, reading);
    let providers = limit::providers(document, reading);
    let path_limits = limit::all(document, &providers, &pools, reading);
    let replies = reply::all(document, &providers, &pools, reading);
    let (listeners, all_listeners) = listener::listeners(document, tls_is_set, one_shard, &pools, reading);
    let data_dir = server.as_ref().map(|server| &*server.data_dir);
    let return_path = return_path::return_path(document, data_dir, base_dir, reading);
    return_path::contradictions(return_path.as_ref(), &listeners, all_listeners, reading);
    let accounts = accounts(document, &pools, return_path.is_some(), reading);
    let (dns_servers, dns_trust_anchor) = dns(document, base_dir, reading);
    let routes = routes(document, &pools, base_dir, reading);
    let shaping = shaping::shaping(document, reading);
    let delivery = delivery(document, &pools, base_dir, reading);
    let retry = retry::retry(document, reading);
    let retention = retention(document, reading);
    let limits = limits(document, reading);
    let screening = screening::screening(document, base_dir, reading);
    let preflight = preflight::preflight(document, reading);
    let suppression = suppression::suppression(document, reading);
    let webhooks = webhook::webhooks(document, &accounts, base_dir, reading);
    let dkim = dkim::keys(document, base_dir, reading);
    let log = log::log(document, reading);
    let tls_reports = tls_reports::tls_reports(document, reading);
    let http = http(document, &listeners, base_dir, reading);
    let server = server?;
    Some(Config {
        hostname: server.hostname,
        data_dir: server.data_dir,
        shards: server.shards,
        tls,
        listeners: listeners.into_iter().map(|listener| listener.value).collect(),
        accounts,
        dns_servers,
        dns_trust_anchor,
        routes,
        pools,
        host_pool: Arc::new(Pool::host()),
        providers,
        path_limits,
        replies,
        shaping,
        delivery,
        retry,
        retention,
        limits,
        screening,
        preflight,
        suppression,
        webhooks,
        dkim,
        log,
        return_path: return_path.and_then(|section| section.value),
        tls_reports,
        http,
    })
}

struct Server {
    hostname: Box<str>,
    data_dir: PathBuf,
    shards: usize,
}

fn server(document: &mut Section<'_>, base_dir: &Path, reading: &mut Reading) -> Option<Server> {
    let Some(mut section) = document.section("server", reading) else {
        reading.missing(document.line, "[server] is missing: it needs hostname and data_dir");
        return None;
    };
    let hostname = section.required("hostname", reading, text(machine::hostname));
    let data_dir = section.required("data_dir", reading, path(base_dir));
    let shards = section.optional("shards", reading, |value| match text(|word| Ok(word == "auto"))(value) {
        Ok(true) => Ok(None),
        Ok(false) => Err("must be \"auto\" or a number".into()),
        Err(_) => number(1..=SHARDS_MAX)(value)
            .map(Some)
            .map_err(|_| format!("must be \"auto\" or between 1 and {SHARDS_MAX}")),
    });
    section.end(reading);
    let shards = match shards.and_then(|shards| shards.value) {
        Some(shards) => to_usize(shards),
        None => shards::launch::cores(),
    };
    Some(Server { hostname: hostname?.value, data_dir: data_dir?.value, shards })
}

fn tls_files(mut section: Section<'_>, base_dir: &Path, reading: &mut Reading) -> Option<TlsFiles> {
    let certificate = section.required("certificate", reading, machine::secret(base_dir));
    let private_key = section.required("private_key", reading, machine::secret(base_dir));
    section.end(reading);
    let (certificate, private_key) = (certificate?, private_key?);
    let lines = [certificate.line, private_key.line];
    Some(TlsFiles { lines, certificate: certificate.value, private_key: private_key.value })
}

fn accounts(
    document: &mut Section<'_>,
    pools: &[Arc<Pool>],
    has_return_path: bool,
    reading: &mut Reading,
) -> Vec<Account> {
    let sections = document.sections("account", reading);
    let mut accounts = Vec::with_capacity(sections.len());
    let mut lines: HashMap<String, usize> = HashMap::with_capacity(sections.len());
    for section in sections {
        let Some(account) = account(section, pools, has_return_path, reading) else { continue };
        let name = account.value.name.to_lowercase();
        match lines.get(&name) {
            Some(line) => {
                let text = format!("account.name: `{name}` exists already, in line {line}");
                reading.mistake(account.line, text);
            }
            None => {
                lines.insert(name, account.line);
                accounts.push(account.value);
            }
        }
    }
    accounts
}

/// One `[[account]]`; its line is that of its name.
fn account(
    mut section: Section<'_>,
    pools: &[Arc<Pool>],
    has_return_path: bool,
    reading: &mut Reading,
) -> Option<Placed<Account>> {
    let name = section.required("name", reading, text(user_name));
    let password = section.required("password", reading, text(argon2id));
    let senders = section.required_list("senders", reading, text(units::sender));
    let smtp = section.optional("smtp", reading, truth);
    let daily_limit = section.optional("daily_limit", reading, number(1..=u64::from(u32::MAX)));
    let scheduled_send = section.optional("scheduled_send", reading, truth);
    let notify = section.list_or_empty("notify", reading, word(NOTICES));
    let return_path = section.optional("return_path", reading, truth);
    let (standard, _) = egress::standard(&mut section, pools, reading);
    section.end(reading);
    if let Some(wanted) = return_path.as_ref().filter(|wanted| wanted.value && !has_return_path) {
        reading.missing(wanted.line, return_path::NEEDS_SECTION.replace("WHO", "account"));
    }
    let notify = match notify {
        None => Notices { failed: true, delayed: true, delivered: false },
        Some(list) => {
            let wanted = values(list.value);
            Notices {
                failed: wanted.contains(&Notice::Failed),
                delayed: wanted.contains(&Notice::Delayed),
                delivered: wanted.contains(&Notice::Delivered),
            }
        }
    };
    let name = name?;
    Some(Placed {
        line: name.line,
        value: Account {
            name: name.value,
            password: password?.value,
            senders: values(senders?),
            smtp: smtp.is_none_or(|smtp| smtp.value),
            daily_limit: daily_limit.map(|limit| limit.value),
            scheduled_send: scheduled_send.is_some_and(|send| send.value),
            notify,
            return_path: return_path.is_some_and(|wanted| wanted.value),
            standard,
        },
    })
}

fn user_name(text: &str) -> Result<Box<str>, String> {
    // RFC 4616 bounds an authentication identity at 255 octets; NUL separates the fields of AUTH PLAIN.
    if text.is_empty() || text.len() > 255 || text.contains(char::is_control) {
        return Err("must have 1 to 255 printable characters".into());
    }
    Ok(text.into())
}

fn argon2id(text: &str) -> Result<Box<str>, String> {
    let wanted = "must be an argon2id string ($argon2id$v=19$…) as `ringpost account hash` prints it";
    if text != PASSWORD_UNSET {
        let hash = PasswordHash::new(text).map_err(|_| wanted)?;
        let complete = hash.salt.is_some() && hash.hash.is_some() && argon2::Params::try_from(&hash).is_ok();
        if hash.algorithm != Ident::new_unwrap("argon2id") || !complete {
            return Err(wanted.into());
        }
    }
    Ok(text.into())
}

fn dns(
    document: &mut Section<'_>,
    base_dir: &Path,
    reading: &mut Reading,
) -> (Vec<SocketAddr>, Option<assurance::NamedFile>) {
    let mut section = document.section_or_empty("dns", reading);
    let servers = section.list("servers", reading, text(units::dns_server));
    let trust_anchor = section.optional("trust_anchor", reading, path(base_dir));
    section.end(reading);
    (servers.map(|servers| values(servers.value)).unwrap_or_default(), trust_anchor.map(assurance::named))
}

fn routes(document: &mut Section<'_>, pools: &[Arc<Pool>], base_dir: &Path, reading: &mut Reading) -> Vec<Route> {
    let sections = document.sections("route", reading);
    let mut routes = Vec::with_capacity(sections.len());
    let mut lines: HashMap<Box<str>, usize> = HashMap::new();
    for mut section in sections {
        let domains = section.required_list("domains", reading, text(units::pattern));
        let has_next_hop = section.has("next_hop");
        let next_hop = section.optional("next_hop", reading, text(units::next_hop));
        let pool = section.optional("pool", reading, egress::one_of(pools));
        let line = section.line;
        let (tls, ca_file) = assurance::route_tls(&mut section, base_dir, reading);
        section.end(reading);
        if !has_next_hop && pool.is_none() {
            reading.missing(line, "route.next_hop is missing, or a pool for what goes to the MX");
        }
        for domain in domains.iter().flatten() {
            if let Some(line) = lines.get("*").or_else(|| lines.get(&domain.value)) {
                let text = format!("route.domains: `{}` is never reached: line {line} matches first", domain.value);
                reading.mistake(domain.line, text);
            }
        }
        for domain in domains.iter().flatten() {
            lines.entry(domain.value.clone()).or_insert(domain.line);
        }
        if !has_next_hop && (tls.is_some() || ca_file.is_some()) {
            reading.mistake(line, "route.tls and route.ca_file are about its next_hop: [delivery.tls] is about the MX");
        }
        if let Some(domains) = domains {
            let (host, port) = next_hop.map_or((None, 25), |Placed { value: (host, port), .. }| (Some(host), port));
            let pool = pool.map(|pool| pool.value);
            routes.push(Route { domains: values(domains), host, port, tls, ca_file, pool });
        }
    }
    routes
}

fn delivery(document: &mut Section<'_>, pools: &[Arc<Pool>], base_dir: &Path, reading: &mut Reading) -> Delivery {
    let mut section = document.section_or_empty("delivery", reading);
    let port = section.optional("port", reading, number(1..=65_535));
    let connections_max = section.optional("connections_max", reading, number(1..=100_000));
    let messages_max = section.optional("messages_per_connection_max", reading, number(1..=1_000_000));
    let idle_timeout = limit::idle_timeout(&mut section, reading);
    let connect = section.optional("connect_timeout", reading, text(timeout(CONNECT_TIMEOUT_MAX)));
    let reply = section.optional("reply_timeout", reading, text(timeout(REPLY_TIMEOUT_MAX)));
    let final_dot = section.optional("final_dot_timeout", reading, text(timeout(REPLY_TIMEOUT_MAX)));
    let uncertain = section.optional("uncertain", reading, word(UNCERTAIN));
    let tls = assurance::delivery_tls(&mut section, base_dir, reading);
    let pool = section.optional("pool", reading, egress::one_of(pools));
    section.end(reading);
    Delivery {
        port: port.and_then(|port| u16::try_from(port.value).ok()).unwrap_or(25),
        pool: pool.map(|pool| pool.value),
        connections_max: connections_max.map_or(20, to_u32),
        messages_per_connection_max: messages_max.map_or(100, to_u32),
        idle_timeout: idle_timeout.unwrap_or(Duration::from_secs(5)),
        connect_timeout: connect.map_or(Duration::from_secs(30), |timeout| timeout.value),
        reply_timeout: reply.map_or(5 * MINUTE, |timeout| timeout.value),
        final_dot_timeout: final_dot.map_or(10 * MINUTE, |timeout| timeout.value),
        uncertain: uncertain.map_or(Uncertain::Retry, |uncertain| uncertain.value),
        tls,
    }
}

fn retention(document: &mut Section<'_>, reading: &mut Reading) -> Retention {
    let mut section = document.section_or_empty("retention", reading);
    let content = section.optional("content", reading, text(units::duration));
    let placeholder = section.optional("placeholder", reading, text(units::duration));
    section.end(reading);
    if let (Some(content), Some(placeholder)) = (&content, &placeholder)
        && content.value > placeholder.value
    {
        reading.mistake(
            content.line,
            "retention.content is longer than retention.placeholder: content would stay without its message",
        );
    }
    let placeholder_at_least = content.as_ref().map_or(Duration::ZERO, |content| content.value);
    let placeholder = placeholder.map_or((90 * DAY).max(placeholder_at_least), |placeholder| placeholder.value);
    Retention { content: content.map_or((30 * DAY).min(placeholder), |content| content.value), placeholder }
}

fn limits(document: &mut Section<'_>, reading: &mut Reading) -> Limits {
    let mut section = document.section_or_empty("limits", reading);
    let message_bytes = section.optional("message_bytes_max", reading, text(message_size));
    let recipients = section.optional("recipients_max", reading, number(1..=50_000));
    let connections = section.optional("connections_per_address_max", reading, number(1..=1_000_000));
    let of_one_account = section.optional("connections_per_account_max", reading, number(1..=1_000_000));
    let of_address = section.optional("auth_failures_per_address_max", reading, number(1..=1_000_000));
    let of_account = section.optional("auth_failures_per_account_max", reading, number(1..=1_000_000));
    let memory = section.optional("content_memory_bytes_max", reading, text(units::size));
    section.end(reading);
    let message_bytes_max = message_bytes.map_or(50 << 20, |size| size.value);
    if let Some(memory) = memory.as_ref().filter(|memory| memory.value < message_bytes_max) {
        reading.mistake(
            memory.line,
            "limits.content_memory_bytes_max is less than limits.message_bytes_max: the largest message would not fit",
        );
    }
    Limits {
        message_bytes_max,
        recipients_max: recipients.map_or(1_000, |number| to_usize(number.value)),
        connections_per_address_max: connections.map_or(1_000, |number| to_usize(number.value)),
        connections_per_account_max: of_one_account.map_or(1_000, |number| to_usize(number.value)),
        auth_failures_per_address_max: of_address.map_or(10, to_u32),
        auth_failures_per_account_max: of_account.map_or(100, to_u32),
        content_memory_bytes_max: to_usize(memory.map_or((64 << 20).max(message_bytes_max), |memory| memory.value)),
    }
}

fn message_size(text: &str) -> Result<u64, String> {
    units::size(text).and_then(|bytes| {
        if (MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX).contains(&bytes) {
            Ok(bytes)
        } else {
            Err(format!("`{text}` must be between 1KiB and 500MiB"))
        }
    })
}

fn http(
    document: &mut Section<'_>,
    listeners: &[Placed<Listener>],
    base_dir: &Path,
    reading: &mut Reading,
) -> Option<Http> {
    let mut section = document.section("http", reading)?;
    let address = section.required("address", reading, text(units::socket_address));
    let token_file = section.required("token_file", reading, machine::secret(base_dir));
    section.end(reading);
    let address = address?;
    if let Some(listener) = listeners.iter().find(|listener| listener.value.address == address.value)
        && address.value.port() != 0
    {
        reading.mistake(
            address.line,
            format!("http.address: {} is a listener's already, in line {}", address.value, listener.line),
        );
    }
    Some(Http { address: address.value, line: address.line, token_file: assurance::named(token_file?) })
}

pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    units::duration(text).and_then(|duration| {
        if duration.is_zero() { Err(format!("`{text}` must be more than zero")) } else { Ok(duration) }
    })
}

/// A wait for a peer: more than zero, at most `max`.
pub(super) fn timeout(max: Duration) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        positive_duration(text).and_then(|timeout| {
            if timeout > max { Err(format!("`{text}` must be at most {}m", max.as_secs() / 60)) } else { Ok(timeout) }
        })
    }
}

pub(super) fn path(base_dir: &Path) -> impl for<'a, 't> Fn(&'a toml::de::DeValue<'t>) -> Result<PathBuf, String> {
    text(move |written| {
        if written.is_empty() || written.contains('\0') {
            return Err("must be a path".into());
        }
        Ok(base_dir.join(written))
    })
}

pub(super) fn values<T>(placed: Vec<Placed<T>>) -> Vec<T> {
    placed.into_iter().map(|placed| placed.value).collect()
}

pub(super) fn to_u32(number: Placed<u64>) -> u32 {
    u32::try_from(number.value).unwrap_or(u32::MAX)
}

/// Numbers here were bounded far below what any machine's `usize` holds.
pub(super) fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
