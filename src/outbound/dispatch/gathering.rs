//! Those who share a site come back together after a rest; until then it is remembered whose turn it is.

use std::rc::Rc;

use super::{Inner, SharedTurns, turns_key};
use crate::outbound::after_rest::AT_OWNER;

/// Sites that are remembered only for those who share them are looked for when there are so many, and whenever that has
/// doubled.
pub(super) const SWEPT_AT_MIN: usize = 1024;

impl Inner {
    /// Goes on after a rest when those who share the site have come back.
    pub(super) async fn gather(self: Rc<Self>, turns: SharedTurns) {
        let more = AT_OWNER.mul_f64(f64::from(self.reactor.random() as u32) / f64::from(u32::MAX));
        self.reactor.sleep(AT_OWNER + more).await;
        turns.borrow_mut().after_rest.end();
        self.pump(&turns);
    }

    /// Forgets sites, once there are many, that are remembered for those who share them and have not come back after a rest.
    pub(super) fn sweep(&self) {
        if self.sites.borrow().len() < self.swept_at.get() {
            return;
        }
        let idle: Vec<SharedTurns> =
            self.sites.borrow().values().filter(|turns| turns.borrow().is_idle()).cloned().collect();
        idle.iter().for_each(|turns| self.forget(turns));
        self.swept_at.set(SWEPT_AT_MIN.max(2 * self.sites.borrow().len()));
    }

    pub(super) fn forget_if_done(&self, turns: &SharedTurns) {
        if turns.borrow().is_forgettable() {
            self.forget(turns);
        }
    }

    pub(super) fn forget(&self, turns: &SharedTurns) {
        let mut state = turns.borrow_mut();
        let key = turns_key(&state.pool, &state.site);
        if self.sites.borrow().get(&*key).is_some_and(|known| Rc::ptr_eq(known, turns)) {
            self.sites.borrow_mut().remove(&*key);
            state.ways.clear();
            let site = state.site.clone();
            self.ways.borrow_mut().forget(&state.pool, &site, self.reactor.now());
        }
    }
}
