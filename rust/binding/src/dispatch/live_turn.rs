//! `LiveTurn`: a turn of a live engine in which nothing but ticks is due.
//!
//! ```text
//!   timer, bar or event due? ── yes ─▶ None: Python's turn
//!                            └─ no ──▶ inline group dispatches ─▶ is there more to do?
//! ```
//! Guarantees: the clock is moved before anything else, and stands still until the next turn.
//! Does not: fire timers, publish bars or drain the bus.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use super::bounds::Bounds;
use super::dispatch_group::DispatchGroup;
use super::driving::reentrant_dispatch;
use super::group::Group;
use crate::bus::BusCore;
use crate::clock::{NEVER, ReplayTime};
use crate::errors::{internal, refuse_after_fork};
use crate::ingest::{Ingest, IngestCore, Pump, PumpStatus};
use crate::thread::this_thread;

/// Turns of one engine's inline group. The ingest is one of a clock that stands still until it is moved.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct LiveTurn {
    core: Arc<IngestCore>,
    group: Arc<Group>,
    time: Py<ReplayTime>,
    bus: Py<BusCore>,
}

impl LiveTurn {
    fn due(&self) -> i64 {
        self.time.get().alarm_ns().min(self.core.bars.due_ns())
    }

    fn is_eventful(&self) -> bool {
        self.bus.get().has_ready_now() || self.core.bars.has_closed()
    }
}

#[pymethods]
impl LiveTurn {
    #[new]
    fn new(py: Python<'_>, ingest: &Ingest, group: &DispatchGroup, bus: Py<BusCore>) -> PyResult<Self> {
        let time = ingest.time.as_ref();
        let time = time.ok_or_else(|| internal("a live turn over a clock that moves by itself"))?;
        Ok(Self {
            core: Arc::clone(&ingest.core),
            group: group.shared(),
            time: time.clone_ref(py),
            bus,
        })
    }

    /// Moves the clock; if only ticks are due, dispatches the inline group for about ``max_ns``.
    ///
    /// Returns whether there is more to do; None: something else is due, and nothing was dispatched.
    /// Raises what a strategy under ``on_fault="raise"`` raised.
    fn run(&self, py: Python<'_>, now_ns: i64, max_ns: u64) -> PyResult<Option<bool>> {
        refuse_after_fork(py)?;
        let time = self.time.get();
        time.move_to(now_ns);
        let now_ns = time.now();
        // Acquire: a thread that sees it closed sees what was done before.
        if self.due() <= now_ns || self.is_eventful() || self.core.ring.closed.load(Ordering::Acquire) {
            return Ok(None);
        }
        self.group.set_thread(this_thread());
        let bounds = Bounds {
            until: Some(Instant::now() + Duration::from_nanos(max_ns)),
            ..Bounds::NONE
        };
        self.group
            .dispatch(py, now_ns, bounds)
            .ok_or_else(|| reentrant_dispatch(py))??;
        Ok(Some(self.is_eventful() || !self.group.is_idle()))
    }

    /// Publishes one frame as ``Pump.take_frame`` does, then ``run``s: one call from a feed's callback to the handlers.
    ///
    /// arrived : source, receive time and bytes of the frame. Returns the pump's status and what ``run`` returns.
    /// Raises as both.
    fn take_frame(
        &self,
        py: Python<'_>,
        pump: &Bound<'_, Pump>,
        arrived: (usize, i64, PyBackedBytes),
        now_ns: i64,
        max_ns: u64,
    ) -> PyResult<(PumpStatus, Option<bool>)> {
        let (source, ts_init, frame) = arrived;
        let status = pump.get().take_frame(py, source, ts_init, &frame)?;
        Ok((status, self.run(py, now_ns, max_ns)?))
    }

    /// When the next timer, bar or window is due, ns; None: nothing is.
    fn due_ns(&self, py: Python<'_>) -> Option<i64> {
        let due = self.group.next_due(py).unwrap_or(NEVER).min(self.due());
        (due != NEVER).then_some(due)
    }

    // Without it a cycle over the bus would never be collected.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.time)?;
        visit.call(&self.bus)
    }
}
