//! The Python faces of a group and of one subscription in it; `headrace.dispatch` gives them their manners.
//!
//! Guarantees: methods convert, call, convert; a call into a group that is being dispatched is an error, never a wait.
//! Does not: check options (Python does, and says what is valid).

mod admit;
mod backlog;
mod compile;
mod delivery;
pub(crate) mod driving;
mod entry;
pub(crate) mod group;
mod member;
mod plural;
mod requests;
mod run;
mod running;
mod subscription;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::lock::lock;
use headrace_core::field::{self, KindSet};
use headrace_core::plan::{Filter, matches_pattern};
use headrace_core::tick::Tick;
use headrace_lockfree::WAIT_MAX;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors::{internal, raise, refuse_after_fork};
use crate::hot::columns::{checked_length, copy_into, tick_array};
use crate::ingest::{Advance, Ingest, IngestCore, this_thread};
use crate::kinds::kinds;
use crate::ring::Alarm;
use driving::{Logged, reentrant_dispatch};
use group::{Bounds, Cause, Group};
use requests::Change;
use subscription::{Handler, Options, Overflow, Role, SubscriptionShared, Tuning, state};

/// Subscriptions that share one reader and are dispatched together.
///
/// advance : "inline", "thread" or "consumer": who moves the reader on.
/// hooks : object with ``_on_fault`` and ``_on_lag``.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct DispatchGroup {
    group: Arc<Group>,
    ingest: Arc<IngestCore>,
}

/// One handler: (name, role, kind, function, receiver or None, positional fields, keyword fields).
type HandlerTuple = (
    String,
    String,
    u8,
    Py<PyAny>,
    Option<Py<PyAny>>,
    Vec<String>,
    Vec<String>,
);

/// A call to be awaited: (handler number, awaitable, cause).
type AwaitedTuple = (u16, Py<PyAny>, Cause);

fn handler(py: Python<'_>, described: HandlerTuple, rows: &[field::FieldRow]) -> PyResult<Handler> {
    let (name, role, kind, function, receiver, positional, by_keyword) = described;
    let role = match role.as_str() {
        "singular" => Role::Singular(kind),
        "tick" => Role::EveryTick,
        "plural" => Role::Plural(kind),
        "ticks" => Role::AllTicks,
        _ => return Err(internal("a handler of an unknown role")),
    };
    let fields: Option<Vec<field::Field>> = positional
        .iter()
        .chain(&by_keyword)
        .map(|name| rows.iter().find(|row| row.name == *name).map(|row| row.field))
        .collect();
    let fields = fields.ok_or_else(|| internal("a handler with an unknown field"))?;
    let keywords = if by_keyword.is_empty() {
        None
    } else {
        Some(PyTuple::new(py, &by_keyword)?.unbind())
    };
    Ok(Handler {
        name,
        role,
        function,
        receiver,
        fields,
        keywords,
        by_keyword: by_keyword.len(),
    })
}

impl DispatchGroup {
    /// The group itself, for who dispatches it natively.
    pub(crate) fn shared(&self) -> Arc<Group> {
        Arc::clone(&self.group)
    }
}

fn handlers_of(py: Python<'_>, described: Vec<HandlerTuple>) -> PyResult<Vec<Handler>> {
    let rows = field::table(&kinds());
    described
        .into_iter()
        .map(|described| handler(py, described, &rows))
        .collect()
}

fn overflow_named(name: &str) -> Overflow {
    match name {
        "block" => Overflow::Block,
        "conflate" => Overflow::Conflate,
        _ => Overflow::DropOldest,
    }
}

#[pymethods]
impl DispatchGroup {
    #[new]
    #[pyo3(signature = (ingest, hooks, *, advance, hashing))]
    fn new(py: Python<'_>, ingest: &Ingest, hooks: Py<PyAny>, advance: &str, hashing: bool) -> PyResult<Self> {
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
        if advance == Advance::Consumer {
            group.set_thread(this_thread());
        }
        core.add_group(advance, &group);
        Ok(Self {
            group,
            ingest: Arc::clone(core),
        })
    }

    /// Adds a subscription from the cursor on.
    #[pyo3(signature = (name, handlers, *, instruments, kinds, every_kinds, overflow, batch_max, every_ns, min_interval_ns, rate_limit, lag_max_ticks, lag_max_ns, lag_skip, pull, awaited))]
    #[allow(
        clippy::too_many_arguments,
        reason = "one argument per option of a subscription, all by keyword"
    )]
    fn join(
        &self,
        py: Python<'_>,
        name: String,
        handlers: Vec<HandlerTuple>,
        instruments: Vec<String>,
        kinds: KindSet,
        every_kinds: KindSet,
        overflow: &str,
        batch_max: usize,
        every_ns: i64,
        min_interval_ns: i64,
        rate_limit: f64,
        lag_max_ticks: u64,
        lag_max_ns: i64,
        lag_skip: bool,
        pull: bool,
        awaited: bool,
    ) -> PyResult<Membership> {
        refuse_after_fork(py)?;
        let options = Options {
            filter: Filter { instruments, kinds },
            every_kinds,
            tuning: Tuning {
                overflow: overflow_named(overflow),
                batch_max,
                lag_max_ticks,
                lag_max_ns,
                lag_skip,
            },
            every_ns,
            min_interval_ns,
            rate_limit,
            pull,
            awaited,
            hashing: self.group.is_hashing(),
        };
        let handlers = handlers_of(py, handlers)?;
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
        let bounds = Bounds {
            until,
            ..Bounds::default()
        };
        let (done, _) = self
            .group
            .dispatch(py, now_ns, bounds)
            .ok_or_else(|| reentrant_dispatch(py))??;
        Ok(done)
    }

    /// Goes on to the next awaited calls: (handler number, awaitable, cause), in the order to await them; empty: caught up.
    ///
    /// The cause is (instrument or None, kind, first seq, last seq, ts_init of the last).
    fn step(&self, py: Python<'_>, now_ns: i64) -> PyResult<Vec<AwaitedTuple>> {
        refuse_after_fork(py)?;
        self.group.set_thread(this_thread());
        let bounds = Bounds {
            one_step: true,
            ..Bounds::default()
        };
        let (_, awaiting) = self
            .group
            .dispatch(py, now_ns, bounds)
            .ok_or_else(|| reentrant_dispatch(py))??;
        Ok(self.group.named_calls(py, awaiting))
    }

    /// Its number in the dispatch log.
    #[getter]
    fn number(&self) -> u32 {
        self.group.number
    }

    /// Does again what a logged call did: from where it stands, reading below ``read``, to ``to``.
    ///
    /// Returns (position, lost, calls, what is to be awaited, as from ``step``).
    fn repeat(
        &self,
        py: Python<'_>,
        now_ns: i64,
        read: u64,
        to: u64,
        one_step: bool,
        caught_up: bool,
    ) -> PyResult<(u64, u64, u64, Vec<AwaitedTuple>)> {
        refuse_after_fork(py)?;
        self.group.set_thread(this_thread());
        let logged = Logged {
            now_ns,
            read,
            to,
            one_step,
            caught_up,
        };
        let repeated = self.group.repeat(py, &logged).ok_or_else(|| reentrant_dispatch(py))??;
        let calls = self.group.named_calls(py, repeated.awaiting);
        Ok((repeated.position, repeated.lost, repeated.calls, calls))
    }

    /// Says that the awaited call of a handler failed; True when its subscription may go on.
    fn report_fault(&self, py: Python<'_>, handler: u16, error: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.group
            .report_fault(py, 0, handler, PyErr::from_value(error.clone()))
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

    /// When something is due without a new tick, ns, or None.
    fn next_due(&self, py: Python<'_>) -> Option<i64> {
        self.group.next_due(py)
    }

    /// What runs now: (a number that changes with every call, member, handler); None when nothing does.
    fn running(&self) -> Option<(u64, usize, usize)> {
        self.group.running.call()
    }

    /// Names of the members, in registration order.
    fn member_names(&self) -> Vec<String> {
        self.group.member_names()
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

/// A registered wake-up for an event loop.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct AlarmHandle {
    alarm: Arc<Alarm>,
    core: Arc<IngestCore>,
}

#[pymethods]
impl AlarmHandle {
    /// Asks to be woken. Look for ticks after this, before sleeping.
    fn arm(&self) {
        self.alarm.arm();
    }

    /// Takes it out again.
    fn close(&self) {
        self.core.ring.remove_alarm(&self.alarm);
    }
}

/// One subscription as a member of its group.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct Membership {
    shared: Arc<SubscriptionShared>,
    group: Arc<Group>,
    core: Arc<IngestCore>,
}

impl Membership {
    fn take(&self, py: Python<'_>, now_ns: i64, room: usize) -> PyResult<Vec<Tick>> {
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

    /// Clears its bit: no handler runs, and the gate is free when nobody else holds it. False: it was not running.
    fn pause(&self) -> bool {
        self.group.pause(&self.shared)
    }

    /// Sets its bit again; the gap is told before the next tick. False: it was neither paused nor quarantined.
    fn resume(&self) -> bool {
        self.group.resume(&self.shared)
    }

    /// Asks for nothing from the next tick on, also in the middle of a run. False: it was not running.
    fn doze(&self) -> bool {
        self.group.doze(&self.shared)
    }

    /// Asks for ticks again from the next one on; nothing is told or given for the time between. False: it did not doze.
    fn wake(&self) -> bool {
        self.group.wake(&self.shared)
    }

    /// Gives its ticks to another object's handlers, from the next edge of a run on.
    fn bind(&self, py: Python<'_>, handlers: Vec<HandlerTuple>) -> PyResult<()> {
        refuse_after_fork(py)?;
        let change = Change::Handlers(handlers_of(py, handlers)?);
        self.group.change(py, &self.shared, change);
        Ok(())
    }

    /// Changes how its ticks come, from the next edge of a run on.
    #[pyo3(signature = (*, overflow, batch_max, lag_max_ticks, lag_max_ns, lag_skip))]
    fn tune(
        &self,
        py: Python<'_>,
        overflow: &str,
        batch_max: usize,
        lag_max_ticks: u64,
        lag_max_ns: i64,
        lag_skip: bool,
    ) -> PyResult<()> {
        refuse_after_fork(py)?;
        let tuning = Tuning {
            overflow: overflow_named(overflow),
            batch_max,
            lag_max_ticks,
            lag_max_ns,
            lag_skip,
        };
        self.group.change(py, &self.shared, Change::Tuning(tuning));
        Ok(())
    }

    /// Takes it out of its group.
    fn close(&self, py: Python<'_>) {
        self.group.leave(py, &self.shared);
    }

    /// Counts how long an awaited call took.
    fn record_latency(&self, ns: u64) {
        self.shared.record_latency(ns, 1);
    }

    /// What the handler of this subscription was given that runs now, in this thread: (instrument or None, kind, first
    /// seq, last seq, ts_init of the last); None outside of one.
    fn cause(&self, py: Python<'_>) -> Option<Cause> {
        self.group.cause_of(py, &self.shared)
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
        dict.set_item("latency_count", latency.count())?;
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
            dict.set_item(name, latency.quantile(quantile))?;
        }
        dict.set_item("max", latency.max_ns())?;
        Ok(dict)
    }

    /// Pull side: the next ticks as a new array of TICK_DTYPE, at most ``room``; None when caught up.
    fn next_batch(&self, py: Python<'_>, now_ns: i64, room: usize) -> PyResult<Option<Py<PyAny>>> {
        let ticks = self.take(py, now_ns, room)?;
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
        let ticks = self.take(py, now_ns, room.min(max_ticks.unwrap_or(room)))?;
        copy_into(out, 0, &ticks)?;
        Ok(ticks.len())
    }

    /// Pull side: waits without the interpreter's lock, at most 50 ms, until there may be ticks; False: none came.
    fn wait(&self, py: Python<'_>) -> PyResult<bool> {
        refuse_after_fork(py)?;
        let group = Arc::clone(&self.group);
        let ready = py.detach(|| {
            group.core.ring.wakeup().wait(WAIT_MAX, || {
                // Acquire: whoever sees it closed sees what was done before.
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

    /// Whether no more ticks can be published.
    fn is_ring_closed(&self) -> bool {
        // Acquire: as above.
        self.core.ring.closed.load(Ordering::Acquire)
    }
}

/// Whether ``name`` is ``pattern``, in which ``*`` stands for any text and ``?`` for one character.
#[pyfunction]
#[pyo3(name = "matches_pattern")]
pub(crate) fn matches_pattern_py(pattern: &str, name: &str) -> bool {
    matches_pattern(pattern, name)
}

/// The set of the kinds with these names, as bits.
#[pyfunction]
pub(crate) fn kind_set(py: Python<'_>, names: Vec<String>) -> PyResult<KindSet> {
    let table = kinds();
    names.iter().try_fold(0, |set, name| {
        let row = table.by_name(name).ok_or_else(|| {
            let known: Vec<&str> = table.rows().iter().map(|row| row.name.as_str()).collect();
            raise(
                py,
                "KindError",
                format!("kind '{name}' is unknown: use one of {}", known.join(", ")),
                &[],
            )
        })?;
        Ok(set | field::kind_set(row.kind))
    })
}
