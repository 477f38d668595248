//! `Membership`: the Python face of one subscription, a member of its group.
//!
//! Guarantees: methods convert, call, convert; a call into a group that is being dispatched is an error, never a wait.
//! Does not: check options; Python does, and its errors name the valid ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use headrace_core::market::tick::Tick;
use headrace_lockfree::WAIT_MAX;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::driving::reentrant_dispatch;
use super::fault::Letter;
use super::group::{Cause, Group};
use super::handler::{HandlerTuple, handlers_of};
use super::options::Tuning;
use super::request::Change;
use super::subscription::{SubscriptionShared, state};
use crate::errors::refuse_after_fork;
use crate::hot::columns::{checked_length, copy_into, tick_array};
use crate::ingest::IngestCore;
use crate::lock::lock;
use crate::thread::this_thread;

/// One subscription as a member of its group.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct Membership {
    pub(super) shared: Arc<SubscriptionShared>,
    pub(super) group: Arc<Group>,
    pub(super) core: Arc<IngestCore>,
}

impl Membership {
    fn take(&self, py: Python<'_>, now_ns: i64, room: Option<usize>) -> PyResult<Vec<Tick>> {
        refuse_after_fork(py)?;
        self.group.set_thread(this_thread());
        self.group
            .pull(py, now_ns, room)
            .ok_or_else(|| reentrant_dispatch(py))?
    }
}

#[pymethods]
impl Membership {
    /// "running", "paused", "quarantined", "closed", "resuming" or "dozing".
    #[getter]
    fn state(&self) -> &'static str {
        state::NAMES[usize::from(self.shared.state())]
    }

    /// Clears its bit: no handler runs, and the gate is free unless another member holds it. False: it was not running.
    fn pause(&self) -> bool {
        self.group.pause(&self.shared)
    }

    /// Sets its bit again, and is in the gate again before it returns; the gap is reported before the next tick.
    /// False: it was neither paused nor quarantined.
    fn resume(&self, py: Python<'_>) -> bool {
        self.group.resume(py, &self.shared)
    }

    /// Suspends delivery from the next tick on, also in the middle of a span. Ticks count as filtered and raise no gap.
    /// False: it was not running.
    ///
    /// instrument : the ticks of this one only, which it was woken for. False: it was not.
    #[pyo3(signature = (instrument=None))]
    fn doze(&self, instrument: Option<&str>) -> bool {
        let Some(name) = instrument else {
            return self.shared.doze();
        };
        let id = lock(&self.core.instruments).id(name);
        id.is_some_and(|id| self.shared.doze_for(id))
    }

    /// Resumes delivery from the next tick on, without a gap or a snapshot. False: it did not doze.
    ///
    /// instrument : the ticks of this one only, beside those that it was woken for before; of all, when the table does
    /// not hold it yet. False: it gets them already.
    #[pyo3(signature = (instrument=None))]
    fn wake(&self, instrument: Option<&str>) -> bool {
        let known = instrument.and_then(|name| {
            let table = lock(&self.core.instruments);
            table.id(name).map(|id| (id, table.instruments_max()))
        });
        known.map_or_else(
            || self.shared.wake(),
            |(id, instruments_max)| self.shared.wake_for(id, instruments_max),
        )
    }

    /// Replaces its handlers by those of another object, from the next edge of a span on.
    fn bind(&self, py: Python<'_>, handlers: Vec<HandlerTuple>) -> PyResult<()> {
        refuse_after_fork(py)?;
        let change = Change::Handlers(handlers_of(py, handlers)?);
        self.group.change(py, &self.shared, change);
        Ok(())
    }

    /// Changes how its ticks come, from the next edge of a span on.
    ///
    /// tuning : a ``SubscriptionOptions``, checked, with an overflow chosen.
    fn tune(&self, py: Python<'_>, tuning: Tuning) -> PyResult<()> {
        refuse_after_fork(py)?;
        self.group.change(py, &self.shared, Change::Tuning(tuning));
        Ok(())
    }

    /// Takes it out of its group.
    fn close(&self, py: Python<'_>) {
        self.group.leave(py, &self.shared);
    }

    /// Whether it was closed and its group holds it no more, so that its counts stand still.
    #[getter]
    fn has_left(&self) -> bool {
        self.shared.state() == state::CLOSED && !self.group.holds(&self.shared)
    }

    /// Counts how long an awaited call took.
    fn record_latency(&self, ns: u64) {
        self.shared.record_latency(ns, 1);
    }

    /// The ticks of the handler call of this subscription that runs now, in this thread: (instrument or None, kind,
    /// first seq, last seq, ts_init of the last); None outside of one.
    fn cause(&self, py: Python<'_>) -> Option<Cause> {
        self.group.cause_of(py, &self.shared)
    }

    /// Reports that the awaited call of a handler failed; True when the others may go on.
    ///
    /// ticks : of the call, as ``_on_awaitable`` got them; None: the last one that was dispatched.
    #[pyo3(signature = (handler, error, ticks=None))]
    fn report_fault(
        &self,
        py: Python<'_>,
        handler: u16,
        error: &Bound<'_, PyAny>,
        ticks: Option<Letter>,
    ) -> PyResult<bool> {
        let error = PyErr::from_value(error.clone());
        self.group.report_fault(py, &self.shared, handler, error, ticks)
    }

    /// How many calls its handlers had.
    #[getter]
    fn calls(&self) -> u64 {
        self.shared.calls.get()
    }

    /// Every number of the loss law, and some more.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (published, filtered, pending, pending_ns) = self.group.account(&self.shared);
        let shared = &self.shared;
        let dict = PyDict::new(py);
        for (name, value) in [
            ("published", published),
            ("delivered", shared.delivered.get()),
            ("filtered", filtered),
            ("missed", shared.missed.get()),
            ("conflated", shared.conflated.get()),
            ("skipped", shared.skipped.get()),
            ("pending", pending),
            ("snapshots", shared.snapshots.get()),
            ("faults", shared.faults.get()),
            ("calls", shared.calls.get()),
        ] {
            dict.set_item(name, value)?;
        }
        dict.set_item("pending_ns", pending_ns)?;
        // Relaxed: a fact for statistics.
        dict.set_item("demoted", shared.demoted.load(Ordering::Relaxed))?;
        let hash = shared.hash.as_ref().map(|hash| lock(hash).hex());
        dict.set_item("delivered_hash", hash)?;
        let latency = lock(&shared.latency).clone();
        let times = PyDict::new(py);
        times.set_item("count", latency.count())?;
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
            times.set_item(name, latency.quantile(quantile))?;
        }
        times.set_item("max", latency.max_ns())?;
        dict.set_item("latency", times)?;
        Ok(dict)
    }

    /// Pull side: the next ticks as a new array of TICK_DTYPE, at most its ``batch_max``; None when caught up.
    fn next_batch(&self, py: Python<'_>, now_ns: i64) -> PyResult<Option<Py<PyAny>>> {
        let ticks = self.take(py, now_ns, None)?;
        if ticks.is_empty() {
            Ok(None)
        } else {
            tick_array(py, &ticks).map(Some)
        }
    }

    /// Pull side: copies the next ticks into ``out`` and returns how many.
    fn read_into(
        &self,
        py: Python<'_>,
        now_ns: i64,
        out: &Bound<'_, PyAny>,
        max_ticks: Option<usize>,
    ) -> PyResult<usize> {
        let room = checked_length(py, out, true)?;
        let ticks = self.take(py, now_ns, Some(room.min(max_ticks.unwrap_or(room))))?;
        copy_into(out, 0, &ticks)?;
        Ok(ticks.len())
    }

    /// Pull side: waits without the interpreter's lock, at most 50 ms, until there may be ticks; False: none came.
    fn wait(&self, py: Python<'_>) -> PyResult<bool> {
        refuse_after_fork(py)?;
        let group = Arc::clone(&self.group);
        let ready = py.detach(|| {
            group.core.ring.wakeup().wait(WAIT_MAX, || {
                // Acquire: a thread that sees it closed sees what was done before.
                !group.is_idle() || group.core.closed.load(Ordering::Acquire) || self.shared.state() == state::CLOSED
            })
        });
        py.check_signals()?;
        Ok(ready)
    }

    /// Whether ticks wait to be dispatched or taken.
    fn has_pending(&self) -> bool {
        !self.group.is_idle() || self.shared.buffered.get() > 0
    }

    /// Whether ticks wait to be dispatched or taken, other than for the time of a window or an interval.
    fn is_behind(&self) -> bool {
        !self.group.is_idle() || (!self.shared.is_timed && self.shared.buffered.get() > 0)
    }

    /// Whether no more ticks can be published.
    fn is_ring_closed(&self) -> bool {
        // Acquire: as above.
        self.core.ring.closed.load(Ordering::Acquire)
    }
}
