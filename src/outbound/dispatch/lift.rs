//! An operator lifts what keeps mail from a destination, once: the owner's side.

use std::sync::Arc;

use super::{Dispatcher, SharedTurns};
use crate::assurance::Demand;
use crate::config::limit::Party;
use crate::config::{Pool, Source};
use crate::outbound::resolve::resolve;
use crate::outbound::way;
use crate::queue::lift::{Lift, Lifted, Reopen};
use crate::route::Site;

impl Dispatcher {
    /// The sources and the site that an order is about: those of the source or pool that it names, or all; and where mail
    /// that asks for nothing in particular goes.
    ///
    /// # Errors
    /// The answer, where there is no such source, or no such site.
    pub async fn paths_to(&self, lift: &Lift) -> Result<(Vec<Arc<Source>>, Site), Lifted> {
        let config = self.0.config.borrow().clone();
        let sources = match &lift.source {
            None => of_each(config.pools.iter().chain([&config.host_pool])),
            Some(name) => {
                let names = || config.pools.iter().map(|pool| pool.name.clone()).collect();
                of_each([config.pool(name).ok_or_else(|| Lifted::NoSource(names()))?].into_iter())
            }
        };
        let reporting = &self.0.metrics.reporting;
        let found = resolve(&self.0.dns, reporting, &config, &lift.domain, Demand::Usual).await;
        let site = found.map_err(|unroutable| Lifted::Nowhere(unroutable.text.into()))?;
        Ok((sources, site.shaped(&config, &lift.domain, Party::default())))
    }

    /// The shard that is the home of the path from `source` to `site`.
    pub fn home(&self, source: &Source, site: &Site) -> usize {
        way::home(source, site, self.0.port.shards())
    }

    /// The homes want mail again of what is named. Whether any of it waits for that: the queue has yet to let it go.
    pub fn reopen(&self, reopen: &Reopen) -> bool {
        let any_rested = self.0.ways.borrow().reopen(&reopen.sources, &reopen.destinations);
        let is_one = |turns: &&SharedTurns| reopen.destinations.contains(&*turns.borrow().site.key);
        let waiting: Vec<SharedTurns> = self.0.sites.borrow().values().filter(is_one).cloned().collect();
        waiting.iter().for_each(|turns| self.0.pump(turns));
        any_rested || reopen.domain.is_some()
    }
}

/// The sources of `pools`, each once.
fn of_each<'a>(pools: impl Iterator<Item = &'a Arc<Pool>>) -> Vec<Arc<Source>> {
    let mut sources: Vec<Arc<Source>> = Vec::new();
    for member in pools.flat_map(|pool| &pool.members) {
        if sources.iter().all(|known| known.name != member.source.name) {
            sources.push(member.source.clone());
        }
    }
    sources
}
