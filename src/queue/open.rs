//! Opening: the data directory is claimed, a shard's index is read once, and its journal replayed from there.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use shards::index::Index;
use shards::journal::{Journal, Options, Position};
use shards::{Reactor, Timestamp};

use super::checkpoint::{META_KEY, Meta};
use super::format;
use super::rehome::{partitions, rehome};
use super::row;
use super::rows::{LEARNED, META, QUEUED, SEGMENTS, SUBMITTED, TABLES};
use super::signal::Signal;
use super::signing::Signing;
use super::state::State;
use super::submitted::Elsewhere;
use super::{Core, Error, Life, MessageId, Queue};
use crate::bounce::classify::{Category, Reason};
use crate::config::{Config, Uncertain};
use crate::events::{Event, Log};
use crate::smtp::reply::EnhancedCode;
use crate::spool::record::{Change, Said, Standing, State as At};

/// How a shard's journal is laid out. Small segments, so that a small disk has several and a dead one goes soon.
pub(super) const JOURNAL: Options =
    Options { segment_bytes: 16 << 20, reserve_bytes: 1 << 20, pending_bytes_max: 8 << 20 };

/// The data directory, held by this process alone for as long as this lives.
#[derive(Debug)]
pub struct Claim {
    directory: PathBuf,
    shards: usize,
    /// What shards have counted that are not opened any more.
    elsewhere: Arc<Elsewhere>,
    /// Lasts as long as the file is open.
    _lock: File,
}

/// The rule that says of a recipient that a crash left it uncertain.
const UNCERTAIN_RULE: &str = "crash";

impl Claim {
    /// Creates `config.data_dir` where it is missing and locks it, before any shard starts. Refuses a directory that a later
    /// version wrote, and one in which shards that are no longer configured have queued mail: it would not be delivered.
    pub fn new(config: &Arc<Config>) -> Result<Claim, Error> {
        let directory = &*config.data_dir;
        let io = |why| Error::Io(directory.to_path_buf(), why);
        // What is queued is for nobody else on this host.
        let unusable = |why| Error::Unusable(directory.to_path_buf(), why);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
        let lock = File::options().create(true).truncate(false).write(true).open(directory.join("lock"));
        let lock = lock.map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(Error::Locked(directory.to_path_buf())),
            Err(std::fs::TryLockError::Error(why)) => return Err(io(why)),
        }
        format::of(directory)?;
        let mut elsewhere = Elsewhere::default();
        for entry in std::fs::read_dir(directory).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            if let Some(shard) = name.to_str().and_then(shard_of)
                && shard >= config.shards
                && holds_mail(directory.join(name), config.clone(), &mut elsewhere)?
            {
                return Err(Error::Leftover { directory: directory.to_path_buf(), shards: shard + 1 });
            }
        }
        let directory = directory.to_path_buf();
        Ok(Claim { directory, shards: config.shards, elsewhere: Arc::new(elsewhere), _lock: lock })
    }

    /// What accounts have submitted today to shards that are not opened any more.
    pub fn elsewhere(&self) -> Arc<Elsewhere> {
        self.elsewhere.clone()
    }

    /// Makes the directory this version's and this number of shards', before the first shard starts and after all that may
    /// refuse a start: a version that could not start leaves the way back open.
    pub fn begin(&self) -> Result<(), Error> {
        format::claim(&self.directory)?;
        let (directory, shards) = (self.directory.clone(), self.shards);
        let partitions = partitions(&directory)?;
        let moved =
            shards::launch::run(move |reactor| async move { rehome(&reactor, &directory, partitions, shards).await });
        moved.map_err(|why| Error::Io(self.directory.clone(), why))?.map(drop)
    }
}

/// Whether a partition that no shard will open has queued mail, or events that a webhook is to be told. What accounts have
/// submitted to it today is added to `elsewhere`.
fn holds_mail(partition: PathBuf, config: Arc<Config>, elsewhere: &mut Elsewhere) -> Result<bool, Error> {
    let name = partition.clone();
    let opened = shards::launch::run(move |reactor| async move {
        let (state, ..) = recover(&reactor, &partition, &config).await?;
        let holds = state.tally.queued > 0 || state.webhooks.any_waiting();
        Ok::<_, Error>((holds, state.submitted, reactor.wall()))
    });
    let (holds, submitted, now) = opened.map_err(|why| Error::Io(name, why))??;
    elsewhere.add(&submitted, now);
    Ok(holds)
}

/// The directory of a shard's partition.
pub(super) fn directory_name(shard: usize) -> String {
    format!("shard-{shard:02}")
}

pub(super) fn shard_of(name: &str) -> Option<usize> {
    let shard = name.strip_prefix("shard-")?.parse().ok()?;
    (directory_name(shard) == name).then_some(shard)
}

impl Queue {
    /// Opens (or creates) shard `shard`'s queue below `config.data_dir` and recovers it.
    pub async fn open(reactor: &Reactor, config: Arc<Config>, shard: usize, log: Log) -> Result<Queue, Error> {
        let began = reactor.now();
        let directory = config.data_dir.join(directory_name(shard));
        let (state, journal, frames) = recover(reactor, &directory, &config).await?;
        let recipients = state.tally.queued;
        let core = Core {
            reactor: reactor.clone(),
            log,
            shard,
            journal,
            config: RefCell::new(config),
            state: RefCell::new(state),
            signing: Signing::default(),
            unpublished: RefCell::new(VecDeque::new()),
            ready: Signal::default(),
            appended: Signal::default(),
            events: Signal::default(),
            losses_told: Cell::new(Timestamp::default()),
            sooner: Signal::default(),
            waits_until_s: Cell::new(0),
            work: Signal::default(),
            kept: Signal::default(),
            next_expiry: Cell::new(Timestamp::default()),
            next_delay: Cell::new(Timestamp::default()),
            looked_at_for_delay: Cell::new(None),
            scheduled: RefCell::default(),
            life: Cell::new(Life::Open),
            told_refusing: Cell::new(false),
            broken: RefCell::new(None),
            failed: Signal::default(),
        };
        let within = Queue { core: Rc::new(core), _tasks: Rc::default() };
        within.resolve_uncertain()?;
        let took_ms = u64::try_from(reactor.now().since(began).as_millis()).unwrap_or(u64::MAX);
        within.core.log.emit(&Event::Recovered { recipients, frames, took_ms });
        let tasks = vec![
            reactor.spawn(within.clone().publish()),
            reactor.spawn(within.clone().run_clockwork()),
            reactor.spawn(within.clone().keep_house()),
        ];
        Ok(Queue { core: within.core, _tasks: Rc::new(tasks) })
    }

    /// What becomes of recipients whose delivery a crash interrupted after the final dot. It follows from what is on disk
    /// alone, so nothing is appended for it: a crash right now gives the same again.
    fn resolve_uncertain(&self) -> Result<(), Error> {
        let policy = self.config().delivery.uncertain;
        let now_s = self.now_s();
        let state = &mut *self.core.state.borrow_mut();
        let mut messages = std::mem::take(&mut state.noted);
        messages.sort_unstable();
        messages.dedup();
        for message in messages {
            // Most have ended since, or stand differently.
            if state.rows.read(message, |row| row.recipients.iter().any(|entry| entry.noted))? != Some(true) {
                continue;
            }
            let noted = state.rows.update(message, |row| {
                let mut noted = Vec::new();
                for (index, entry) in (0..=u16::MAX).zip(&mut row.recipients) {
                    if std::mem::take(&mut entry.noted) {
                        let standing = uncertain(&entry.standing, policy, now_s);
                        noted.push((index, entry.recipient.path.clone(), standing));
                    }
                }
                noted
            })?;
            for (index, path, standing) in noted.into_iter().flatten() {
                state.tally.uncertain += 1;
                self.core.log.emit(&Event::Uncertain { id: message, recipient: path.as_str() });
                // Its slice is there already, if it needs one.
                state.change(Change { message, index, standing }, None)?;
            }
        }
        Ok(())
    }
}

/// The standing of a recipient that may have the message already.
fn uncertain(standing: &Standing, policy: Uncertain, now_s: u32) -> Standing {
    let text = "a crash came before the next hop's reply: it may have the message already";
    let said = Said {
        status: EnhancedCode(4, 4, 2),
        text: text.into(),
        remote: None,
        reason: Some(Reason::by(UNCERTAIN_RULE, Category::System)),
        at_s: now_s,
        replied: false,
        tls: None,
    };
    let state = if policy == Uncertain::Hold { At::Held } else { standing.state };
    Standing { state, last: Some(said), ..*standing }
}

/// Whether a crash was the last that is known of a delivery.
pub(super) fn is_uncertain(last: &Said) -> bool {
    last.reason.as_ref().is_some_and(|reason| *reason.rule == *UNCERTAIN_RULE)
}

/// Reads a partition: the index once, then the journal from the position that it covers. The number of frames is third.
async fn recover(reactor: &Reactor, directory: &Path, config: &Config) -> Result<(State, Journal, u64), Error> {
    let index = Index::open(reactor, &directory.join("index"), TABLES).await?;
    let now_s = row::seconds(reactor.wall());
    let mut state = State::new(index.clone(), config);
    let position = load_index(&index, &mut state, now_s)?;
    let mut frames = 0;
    let mut replayed = Ok(());
    let mut replay = |position: Position, payload: &[u8]| {
        frames += 1;
        if replayed.is_ok() {
            replayed = state.replay(position, payload, now_s);
        }
    };
    let journal = Journal::open(reactor, &directory.join("journal"), JOURNAL, position, &mut replay).await?;
    replayed?;
    let missing = |segment| Error::Damaged(format!("segment {segment:08x} of the journal is missing"));
    state.segments.retain_on_disk(&journal.segments()).map_err(missing)?;
    Ok((state, journal, frames))
}

/// Reads what the last checkpoint wrote. Gives back where the journal goes on.
fn load_index(index: &Index, state: &mut State, now_s: u32) -> Result<Position, Error> {
    let damaged = |why| Error::Damaged(format!("the index: {why}"));
    let meta = match index.get(META, META_KEY)? {
        Some(bytes) => Meta::decode(&bytes).map_err(damaged)?,
        None => Meta::default(),
    };
    state.next_number = meta.next_number.max(1);
    let mut result = Ok(());
    index.scan(QUEUED, &[], &mut |key, value| {
        result = row::id_of(key).map_err(damaged).and_then(|message: MessageId| state.load(message, value, now_s));
        result.is_ok()
    })?;
    result?;
    let mut result = Ok(());
    index.scan(SEGMENTS, &[], &mut |key, value| {
        let number = <[u8; 4]>::try_from(key).map(u32::from_be_bytes).unwrap_or(u32::MAX);
        result = state.segments.load(number, value, meta.position).map_err(damaged);
        result.is_ok()
    })?;
    result?;
    let mut result = Ok(());
    index.scan(SUBMITTED, &[], &mut |account, value| {
        result = state.submitted.load(account, value).map_err(damaged);
        result.is_ok()
    })?;
    result?;
    let mut result = Ok(());
    index.scan(LEARNED, &[], &mut |path, value| {
        result = state.learned.load(path, value, now_s.into()).map_err(damaged);
        result.is_ok()
    })?;
    result?;
    state.webhooks.load(index)?;
    state.returned.load(index)?;
    Ok(meta.position)
}
