//! `Looks`: when a replay looks up from its items: for signals, and whether it has run for as long as it may at once.
//!
//! Guarantees: a look costs nothing between two of them; without an end nothing looks at the clock of the machine.
//! Does not: end anything; its caller returns.

use std::time::Instant;

/// Items between two looks for signals.
const ITEMS_PER_LOOK: u32 = 256;
/// Items between two looks at the clock of the machine: few, as each may go to a slow handler.
const ITEMS_PER_TIME: u32 = 16;

/// Counts items.
#[derive(Default)]
pub(super) struct Looks {
    items: u32,
    ends: Option<Instant>,
    is_over: bool,
}

impl Looks {
    /// Sets when the time of a run is over; `None`: never.
    pub(super) fn begin(&mut self, ends: Option<Instant>) {
        (self.ends, self.is_over) = (ends, false);
    }

    /// Counts an item; returns whether signals are to be looked for.
    #[inline(always)] // With every time of a replay.
    pub(super) fn count(&mut self) -> bool {
        self.items = self.items.wrapping_add(1);
        self.items.is_multiple_of(ITEMS_PER_LOOK)
    }

    /// Counts an item, unless it is one at which to look up: `count` counts that.
    #[inline(always)] // With every time of a replay.
    pub(super) fn pass(&mut self) -> bool {
        let items = self.items.wrapping_add(1);
        if items.is_multiple_of(ITEMS_PER_LOOK) || self.is_over() {
            return false;
        }
        self.items = items;
        true
    }

    /// Whether the time is over.
    #[inline(always)] // With every time of a replay.
    pub(super) fn is_over(&mut self) -> bool {
        if let Some(ends) = self.ends
            && self.items.is_multiple_of(ITEMS_PER_TIME)
        {
            self.is_over |= Instant::now() >= ends;
        }
        self.is_over
    }
}
