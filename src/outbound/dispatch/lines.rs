//! Who waits for credits, memory or room on a way, and goes on when some of it is there again: whoever has least of it first.

use std::rc::Rc;

use super::{Inner, SharedTurns, SharedWay};
use crate::outbound::way::Way;
use crate::queue::lane::party;
use crate::queue::shares::Shares;

/// Those who stand in line: a site, and the lane of it whose turn it was.
pub(super) type Line = Shares<(SharedTurns, Rc<str>)>;

impl Inner {
    pub(super) fn stand_in_line(&self, turns: &SharedTurns, way: &Way, lane: &Rc<str>) {
        if turns.borrow_mut().lines_up(lane) {
            let line = &mut self.lines.borrow_mut()[way.home][usize::from(way.is_on_trial())];
            line.push_back(party(lane), (turns.clone(), lane.clone()));
        }
    }

    /// Lets the sites that stand in line go on, those of each line until one finds no room again.
    pub(super) fn serve_lines(self: &Rc<Self>) {
        for (home, line) in (0..self.port.shards()).flat_map(|home| [(home, 0), (home, 1)]) {
            while self.room.borrow().has_credit(home, line == 1) {
                let Some((first, lane)) = self.lines.borrow_mut()[home][line].pop() else { break };
                first.borrow_mut().leaves_line(&lane);
                let had = first.borrow().outstanding();
                let found_room = self.pump(&first);
                let line = &mut self.lines.borrow_mut()[home][line];
                if first.borrow().outstanding() > had {
                    line.had_turn(party(&lane));
                }
                line.forget();
                if !found_room {
                    break;
                }
            }
        }
    }

    /// Something has ended on a way: those that found no room there go on, until one finds none again, which is the last then.
    /// Where the way rests, all do: nothing that ends on it will ask them again.
    pub(super) fn serve_blocked(self: &Rc<Self>, way: &SharedWay) {
        let blocked = way.borrow().blocked.len();
        for _ in 0..blocked {
            let Some(first) = way.borrow_mut().blocked.pop_front() else { break };
            first.borrow_mut().is_blocked = false;
            self.pump(&first);
            if first.borrow().is_blocked && way.borrow().rest(self.reactor.now()).is_none() {
                break;
            }
        }
    }
}

/// Goes on when something ends on any of its ways.
pub(super) fn wait_for_room(turns: &SharedTurns) {
    if !std::mem::replace(&mut turns.borrow_mut().is_blocked, true) {
        for way in &turns.borrow().ways {
            let blocked = &mut way.borrow_mut().blocked;
            if !blocked.iter().any(|other| Rc::ptr_eq(other, turns)) {
                blocked.push_back(turns.clone());
            }
        }
    }
}
