//! One lane: a bounded queue, first in, first out, with its numbers.
//!
//! Guarantees: `published == processed + dead + dropped + left` at every moment; a drop is remembered until the gap
//! that reports it.
//! Does not: choose between lanes; that is [`super::Lanes`].

use std::collections::VecDeque;

/// How a lane is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneOptions {
    /// How many causes may wait; at least 1.
    pub capacity: usize,
    /// When full: drop the oldest, or refuse.
    pub drops: bool,
    /// The capacity grows up to so many times itself.
    pub growth_max: usize,
}

/// What a lane dropped since its last item was taken: numbers `first` to `last`, `missed` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Its first number.
    pub first: u64,
    /// Its last number.
    pub last: u64,
    /// How many.
    pub missed: u64,
}

/// What a lane has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneCounts {
    /// Items taken into the lane.
    pub published: u64,
    /// Items that every handler was done with.
    pub processed: u64,
    /// Items that a handler failed on for good.
    pub dead: u64,
    /// Items dropped because the lane was full.
    pub dropped: u64,
    /// Items refused because the lane was full; they were never taken.
    pub refused: u64,
    /// Gaps reported.
    pub gaps: u64,
    /// The most that ever waited.
    pub depth_max: u64,
}

/// What a lane does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Free,
    Busy,
    Resumed,
}

#[derive(Debug)]
pub(super) struct Lane<T> {
    pub(super) options: LaneOptions,
    pub(super) capacity: usize,
    pub(super) queue: VecDeque<T>,
    pub(super) standing: Standing,
    /// The item in hand is one of the lane's own, not a gap.
    pub(super) holds_own: bool,
    pub(super) dropped: Option<Dropped>,
    pub(super) counts: LaneCounts,
    /// The number of the queue's front.
    pub(super) front: u64,
    pub(super) full_since: Option<i64>,
    pub(super) quiet_since: Option<i64>,
}

impl<T> Lane<T> {
    pub(super) fn new(options: LaneOptions) -> Self {
        Self {
            options,
            capacity: options.capacity,
            queue: VecDeque::new(),
            standing: Standing::Free,
            holds_own: false,
            dropped: None,
            counts: LaneCounts::default(),
            front: 1,
            full_since: None,
            quiet_since: None,
        }
    }

    pub(super) fn can_go_on(&self) -> bool {
        match self.standing {
            Standing::Free => !self.queue.is_empty(),
            Standing::Resumed => true,
            Standing::Busy => false,
        }
    }

    pub(super) fn accept(&mut self, item: T) {
        self.queue.push_back(item);
        self.counts.published += 1;
        self.counts.depth_max = self.counts.depth_max.max(self.queue.len() as u64);
    }

    pub(super) fn drop_oldest(&mut self) -> Option<T> {
        let oldest = self.queue.pop_front()?;
        let number = self.front;
        self.front += 1;
        self.counts.dropped += 1;
        let dropped = self.dropped.get_or_insert(Dropped {
            first: number,
            last: number,
            missed: 0,
        });
        dropped.last = number;
        dropped.missed += 1;
        Some(oldest)
    }
}

/// Whether a depth is at least this part of a capacity.
pub(super) fn is_at_least(depth: usize, part: f64, capacity: usize) -> bool {
    depth as f64 >= part * capacity as f64
}
