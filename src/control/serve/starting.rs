//! The start of the shards: what each is given, and what it tells of itself.

use std::sync::Arc;

use crossbeam::atomic::AtomicCell;
use futures::channel::mpsc as channel;
use shards::mesh::Port;
use shards::passed::Passed;
use tokio::sync::mpsc;

use super::failed;
use crate::assurance::Trust;
use crate::assurance::report::Counts;
use crate::authentication::Signers;
use crate::bounce::return_path::ReturnPath;
use crate::config::Config;
use crate::control::commands::Failure;
use crate::crossing::{Certificate, Crossing, Quotas};
use crate::dns::Query;
use crate::events::log::Channel;
use crate::shard;
use crate::suppression::Lists;

/// What a shard tells the control thread about itself.
pub(super) enum News {
    /// It listens.
    Ready,
    /// It has ended, with the TLS sessions that nobody has heard of yet; the error is for people.
    Ended(usize, Result<Counts, String>),
}

/// What the shards are started with.
pub(super) struct Starting {
    pub config: Arc<Config>,
    pub passed: Arc<[Passed]>,
    pub certificate: Option<Arc<Certificate>>,
    pub signers: Arc<Signers>,
    pub trust: Arc<Trust>,
    pub return_path: Option<Arc<ReturnPath>>,
    pub quotas: Arc<Quotas>,
    pub suppressed: Arc<Lists>,
    pub suspended: bool,
    pub log: Arc<Channel>,
    pub dns: channel::Sender<Query>,
    pub news: mpsc::UnboundedSender<News>,
}

impl Starting {
    /// Starts them, each with its port.
    pub fn launch(self, ports: Vec<Port<Crossing>>) -> Result<shards::launch::Running, Failure> {
        let shards = self.config.shards;
        let ports: Arc<Vec<AtomicCell<Option<Port<Crossing>>>>> =
            Arc::new(ports.into_iter().map(|port| AtomicCell::new(Some(port))).collect());
        let starting = Arc::new(self);
        shards::launch::launch(shards, move |reactor, number| {
            let port = ports[number].take().expect("a shard starts once");
            let starting = starting.clone();
            async move {
                let news = starting.news.clone();
                let start = shard::Start {
                    config: starting.config.clone(),
                    certificate: starting.certificate.clone(),
                    signers: starting.signers.clone(),
                    trust: starting.trust.clone(),
                    return_path: starting.return_path.clone(),
                    quotas: starting.quotas.clone(),
                    port,
                    dns: starting.dns.clone(),
                    log: starting.log.clone(),
                    passed: starting.passed.clone(),
                    suppressed: starting.suppressed.clone(),
                    suspended: starting.suspended,
                };
                drop(starting);
                let ready = || _ = news.send(News::Ready);
                let result = shard::run(reactor, start, ready).await.map_err(|error| error.to_string());
                let _ = news.send(News::Ended(number, result));
            }
        })
        .map_err(|error| failed("the shards", &error))
    }
}
