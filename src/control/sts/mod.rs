//! MTA-STS policies: found, fetched, and kept until they expire (RFC 8461).
//!
//! Owns: the policies that were fetched, in memory and on disk, and which fetches failed lately.
//! Never: decides what a policy means for a delivery (`route` does).
//! On disk: `mta-sts/DOMAIN` in the data directory: the record's id, when it was fetched, the policy as it came. A policy
//! that is already known keeps its force over restarts, which is what makes it hard to suppress (§10.2).
//! Limits: [`POLICIES_MAX`] policies and [`FAILURES_MAX`] failures; those of `fetch` for one policy.
//!
//! | the record `_mta-sts.DOMAIN` | what is kept | what happens |
//! |---|---|---|
//! | announces the id that is kept | a policy in its first half | it holds |
//! | announces another id, or one | none, or an old one | it is fetched; if that fails what is kept holds until it expires |
//! | is absent, or cannot be looked up | a policy | it holds until it expires |
//! | is absent | none | there is none |
//! | cannot be looked up | none | nobody can tell whether there is one |

#![expect(clippy::disallowed_types, reason = "the control thread's tasks share the policies; no shard does")]

#[cfg(test)]
mod changes;
mod fetch;

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use std::{fs, io};

use hickory_resolver::TokioResolver;
use rustls::ClientConfig;

use super::{clock, resolver, whole_file};
use crate::assurance::Trust;
use crate::assurance::sts::{self, Missing, Policy};
use crate::dns::Answer;

/// Policies that are kept, at most.
const POLICIES_MAX: usize = 10_000;

/// Failures that are remembered, at most.
const FAILURES_MAX: usize = 10_000;

/// A policy that could not be fetched is not fetched again for this long (§3.3).
const FAILURE_PAUSE: Duration = Duration::from_secs(300);

/// A record is looked at again after this at the latest, whatever its time to live.
const RECORD_TTL_MAX: Duration = Duration::from_secs(3600);

/// The lines that are written before a policy.
const ID: &str = "ringpost-id: ";
const FETCHED: &str = "ringpost-fetched: ";

/// How policy hosts are reached.
#[derive(Clone)]
pub struct Access {
    tls: Option<Arc<ClientConfig>>,
    port: u16,
}

impl Access {
    /// At `port`, with certificates that the usual authorities of `trust` vouch for.
    pub fn new(trust: &Trust, port: u16) -> Access {
        Access { tls: shards::tls::client_config_with_roots(trust.usual.clone()).ok(), port }
    }
}

/// The policies.
pub struct Store {
    folder: PathBuf,
    known: Mutex<Known>,
    /// Whose turn it is to write.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    policies: HashMap<Box<str>, Kept>,
    /// Domains whose policy could not be fetched: when, in seconds since the epoch, and why.
    failures: HashMap<Box<str>, (u64, Missing)>,
}

/// A policy that was fetched.
#[derive(Clone)]
struct Kept {
    id: Box<str>,
    fetched_s: u64,
    policy: Arc<Policy>,
}

impl Kept {
    fn left_s(&self, now_s: u64) -> u64 {
        (self.fetched_s + self.policy.max_age.as_secs()).saturating_sub(now_s)
    }

    /// Whether it is time to renew it, although its id has not changed.
    fn is_stale(&self, now_s: u64) -> bool {
        self.left_s(now_s) < self.policy.max_age.as_secs() / 2
    }

    fn answer(&self, now_s: u64, ttl: Duration) -> Answer {
        let ttl = ttl.min(RECORD_TTL_MAX).min(Duration::from_secs(self.left_s(now_s)));
        Answer::Policy(self.policy.clone(), ttl)
    }
}

impl Store {
    /// The policies that are kept in a data directory. Files that are none, or whose time is over, are removed.
    ///
    /// # Errors
    /// The folder can be neither read nor made.
    pub fn open(data_dir: &Path) -> io::Result<Store> {
        let folder = data_dir.join("mta-sts");
        fs::create_dir_all(&folder)?;
        let mut known = Known::default();
        let now_s = now_s();
        for entry in fs::read_dir(&folder)?.take(2 * POLICIES_MAX) {
            let path = entry?.path();
            let domain = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_whole = !domain.starts_with('.');
            let kept = fs::read(&path).ok().filter(|_| is_whole).and_then(|file| read(&file));
            match kept.filter(|kept| kept.left_s(now_s) > 0) {
                Some(kept) if known.policies.len() < POLICIES_MAX => _ = known.policies.insert(domain.into(), kept),
                _ => _ = fs::remove_file(&path),
            }
        }
        Ok(Store { folder, known: Mutex::new(known), writing: tokio::sync::Mutex::default() })
    }

    /// The policy of `domain`, fetched where that is due.
    pub async fn policy(&self, resolver: &TokioResolver, access: &Access, domain: &str) -> Answer {
        self.policy_at(now_s(), resolver, access, domain).await
    }

    async fn policy_at(&self, now_s: u64, resolver: &TokioResolver, access: &Access, domain: &str) -> Answer {
        let Some(domain) = as_in_dns(domain) else { return Answer::NoData(RECORD_TTL_MAX) };
        let kept = self.known().policies.get(&domain).filter(|kept| kept.left_s(now_s) > 0).cloned();
        let (id, ttl) = match resolver::texts(resolver, &format!("_mta-sts.{domain}")).await {
            Ok((records, ttl)) => (sts::id(&records), ttl),
            Err(trouble @ Answer::Trouble(_)) if kept.is_none() => return trouble,
            Err(absent) => (None, absent.ttl()),
        };
        let current = |kept: &&Kept| id.as_ref().is_none_or(|id| *id == kept.id && !kept.is_stale(now_s));
        if let Some(kept) = kept.as_ref().filter(current) {
            return kept.answer(now_s, ttl);
        }
        let Some(id) = id else { return Answer::NoData(ttl.min(RECORD_TTL_MAX)) };
        match self.fetch(resolver, access, &domain, id, now_s).await {
            Ok(fetched) => fetched.answer(now_s, ttl),
            Err(missing) => {
                kept.map_or(Answer::NoPolicy(missing, FAILURE_PAUSE), |kept| kept.answer(now_s, FAILURE_PAUSE))
            }
        }
    }

    /// Fetches a policy and keeps it, unless that has just failed.
    async fn fetch(
        &self,
        resolver: &TokioResolver,
        access: &Access,
        domain: &str,
        id: Box<str>,
        now_s: u64,
    ) -> Result<Kept, Missing> {
        let failed = self.known().failures.get(domain).copied();
        if let Some((_, missing)) = failed.filter(|(failed_s, _)| now_s < failed_s + FAILURE_PAUSE.as_secs()) {
            return Err(missing);
        }
        let file = fetch::file(resolver, access, domain).await.map_err(|error| error.missing());
        let parsed = file.and_then(|file| match Policy::parse(&file) {
            Ok(policy) => Ok((file, policy)),
            Err(_) => Err(Missing::Invalid),
        });
        let (file, policy) = parsed.inspect_err(|missing| self.remember_failure(domain, now_s, *missing))?;
        let kept = Kept { id, fetched_s: now_s, policy: Arc::new(policy) };
        self.keep(domain, &kept, &file).await;
        Ok(kept)
    }

    fn remember_failure(&self, domain: &str, now_s: u64, missing: Missing) {
        let mut known = self.known();
        if known.failures.len() >= FAILURES_MAX {
            known.failures.retain(|_, (failed_s, _)| now_s < *failed_s + FAILURE_PAUSE.as_secs());
        }
        // Still full: a failure that is not remembered costs one more fetch.
        if known.failures.len() < FAILURES_MAX {
            known.failures.insert(domain.into(), (now_s, missing));
        }
    }

    /// Keeps a policy, in memory at once, and on disk once this ends. What follows each other here does so on disk.
    async fn keep(&self, domain: &str, kept: &Kept, file: &[u8]) {
        let displaced = self.remember(domain, kept);
        let (folder, domain, kept, file) = (self.folder.clone(), domain.to_owned(), kept.clone(), file.to_vec());
        let _turn = self.writing.lock().await;
        let written = tokio::task::spawn_blocking(move || {
            if let Some(displaced) = displaced {
                let _ = whole_file::remove(&folder.join(&*displaced));
            }
            write(&folder, &domain, &kept, &file)
        });
        // A policy that cannot be written holds until the process ends.
        let _ = written.await;
    }

    /// Keeps a policy in memory; gives back whose had to make room for it.
    fn remember(&self, domain: &str, kept: &Kept) -> Option<Box<str>> {
        let mut known = self.known();
        known.failures.remove(domain);
        let is_full = known.policies.len() >= POLICIES_MAX && !known.policies.contains_key(domain);
        let soonest = known.policies.iter().min_by_key(|(_, kept)| kept.fetched_s + kept.policy.max_age.as_secs());
        let displaced = soonest.filter(|_| is_full).map(|(domain, _)| domain.clone());
        if let Some(displaced) = &displaced {
            known.policies.remove(displaced);
        }
        known.policies.insert(domain.into(), kept.clone());
        displaced
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn now_s() -> u64 {
    clock::now().as_secs()
}

/// A domain as DNS has it, which is also what its file is called; `None` where it has no such form.
fn as_in_dns(domain: &str) -> Option<Box<str>> {
    let domain = idna::domain_to_ascii(domain).ok()?;
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let is_name = !domain.is_empty() && domain.len() <= 240 && !domain.starts_with('.') && domain.bytes().all(good);
    is_name.then(|| domain.into())
}

/// Writes a policy so that it is there whole or not at all, and outlives the power.
fn write(folder: &Path, domain: &str, kept: &Kept, file: &[u8]) -> io::Result<()> {
    whole_file::replace(&folder.join(domain), |out| {
        write!(out, "{ID}{}\n{FETCHED}{}\n", kept.id, kept.fetched_s)?;
        out.write_all(file)
    })
}

/// Reads what [`write`] has written.
fn read(file: &[u8]) -> Option<Kept> {
    let mut lines = file.splitn(3, |byte| *byte == b'\n');
    let id = std::str::from_utf8(lines.next()?).ok()?.strip_prefix(ID)?;
    let fetched_s = std::str::from_utf8(lines.next()?).ok()?.strip_prefix(FETCHED)?.parse().ok()?;
    let policy = Policy::parse(lines.next()?).ok()?;
    Some(Kept { id: id.into(), fetched_s, policy: Arc::new(policy) })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;

    const FILE: &[u8] = b"version: STSv1\nmode: enforce\nmx: mx.test\nmax_age: 1000\n";

    fn kept(fetched_s: u64) -> Kept {
        Kept { id: "a1".into(), fetched_s, policy: Arc::new(Policy::parse(FILE).expect("a policy")) }
    }

    fn keep(store: &Store, domain: &str, fetched_s: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(store.keep(domain, &kept(fetched_s), FILE));
    }

    #[test]
    fn policies_outlive_the_process_until_they_expire() {
        let data = tempfile::tempdir().expect("a folder");
        let store = Store::open(data.path()).expect("a store");
        keep(&store, "new.test", now_s());
        keep(&store, "old.test", now_s() - 1000);
        fs::write(data.path().join("mta-sts/odd.test"), "nothing").expect("written");
        // What a crash in the middle of a write leaves behind.
        let new = fs::read(data.path().join("mta-sts/new.test")).expect("read");
        fs::write(data.path().join("mta-sts/.half.test.new"), new).expect("written");
        let store = Store::open(data.path()).expect("a store");
        let known = store.known();
        let new = &known.policies["new.test"];
        assert_eq!((known.policies.len(), &*new.id, new.policy.mode), (1, "a1", sts::Mode::Enforce));
        assert!(fs::read_dir(data.path().join("mta-sts")).expect("a folder").count() == 1, "the others are gone");
    }

    #[test]
    fn a_policy_is_renewed_in_its_second_half() {
        let kept = kept(10_000);
        assert_eq!(kept.left_s(10_400), 600);
        assert!(!kept.is_stale(10_500) && kept.is_stale(10_501));
        assert_eq!(kept.left_s(20_000), 0);
    }

    #[test]
    fn a_record_that_cannot_be_looked_up_leaves_what_is_kept_or_trouble() {
        let data = tempfile::tempdir().expect("a folder");
        let store = Store::open(data.path()).expect("a store");
        keep(&store, "kept.test", now_s());
        let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let servers = [silent.local_addr().expect("an address")];
        let access = Access::new(&Trust::default(), 443);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let resolver = resolver::build(&servers, Duration::from_millis(100)).expect("built");
            let answer = store.policy(&resolver, &access, "kept.test").await;
            assert!(matches!(answer, Answer::Policy(..)), "{answer:?}");
            let answer = store.policy(&resolver, &access, "new.test").await;
            assert!(matches!(answer, Answer::Trouble(_)), "{answer:?}");
        });
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let data = tempfile::tempdir().expect("a folder");
        let store = Store::open(data.path()).expect("a store");
        (0..=FAILURES_MAX).for_each(|n| store.remember_failure(&format!("d{n}.test"), 5, Missing::Unfetched));
        assert_eq!(store.known().failures.len(), FAILURES_MAX);
        store.remember_failure("late.test", 5 + FAILURE_PAUSE.as_secs(), Missing::Invalid);
        assert_eq!(store.known().failures.len(), 1);
    }

    #[test]
    fn a_domain_s_file_is_named_as_dns_names_it() {
        assert_eq!(as_in_dns("Bücher.Test").as_deref(), Some("xn--bcher-kva.test"));
        for bad in ["", "..", "../x", "a/b", ".a", "[192.0.2.1]"] {
            assert_eq!(as_in_dns(bad), None, "{bad}");
        }
    }
}
