//! Screening: what scanners and block lists say of a message before it is accepted.
//!
//! Owns: the conversations with clamd ([`clamd`]) and rspamd ([`rspamd`] over [`http`]), the questions to block lists
//! ([`block_list`]), what is remembered of a scanner that does not answer ([`health`]), and what comes of it all: a
//! message passes with remarks, or it is refused.
//! Never: a reply (`inbound` words it), a resolver (`dns` asks), or a message's bytes beyond the scan.
//!
//! A scanner that gives no usable answer leads to what is configured: the message is deferred, or taken unscreened; never
//! to a 5xx. All I/O is on the shard's own sockets, so a slow scanner delays only the messages that wait for it.
//! After a crash: whoever had no 250 sends again, and is screened again.
//! RFC: 5782 (block lists); clamd(8) INSTREAM; rspamd's HTTP protocol (`/checkv2`).
//! Limits: scans at a time and the time of each are configured; answers of [`clamd::ANSWER_BYTES_MAX`] and
//! [`rspamd::ANSWER_BYTES_MAX`]; what goes out is copied [`scanner::PIECE_BYTES`] at a time.

pub mod block_list;
pub mod clamd;
mod finding;
mod health;
mod http;
mod listing;
pub mod rspamd;
mod scanner;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use shards::Reactor;

use crate::config;
use crate::config::ListenerKind;
use crate::dns;
use crate::events::Log;
use crate::smtp::envelope::Recipient;
use crate::smtp::path::ReversePath;
pub use finding::{Failure, Finding, Kind, Passed, Refusal, Refused};
use listing::BlockLists;
use scanner::{Clamav, Counts, Rspamd};

/// One shard's screening; a cheap handle.
#[derive(Clone)]
pub struct Screening(Rc<Inner>);

struct Inner {
    tools: Tools,
    current: RefCell<Rc<Current>>,
}

/// What every scanner works with.
#[derive(Clone)]
struct Tools {
    reactor: Reactor,
    dns: dns::Cache,
    log: Log,
    counts: Rc<Counts>,
}

/// What a configuration says; a message is screened by the one with which its screening began.
struct Current {
    settings: config::Screening,
    clamav: Option<Clamav>,
    rspamd: Option<Rspamd>,
    block_lists: Option<BlockLists>,
}

/// A message as scanners are told of it.
pub struct Mail<'a> {
    /// The client.
    pub client: IpAddr,
    /// What it called itself.
    pub client_name: &'a str,
    /// MAIL.
    pub sender: &'a ReversePath,
    /// RCPTs.
    pub recipients: &'a [Recipient],
    /// The account, where there is one; `None`: it came through a relay listener.
    pub account: Option<&'a str>,
    /// The queue's id, which is also in what a scanner logs.
    pub id: &'a str,
    /// The message as it came.
    pub content: &'a [u8],
}

impl Screening {
    /// The screening that `settings` ask for.
    pub fn new(reactor: &Reactor, settings: &config::Screening, dns: dns::Cache, log: Log) -> Screening {
        let tools = Tools { reactor: reactor.clone(), dns, log, counts: Rc::default() };
        let current = RefCell::new(Rc::new(Current::new(settings, &tools)));
        Screening(Rc::new(Inner { tools, current }))
    }

    /// Screens by `settings` from now on. What was remembered of scanners that do not answer is forgotten.
    pub fn configure(&self, settings: &config::Screening) {
        *self.0.current.borrow_mut() = Rc::new(Current::new(settings, &self.0.tools));
    }

    /// Whether block lists are to be asked about a client that sends for `account` (`None`: through a relay listener).
    pub fn asks_about(&self, client: IpAddr, account: Option<&str>) -> bool {
        let current = self.0.current.borrow();
        current.applies_to(account) && current.block_lists.as_ref().is_some_and(|lists| lists.asks_about(client))
    }

    /// Asks the block lists about a client.
    ///
    /// # Errors
    /// It is listed; or a list did not answer, and clients wait then.
    pub async fn client(&self, client: IpAddr) -> Result<Passed, Refused> {
        let current = self.0.current.borrow().clone();
        match &current.block_lists {
            Some(lists) => lists.judge(client).await,
            None => Ok(Passed::default()),
        }
    }

    /// Has all scanners look at a message, at the same time; the first that refuses it ends that.
    ///
    /// # Errors
    /// A scanner refuses it; or one gave no usable answer, and messages wait then.
    pub async fn content(&self, mail: &Mail<'_>) -> Result<Passed, Refused> {
        let current = self.0.current.borrow().clone();
        if !current.applies_to(mail.account) {
            return Ok(Passed::default());
        }
        let clamav = async {
            match &current.clamav {
                Some(clamav) => clamav.judge(mail).await,
                None => Ok(Passed::default()),
            }
        };
        let rspamd = async {
            match &current.rspamd {
                Some(rspamd) => rspamd.judge(mail).await,
                None => Ok(Passed::default()),
            }
        };
        let (clamav, rspamd) = futures::try_join!(clamav, rspamd)?;
        Ok(clamav.and(rspamd))
    }

    /// What has happened so far, as metrics.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.tools.counts.list()
    }
}

impl Current {
    fn new(settings: &config::Screening, tools: &Tools) -> Current {
        Current {
            settings: settings.clone(),
            clamav: settings.clamav.as_ref().map(|settings| Clamav::new(settings, tools)),
            rspamd: settings.rspamd.as_ref().map(|settings| Rspamd::new(settings, tools)),
            block_lists: settings.block_lists.as_ref().map(|settings| BlockLists::new(settings, tools)),
        }
    }

    fn applies_to(&self, account: Option<&str>) -> bool {
        let kind = if account.is_some() { ListenerKind::Submission } else { ListenerKind::Relay };
        self.settings.listeners.contains(&kind)
            && account.is_none_or(|name| !self.settings.exempt_accounts.contains(&name.to_lowercase().into()))
    }
}
