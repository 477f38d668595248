//! About: the ticks of one call, for its dead letter and its cause.
//!
//! Guarantees: borrowed; making one costs nothing.
//! Does not: hold more ticks than a letter keeps, where the others are columns already.

use headrace_core::market::tick::Tick;

use crate::hot::columns::Positions;

/// Ticks that a dead letter keeps.
pub(super) const LETTER_TICKS_MAX: usize = 8;

/// What a call is about, for dead letters.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    /// The first few of them at least.
    pub(crate) ticks: &'a [Tick],
    pub(crate) positions: Positions<'a>,
    pub(crate) count: usize,
    /// The last of all, and the `seq` of the first of the same instrument and kind; `None`: find them in `ticks`.
    pub(crate) last: Option<(&'a Tick, u64)>,
}

impl<'a> About<'a> {
    #[inline]
    pub(crate) fn one(tick: &'a Tick, position: u64) -> Self {
        Self::all(std::slice::from_ref(tick), Positions::From(position))
    }

    /// Of these ticks.
    #[inline]
    pub(crate) fn all(ticks: &'a [Tick], positions: Positions<'a>) -> Self {
        Self {
            ticks,
            positions,
            count: ticks.len(),
            last: None,
        }
    }
}
