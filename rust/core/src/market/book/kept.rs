//! Events that are kept until a snapshot comes.
//!
//! Guarantees: whole events in order; bounded, and full is said.
//! Does not: judge ids.

use crate::limits::BOOK_KEPT_TICKS_MAX;
use crate::market::tick::Tick;

/// Kept events, one behind the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    ticks: Vec<Tick>,
    /// Where each event ends.
    ends: Vec<usize>,
    is_keeping: bool,
}

impl Kept {
    /// Keeps events from now on.
    pub(super) fn begin(&mut self) {
        self.is_keeping = true;
    }

    /// Whether events are kept although the book is LIVE.
    pub(super) fn is_keeping(&self) -> bool {
        self.is_keeping
    }

    /// Keeps an event. False: there is no room for it.
    pub(super) fn push(&mut self, event: &[Tick]) -> bool {
        self.is_keeping = true;
        if self.ticks.len() + event.len() > BOOK_KEPT_TICKS_MAX {
            return false;
        }
        self.ticks.extend_from_slice(event);
        self.ends.push(self.ticks.len());
        true
    }

    /// Drops the events before this one.
    pub(super) fn drop_before(&mut self, index: usize) {
        let Some(end) = index.checked_sub(1).and_then(|last| self.ends.get(last).copied()) else {
            return;
        };
        self.ticks.drain(..end);
        self.ends.drain(..index);
        for own in &mut self.ends {
            *own -= end;
        }
    }

    /// Drops everything, and keeps no more.
    pub(super) fn end(&mut self) {
        self.ticks = Vec::new();
        self.ends = Vec::new();
        self.is_keeping = false;
    }

    /// The events in order.
    pub(super) fn events(&self) -> impl Iterator<Item = &[Tick]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| &self.ticks[begin..*end])
    }
}
