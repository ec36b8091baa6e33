//! The lists of suppressed recipients: kept, fed with what the shards tell, and given to the shards.
//!
//! Owns: the lists and their file ([`file`]); a feed from each shard ([`feed`]), which is told of failures and complaints as a
//! webhook is, so that a crash loses none and mail waits for none; the order in which shards get new lists.
//! Never: on the mail's way: a shard looks into lists of its own (`suppression::Gate`).
//! On disk: `suppression` in the data directory. After a crash: what was flushed is there before the first connection; what
//! shards had not handed over is told again, and changes nothing twice.
//! Limits: `[suppression] entries_max` of each list, `entries_total_max` of all. What a full one cannot take is
//! counted, told in the log, and sent to as before; an import or an addition that does not fit is refused as a whole.
//! [`WHOLE_AT_ONCE`] import or emptying of a list at a time.

mod asked;
mod feed;
mod file;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fmt, io};

use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore, SemaphorePermit, watch};

use super::desk::{Desk, Trouble};
use super::{clock, vital};
use crate::config::{Config, Suppression, nearest};
use crate::events::Event;
use crate::events::log::Channel;
use crate::queue::webhook;
use crate::suppression::{Change, FOR_EVER, Lists, Overfull, Pending, Scope, rule, table};
pub use feed::Feeds;
use file::{File, Found};

/// How long whoever changes something waits until all shards have it.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(30);
/// Between two times that a busy shard is given the lists.
const PUBLISH_PAUSE: Duration = Duration::from_secs(1);
/// How often entries go whose time is over.
const SWEEP_PAUSE: Duration = Duration::from_secs(3600);
/// Changes of whole lists at a time: each holds all of it in memory.
const WHOLE_AT_ONCE: usize = 1;
/// How long one waits for the other.
const WHOLE_PATIENCE: Duration = Duration::from_secs(60);
/// Between two times that the log is told of full lists.
const FULL_PAUSE_S: u32 = 3600;

/// Why a change was not made. For people.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Nobody is suppressed by this configuration.
    #[error("the configuration has no [suppression], so nobody is suppressed: add that section, and reload")]
    Off,
    /// The configuration has no account of that name; perhaps one that is like it.
    #[error("the configuration has no account `{0}`{like}", like = .1.as_ref().map_or_else(String::new, |like| format!(": did you mean `{like}`?")))]
    NoAccount(Box<str>, Option<Box<str>>),
    /// A list would have more entries than it may.
    #[error("the list `{0}` would have more entries than suppression.entries_max, which is {1}")]
    Full(String, usize),
    /// All lists would have more entries than they may.
    #[error("all lists together would have more entries than suppression.entries_total_max, which is {0}")]
    FullTogether(usize),
    /// Another one is at work for too long.
    #[error("another import, or the emptying of a list, is at work: try again when it is done")]
    Busy,
    /// The disk does not take it.
    #[error("the file of suppressions cannot be written: {0}")]
    Disk(#[from] io::Error),
    /// It is on disk, and some shard does not know it yet.
    #[error("it is kept, but not every shard has it yet: it will, when it answers again")]
    NotEverywhere,
    /// What was asked for panicked, which is a defect of ours.
    #[error("it could not be done: {0}")]
    Defect(String),
}

/// The keeper of the lists; a cheap handle.
#[derive(Clone)]
pub struct Keeper(Arc<Inner>);

struct Inner {
    book: Arc<Mutex<Book>>,
    whole: Semaphore,
    /// The newest lists and their number.
    newest: watch::Sender<(u64, Arc<Lists>)>,
    /// The number of those that every shard has.
    everywhere: watch::Sender<u64>,
    log: Arc<Channel>,
    counts: Counts,
}

/// What has happened since the start.
#[derive(Default)]
struct Counts {
    added: AtomicU64,
    full: AtomicU64,
}

/// The lists, and where they are kept.
struct Book {
    lists: Arc<Lists>,
    file: File,
    settings: Option<Suppression>,
    accounts: Accounts,
    /// When the log was told last that a list is full.
    full_told_s: u32,
}

/// The names of the configuration's accounts, in lower case.
struct Accounts(BTreeSet<Box<str>>);

impl Accounts {
    fn of(config: &Config) -> Accounts {
        Accounts(config.accounts.iter().map(|account| account.name.to_lowercase().into()).collect())
    }

    /// # Errors
    /// `scope` is the list of an account that the configuration does not have.
    fn have(&self, scope: &Scope) -> Result<(), Refused> {
        match scope {
            Scope::Account(name) if !self.0.contains(name) => {
                let known: Vec<&str> = self.0.iter().map(|known| &**known).collect();
                Err(Refused::NoAccount(name.clone(), nearest(name, &known).map(Into::into)))
            }
            _ => Ok(()),
        }
    }
}

impl Keeper {
    /// Reads the lists of a data directory.
    ///
    /// # Errors
    /// They are there and cannot be read.
    pub fn open(config: &Config, log: &Arc<Channel>) -> io::Result<Keeper> {
        let Found { file, lists, trouble } = File::open(&config.data_dir, now_s())?;
        if let Some(trouble) = trouble {
            log.say(clock::now(), &Event::Trouble(&trouble));
        }
        let lists = Arc::new(lists);
        let (settings, accounts) = (config.suppression.clone(), Accounts::of(config));
        let book = Book { lists: lists.clone(), file, settings, accounts, full_told_s: 0 };
        Ok(Keeper(Arc::new(Inner {
            book: Arc::new(Mutex::new(book)),
            whole: Semaphore::new(WHOLE_AT_ONCE),
            newest: watch::Sender::new((0, lists)),
            everywhere: watch::Sender::new(0),
            log: log.clone(),
            counts: Counts::default(),
        })))
    }

    /// The lists as they are.
    pub fn lists(&self) -> Arc<Lists> {
        self.0.newest.borrow().1.clone()
    }

    /// By `config` from now on.
    pub async fn configure(&self, config: &Config) {
        let mut book = self.0.book.lock().await;
        book.settings = config.suppression.clone();
        book.accounts = Accounts::of(config);
    }

    /// Whether anybody is suppressed by the configuration.
    pub async fn is_on(&self) -> bool {
        self.0.book.lock().await.settings.is_some()
    }

    /// Makes sure that there can be a list: everybody's, relayed mail's, that of an account, or one that is left of an account
    /// which the configuration does not have any more.
    ///
    /// # Errors
    /// It is that of no account.
    pub async fn knows(&self, scope: &Scope) -> Result<(), Refused> {
        let book = self.0.book.lock().await;
        if book.lists.of(scope).is_empty() { book.accounts.have(scope) } else { Ok(()) }
    }

    /// Gives new lists to the shards, and sweeps old ones, until the shards end.
    pub fn start(&self, desk: &Desk) {
        vital::spawn("the suppressions' publisher", self.clone().publish(self.0.newest.subscribe(), desk.clone()));
        vital::spawn("the suppressions' sweeper", self.clone().sweep());
    }

    /// The place of whoever changes a whole list, and how many entries all lists may have.
    ///
    /// # Errors
    /// Nobody is suppressed, or another one is at work for too long.
    pub async fn whole(&self) -> Result<(SemaphorePermit<'_>, usize), Refused> {
        let settings = self.0.book.lock().await.settings.clone().ok_or(Refused::Off)?;
        match tokio::time::timeout(WHOLE_PATIENCE, self.0.whole.acquire()).await {
            Ok(Ok(place)) => Ok((place, settings.entries_total_max)),
            _ => Err(Refused::Busy),
        }
    }

    /// Makes changes that an operator wants; gives how many addresses are on another list, or off one, than before.
    ///
    /// # Errors
    /// None of them was made, but for [`Refused::NotEverywhere`].
    pub async fn change(&self, changes: Vec<Change>) -> Result<usize, Refused> {
        let guard = self.0.book.clone().lock_owned().await;
        let inner = self.0.clone();
        let (changed, number) = off_the_thread(move || inner.change(guard, changes)).await??;
        self.wait_until_everywhere(number).await?;
        Ok(changed)
    }

    /// Makes what some events of a shard make of their recipients.
    ///
    /// # Errors
    /// None of it was made: the disk does not take it, and the events are to be told again.
    async fn learn(&self, events: Vec<webhook::Event>) -> Result<(), Refused> {
        let guard = self.0.book.clone().lock_owned().await;
        let inner = self.0.clone();
        let (made, number) = off_the_thread(move || inner.learn(guard, &events)).await??;
        if made.is_empty() {
            return Ok(());
        }
        // Who is told in the log is suppressed.
        let everywhere = self.wait_until_everywhere(number).await;
        for change in &made {
            self.tell(change);
        }
        everywhere
    }

    fn tell(&self, change: &Change) {
        let Some(entry) = change.entry.filter(|entry| entry.strikes == 0) else { return };
        let list = table::scope_name(&change.scope);
        let until = Some(table::time(entry.until_s)).filter(|until| !until.is_empty());
        let recipient = &*change.address;
        let event =
            Event::RecipientSuppressed { recipient, list: &list, cause: entry.cause.name(), until: until.as_deref() };
        self.0.log.say(clock::now(), &event);
    }

    async fn wait_until_everywhere(&self, number: u64) -> Result<(), Refused> {
        let mut everywhere = self.0.everywhere.subscribe();
        let reached = everywhere.wait_for(|reached| *reached >= number);
        match tokio::time::timeout(PUBLISH_PATIENCE, reached).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Refused::NotEverywhere),
        }
    }

    async fn publish(self, mut newest: watch::Receiver<(u64, Arc<Lists>)>, desk: Desk) {
        while newest.changed().await.is_ok() {
            let (number, lists) = newest.borrow_and_update().clone();
            loop {
                match desk.suppress(&lists).await {
                    Ok(()) => break,
                    Err(Trouble::Stopping) => return,
                    Err(_) => tokio::time::sleep(PUBLISH_PAUSE).await,
                }
            }
            self.0.everywhere.send_replace(number);
        }
    }

    async fn sweep(self) {
        loop {
            tokio::time::sleep(SWEEP_PAUSE).await;
            let mut guard = self.0.book.clone().lock_owned().await;
            let inner = self.0.clone();
            let swept = off_the_thread(move || {
                let lists = guard.lists.current(now_s());
                if lists.len() < guard.lists.len() {
                    inner.replace(&mut guard, lists);
                }
            });
            if let Err(why) = swept.await {
                self.0.log.say(clock::now(), &Event::Trouble(&why));
            }
        }
    }

    /// What has happened so far and is now, as metrics.
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("suppression_entries", self.lists().len() as u64),
            ("suppression_added_total", of(&self.0.counts.added)),
            ("suppression_full_total", of(&self.0.counts.full)),
        ]
    }
}

impl Inner {
    fn change(&self, mut book: OwnedMutexGuard<Book>, changes: Vec<Change>) -> Result<(usize, u64), Refused> {
        let settings = book.settings.clone().ok_or(Refused::Off)?;
        let mut pending = Pending::default();
        for change in changes {
            if change.entry.is_some() {
                book.accounts.have(&change.scope)?;
            }
            let has = book.lists.of(&change.scope).get(&change.address);
            if has.is_some() || change.entry.is_some() {
                pending.add(change);
            }
        }
        let Suppression { entries_max, entries_total_max, .. } = settings;
        match pending.overfull(&book.lists, entries_max, entries_total_max) {
            Some(Overfull::One(scope)) => return Err(Refused::Full(table::scope_name(&scope), entries_max)),
            Some(Overfull::Together) => return Err(Refused::FullTogether(entries_total_max)),
            None => {}
        }
        Ok((pending.len(), self.commit(&mut book, &pending)?))
    }

    fn learn(&self, mut book: OwnedMutexGuard<Book>, events: &[webhook::Event]) -> Result<(Vec<Change>, u64), Refused> {
        let Some(settings) = book.settings.clone() else { return Ok((Vec::new(), 0)) };
        let mut full_told_s = book.full_told_s;
        let (mut pending, mut made, mut new) = (Pending::default(), Vec::new(), BTreeMap::new());
        let mut room = settings.entries_total_max.saturating_sub(book.lists.len());
        for event in events {
            let Some(change) = rule::change(event, &settings, &book.lists, &pending) else { continue };
            let list = book.lists.of(&change.scope);
            let is_new = list.get(&change.address).is_none() && pending.get(&change.scope, &change.address).is_none();
            let added = new.entry(change.scope.clone()).or_insert(0);
            if is_new && (room == 0 || list.len() + *added >= settings.entries_max) {
                self.is_full(&mut full_told_s, &change.scope);
                continue;
            }
            *added += usize::from(is_new);
            room -= usize::from(is_new);
            pending.add(change.clone());
            made.push(change);
        }
        book.full_told_s = full_told_s;
        let number = self.commit(&mut book, &pending)?;
        let added = made.iter().filter(|change| change.entry.is_some_and(|entry| entry.strikes == 0)).count();
        self.counts.added.fetch_add(added as u64, Ordering::Relaxed);
        Ok((made, number))
    }

    /// A list has no room for a recipient. Told now and then, and counted.
    fn is_full(&self, full_told_s: &mut u32, scope: &Scope) {
        self.counts.full.fetch_add(1, Ordering::Relaxed);
        if now_s() >= full_told_s.saturating_add(FULL_PAUSE_S) {
            *full_told_s = now_s();
            self.log.say(clock::now(), &Event::SuppressionFull(&table::scope_name(scope)));
        }
    }

    /// Makes changes durable, and then known; gives the number of the lists that have them.
    fn commit(&self, book: &mut Book, pending: &Pending) -> Result<u64, Refused> {
        if pending.is_empty() {
            return Ok(0);
        }
        let lists = book.lists.with(pending);
        book.file.append(pending, &lists)?;
        Ok(self.replace(book, lists))
    }

    fn replace(&self, book: &mut Book, lists: Lists) -> u64 {
        book.lists = Arc::new(lists);
        let mut number = 0;
        self.newest.send_modify(|newest| {
            *newest = (newest.0 + 1, book.lists.clone());
            number = newest.0;
        });
        number
    }
}

/// Files and large lists would hold up everything else on the control thread.
///
/// # Errors
/// The work panicked.
pub async fn off_the_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work).await.map_err(|defect| Refused::Defect(defect.to_string()))
}

/// The time, as entries have it.
pub fn now_s() -> u32 {
    u32::try_from(clock::now().as_secs()).unwrap_or(FOR_EVER)
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keeper of {:?}", self.lists())
    }
}
