//! Pre-flight at submission: what the rules of large receivers make of a message, before it is taken.
//!
//! Owns: which of these receivers a message goes to, the questions to DNS about how it would come to them, and what was found
//! lately. Never: the rules and their words (`preflight`), or the choice whether it is done (`config::preflight`).
//!
//! What DNS does not say in time is unknown, and what is unknown is no reason to refuse: nothing of ours becomes a 5xx.
//! What rules make of a message's header is found anew for each; what they make of DNS is the same for all messages of an
//! author's domain that take the same way out, and remembered for [`MEMORY`].
//! Limits: [`DOMAINS_MAX`] of a message's recipients' domains, [`RECEIVER_PATIENCE`] to find out whose they are; [`EGRESS_MAX`]
//! addresses of a pool, [`PATIENCE`] for all questions about a way; [`REMEMBERED_MAX`] of each are remembered.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use shards::Reactor;
use shards::memory::Memory;

use super::converse::Conversation;
use super::screen::Refusal;
use crate::authentication::Signer;
use crate::config::preflight::AtSubmission;
use crate::config::{Config, Pool};
use crate::dns::{self, Answer, Question};
use crate::events::Event;
use crate::policy::Authorized;
use crate::preflight::host::egress;
use crate::preflight::{
    Finding, Judgement, Receiver, Standing, Verdict, examine_standing, header, not_in_time, receiver_unknown,
};
use crate::queue::MessageId;
use crate::smtp::envelope::Envelope;
use crate::smtp::path::ReversePath;
use crate::smtp::reply;

/// Domains of a message's recipients that are looked at: the first ones.
const DOMAINS_MAX: usize = 64;
/// How long it may take to find out where a message goes.
pub(super) const RECEIVER_PATIENCE: Duration = Duration::from_secs(2);
/// How long all that the rules ask of DNS may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Addresses from which a message may leave that are looked at.
const EGRESS_MAX: usize = 32;
/// How long it is remembered what rules make of DNS, and whose a domain is.
pub(super) const MEMORY: Duration = Duration::from_secs(60);
/// The same where it could not be told, so that a DNS server that is silent costs one message its time, and not each.
pub(super) const MEMORY_OF_NOTHING: Duration = Duration::from_secs(15);
/// What is remembered: of that many domains of recipients, and of that many ways of authors' domains.
const REMEMBERED_MAX: usize = 4_096;

/// A shard's pre-flight.
pub(super) struct Preflight {
    reactor: Reactor,
    dns: dns::Cache,
    receivers: RefCell<Memory<Box<str>, Mailboxes>>,
    found: RefCell<Memory<Way, Rc<[Finding]>>>,
    counts: Cell<[u64; METRICS.len()]>,
}

/// What decides what DNS says of a message. An author's keys are those of the configuration.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Way {
    author: Box<str>,
    reverse_domain: Box<str>,
    /// Somebody else has signed.
    is_signed: bool,
    /// The name of the pool; `None`: through a next hop, whose address the world sees and we do not.
    pool: Option<Box<str>>,
}

/// A message as it is about to leave.
#[derive(Clone, Copy)]
struct Departing<'a> {
    config: &'a Config,
    content: &'a [u8],
    envelope: &'a Envelope,
    reverse_domain: &'a str,
    signers: &'a [Signer],
    /// The pool that it asks for.
    pool: Option<&'a str>,
}

/// Whose the mailboxes of a domain are.
#[derive(Clone, Copy)]
enum Mailboxes {
    /// Of a receiver that has rules.
    At(Receiver),
    /// Somebody else's, or there are none.
    Elsewhere,
    /// DNS does not say.
    Unknown,
}

/// Those of a message's recipients that take the same way out: its pool (`None`: a next hop), and whose they are.
type Lot = (Option<Arc<Pool>>, Vec<Receiver>);

const METRICS: [(Verdict, &str); 4] = [
    (Verdict::Pass, "preflight_messages_total{verdict=\"pass\"}"),
    (Verdict::Warn, "preflight_messages_total{verdict=\"warn\"}"),
    (Verdict::Unknown, "preflight_messages_total{verdict=\"unknown\"}"),
    (Verdict::Fail, "preflight_messages_total{verdict=\"fail\"}"),
];

impl Preflight {
    pub(super) fn new(reactor: &Reactor, dns: dns::Cache) -> Preflight {
        Preflight {
            reactor: reactor.clone(),
            dns,
            receivers: RefCell::new(Memory::new(REMEMBERED_MAX)),
            found: RefCell::new(Memory::new(REMEMBERED_MAX)),
            counts: Cell::default(),
        }
    }

    /// Forgets what was found: keys and pools may have changed.
    pub(super) fn configure(&self) {
        self.found.borrow_mut().clear();
    }

    /// How many messages were looked at, by verdict.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        METRICS.into_iter().map(|(_, name)| name).zip(self.counts.get())
    }

    /// What the rules make of a message. `None`: none of its recipients is at a receiver that has some.
    async fn judge(&self, departing: &Departing<'_>) -> Option<Judgement> {
        let (lots, unknown) = self.lots(departing).await;
        let receivers: Vec<Receiver> = lots.iter().flat_map(|(_, receivers)| receivers).copied().collect();
        if receivers.is_empty() && unknown.is_none() {
            return None;
        }
        let mut findings = header::examine(departing.content, departing.signers);
        findings.retain(|finding| finding.rule.matters_to(&receivers));
        findings.extend(unknown.as_deref().map(receiver_unknown));
        if let Some(author) = header::author_domain(departing.content) {
            for (pool, receivers) in &lots {
                let found = self.of_way(departing, &author, pool.as_deref()).await;
                findings.extend(found.iter().filter(|finding| finding.rule.matters_to(receivers)).cloned());
            }
        }
        let judgement = Judgement::of(findings, &receivers);
        let mut counts = self.counts.get();
        counts
            .iter_mut()
            .zip(METRICS)
            .for_each(|(count, (verdict, _))| *count += u64::from(verdict == judgement.verdict));
        self.counts.set(counts);
        Some(judgement)
    }

    /// The recipients at receivers that have rules, by their way out; and a domain of which DNS does not say whose it is.
    async fn lots(&self, departing: &Departing<'_>) -> (Vec<Lot>, Option<String>) {
        let Departing { config, envelope, pool, .. } = *departing;
        let domains = envelope.recipients.iter().map(|recipient| recipient.path.domain());
        let domains: BTreeSet<String> =
            domains.filter_map(|domain| idna::domain_to_ascii(domain).ok()).take(DOMAINS_MAX).collect();
        let found = join_all(domains.iter().map(|domain| self.receiver(domain))).await;
        let (mut lots, mut unknown): (Vec<Lot>, _) = (Vec::new(), None);
        for (domain, mailboxes) in domains.iter().zip(found) {
            let receiver = match mailboxes {
                Mailboxes::At(receiver) => receiver,
                Mailboxes::Elsewhere => continue,
                Mailboxes::Unknown => {
                    unknown.get_or_insert_with(|| domain.clone());
                    continue;
                }
            };
            let has_next_hop =
                config.routes.iter().find(|route| route.covers(domain)).is_some_and(|route| route.host.is_some());
            let pool = (!has_next_hop).then(|| config.pool_for(pool, domain));
            match lots.iter_mut().find(|(other, _)| *other == pool) {
                Some((_, receivers)) if receivers.contains(&receiver) => {}
                Some((_, receivers)) => receivers.push(receiver),
                None => lots.push((pool, vec![receiver])),
            }
        }
        (lots, unknown)
    }

    /// Whose mailboxes those of `domain` are, as far as its best MX host says.
    async fn receiver(&self, domain: &str) -> Mailboxes {
        if let Some(known) = self.receivers.borrow_mut().get(domain, self.reactor.now()) {
            return known;
        }
        let question = Question::Mx(domain.into());
        let answer = self.reactor.timeout(RECEIVER_PATIENCE, self.dns.ask(question)).await.ok();
        let (mailboxes, memory) = match answer.as_deref() {
            Some(Answer::Mx(hosts, _)) => {
                let best = hosts.iter().min_by_key(|(preference, _)| *preference);
                (best.and_then(|(_, host)| Receiver::at(host)).map_or(Mailboxes::Elsewhere, Mailboxes::At), MEMORY)
            }
            Some(Answer::Trouble(_)) | None => (Mailboxes::Unknown, MEMORY_OF_NOTHING),
            Some(_) => (Mailboxes::Elsewhere, MEMORY),
        };
        self.receivers.borrow_mut().put(domain.into(), mailboxes, self.reactor.now() + memory);
        mailboxes
    }

    /// What the rules make of DNS for a message that takes this way out.
    async fn of_way(&self, departing: &Departing<'_>, author: &str, pool: Option<&Pool>) -> Rc<[Finding]> {
        let Departing { content, reverse_domain, signers, .. } = *departing;
        let is_signed = header::is_signed(content);
        let pool_name = pool.map(|pool| pool.name.clone());
        let way = Way { author: author.into(), reverse_domain: reverse_domain.into(), is_signed, pool: pool_name };
        if let Some(found) = self.found.borrow_mut().get(&way, self.reactor.now()) {
            return found;
        }
        let examined = async {
            let egress = match pool {
                Some(pool) => self.egress(departing.config, pool).await,
                None => Vec::new(),
            };
            let standing = Standing { author, reverse_domain, signers, is_signed, egress: &egress };
            examine_standing(&self.dns, &standing).await
        };
        let found = self.reactor.timeout(PATIENCE, examined).await.unwrap_or_else(|_| vec![not_in_time()]);
        let is_known = found.iter().all(|finding| finding.verdict != Verdict::Unknown);
        let found: Rc<[Finding]> = found.into();
        let until = self.reactor.now() + if is_known { MEMORY } else { MEMORY_OF_NOTHING };
        self.found.borrow_mut().put(way, found.clone(), until);
        found
    }

    /// The public addresses of a pool; where a source has none of its own, those of our name.
    async fn egress(&self, config: &Config, pool: &Pool) -> Vec<crate::preflight::Egress> {
        let mut own = Vec::new();
        if pool.members.iter().any(|member| member.source.addresses.is_empty())
            && let Answer::Addresses(found, _) = &*self.dns.ask(Question::Addresses(config.hostname.clone())).await
        {
            own.clone_from(found);
        }
        let mut egress = egress(config, pool, &[], &own);
        egress.truncate(EGRESS_MAX);
        egress
    }
}

impl Conversation {
    /// Holds a message that is about to be taken against the rules of the receivers that it goes to, where that is wanted.
    /// Gives what came of it, in few words. Notices (with the null reverse-path) are no bulk mail.
    pub(super) async fn preflight(
        &self,
        id: MessageId,
        rights: &Authorized,
        envelope: &Envelope,
        content: &[u8],
        signers: Option<&[Signer]>,
        pool: Option<&str>,
    ) -> Result<Option<Box<str>>, Refusal> {
        let inner = &self.inbound.0;
        let config = inner.current.borrow().config.clone();
        let wanted = rights.standard().and_then(|standard| standard.preflight).unwrap_or(config.preflight);
        let ReversePath::Mailbox(sender) = &envelope.sender.path else { return Ok(None) };
        if wanted == AtSubmission::Off {
            return Ok(None);
        }
        let own = config.return_path.as_ref().filter(|_| self.is_with_return_path(rights));
        let domain = own.map_or(sender.domain(), |section| &section.domain);
        let reverse_domain = &*idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_ascii_lowercase());
        let signers = signers.unwrap_or_default();
        let departing = Departing { config: &config, content, envelope, reverse_domain, signers, pool };
        let Some(judgement) = inner.preflight.judge(&departing).await else { return Ok(None) };
        let words: Box<str> = judgement.to_string().into();
        let Judgement { verdict, because, receivers } = judgement;
        let receivers = Receiver::names(&receivers);
        let told: Vec<_> = because.iter().map(|finding| (finding.rule.id, &*finding.what, &*finding.remedy)).collect();
        if verdict == Verdict::Fail && wanted == AtSubmission::Refuse {
            return Err(reply::breaks_bulk_rules(&receivers, &told).into());
        }
        if matches!(verdict, Verdict::Fail | Verdict::Warn) {
            let account = self.account().map(|account| &*account.name);
            inner.log.emit(&Event::Preflight { id, account, verdict: &words, receivers: &receivers, findings: &told });
        }
        Ok(Some(words))
    }
}
