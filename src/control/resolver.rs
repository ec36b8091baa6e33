//! The one DNS resolver of the process: answers the shards' questions with the configured or the system's servers.
//!
//! Owns: the sockets to the DNS servers, time-outs and retries, the validation of what must be secure (`tlsa`). Questions
//! for MTA-STS policies it passes on to [`sts`].
//! Never: remembers answers (each shard's `dns::Cache` does) or decides what they mean for mail (`route` does).
//! After a crash: nothing to recover.
//! RFC: 1035, 2308 (NXDOMAIN and no data are different answers with a time to live), 4035 (DNSSEC), 5321 §5.1.
//! Limits: [`RUNNING_MAX`] questions at a time, [`PATIENCE`] for each try, [`TRIES`] tries, [`PATIENCE_MAX`] in all.

#[cfg(test)]
mod tests;
mod tlsa;

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::channel::mpsc;
use futures::stream::{FuturesUnordered, StreamExt};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::dnssec::{Proof, TrustAnchors};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver, system_conf};
use tokio::sync::watch;

use super::sts;
use super::trust::Trusted;
use crate::config::Config;
use crate::dns::{Answer, Query, Question, TEXTS_BYTES_MAX};

/// Questions that are looked up at a time; further ones wait in the shards' channels.
const RUNNING_MAX: usize = 1024;

/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a question is put to the servers before it counts as trouble.
const TRIES: usize = 2;

/// How long a question may take in all, however long the chain of aliases.
const PATIENCE_MAX: Duration = Duration::from_secs(20);

/// How long a negative answer holds that came without its SOA record (RFC 2308 §5 forbids to keep it long).
const NEGATIVE_TTL_UNKNOWN: Duration = Duration::from_secs(30);

/// How long a name holds that can be in no zone.
const BAD_NAME_TTL: Duration = Duration::from_secs(3600);

/// Who is asked, and who vouches for the answers.
#[derive(Clone)]
pub struct Settings {
    servers: Vec<SocketAddr>,
    anchors: Option<Arc<TrustAnchors>>,
    policies: sts::Access,
}

impl Settings {
    /// Those of a configuration. DNSSEC is asked for only where it has a use.
    pub fn of(config: &Config, trusted: &Trusted) -> Settings {
        Settings {
            servers: config.dns_servers.clone(),
            anchors: config.delivery.tls.dane.then(|| trusted.anchors.clone()),
            policies: sts::Access::new(&trusted.trust, config.delivery.tls.mta_sts_port),
        }
    }
}

/// What questions are answered with.
struct Resolvers {
    plain: Result<TokioResolver, String>,
    /// `None`: nothing is asked whose answer must be secure.
    validating: Option<Result<TokioResolver, String>>,
    policies: sts::Access,
}

impl Resolvers {
    fn new(settings: &Settings) -> Arc<Resolvers> {
        let validating = settings.anchors.clone();
        Arc::new(Resolvers {
            plain: build(&settings.servers, PATIENCE),
            validating: validating.map(|anchors| build_validating(&settings.servers, PATIENCE, anchors)),
            policies: settings.policies.clone(),
        })
    }
}

/// Answers every query until all senders are gone. The servers of `settings` are asked, or the system's when there are
/// none; a change of `settings` (also to the same value, as a reload does) builds the resolver anew, which reads
/// `/etc/resolv.conf` and `/etc/hosts` again.
///
/// Where the system's configuration cannot be read, every answer is [`Answer::Trouble`] until the next change.
pub async fn answer_queries(
    mut queries: mpsc::Receiver<Query>,
    mut settings: watch::Receiver<Settings>,
    policies: sts::Store,
) {
    let mut resolvers = Resolvers::new(&settings.borrow_and_update());
    let policies = Arc::new(policies);
    let mut running = FuturesUnordered::new();
    let mut reloads = true;
    loop {
        tokio::select! {
            // In this order: what is asked after a change meets the new servers.
            biased;
            changed = settings.changed(), if reloads => {
                reloads = changed.is_ok();
                resolvers = Resolvers::new(&settings.borrow_and_update());
            }
            Some(()) = running.next(), if !running.is_empty() => {}
            query = queries.next(), if running.len() < RUNNING_MAX => match query {
                Some(query) => running.push(answer_one(resolvers.clone(), policies.clone(), query)),
                None => break,
            }
        }
    }
    while running.next().await.is_some() {}
}

async fn answer_one(resolvers: Arc<Resolvers>, policies: Arc<sts::Store>, query: Query) {
    let resolver = match (&query.question, &resolvers.validating) {
        (Question::Tlsa(..) | Question::SecureMx(_), None) => &Err("DNSSEC is not asked for".into()),
        (Question::Tlsa(..) | Question::SecureMx(_), Some(validating)) => validating,
        _ => &resolvers.plain,
    };
    let answer = async {
        match (resolver, &query.question) {
            (Err(why), _) => Answer::Trouble(why.as_str().into()),
            (Ok(resolver), Question::Policy(domain)) => policies.policy(resolver, &resolvers.policies, domain).await,
            (Ok(resolver), question) => look_up(resolver, question).await,
        }
    };
    // What a stranger's DNS server can do harms its own domain only, also where it meets a defect.
    let answer = AssertUnwindSafe(answer).catch_unwind().await;
    let answer = answer.unwrap_or_else(|_| Answer::Trouble("a defect of the resolver".into()));
    // A shard that no longer waits has dropped the question: nobody to tell.
    let _ = query.reply.send(answer);
}

/// The DNS servers that are asked where `servers` are configured, for people.
pub(super) fn names_of(servers: &[SocketAddr]) -> String {
    if !servers.is_empty() {
        return servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    }
    let system = system_conf::read_system_conf().map(|(config, _)| config.name_servers().to_vec()).unwrap_or_default();
    let system: Vec<String> = system.iter().map(|server| server.ip.to_string()).collect();
    format!("{} of /etc/resolv.conf", if system.is_empty() { "no server".into() } else { system.join(", ") })
}

/// An answer; where it tells of trouble, it also tells who was asked. For the operator's eyes: what is said to senders and
/// to the domains names no server of ours.
pub(super) fn naming(asked: &str, answer: Answer) -> Answer {
    match answer {
        Answer::Trouble(why) => Answer::Trouble(format!("{why} (asked: {asked})").into()),
        answer => answer,
    }
}

/// The resolver over `servers`, or over the system's, with `patience` for each try; the error is for people.
pub(super) fn build(servers: &[SocketAddr], patience: Duration) -> Result<TokioResolver, String> {
    builder(servers, patience)?.build().map_err(|error| format!("the DNS resolver: {error}"))
}

/// The same, which validates by DNSSEC from `anchors` on.
fn build_validating(
    servers: &[SocketAddr],
    patience: Duration,
    anchors: Arc<TrustAnchors>,
) -> Result<TokioResolver, String> {
    let builder = builder(servers, patience)?.with_trust_anchor(anchors);
    builder.build().map_err(|error| format!("the DNS resolver: {error}"))
}

fn builder(servers: &[SocketAddr], patience: Duration) -> Result<ResolverBuilder<TokioRuntimeProvider>, String> {
    let builder = if servers.is_empty() {
        TokioResolver::builder_tokio().map_err(|error| format!("the system's DNS configuration: {error}"))?
    } else {
        let servers = servers.iter().map(server).collect();
        TokioResolver::builder_with_config(
            ResolverConfig::from_parts(None, Vec::new(), servers),
            TokioRuntimeProvider::default(),
        )
    };
    let mut options = ResolverOpts::default();
    options.timeout = patience;
    options.attempts = TRIES - 1;
    options.cache_size = 0;
    options.max_active_requests = RUNNING_MAX;
    Ok(builder.with_options(options))
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

pub(super) async fn look_up(resolver: &TokioResolver, question: &Question) -> Answer {
    let looked_up = async {
        match question {
            Question::Mx(domain) => exchangers(resolver, domain).await,
            Question::SecureMx(domain) => secure_exchangers(resolver, domain).await,
            Question::Addresses(host) => addresses(resolver, host).await,
            Question::Ipv4(name) => of_one_family(resolver, name, RecordType::A).await,
            Question::Ipv6(name) => of_one_family(resolver, name, RecordType::AAAA).await,
            Question::Texts(name) => answer_of(texts(resolver, name).await),
            Question::Names(name) => answer_of(names(resolver, name).await),
            Question::Tlsa(host, port) => tlsa::look_up(resolver, host, *port).await,
            Question::Policy(_) => Answer::NoData(NEGATIVE_TTL_UNKNOWN),
        }
    };
    match tokio::time::timeout(PATIENCE_MAX, looked_up).await {
        Ok(answer) => answer,
        Err(_) => Answer::Trouble(format!("no answer within {} s", PATIENCE_MAX.as_secs()).into()),
    }
}

async fn exchangers(resolver: &TokioResolver, domain: &str) -> Answer {
    match ask(resolver, domain, RecordType::MX).await {
        Ok(lookup) => exchangers_among(lookup.answers()),
        Err(answer) => answer,
    }
}

/// MX, as far as DNSSEC vouches for them.
async fn secure_exchangers(resolver: &TokioResolver, domain: &str) -> Answer {
    match ask(resolver, domain, RecordType::MX).await {
        Ok(lookup) => match tlsa::is_secure(&lookup) {
            Ok(true) => exchangers_among(lookup.answers()),
            Ok(false) => Answer::NoData(ttl_of(lookup.answers())),
            Err(trouble) => trouble,
        },
        Err(answer) => answer,
    }
}

/// The mail exchangers that an answer's records name. Pure.
pub fn exchangers_among(records: &[Record]) -> Answer {
    let list: Vec<(u16, Box<str>)> = records
        .iter()
        .filter_map(|record| match &record.data {
            RData::MX(mx) => Some((mx.preference, host_name(&mx.exchange))),
            _ => None,
        })
        .collect();
    if list.is_empty() { Answer::NoData(ttl_of(records)) } else { Answer::Mx(list, ttl_of(records)) }
}

/// A alone, or AAAA.
async fn of_one_family(resolver: &TokioResolver, name: &str, kind: RecordType) -> Answer {
    match ask(resolver, name, kind).await {
        Ok(lookup) => addresses_among(lookup.answers()),
        Err(answer) => answer,
    }
}

/// The addresses that an answer's records name. Pure.
pub fn addresses_among(records: &[Record]) -> Answer {
    let list: Vec<IpAddr> = ips(records).collect();
    if list.is_empty() { Answer::NoData(ttl_of(records)) } else { Answer::Addresses(list, ttl_of(records)) }
}

fn ips(records: &[Record]) -> impl Iterator<Item = IpAddr> {
    records.iter().filter_map(|record| match record.data {
        RData::A(v4) => Some(IpAddr::V4(v4.0)),
        RData::AAAA(v6) => Some(IpAddr::V6(v6.0)),
        _ => None,
    })
}

/// Texts that a shard may keep.
fn answer_of(texts: Result<(Vec<Box<str>>, Duration), Answer>) -> Answer {
    match texts {
        Err(answer) => answer,
        Ok((texts, ttl)) if texts.is_empty() => Answer::NoData(ttl),
        Ok((texts, _)) if texts.iter().map(|text| text.len()).sum::<usize>() > TEXTS_BYTES_MAX => {
            Answer::Trouble(format!("its records have more than {TEXTS_BYTES_MAX} octets").into())
        }
        Ok((texts, ttl)) => Answer::Texts(texts, ttl),
    }
}

/// Names of an address.
async fn names(resolver: &TokioResolver, address: &str) -> Result<(Vec<Box<str>>, Duration), Answer> {
    let lookup = ask(resolver, address, RecordType::PTR).await?;
    let records = lookup.answers().iter().filter_map(|record| match &record.data {
        RData::PTR(name) => Some(host_name(&name.0)),
        _ => None,
    });
    Ok((records.collect(), ttl_of(lookup.answers())))
}

/// TXT records, each in one piece.
pub(super) async fn texts(resolver: &TokioResolver, name: &str) -> Result<(Vec<Box<str>>, Duration), Answer> {
    let lookup = ask(resolver, name, RecordType::TXT).await?;
    let records = lookup.answers().iter().filter_map(|record| match &record.data {
        RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into()),
        _ => None,
    });
    Ok((records.collect(), ttl_of(lookup.answers())))
}

/// A and AAAA at once. Addresses of one family are an answer even if the other one is in trouble.
pub(super) async fn addresses(resolver: &TokioResolver, host: &str) -> Answer {
    let (v6, v4) = futures::join!(ask(resolver, host, RecordType::AAAA), ask(resolver, host, RecordType::A));
    let found: Vec<&Lookup> = [&v6, &v4].into_iter().filter_map(|result| result.as_ref().ok()).collect();
    let list: Vec<IpAddr> = found.iter().flat_map(|lookup| ips(lookup.answers())).collect();
    if !list.is_empty() {
        return Answer::Addresses(list, found.iter().map(|lookup| ttl_of(lookup.answers())).min().unwrap_or_default());
    }
    let negative = |result: Result<Lookup, Answer>| match result {
        Ok(lookup) => Answer::NoData(ttl_of(lookup.answers())),
        Err(answer) => answer,
    };
    match (negative(v6), negative(v4)) {
        (trouble @ Answer::Trouble(_), _) | (_, trouble @ Answer::Trouble(_)) => trouble,
        (Answer::NoSuchName(a), Answer::NoSuchName(b)) => Answer::NoSuchName(a.min(b)),
        (a, b) => Answer::NoData(a.ttl().min(b.ttl())),
    }
}

/// One question to the servers; `Err` is the negative answer or the trouble.
async fn ask(resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Lookup, Answer> {
    // Absolute names only: a search list would turn a misspelt domain into a neighbour's.
    let Ok(mut name) = Name::from_str_relaxed(name) else {
        return Err(Answer::NoSuchName(BAD_NAME_TTL));
    };
    name.set_fqdn(true);
    resolver.lookup(name, kind).await.map_err(|error| refusal(&error))
}

fn refusal(error: &NetError) -> Answer {
    let none = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => none,
        // A zone that is provably not signed cannot prove what it lacks.
        NetError::Dns(DnsError::Nsec { response, proof: Proof::Insecure, .. }) => {
            return match response.response_code {
                ResponseCode::NXDomain => Answer::NoSuchName(NEGATIVE_TTL_UNKNOWN),
                _ => Answer::NoData(NEGATIVE_TTL_UNKNOWN),
            };
        }
        NetError::NoConnections | NetError::Timeout => {
            return Answer::Trouble(format!("no DNS server answers: {error}").into());
        }
        _ => return Answer::Trouble(error.to_string().into()),
    };
    match none.response_code {
        ResponseCode::NXDomain => Answer::NoSuchName(negative_ttl(none)),
        // A referral says nothing about the name: the server does not recurse.
        ResponseCode::NoError if none.soa.is_none() && none.ns.is_some() => {
            Answer::Trouble("the DNS server refers to others instead of answering".into())
        }
        ResponseCode::NoError => Answer::NoData(negative_ttl(none)),
        code => Answer::Trouble(code.to_string().into()),
    }
}

fn negative_ttl(none: &NoRecords) -> Duration {
    none.negative_ttl.map_or(NEGATIVE_TTL_UNKNOWN, |seconds| Duration::from_secs(seconds.into()))
}

/// The shortest time to live of everything that led to the answer, aliases included.
fn ttl_of(records: &[Record]) -> Duration {
    Duration::from_secs(records.iter().map(|record| record.ttl).min().unwrap_or_default().into())
}

/// Lower case, without the final dot; the root is "".
fn host_name(name: &Name) -> Box<str> {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase().into()
}
