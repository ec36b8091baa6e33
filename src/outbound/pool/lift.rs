//! An operator lifts what keeps mail from a destination, once: the home's side. No limit is changed by it: what is configured
//! holds as before, and what the next replies say too.
//!
//! Limits: what is used up is there once more at most: the number of a rate, within its length; the plan of the day.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Inner, Pool, SharedPath};
use crate::config::Source;
use crate::events::Event;
use crate::outbound::budget::SharedBudget;
use crate::outbound::known::Known;
use crate::outbound::metrics::count;
use crate::route::Site;

/// How long it may take until it is on disk; the answer tells where it takes longer.
const KEEP_PATIENCE: Duration = Duration::from_secs(5);

/// What was in the way: its name, and how it stood.
type Lifted = Vec<(&'static str, String)>;

impl Pool {
    /// Lifts what keeps the mail of `source` from the group of `site`, adds the sites of the group to `destinations`, and
    /// gives what that was, or what still is in the way, if anything; as [`crate::queue::lift::Lifted`] has it.
    pub async fn lift(
        &self,
        source: &Arc<Source>,
        site: &Site,
        asked_by: &str,
        destinations: &mut BTreeSet<Box<str>>,
    ) -> Option<Value> {
        let (inner, group) = (&self.0, site.group());
        let paths = inner.paths_of(source, &group);
        let budgets = inner.known_budgets(source, site, &group);
        let mut lifted = inner.lift_rests(&paths);
        destinations.extend(paths.iter().map(|path| path.borrow().site.key.clone()));
        let moment = (inner.reactor.now(), inner.wall_s());
        lifted.extend(budgets.iter().flat_map(|budget| budget.borrow_mut().lift(moment)));
        let rests = budgets.iter().flat_map(|budget| budget.borrow().rests(false, moment.0));
        let still = rests.max_by_key(|(wait, _)| *wait).map(|(_, why)| why);
        if lifted.is_empty() && still.is_none() {
            return None;
        }
        let mut shown = json!({ "source": source.name, "destination": group, "lifted": [] });
        if let Some(still) = still {
            shown["still"] = still.into();
        }
        if !lifted.is_empty() {
            shown["lifted"] = lifted.iter().map(|(what, was)| json!({ "what": what, "was": was })).collect();
            inner.tell_lifted(source, &group, &lifted, asked_by);
            if !inner.keep_lifted(&budgets).await {
                shown["kept"] = false.into();
            }
        }
        paths.iter().for_each(|path| inner.pump(path));
        Some(shown)
    }
}

impl Inner {
    /// The paths from `source` to the sites of `group`.
    fn paths_of(&self, source: &Source, group: &str) -> Vec<SharedPath> {
        let is_one = |path: &&SharedPath| {
            let path = path.borrow();
            path.source.name == source.name && *path.site.group() == *group
        };
        self.paths.borrow().values().filter(is_one).cloned().collect()
    }

    /// The budgets of `source` at `group`: of the whole, and of its parts. One of which only the disk knows is made.
    fn known_budgets(&self, source: &Source, site: &Site, group: &str) -> Vec<SharedBudget> {
        let whole = format!("{} {group}", source.name);
        if self.queue.as_ref().is_some_and(|queue| queue.learned(&whole).is_some()) {
            self.budgets(source, site);
        }
        let parts = format!("{whole} (");
        let is_one = |name: &str| name == whole || name.starts_with(&parts);
        self.budgets.borrow().iter().filter(|(name, _)| is_one(name)).map(|(_, budget)| budget.clone()).collect()
    }

    /// Nothing is left alone any longer; the longest rest is told.
    fn lift_rests(&self, paths: &[SharedPath]) -> Lifted {
        let now = self.reactor.now();
        let rests = paths.iter().filter_map(|path| path.borrow_mut().lift(now));
        let longest = rests.max_by_key(|rest| rest.pause);
        longest.map(|rest| ("rest", format!("{} s more: {}", rest.pause.as_secs(), rest.why))).into_iter().collect()
    }

    fn tell_lifted(&self, source: &Source, group: &str, lifted: &Lifted, asked_by: &str) {
        count(&self.metrics.limits_lifted);
        let names: BTreeSet<&str> = lifted.iter().map(|(what, _)| *what).collect();
        let names = names.into_iter().collect::<Vec<&str>>().join(" ");
        self.log.emit(&Event::LimitLifted { source: &source.name, destination: group, lifted: &names, asked_by });
    }

    /// Keeps what is known now; `false`: it is not yet on disk.
    async fn keep_lifted(&self, budgets: &[SharedBudget]) -> bool {
        let of_each = |budget: &SharedBudget| {
            let budget = budget.borrow();
            budget.kept.clone().map(|(queue, path)| (queue, path, Known::of(&budget).encode()))
        };
        // Only what counts for a whole group is kept.
        for (queue, path, known) in budgets.iter().filter_map(of_each) {
            let keeping = queue.learn_for_good(&path, known.as_deref());
            if self.reactor.timeout(KEEP_PATIENCE, keeping).await != Ok(true) {
                return false;
            }
        }
        true
    }
}
