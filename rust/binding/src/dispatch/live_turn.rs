//! `LiveTurn`: the ticks of a live engine's turn, up to what comes between two of them.
//!
//! ```text
//!   timer, bar or event due? ── yes ─▶ None: Python drains ─▶ `reach`: the ticks before what is due ─▶ Python does it
//!                            └─ no ──▶ `run`: the inline group dispatches, as far as its `Stops` ─▶ more to do?
//! ```
//! Guarantees: the clock is moved before anything else, and stands still until the next step.
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
use super::stops::Stops;
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
    /// When the next timer is due, or the next bar closes, or closed at a tick that is on the ring.
    fn due(&self) -> i64 {
        let bars = &self.core.bars;
        let bars_ns = bars.due_ns().min(bars.closed_ns(self.core.ring.ring.cursor()));
        self.time.get().alarm_ns().min(bars_ns)
    }

    fn is_eventful(&self) -> bool {
        self.bus.get().has_ready_now() || self.core.bars.has_closed_by(self.group.position())
    }

    fn dispatch(&self, py: Python<'_>, max_ns: u64) -> PyResult<()> {
        self.group.set_thread(this_thread());
        let bounds = Bounds {
            until: Some(Instant::now() + Duration::from_nanos(max_ns)),
            ..Bounds::NONE
        };
        let done = self.group.dispatch(py, self.time.get().now(), bounds);
        done.ok_or_else(|| reentrant_dispatch(py))?.map(drop)
    }
}

#[pymethods]
impl LiveTurn {
    #[new]
    fn new(py: Python<'_>, ingest: &Ingest, group: &DispatchGroup, bus: Py<BusCore>) -> PyResult<Self> {
        let time = ingest.time.as_ref();
        let time = time.ok_or_else(|| internal("a live turn over a clock that moves by itself"))?;
        let core = Arc::clone(&ingest.core);
        let stops = Stops {
            time: time.clone_ref(py),
            bars: Arc::clone(&core.bars),
            is_urgent: Arc::clone(&bus.get().is_urgent),
        };
        let group = group.shared();
        if group.stops.set(stops).is_err() {
            return Err(internal("a second live turn over one dispatcher"));
        }
        let time = time.clone_ref(py);
        Ok(Self { core, group, time, bus })
    }

    /// If only ticks are due, moves the clock and dispatches the inline group for about ``max_ns``.
    ///
    /// Returns whether there is more to do; None: something else is due, nothing was dispatched, and only the real time
    /// was moved. Raises what a strategy under ``on_fault="raise"`` raised.
    fn run(&self, py: Python<'_>, now_ns: i64, max_ns: u64) -> PyResult<Option<bool>> {
        refuse_after_fork(py)?;
        let time = self.time.get();
        time.set_real(now_ns);
        // Acquire: a thread that sees it closed sees what was done before.
        if self.due() <= time.real() || self.is_eventful() || self.core.ring.closed.load(Ordering::Acquire) {
            return Ok(None);
        }
        time.move_to(now_ns);
        self.dispatch(py, max_ns)?;
        Ok(Some(self.is_eventful() || !self.group.is_idle()))
    }

    /// Dispatches the ticks before what is due, for about ``max_ns``.
    ///
    /// Returns when the tick was received that has to wait for it, the end of time when no tick is left; None: there are
    /// ticks before it still. Raises as ``run``.
    fn reach(&self, py: Python<'_>, max_ns: u64) -> PyResult<Option<i64>> {
        refuse_after_fork(py)?;
        self.dispatch(py, max_ns)?;
        Ok(if self.group.is_idle() {
            Some(NEVER)
        } else {
            self.group.held_ns(py)
        })
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

    /// When the first timer or bar is due, ns, if that is not in the future, or the readers stand at it.
    fn behind_ns(&self) -> Option<i64> {
        let real_ns = self.time.get().real();
        let closed_ns = self.core.bars.closed_ns(self.group.position());
        let due_ns = self.due().min(closed_ns);
        (due_ns <= real_ns || closed_ns != NEVER).then_some(due_ns.min(real_ns))
    }

    // Without it a cycle over the bus would never be collected.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.time)?;
        visit.call(&self.bus)
    }
}
