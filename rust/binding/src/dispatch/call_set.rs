//! A call set: the calls that a tick of one (members, kind) causes, and the batches that its ticks belong to.
//!
//! Guarantees: sites stand in registration order.
//! Does not: call anything; that is `calls`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headrace_core::market::kind::{KindSet, kind_set};

use super::subscription::SubscriptionShared;
use crate::hot::vectorcall::{Call, Slots};

/// The calls of one (members, kind): sites in registration order.
pub(crate) struct CallSet {
    /// Ticks of this set that were dispatched.
    pub(crate) seen: Arc<AtomicU64>,
    pub(crate) members: Vec<u32>,
    pub(crate) slots: Slots,
    pub(crate) sites: Vec<CallSite>,
    /// Shared batches that this set's ticks belong to.
    pub(crate) classes: Vec<u32>,
}

impl CallSet {
    #[inline]
    pub(crate) fn count_seen(&self, more: u64) {
        // Relaxed, and no locked add: the dispatching thread is the one writer.
        self.seen
            .store(self.seen.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    /// Adds ticks to the batches that this set's ticks belong to.
    #[inline]
    pub(crate) fn batch(&self, classes: &mut [Class], kind: u8, start: usize, end: usize) {
        for class in &self.classes {
            classes[*class as usize].push(kind, start, end);
        }
    }
}

/// One call that each tick of a set may cause.
pub(crate) struct CallSite {
    pub(crate) member: u32,
    pub(crate) enters: Enters,
    /// The member's, so that a call that is nothing special touches nothing else of it.
    pub(crate) shared: Arc<SubscriptionShared>,
    /// Calls until the next one is timed.
    pub(crate) sample_in: u32,
    /// `None`: the member only holds the tick, for its plural handlers.
    pub(crate) call: Option<(u16, Call)>,
}

/// How a tick comes to a member's call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enters {
    /// The member's first: counted here, when it is running.
    Counted,
    /// The member's first, and looked at for itself: `admit` decides and counts.
    Admitted,
    /// Behind another call of the same member: when that one was made and the member still runs.
    Again,
}

/// The ticks of a span that subscriptions with one filter share.
#[derive(Default)]
pub(crate) struct Class {
    /// Per kind number, counted from the span's first tick; index 0: all kinds together.
    pub(crate) ranges: Vec<Vec<(usize, usize)>>,
    pub(crate) kinds: KindSet,
    /// Kinds that an `on_ticks` takes, together; 0: no member has one.
    pub(crate) all_kinds: KindSet,
}

impl Class {
    #[inline]
    pub(crate) fn push(&mut self, kind: u8, start: usize, end: usize) {
        if self.kinds & kind_set(kind) != 0 {
            extend_ranges(&mut self.ranges[usize::from(kind)], start, end);
        }
        if self.all_kinds & kind_set(kind) != 0 {
            extend_ranges(&mut self.ranges[0], start, end);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.ranges.iter_mut().for_each(Vec::clear);
    }
}

#[inline]
pub(super) fn extend_ranges(ranges: &mut Vec<(usize, usize)>, start: usize, end: usize) {
    match ranges.last_mut() {
        Some((_, last)) if *last == start => *last = end,
        _ => ranges.push((start, end)),
    }
}
