//! One connection and the session on it: moves the session's bytes and delivers tasks.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use shards::tls::Connection;
use shards::{Instant, Reactor};

use super::Task;
use super::budget::Budgets;
use super::outcome::{host_of, of_result};
use super::protection::Protection;
use super::timing::Timing;
use crate::assurance::{Channel, Security};
use crate::bounce::classify::{Context, classify};
use crate::message::{has_international_header, seven_bit};
use crate::queue::outcome::{Hop, Outcome};
use crate::smtp::client::{Failure, Phase, Result, Session, Step, Transaction};
use crate::smtp::envelope::Sender;
use crate::smtp::reply::EnhancedCode;

/// The rule of a peer that takes no more on this connection, and goes on with the next.
const USED_UP_RULE: &str = "connection-used-up";

/// A session's exchange (all replies of one transaction, or the whole greeting) may take this long, however slowly the
/// peer moves …
const EXCHANGE_MAX: Duration = Duration::from_secs(30 * 60);

/// … and content goes at least this fast.
const CONTENT_BYTES_PER_S_MIN: u64 = 4096;

/// An open connection with its session.
pub(super) struct Conversation {
    reactor: Reactor,
    timing: Timing,
    connection: Connection,
    session: Session,
    remote: Box<str>,
    security: Option<Arc<Security>>,
    /// Of the recipients so far, where the peer takes only so many.
    domains: Vec<Box<str>>,
    /// Our address as the peer sees it, where a proxy stands between.
    proxied: Option<IpAddr>,
    transactions: u32,
    completed: u32,
}

/// Where the session wants something else than bytes to be moved.
#[derive(Debug)]
pub(super) enum Pause {
    /// For a transaction, or QUIT.
    Ready,
    /// The handshake.
    StartTls,
    /// The transaction has ended.
    Done(Vec<Result>),
    /// The session has ended before its first transaction.
    Failed(Phase, Failure),
    /// The session has ended.
    Closed,
}

/// What the peer is given of a task's content.
struct Fitting {
    content: Arc<Vec<u8>>,
    /// Only hosts with SMTPUTF8 can take its header.
    needs_smtputf8: bool,
}

/// How a task went on one connection.
#[derive(Debug)]
pub(super) enum Delivery {
    /// An outcome for every recipient.
    Outcomes(Vec<(u16, Outcome)>),
    /// The peer had left a used connection before it took anything of this task: it can go over another one as if
    /// nothing had happened.
    NotBegun,
}

impl Conversation {
    /// A conversation that waits for its greeting. `remote` is what the peer is called in answers.
    pub fn new(reactor: Reactor, timing: Timing, connection: Connection, session: Session, remote: Box<str>) -> Self {
        Self {
            reactor,
            timing,
            connection,
            session,
            remote,
            security: None,
            domains: Vec::new(),
            proxied: None,
            transactions: 0,
            completed: 0,
        }
    }

    /// A proxy makes the connection from `address`.
    pub fn proxied_from(self, address: IpAddr) -> Self {
        Self { proxied: Some(address), ..self }
    }

    /// Moves bytes from the greeting to the handshake, or to the point where the session is ready or has failed.
    pub async fn greet(&mut self) -> Pause {
        self.advance(self.reactor.now() + EXCHANGE_MAX).await
    }

    /// Does the handshake. The connection is gone where it fails.
    pub async fn start_tls(self, protection: &Protection) -> io::Result<Self> {
        let no_tls = || io::Error::new(io::ErrorKind::InvalidInput, "there is to be no TLS");
        let (config, name) = (protection.config.clone().ok_or_else(no_tls)?, protection.name.clone());
        let connection = self.connection.connect_tls(&self.reactor, config, name, self.timing.handshake).await?;
        let security = connection.tls().map(|facts| Arc::new(protection.encrypted(&facts)));
        let mut session = self.session;
        session.tls_started();
        Ok(Self { connection, session, security, ..self })
    }

    /// The session is ready, protected so far as it is.
    pub fn protected_by(mut self, protection: &Protection) -> Self {
        self.security.get_or_insert_with(|| Arc::new(protection.plain()));
        self
    }

    /// What protects the session, or why nothing does.
    pub fn channel(&self) -> Option<&Channel> {
        self.security.as_ref().map(|security| &security.channel)
    }

    /// Whether the peer offers STARTTLS, or did before it was used.
    pub fn offers_starttls(&self) -> bool {
        self.session.capabilities().starttls
    }

    /// Whether the peer offers to keep REQUIRETLS (RFC 8689).
    pub fn takes_requiretls(&self) -> bool {
        self.session.capabilities().requiretls
    }

    /// Transactions that were begun on this connection.
    pub fn transactions(&self) -> u32 {
        self.transactions
    }

    /// The address that the peer sees us come from; none where it is translated on the way.
    pub fn ours(&self) -> Option<IpAddr> {
        self.proxied.or_else(|| seen_from(self.connection.peer().ip(), self.connection.local().ip()))
    }

    /// Whether the peer has ended a transaction in good order.
    pub fn has_worked(&self) -> bool {
        self.completed > 0
    }

    /// Whether another task can be delivered. Looks, without waiting, whether the peer has left in the meantime.
    pub fn is_usable(&mut self) -> bool {
        let heard = self.connection.receive(self.timing.quit).now_or_never();
        if let Some(heard) = heard {
            self.hear(heard);
        }
        self.session.can_transact() && matches!(self.session.next(), Step::Ready)
    }

    /// Whether the peer may be given a task to `domain` on this connection (LIMITS RCPTDOMAINMAX, RFC 9422).
    pub fn takes(&self, domain: &str) -> bool {
        let is_known = self.domains.iter().any(|known| known.eq_ignore_ascii_case(domain));
        is_known || self.session.capabilities().domains_max.is_none_or(|domains_max| self.domains.len() < domains_max)
    }

    fn note_domain(&mut self, domain: &str) {
        let counts = self.session.capabilities().domains_max.is_some();
        if counts && !self.domains.iter().any(|known| known.eq_ignore_ascii_case(domain)) {
            self.domains.push(domain.into());
        }
    }

    /// Waits until the peer says something or ends the connection, at most so long.
    pub async fn idle(&mut self, idle_timeout: Duration) {
        let heard = self.connection.receive(idle_timeout).await;
        if !heard.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            self.hear(heard);
        }
    }

    /// Delivers `task`, in as many transactions as its recipients need, each with the leave of `budgets`; what a connection
    /// may have no transaction for any more is given back untried. `fresh_if_left`:
    /// report [`Delivery::NotBegun`] where that is what happened, instead of an outcome; so it is in any case where a
    /// connection has had as many messages as the peer takes on one.
    pub async fn deliver(&mut self, task: &Task, budgets: &Budgets, fresh_if_left: bool) -> Delivery {
        let reused = self.transactions > 0;
        self.note_domain(task.domain());
        let fitting = self.fitting(task).await;
        let mut outcomes = Vec::with_capacity(task.recipients.len());
        let mut left: Vec<usize> = (0..task.recipients.len()).collect();
        while !left.is_empty() {
            let may_begin = self.transactions < budgets.messages_per_connection_max() && self.session.can_transact();
            if !may_begin || !budgets.leave_to_send(&self.reactor).await {
                outcomes.extend(left.drain(..).map(|at| (task.recipients[at].0, Outcome::Untried(0))));
                break;
            }
            let batch = self.batch(task, &mut left);
            let results = self.transact(task, &fitting, batch).await;
            let is_again = reused && outcomes.is_empty();
            let all = |is_so: &dyn Fn(&Result) -> bool| is_again && results.iter().all(|(_, result)| is_so(result));
            if (fresh_if_left && all(&is_unheard)) || all(&|result| self.is_used_up(result, task)) {
                return Delivery::NotBegun;
            }
            // A notice of success that goes to a return path of ours does not reach the sender.
            let tells = self.session.capabilities().dsn && task.return_path.is_none();
            let hop = if tells { Hop::WithDsn } else { Hop::WithoutDsn };
            let ours = self.ours();
            let any_accepted = results.iter().any(|(_, result)| matches!(result, Result::Accepted(_)));
            for (at, result) in results {
                if any_accepted && is_too_many(&result) {
                    left.push(at);
                } else {
                    let outcome = of_result(result, &self.remote, ours, hop, task.known()).over(self.security.clone());
                    outcomes.push((task.recipients[at].0, outcome));
                }
            }
        }
        Delivery::Outcomes(outcomes)
    }

    /// Whether the peer has had enough of this connection, and of nothing else.
    fn is_used_up(&self, result: &Result, task: &Task) -> bool {
        let Result::Refused(Phase::Mail, reply) = result else { return false };
        let context = Context { mx: Some(host_of(&self.remote)), ..task.known() };
        reply.code / 100 == 4 && *classify(reply, &context).rule == *USED_UP_RULE
    }

    /// The content as the peer takes it: without 8BITMIME, as seven bits (RFC 6152 §3); and whether it needs SMTPUTF8. Many
    /// programs say that of every message, so what counts is what the header holds (RFC 6531 §3.4).
    async fn fitting(&self, task: &Task) -> Fitting {
        let content = task.content.clone();
        let is_to_be_converted = !self.session.capabilities().eight_bit_mime;
        let is_called_international = task.sender.smtputf8;
        if !(is_to_be_converted || is_called_international) || content.is_ascii() {
            return Fitting { content, needs_smtputf8: false };
        }
        let fit = move || {
            let needs_smtputf8 = is_called_international && has_international_header(&content);
            let content = if is_to_be_converted { Arc::new(seven_bit(&content).into_owned()) } else { content };
            Fitting { content, needs_smtputf8 }
        };
        self.reactor.blocking(fit).await
    }

    /// Takes the recipients of the next transaction. What a peer without SMTPUTF8 cannot be told of comes last and by itself,
    /// so that it fails alone.
    fn batch(&self, task: &Task, left: &mut Vec<usize>) -> Vec<usize> {
        let peer_max = self.session.recipients_max().unwrap_or(usize::MAX).max(1);
        let mut size = left.len().min(peer_max).min(task.recipients_max());
        if !self.session.capabilities().smtputf8 {
            let is_ascii = |at: usize| task.recipients[at].1.path.as_str().is_ascii();
            left.sort_by_key(|&at| !is_ascii(at));
            let ascii = left.iter().take(size).take_while(|&&at| is_ascii(at)).count();
            size = if ascii > 0 { ascii } else { size };
        }
        left.drain(..size).collect()
    }

    /// One transaction with the recipients at `batch`.
    async fn transact(&mut self, task: &Task, fitting: &Fitting, batch: Vec<usize>) -> Vec<(usize, Result)> {
        self.transactions += 1;
        let content_s = fitting.content.len() as u64 / CONTENT_BYTES_PER_S_MIN;
        let sender = task.sender_for(batch.first().map_or(0, |&at| task.recipients[at].0));
        self.session.transact(Transaction {
            sender: Sender { smtputf8: fitting.needs_smtputf8, ..sender },
            recipients: batch.iter().map(|&at| task.recipients[at].1.clone()).collect(),
            content: fitting.content.clone(),
        });
        let deadline = self.reactor.now() + EXCHANGE_MAX + Duration::from_secs(content_s);
        let results = match self.advance(deadline).await {
            Pause::Done(results) => results,
            other => vec![Result::Lost(Phase::Idle, format!("the session ended: {other:?}").into()); batch.len()],
        };
        if matches!(self.session.next(), Step::Ready) {
            self.completed += 1;
        }
        batch.into_iter().zip(results).collect()
    }

    /// Says QUIT if the session is at a point for it, and closes.
    pub async fn quit(mut self) {
        if matches!(self.session.next(), Step::Ready) {
            self.session.quit();
            let deadline = self.reactor.now() + self.timing.quit;
            self.advance(deadline).await;
        }
        self.connection.close().await;
    }

    /// Moves bytes until the session wants something else, at most until `deadline`.
    async fn advance(&mut self, deadline: Instant) -> Pause {
        loop {
            match self.session.next() {
                Step::Send => self.send(deadline).await,
                Step::Read(patience) => {
                    let patience = patience.min(deadline.since(self.reactor.now()));
                    let heard = self.connection.receive(patience).await;
                    self.hear(heard);
                }
                Step::StartTls => return Pause::StartTls,
                Step::Ready => return Pause::Ready,
                Step::Done(results) => return Pause::Done(results),
                Step::Failed(phase, failure) => return Pause::Failed(phase, failure),
                Step::Closed => return Pause::Closed,
            }
        }
    }

    async fn send(&mut self, deadline: Instant) {
        let patience = self.timing.session.block.min(deadline.since(self.reactor.now()));
        let Err(error) = self.connection.send(self.session.output(), patience).await else { return };
        // Why the peer has closed it may have said before.
        if let Ok(words) = self.connection.receive(self.timing.last_words).await
            && !words.is_empty()
        {
            self.session.receive(&words);
        }
        self.session.lost(&why(&error));
    }

    fn hear(&mut self, heard: io::Result<shards::net::Chunk>) {
        match heard {
            Ok(bytes) => self.session.receive(&bytes),
            Err(error) => self.session.lost(&why(&error)),
        }
    }
}

/// Our address as `theirs` sees it, if that can be told.
fn seen_from(theirs: IpAddr, ours: IpAddr) -> Option<IpAddr> {
    (!is_private(ours) || is_private(theirs)).then_some(ours)
}

/// Whether an address means something in its own network only (RFC 1918, RFC 4193).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

/// Nothing of the transaction was answered, or only with the 421 of a peer that has had enough of this connection.
fn is_unheard(result: &Result) -> bool {
    match result {
        Result::Lost(Phase::Mail | Phase::Idle, _) => true,
        Result::Refused(Phase::Mail, reply) => reply.code == 421,
        _ => false,
    }
}

/// RFC 5321 §4.5.3.1.10: too many recipients for one transaction, so this one belongs to the next.
fn is_too_many(result: &Result) -> bool {
    match result {
        Result::Refused(Phase::Rcpt, reply) => {
            reply.code == 452 && reply.enhanced.is_none_or(|enhanced| enhanced == EnhancedCode(4, 5, 3))
        }
        _ => false,
    }
}

/// An input or output error, for people.
pub(super) fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => error.to_string(),
        kind => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_translation_nobody_knows_our_address() {
        for (theirs, ours, known) in [
            ("198.51.100.1", "192.0.2.1", true),
            ("198.51.100.1", "10.0.0.5", false),
            ("10.0.0.9", "10.0.0.5", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("2001:db8::1", "fd00::1", false),
        ] {
            let [theirs, ours]: [IpAddr; 2] = [theirs, ours].map(|address| address.parse().expect("an address"));
            assert_eq!(seen_from(theirs, ours), known.then_some(ours), "{ours} at {theirs}");
        }
    }
}
