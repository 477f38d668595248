//! The backlog: ticks that a group has taken from the ring and not yet gone through.
//!
//! Guarantees: memory is kept from span to span and written once per tick: nothing is cleared before it is overwritten.
//! Does not: count positions.

use std::ops::Deref;

use headrace_core::market::tick::Tick;

/// A queue of ticks in one piece of memory: consumed at the front, filled at the back.
#[derive(Default)]
pub(crate) struct Backlog {
    memory: Vec<Tick>,
    len: usize,
}

impl Backlog {
    /// Room for `count` more ticks behind those that are there; call `grow` afterwards with how many came.
    pub(super) fn spare(&mut self, count: usize) -> &mut [Tick] {
        let end = self.len + count;
        if self.memory.len() < end {
            self.memory.resize(end, Tick::default());
        }
        &mut self.memory[self.len..end]
    }

    /// The first `count` ticks of the last `spare` were written.
    pub(super) fn grow(&mut self, count: usize) {
        assert!(self.len + count <= self.memory.len());
        self.len += count;
    }

    /// The one tick that it holds, to be replaced.
    #[inline(always)] // With every time of a replay.
    pub(super) fn only(&mut self) -> &mut Tick {
        assert_eq!(self.len, 1, "of one tick");
        &mut self.memory[0]
    }

    /// Appends ticks that are on the ring already.
    pub(crate) fn extend(&mut self, ticks: &[Tick]) {
        self.spare(ticks.len()).copy_from_slice(ticks);
        self.len += ticks.len();
    }

    /// Drops the first `count` ticks.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        assert!(count <= self.len);
        if count < self.len {
            self.memory.copy_within(count..self.len, 0);
        }
        self.len -= count;
    }

    /// Keeps the first `count` ticks only.
    pub(super) fn truncate(&mut self, count: usize) {
        self.len = self.len.min(count);
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Deref for Backlog {
    type Target = [Tick];

    #[inline]
    fn deref(&self) -> &[Tick] {
        &self.memory[..self.len]
    }
}
