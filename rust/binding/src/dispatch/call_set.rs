//! A call set: the calls that a tick of one (members, kind) causes, and the batches that its ticks belong to.
//!
//! Guarantees: sites stand in registration order.
//! Does not: call anything; that is `calls`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headrace_core::market::kind::{self, KindSet, kind_set};

use super::subscription::SubscriptionShared;
use crate::hot::vectorcall::{Call, Slots};

/// The calls of one (members, kind): sites in registration order.
pub(crate) struct CallSet {
    /// Whether its first tick has come; before that it has neither sites nor batches.
    pub(super) is_compiled: bool,
    /// Whether its ticks are passed to books.
    pub(super) feeds_books: bool,
    /// Whether its ticks go to singular handlers, and to nothing else.
    pub(super) is_plain: bool,
    /// Ticks of this set that were dispatched.
    pub(crate) seen: Arc<AtomicU64>,
    pub(crate) members: Vec<u32>,
    pub(crate) slots: Slots,
    pub(crate) sites: Vec<CallSite>,
    /// Shared batches that this set's ticks belong to.
    pub(crate) classes: Vec<u32>,
}

impl CallSet {
    /// One that no tick has come to.
    pub(super) fn of(members: &[u32]) -> Self {
        Self {
            is_compiled: false,
            feeds_books: false,
            is_plain: false,
            seen: Arc::new(AtomicU64::new(0)),
            members: members.to_vec(),
            slots: Slots::new(&[], false),
            sites: Vec::new(),
            classes: Vec::new(),
        }
    }

    /// Whether its ticks are passed to books, and otherwise only counted.
    #[inline]
    pub(super) fn is_for_books(&self) -> bool {
        let only_counts = |site: &CallSite| site.call.is_none() && site.enters == Enters::Counted;
        self.feeds_books && self.classes.is_empty() && self.sites.iter().all(only_counts)
    }

    #[inline]
    pub(crate) fn count_seen(&self, more: u64) {
        // Relaxed, and no locked add: the dispatching thread is the one writer.
        self.seen
            .store(self.seen.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    /// Adds ticks to the batches that this set's ticks belong to.
    #[inline(always)]
    pub(super) fn batch(&self, classes: &mut Classes, kind: u8, start: usize, end: usize) {
        for class in &self.classes {
            if classes.list[*class as usize].push(kind, start, end) {
                classes.touch(*class);
            }
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
    /// With a book, which is no position of the ring, and so is not counted.
    Apart,
    /// Behind another call of the same member: when that one was made and the member still runs.
    Again,
}

impl Enters {
    /// A tick's way to the first call of a member; `is_private`: it is looked at for itself.
    pub(super) fn first(kind: u8, is_private: bool) -> Self {
        match is_private {
            _ if kind == kind::BOOK => Self::Apart,
            true => Self::Admitted,
            false => Self::Counted,
        }
    }
}

/// The ticks of a span that subscriptions with one filter share.
#[derive(Default)]
pub(crate) struct Class {
    /// Per kind number, counted from the span's first tick; index 0: all kinds together.
    pub(crate) ranges: Vec<Vec<(usize, usize)>>,
    pub(crate) kinds: KindSet,
    /// Kinds that an `on_ticks` takes, together; 0: no member has one.
    pub(crate) all_kinds: KindSet,
    /// In registration order.
    pub(super) members: Vec<u32>,
    is_touched: bool,
}

impl Class {
    pub(super) fn new(ranges: usize, kinds: KindSet, all_kinds: KindSet) -> Self {
        Self {
            ranges: vec![Vec::new(); ranges],
            kinds,
            all_kinds,
            ..Self::default()
        }
    }

    /// Adds ticks; true: they begin a range.
    #[inline]
    pub(crate) fn push(&mut self, kind: u8, start: usize, end: usize) -> bool {
        let mut begins = false;
        if self.kinds & kind_set(kind) != 0 {
            begins |= extend_ranges(&mut self.ranges[usize::from(kind)], start, end);
        }
        if self.all_kinds & kind_set(kind) != 0 {
            begins |= extend_ranges(&mut self.ranges[0], start, end);
        }
        begins
    }

    pub(crate) fn clear(&mut self) {
        self.ranges.iter_mut().for_each(Vec::clear);
        self.is_touched = false;
    }
}

/// Every shared batch, and those that hold ticks of this span.
#[derive(Default)]
pub(super) struct Classes {
    pub(super) list: Vec<Class>,
    pub(super) touched: Vec<u32>,
}

impl Classes {
    fn touch(&mut self, class: u32) {
        let this = &mut self.list[class as usize];
        if !this.is_touched {
            this.is_touched = true;
            self.touched.push(class);
        }
    }

    /// The span is over.
    pub(super) fn clear(&mut self) {
        for class in self.touched.drain(..) {
            self.list[class as usize].clear();
        }
    }
}

#[inline]
fn extend_ranges(ranges: &mut Vec<(usize, usize)>, start: usize, end: usize) -> bool {
    match ranges.last_mut() {
        Some((_, last)) if *last == start => {
            *last = end;
            false
        }
        _ => {
            ranges.push((start, end));
            true
        }
    }
}
