//! Bounds: where one dispatch call stops.
//!
//! Guarantees: without bounds it goes on until the group is caught up.
//! Does not: bound what is read; that is `View`.

use std::time::{Duration, Instant};

/// How a dispatch is bounded.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) until: Option<Instant>,
    /// Stop at this position.
    pub(crate) until_position: u64,
    /// Inside of a publish.
    pub(crate) nested: bool,
    /// Stop as soon as something is to be awaited, or was held for a pull.
    pub(crate) one_step: bool,
    /// Stop where the group's `Stops` say so.
    pub(crate) has_stops: bool,
    /// A span that is not over at `until_position` ends there.
    pub(crate) is_cut: bool,
    /// At `until_position` the next span is read before it stops; with `is_cut`, it is opened.
    pub(crate) reads_on: bool,
}

impl Bounds {
    /// How long its time is over; `None`: it is not, or has no bound.
    pub(super) fn overrun(&self) -> Option<Duration> {
        let until = self.until?;
        Instant::now().checked_duration_since(until)
    }

    pub(crate) const NONE: Self = Self {
        until: None,
        until_position: u64::MAX,
        nested: false,
        one_step: false,
        has_stops: true,
        is_cut: false,
        reads_on: false,
    };

    /// Of a dispatch that makes room for a publish.
    pub(crate) const NESTED: Self = Self {
        nested: true,
        ..Self::NONE
    };

    /// Of a dispatch to the next awaited calls, or to what a pull takes.
    pub(crate) const STEP: Self = Self {
        one_step: true,
        ..Self::NONE
    };
}
