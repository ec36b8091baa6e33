//! How much a way may have of what all ways of a shard share: the credits of its home, and the memory for content.
//!
//! A peer that stands still keeps what was sent its way for minutes. So that the others find room however many do so, a way
//! takes small portions of what is left, and larger ones only as long as a [`RESERVE`]th of all is free. Until its peer
//! has shown that it works it is on trial: all ways on trial have half of everything at most, so that those that work
//! go on, and small portions only. Whoever may not have more goes on when something of its own ends; only who has nothing
//! yet stands in line. Decides and counts only.

use super::way::Way;

/// A small portion is one in so many of what is left.
const PORTIONS: usize = 16;

/// One in so many of all is given out in small portions only.
const RESERVE: usize = 4;

/// One in so many octets is for content of [`SMALL_BYTES`] at most, also of ways on trial when large ones have used up
/// their half: large messages must not keep small ones waiting.
const RESERVE_FOR_SMALL: usize = 8;
const SMALL_BYTES: usize = 64 << 10;

/// What the ways of a shard have.
pub(super) struct Room {
    /// Credits for each home.
    credits_max: usize,
    /// Of each home.
    credits: Vec<Had>,
    memory: Had,
}

/// So much is had by ways.
#[derive(Clone, Copy, Default)]
struct Had {
    by_all: usize,
    by_those_on_trial: usize,
}

/// What a task takes, until it ends.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// One of the credits for this home.
    pub home: usize,
    /// So much memory.
    pub content_bytes: usize,
    /// Its way was on trial when it began.
    pub on_trial: bool,
}

impl Room {
    /// Room for ways to `homes` homes, with so many credits for each.
    pub fn new(homes: usize, credits_max: usize) -> Self {
        Self { credits_max, credits: vec![Had::default(); homes], memory: Had::default() }
    }

    /// Whether a way may have more than it has, if it has something. There is `memory_max` for content.
    pub fn has_portion_for(&self, way: &Way, memory_max: usize) -> bool {
        let (credits, on_trial) = (&self.credits[way.home], way.is_on_trial());
        way.is_unused()
            || (way.outstanding() < credits.portion_of(self.credits_max, on_trial)
                && way.content_bytes() < self.memory.portion_of(memory_max, on_trial))
    }

    /// Whether a credit for a home is left, to ways on trial or to others.
    pub fn has_credit(&self, home: usize, on_trial: bool) -> bool {
        self.credits[home].left_of(self.credits_max, on_trial) > 0
    }

    /// Whether anything is left for the next task of a way, of `content_bytes`.
    pub fn is_left_for(&self, way: &Way, memory_max: usize, content_bytes: impl FnOnce() -> usize) -> bool {
        let on_trial = way.is_on_trial();
        let credits = self.credits[way.home].left_of(self.credits_max, on_trial);
        let for_large = self.memory.left_of(memory_max - memory_max / RESERVE_FOR_SMALL, on_trial);
        let for_small = self.memory.left_of(memory_max, false);
        credits > 0 && (for_large > 0 || (for_small > 0 && content_bytes() <= SMALL_BYTES))
    }

    /// A task begins.
    pub fn take(&mut self, load: Load) {
        self.credits[load.home].take(1, load.on_trial);
        self.memory.take(load.content_bytes, load.on_trial);
    }

    /// A task has ended.
    pub fn give_back(&mut self, load: Load) {
        self.credits[load.home].give_back(1, load.on_trial);
        self.memory.give_back(load.content_bytes, load.on_trial);
    }
}

impl Had {
    /// What is left of `max`, to ways on trial or to others.
    fn left_of(&self, max: usize, on_trial: bool) -> usize {
        let left = max.saturating_sub(self.by_all);
        if on_trial { left.min(max.div_ceil(2).saturating_sub(self.by_those_on_trial)) } else { left }
    }

    /// With less than this of `max` a way may have more.
    fn portion_of(&self, max: usize, on_trial: bool) -> usize {
        let left = self.left_of(max, on_trial);
        let large = if on_trial { 0 } else { left.saturating_sub(max / RESERVE) };
        large.max(left / PORTIONS)
    }

    fn take(&mut self, amount: usize, on_trial: bool) {
        self.by_all += amount;
        self.by_those_on_trial += if on_trial { amount } else { 0 };
    }

    fn give_back(&mut self, amount: usize, on_trial: bool) {
        self.by_all -= amount;
        self.by_those_on_trial -= if on_trial { amount } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const CREDITS: usize = 256;
    const MEMORY: usize = 64 << 20;
    const WINDOW_MAX: u32 = 80;
    const SMALL: usize = 1 << 10;
    const LARGE: usize = 1 << 20;

    fn way(works: bool) -> Way {
        let mut way = Way::new(Arc::default(), 0);
        (0..WINDOW_MAX).filter(|_| works).for_each(|_| way.works(WINDOW_MAX));
        way
    }

    /// Lets a way have all that it may; how much that is.
    fn fill(room: &mut Room, way: &mut Way, content_bytes: usize) -> usize {
        let load = Load { home: 0, content_bytes, on_trial: way.is_on_trial() };
        while way.has_room(WINDOW_MAX)
            && room.has_portion_for(way, MEMORY)
            && room.is_left_for(way, MEMORY, || content_bytes)
        {
            room.take(load);
            way.begin(content_bytes);
        }
        way.outstanding()
    }

    #[test]
    fn a_way_alone_has_its_whole_window_once_it_works() {
        let mut room = Room::new(1, CREDITS);
        assert_eq!(fill(&mut room, &mut way(true), SMALL), WINDOW_MAX as usize);
        let mut room = Room::new(1, CREDITS);
        assert_eq!(fill(&mut room, &mut way(false), SMALL), 4);
    }

    #[test]
    fn however_many_that_worked_stand_still_the_next_one_finds_room() {
        let mut room = Room::new(1, CREDITS);
        let had: Vec<usize> = (0..40).map(|_| fill(&mut room, &mut way(true), SMALL)).collect();
        assert!(had.iter().all(|had| *had > 0), "{had:?}");
        assert!(fill(&mut room, &mut way(false), SMALL) > 0);
    }

    #[test]
    fn those_on_trial_leave_half_to_those_that_work_and_each_other_a_try() {
        let mut room = Room::new(1, CREDITS);
        let had: Vec<usize> = (0..CREDITS).map(|_| fill(&mut room, &mut way(false), SMALL)).collect();
        assert_eq!(had.iter().sum::<usize>(), CREDITS / 2);
        let tried = had.iter().filter(|had| **had > 0).count();
        assert!(tried >= 60, "{tried}");
        assert!(fill(&mut room, &mut way(true), SMALL) >= 20);
    }

    #[test]
    fn large_messages_do_not_keep_small_ones_waiting() {
        for works in [true, false] {
            let mut room = Room::new(1, CREDITS);
            let had: Vec<usize> = (0..100).map(|_| fill(&mut room, &mut way(works), LARGE)).collect();
            let tried = had.iter().filter(|had| **had > 0).count();
            assert!(tried >= 10, "{tried} of those that work: {works}");
            assert!(had.iter().sum::<usize>() * LARGE < MEMORY);
            assert!(fill(&mut room, &mut way(true), SMALL) > 0);
            assert!(fill(&mut room, &mut way(false), SMALL) > 0);
        }
    }

    #[test]
    fn what_ends_is_there_for_the_next() {
        let mut room = Room::new(1, 1);
        let (load, mut first) = (Load { home: 0, content_bytes: LARGE, on_trial: true }, way(false));
        assert_eq!(fill(&mut room, &mut first, LARGE), 1);
        assert_eq!(fill(&mut room, &mut way(false), SMALL), 0);
        room.give_back(load);
        assert_eq!(fill(&mut room, &mut way(false), SMALL), 1);
    }
}
