//! `ReplayTime`: a time that stands still until it is moved, natively or by Python's `EngineClock` and `ReplayClock`.
//!
//! Guarantees: never goes back.
//! Does not: read the wall clock.

use std::sync::atomic::{AtomicI64, Ordering};

use pyo3::prelude::*;

/// When something is due that never comes.
pub(crate) const NEVER: i64 = i64::MAX;

/// The time of a replay, or of an engine's turn, ns since 1970-01-01 UTC.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct ReplayTime {
    now_ns: AtomicI64,
    /// Behind a stall a live engine's time is at what is due; this is the real one.
    real_ns: AtomicI64,
    /// Something other than a tick is due then; [`NEVER`]: nothing is.
    alarm_ns: AtomicI64,
}

impl ReplayTime {
    #[inline]
    pub(crate) fn now(&self) -> i64 {
        // Relaxed: see `move_to`.
        self.now_ns.load(Ordering::Relaxed)
    }

    /// The real time: never before `now`.
    #[inline]
    pub(crate) fn real(&self) -> i64 {
        // Relaxed: as `now`.
        self.real_ns.load(Ordering::Relaxed).max(self.now())
    }

    #[inline]
    pub(crate) fn alarm_ns(&self) -> i64 {
        // Relaxed: set by handlers of the thread that reads it.
        self.alarm_ns.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn move_to(&self, now_ns: i64) {
        // Relaxed: read by handlers of the same thread, or as a number for statistics.
        if now_ns > self.now_ns.load(Ordering::Relaxed) {
            // Relaxed: as above.
            self.now_ns.store(now_ns, Ordering::Relaxed);
        }
    }
}

#[pymethods]
impl ReplayTime {
    #[new]
    #[pyo3(signature = (now_ns=0))]
    fn new(now_ns: i64) -> Self {
        Self {
            now_ns: AtomicI64::new(now_ns),
            real_ns: AtomicI64::new(now_ns),
            alarm_ns: AtomicI64::new(NEVER),
        }
    }

    /// The time now, ns since 1970-01-01 UTC.
    fn now_ns(&self) -> i64 {
        self.now()
    }

    /// The real time, ns; the time now unless that is behind.
    fn real_ns(&self) -> i64 {
        self.real()
    }

    /// Sets the real time; an earlier one changes nothing.
    pub(crate) fn set_real(&self, real_ns: i64) {
        // Relaxed: as `move_to`.
        self.real_ns.fetch_max(real_ns, Ordering::Relaxed);
    }

    /// Sets when something other than a tick is due; a replay returns before the first tick of that time or later.
    /// None: nothing is.
    fn set_alarm(&self, alarm_ns: Option<i64>) {
        // Relaxed: as above.
        self.alarm_ns.store(alarm_ns.unwrap_or(NEVER), Ordering::Relaxed);
    }

    /// Moves to a later time; an earlier one changes nothing.
    fn advance_to(&self, now_ns: i64) {
        self.move_to(now_ns);
    }
}
