//! What takes the bars of candles in place of a handler, and how a bar on the bus names its stream.
//!
//! Guarantees: nothing of Python runs in a tap.
//! Does not: decide which handlers have a tap; their owners do.

use std::sync::Arc;

use pyo3::prelude::*;

/// Takes the bars of candles in place of a handler.
pub(crate) trait CandleTap: Send + Sync {
    /// Takes the newest candle of a stream; false: the handler is to be called after all.
    fn take(&self, py: Python<'_>, stream: u32) -> bool;
}

/// A tap, as a handler has it.
pub(super) type SharedTap = Arc<dyn CandleTap>;

/// What the key of a bar hangs on, among the candles of one run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct CandleKey(u32);

impl CandleKey {
    pub(crate) fn new(stream: u32, is_empty: bool) -> Self {
        Self(stream << 1 | u32::from(is_empty))
    }

    #[inline]
    pub(super) fn stream(self) -> u32 {
        self.0 >> 1
    }

    #[inline]
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}
