//! `DispatchGroup`: a group in Python; `headrace.dispatch` builds on it.
//!
//! Guarantees: methods convert, call, convert; a call into a group that is being dispatched is an error, never a wait.
//! Does not: check options; Python does, and its errors name the valid ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::alarm_handle::AlarmHandle;
use super::bounds::Bounds;
use super::driving::reentrant_dispatch;
use super::group::{Cause, Group};
use super::handler::{HandlerTuple, handlers_of};
use super::log::flags;
use super::membership::Membership;
use super::options::Options;
use super::repeating::Logged;
use crate::errors::{is_forked, refuse_after_fork};
use crate::ingest::{Advance, Ingest, IngestCore};
use crate::thread::this_thread;

/// Subscriptions that share one reader and are dispatched together.
///
/// advance : "inline", "thread" or "consumer": what moves the reader on.
/// hooks : object with ``_on_fault`` and ``_on_lag``.
/// books : object with ``on_state`` and ``on_snapshot_needed``.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct DispatchGroup {
    group: Arc<Group>,
    ingest: Arc<IngestCore>,
    advance: Advance,
}

/// A call to be awaited: (handler number, awaitable, cause).
type AwaitedTuple = (u16, Py<PyAny>, Cause);

impl DispatchGroup {
    /// The group itself, for native dispatch.
    pub(crate) fn shared(&self) -> Arc<Group> {
        Arc::clone(&self.group)
    }
}

#[pymethods]
impl DispatchGroup {
    #[new]
    #[pyo3(signature = (ingest, hooks, books, *, advance, hashing))]
    fn new(
        py: Python<'_>,
        ingest: &Ingest,
        hooks: Py<PyAny>,
        books: Py<PyAny>,
        advance: &str,
        hashing: bool,
    ) -> PyResult<Self> {
        refuse_after_fork(py)?;
        let advance = match advance {
            "inline" => Advance::Inline,
            "thread" => Advance::Thread,
            _ => Advance::Consumer,
        };
        let core = &ingest.core;
        let group = Arc::new(Group::new(
            py,
            &core.ring,
            &core.instruments,
            &core.stop,
            hooks,
            hashing,
            advance == Advance::Thread,
        )?);
        group.with_state(py, |state| state.delivery.book_hooks = Some(books));
        if advance == Advance::Consumer {
            group.set_thread(this_thread());
        }
        core.add_group(advance, &group);
        Ok(Self {
            group,
            ingest: Arc::clone(core),
            advance,
        })
    }

    /// Adds a subscription from the cursor on.
    ///
    /// options : a ``SubscriptionOptions``, checked, with an overflow chosen.
    fn join(
        &self,
        py: Python<'_>,
        name: String,
        handlers: Vec<HandlerTuple>,
        options: &Bound<'_, PyAny>,
    ) -> PyResult<Membership> {
        refuse_after_fork(py)?;
        let handlers = handlers_of(py, handlers)?;
        let awaited = self.advance == Advance::Consumer && !handlers.is_empty();
        let options = Options::new(py, options, &handlers, awaited, self.group.hashing)?;
        let shared = self.group.join(py, name, options, handlers);
        Ok(Membership {
            shared,
            group: Arc::clone(&self.group),
            core: Arc::clone(&self.ingest),
        })
    }

    /// Dispatches what the ring holds, at most ``max_ns``; returns how many ticks were gone through.
    #[pyo3(signature = (now_ns, max_ns=None))]
    fn dispatch(&self, py: Python<'_>, now_ns: i64, max_ns: Option<u64>) -> PyResult<u64> {
        refuse_after_fork(py)?;
        self.group.set_thread(this_thread());
        let until = max_ns.map(|max_ns| Instant::now() + Duration::from_nanos(max_ns));
        let bounds = Bounds { until, ..Bounds::NONE };
        let dispatched = self.group.dispatch(py, now_ns, bounds);
        let (done, _) = dispatched.ok_or_else(|| reentrant_dispatch(py))??;
        Ok(done)
    }

    /// Goes on to the next awaited calls: (handler number, awaitable, cause), in the order to await them; empty: caught
    /// up.
    ///
    /// The cause is (instrument or None, kind, first seq, last seq, ts_init of the last).
    fn step(&self, py: Python<'_>, now_ns: i64) -> PyResult<Vec<AwaitedTuple>> {
        refuse_after_fork(py)?;
        self.group.set_thread(this_thread());
        let dispatched = self.group.dispatch(py, now_ns, Bounds::STEP);
        let (_, awaiting) = dispatched.ok_or_else(|| reentrant_dispatch(py))??;
        Ok(self.group.named_calls(py, awaiting))
    }

    /// The ring position of the oldest tick still to be dispatched.
    #[getter]
    fn position(&self) -> u64 {
        self.group.position()
    }

    /// Its number in the dispatch log.
    #[getter]
    fn number(&self) -> u32 {
        self.group.number
    }

    /// Does again what a logged call did: from where it stands, reading below ``read``, to ``to``.
    ///
    /// flags : of the logged call. Returns (position, lost, calls, what is to be awaited, as from ``step``).
    fn repeat(
        &self,
        py: Python<'_>,
        now_ns: i64,
        read: u64,
        to: u64,
        flags: u8,
    ) -> PyResult<(u64, u64, u64, Vec<AwaitedTuple>)> {
        refuse_after_fork(py)?;
        self.group.set_thread(this_thread());
        let logged = Logged {
            now_ns,
            read,
            to,
            one_step: flags & flags::STEP != 0,
            caught_up: flags & flags::CAUGHT_UP != 0,
            is_cut: flags & flags::CUT != 0,
            reads_on: flags & flags::READ_ON != 0,
        };
        let repeated = self.group.repeat(py, &logged).ok_or_else(|| reentrant_dispatch(py))??;
        let calls = self.group.named_calls(py, repeated.awaiting);
        Ok((repeated.position, repeated.lost, repeated.calls, calls))
    }

    /// Dispatches in this thread until closed or stopped; ``now`` is the clock's ``now_ns``.
    fn run_thread(&self, py: Python<'_>, now: &Bound<'_, PyAny>) -> PyResult<()> {
        self.group.set_thread(this_thread());
        self.group.run_thread(py, now)
    }

    /// Hands out everything that waits for a window or an interval, as at the end of a replay.
    fn finish(&self, py: Python<'_>, now_ns: i64) -> PyResult<()> {
        self.group.finish(py, now_ns).ok_or_else(|| reentrant_dispatch(py))?
    }

    /// Ends the group; what it would still have got is skipped.
    fn close(&self, py: Python<'_>) {
        self.group.close(py);
        self.ingest.remove_group(&self.group);
    }

    /// Whether every published position was dispatched.
    fn is_idle(&self) -> bool {
        self.group.is_idle()
    }

    /// Whether a thread of this process dispatches it now.
    #[getter]
    fn is_busy(&self) -> bool {
        self.group.is_busy() && !is_forked()
    }

    /// When something is due without a new tick, ns, or None.
    fn next_due(&self, py: Python<'_>) -> Option<i64> {
        self.group.next_due(py)
    }

    /// What runs now: (a number that changes with every call, the subscription's and handler's names); None when
    /// nothing does.
    fn running(&self) -> Option<(u64, String)> {
        self.group.named_running()
    }

    /// How many subscriptions it holds, with those whose join or leave is not answered yet.
    #[getter]
    fn members(&self) -> usize {
        self.group.count_members()
    }

    /// How many of its members the next call looks at before their next tick.
    #[getter]
    fn attended(&self, py: Python<'_>) -> PyResult<usize> {
        self.group.count_attended(py).ok_or_else(|| reentrant_dispatch(py))
    }

    /// An alarm for this ring that writes to ``descriptor`` (duplicated) when ticks come after it was armed.
    #[cfg(unix)]
    fn alarm(&self, descriptor: i32) -> PyResult<AlarmHandle> {
        let file = crate::hot::descriptor::duplicate(descriptor)?;
        Ok(AlarmHandle {
            alarm: self.ingest.ring.add_alarm(file),
            core: Arc::clone(&self.ingest),
        })
    }
}
