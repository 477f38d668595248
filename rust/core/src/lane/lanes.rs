//! The lanes of the event bus: bounded queues, which goes first, and what becomes of each event.
//!
//! ```text
//!   push ─▶ lane 0 ▒▒▒░░  ┐
//!           lane 1 ▒░░░░  ├▶ turn(): the first lane that can go on; the last one has one turn in sixteen
//!           lane 3 ▒▒▒▒▒  ┘      └▶ busy until finish() (or resume(), when it waits for an await meanwhile)
//! ```
//! What happens when a lane is full
//!   Capacity limits causes. What a handler publishes while it runs is a consequence, of which eight times as many fit.
//!   A lane that refuses gives the item back; one that drops takes the oldest out and reports it by a gap, before the
//!   next.
//!
//! Guarantees: each lane is first in, first out; `published == processed + dead + dropped + left` at every moment; a
//! lane that stays full grows, one that stays empty shrinks, by the times that are passed in.
//! Does not: call handlers, hold a lock, or read a clock.

use super::lane::{Dropped, Lane, LaneCounts, LaneOptions, Standing, is_at_least};

/// What all lanes have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LanesOptions {
    /// Consequences may fill a lane up to so many times its capacity.
    pub consequences_max: usize,
    /// The last lane gets one of so many turns while others could go on.
    pub turns_last: u32,
    /// One lane at a time: while one is busy no other has a turn.
    pub one_at_a_time: bool,
    /// Fuller than this part of its capacity for `grow_ns`, and a lane doubles.
    pub grow_at: f64,
    /// See `grow_at`.
    pub grow_ns: i64,
    /// Emptier than this part of its capacity for `shrink_ns`, and a lane halves.
    pub shrink_at: f64,
    /// See `shrink_at`.
    pub shrink_ns: i64,
}

/// Where an item comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Something new.
    Cause,
    /// Published by a handler while it runs.
    Consequence,
}

/// What became of a push.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<T> {
    /// It waits.
    Accepted,
    /// It waits, and this one, the oldest, had to go.
    Dropped(T),
    /// The lane is full.
    Full(T),
}

/// What the next turn is about.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<T> {
    /// A lane that was resumed goes on with what it had in hand.
    Resumed(usize),
    /// A lane must report what it dropped.
    Gap(usize, Dropped),
    /// The next item of a lane, and its number.
    Item(usize, u64, T),
}

/// How handling ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every handler is done with it.
    Processed,
    /// A handler failed for good.
    Dead,
    /// It was no item of the lane's own: a gap that was reported.
    Gap,
}

/// A capacity that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resized {
    /// Which lane.
    pub lane: usize,
    /// The capacity before.
    pub before: usize,
    /// The capacity now.
    pub after: usize,
}

/// The lanes, highest priority first.
#[derive(Debug)]
pub struct Lanes<T> {
    options: LanesOptions,
    lanes: Vec<Lane<T>>,
    busy: usize,
    /// Turns of others since the last lane had one that it could have used.
    waited: u32,
    resized: Vec<Resized>,
}

impl<T> Lanes<T> {
    /// Empty lanes, highest priority first; the last one is the one that is never starved.
    #[must_use]
    pub fn new(options: LanesOptions, lanes: &[LaneOptions]) -> Self {
        Self {
            options,
            lanes: lanes.iter().map(|options| Lane::new(*options)).collect(),
            busy: 0,
            waited: 0,
            resized: Vec::new(),
        }
    }

    /// Whether an item would be taken whatever its origin, and without a look at the time.
    #[inline]
    #[must_use]
    pub fn has_easy_room(&self, lane: usize) -> bool {
        self.has_easy_room_for(lane, 1)
    }

    /// The same for several items.
    #[inline]
    #[must_use]
    pub fn has_easy_room_for(&self, lane: usize, items: usize) -> bool {
        let lane = &self.lanes[lane];
        let next = lane.queue.len() + items;
        match lane.options.growth_max {
            0 | 1 => next <= lane.capacity,
            _ => lane.capacity == lane.options.capacity && !is_at_least(next, self.options.grow_at, lane.capacity),
        }
    }

    /// Takes an item after `has_easy_room` returned true.
    #[inline]
    pub fn push_easily(&mut self, lane: usize, item: T) {
        self.lanes[lane].accept(item);
    }

    /// Whether a cause would be taken now.
    #[must_use]
    pub fn has_room(&self, lane: usize) -> bool {
        self.lanes[lane].queue.len() < self.lanes[lane].capacity
    }

    /// Takes an item in, or returns one. `may_drop`: a lane that drops its oldest may do so.
    pub fn push(&mut self, lane: usize, item: T, origin: Origin, now_ns: i64, may_drop: bool) -> Pushed<T> {
        self.observe(lane, now_ns);
        let times = self.options.consequences_max;
        let this = &mut self.lanes[lane];
        let room = match origin {
            Origin::Cause => this.capacity,
            Origin::Consequence => this.capacity * times,
        };
        let pushed = if this.queue.len() < room {
            this.accept(item);
            Pushed::Accepted
        } else if this.options.drops && may_drop {
            let oldest = this.drop_oldest();
            this.accept(item);
            oldest.map_or(Pushed::Accepted, Pushed::Dropped)
        } else {
            this.counts.refused += 1;
            Pushed::Full(item)
        };
        self.observe(lane, now_ns);
        pushed
    }

    /// Looks how full a lane is, now: one that has been full for long grows, one that has been empty for long shrinks.
    pub fn observe(&mut self, lane: usize, now_ns: i64) {
        let options = self.options;
        let this = &mut self.lanes[lane];
        let (base, before) = (this.options.capacity, this.capacity);
        if this.options.growth_max <= 1 {
            return;
        }
        let depth = this.queue.len();
        if is_at_least(depth, options.grow_at, before) {
            this.quiet_since = None;
            let since = *this.full_since.get_or_insert(now_ns);
            if now_ns - since >= options.grow_ns && before < base * this.options.growth_max {
                this.capacity = (before * 2).min(base * this.options.growth_max);
            }
        } else if before > base && !is_at_least(depth, options.shrink_at, before) {
            this.full_since = None;
            let since = *this.quiet_since.get_or_insert(now_ns);
            if now_ns - since >= options.shrink_ns {
                this.capacity = (before / 2).max(base);
            }
        } else {
            this.full_since = None;
            this.quiet_since = None;
        }
        if this.capacity != before {
            this.full_since = None;
            this.quiet_since = (this.capacity < before).then_some(now_ns);
            let after = this.capacity;
            self.resized.push(Resized { lane, before, after });
        }
    }

    /// Whether a lane is larger than it was made, so that it must still be observed.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.lanes.iter().any(|lane| lane.capacity > lane.options.capacity)
    }

    /// Capacities that changed since the last call.
    pub fn take_resized(&mut self) -> Vec<Resized> {
        std::mem::take(&mut self.resized)
    }

    /// Whether `turn` would return one.
    #[inline]
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.may_go_on() && self.lanes.iter().any(Lane::can_go_on)
    }

    fn may_go_on(&self) -> bool {
        // One at a time: a busy lane holds all; a resumed one goes on first.
        !self.options.one_at_a_time
            || self.busy == 0
            || self.lanes.iter().any(|lane| lane.standing == Standing::Resumed)
    }

    /// Begins the next turn: the lane is busy until `finish`, unless `resume` lets it go on.
    #[inline]
    pub fn turn(&mut self) -> Option<Turn<T>> {
        let index = self.next_lane()?;
        let lane = &mut self.lanes[index];
        if lane.standing == Standing::Resumed {
            lane.standing = Standing::Busy;
            return Some(Turn::Resumed(index));
        }
        lane.standing = Standing::Busy;
        self.busy += 1;
        if let Some(dropped) = lane.dropped.take() {
            lane.holds_own = false;
            return Some(Turn::Gap(index, dropped));
        }
        let item = lane.queue.pop_front()?;
        let number = lane.front;
        lane.front += 1;
        lane.holds_own = true;
        if lane.full_since.is_some() && !is_at_least(lane.queue.len(), self.options.grow_at, lane.capacity) {
            lane.full_since = None;
        }
        Some(Turn::Item(index, number, item))
    }

    #[inline]
    fn next_lane(&mut self) -> Option<usize> {
        if self.options.one_at_a_time && self.busy > 0 {
            return self.lanes.iter().position(|lane| lane.standing == Standing::Resumed);
        }
        let first = self.lanes.iter().position(Lane::can_go_on)?;
        let last = self.lanes.len() - 1;
        if first == last || !self.lanes[last].can_go_on() {
            self.waited = 0;
            return Some(first);
        }
        self.waited += 1;
        if self.waited >= self.options.turns_last {
            self.waited = 0;
            return Some(last);
        }
        Some(first)
    }

    /// What a busy lane had in hand is over.
    #[inline]
    pub fn finish(&mut self, lane: usize, outcome: Outcome) {
        let this = &mut self.lanes[lane];
        debug_assert_ne!(this.standing, Standing::Free, "only what was begun can be finished");
        this.standing = Standing::Free;
        this.holds_own = false;
        self.busy -= 1;
        match outcome {
            Outcome::Processed => this.counts.processed += 1,
            Outcome::Dead => this.counts.dead += 1,
            Outcome::Gap => this.counts.gaps += 1,
        }
    }

    /// A busy lane that waited for an await may go on with what it has in hand.
    pub fn resume(&mut self, lane: usize) {
        debug_assert_eq!(
            self.lanes[lane].standing,
            Standing::Busy,
            "only a busy lane can be resumed"
        );
        self.lanes[lane].standing = Standing::Resumed;
    }

    /// What a lane has counted.
    #[must_use]
    pub fn counts(&self, lane: usize) -> LaneCounts {
        self.lanes[lane].counts
    }

    /// Items waiting in a lane.
    #[must_use]
    pub fn depth(&self, lane: usize) -> usize {
        self.lanes[lane].queue.len()
    }

    /// Items in a lane, the one in hand included.
    #[must_use]
    pub fn left(&self, lane: usize) -> usize {
        self.lanes[lane].queue.len() + usize::from(self.lanes[lane].holds_own)
    }

    /// How many causes the lane takes now.
    #[must_use]
    pub fn capacity(&self, lane: usize) -> usize {
        self.lanes[lane].capacity
    }

    /// Whether nothing waits and nothing is in hand.
    #[inline]
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.busy == 0 && self.lanes.iter().all(|lane| lane.queue.is_empty())
    }

    /// Items in all lanes, those in hand included.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        (0..self.lanes.len()).map(|lane| self.left(lane)).sum()
    }

    /// Everything that waits, for a garbage collector to see.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.lanes.iter().flat_map(|lane| &lane.queue)
    }
}
