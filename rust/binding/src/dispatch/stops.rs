//! Stops: where the dispatch of a live engine stops by itself, so that everything comes in the order of its time.
//!
//! ```text
//!   tick ─▶ handlers ─▶ an order, control or signal event was published? stop
//!                    └▶ before the next tick: a bar closed here, or a timer is due? stop
//! ```
//! Guarantees: a stop is between two ticks, and every subscription of the group has had the tick before it, plural
//! handlers, too: the span ends there.
//! Does not: fire timers, publish bars or drain the bus; the engine does, and dispatches on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use crate::clock::ReplayTime;
use crate::ingest::BarsCore;

/// What the dispatch looks at between two ticks.
pub(crate) struct Stops {
    pub(super) time: Py<ReplayTime>,
    pub(super) bars: Arc<BarsCore>,
    /// The bus sets it with every event that may not wait for more ticks.
    pub(super) is_urgent: Arc<AtomicBool>,
}

impl Stops {
    /// What was published before this dispatch is not its business.
    pub(super) fn begin(&self) {
        // Relaxed, here and below: written by handlers of the thread that reads it; for other threads a hint.
        self.is_urgent.store(false, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn is_urgent(&self) -> bool {
        self.is_urgent.load(Ordering::Relaxed) // Relaxed: see `begin`.
    }

    /// Whether something is due before a tick that was received then, and stands there. A timer of the future holds no
    /// tick up, whatever its time stamp.
    #[inline]
    pub(super) fn is_due(&self, ts_init: i64, position: u64) -> bool {
        let time = self.time.get();
        let alarm_ns = time.alarm_ns();
        (ts_init >= alarm_ns && alarm_ns <= time.real()) || self.bars.has_closed_by(position)
    }
}
