//! Bounds: where one dispatch call stops.
//!
//! Guarantees: without bounds it goes on until the group is caught up.
//! Does not: bound what is read; that is `View`.

use std::time::Instant;

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
}

impl Bounds {
    pub(crate) const NONE: Self = Self {
        until: None,
        until_position: u64::MAX,
        nested: false,
        one_step: false,
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
