//! `AlarmHandle`: the descriptor by which an event loop is woken when ticks come.
//!
//! Guarantees: one write for each time that it was armed.
//! Does not: own the descriptor that it was made for; it writes to a duplicate.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::ingest::{Alarm, IngestCore};

/// A registered wake-up for an event loop.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct AlarmHandle {
    pub(super) alarm: Arc<Alarm>,
    pub(super) core: Arc<IngestCore>,
}

#[pymethods]
impl AlarmHandle {
    /// Arms the descriptor: the next publish writes to it once. Look for ticks after this, before sleeping.
    fn arm(&self) {
        self.alarm.arm();
    }

    /// Takes it out again.
    fn close(&self) {
        self.core.ring.remove_alarm(&self.alarm);
    }
}
