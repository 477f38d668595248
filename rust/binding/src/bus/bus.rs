//! `BusCore`: the lanes of the event bus with the events in them, and the plain handlers' calls.
//!
//! ```text
//!   publish_nowait ─▶ route of the type ─▶ lane ─▶ drain ─┬▶ plain handler: vectorcall
//!         └▶ Python's `_publish_slow`, for what is not quick └▶ async handler, consumer: held, until `release`
//! ```
//! What happens when a handler publishes
//!   It is queued: nothing is ever called from inside another call. A drain inside a drain does nothing.
//!
//! Guarantees: no lock is held while Python runs, also not by dropping an object; an event's handlers are called in the
//! order of their registration, each isolated from what the others raise.
//! Does not: await, stamp events, or judge faults; that is `bus.py`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use headrace_core::lane::{LaneOptions, Lanes, LanesOptions};
use pyo3::intern;
use pyo3::prelude::*;
use rustc_hash::FxHashMap;

use super::candle_tap::CandleKey;
use super::handler::BusHandler;
use super::in_hand::InHand;
use super::route::Route;
use crate::errors::refuse_after_fork;
use crate::hot::python_call::call_method;
use crate::lock::lock;
use crate::thread::this_thread;

/// An event on its way.
pub(super) struct Entry {
    pub(super) event: Py<PyAny>,
    pub(super) route: u32,
    /// A letter that is given again: to this handler alone.
    pub(super) only: Option<Py<BusHandler>>,
    /// It is the bar of a candle that `CandleMerge` took.
    pub(super) candle: Option<CandleKey>,
}

pub(super) struct State {
    pub(super) lanes: Lanes<Entry>,
    pub(super) types: FxHashMap<usize, u32>,
    pub(super) routes: Vec<Py<Route>>,
    /// By lane: what waits for an async handler or a consumer, or goes on behind it.
    pub(super) held: Vec<Option<InHand>>,
    /// The event whose handlers `drain` calls now.
    pub(super) running: Option<(Py<PyAny>, Py<Route>)>,
    /// The next event that can go on calls `_wake`.
    pub(super) armed: bool,
    /// The bus calls `_wake` when an event comes to an empty bus.
    pub(super) wakes: bool,
    pub(super) closed: bool,
    /// Threads that wait for room.
    pub(super) waiters: u32,
}

/// The native half of `headrace.bus.bus.EventBus`.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct BusCore {
    pub(super) hooks: Py<PyAny>,
    /// The number 0, of which Python has one object: the `ts` of an event that was not stamped.
    pub(super) zero: Py<PyAny>,
    pub(super) state: Mutex<State>,
    pub(super) room: Condvar,
    /// The number of the thread that drains; 0: none does.
    pub(super) draining: AtomicU64,
    /// The thread that drained last, or that made the bus.
    pub(super) thread: AtomicU64,
    /// The running call, for the watching thread: `calls << 16 | handler's number in its route + 1`; 0: none.
    pub(super) current: AtomicU64,
    pub(super) calls: AtomicU64,
    pub(super) retried: AtomicU64,
    /// Kept equal to `lanes.is_ready()`: a copy that is read without the lock.
    pub(super) ready: AtomicBool,
    /// Subscriptions joined or left since the routes were set.
    pub(super) stale: AtomicBool,
    /// Somebody waits for what a drain may bring about.
    pub(super) watched: AtomicBool,
    /// Set with every event of any lane but the last: a live engine delivers it before the next tick.
    pub(crate) is_urgent: Arc<AtomicBool>,
}

/// Ends a drain, also by a panic.
pub(super) struct Draining<'a>(pub(super) &'a BusCore);

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        // Relaxed: read under the interpreter's lock.
        self.0.draining.store(0, Ordering::Relaxed);
        self.0.current.store(0, Ordering::Relaxed);
        let running = lock(&self.0.state).running.take();
        // Not under the lock: this may be the last reference to the event.
        drop(running);
    }
}

impl BusCore {
    pub(super) fn with_lanes(
        py: Python<'_>,
        hooks: Py<PyAny>,
        options: LanesOptions,
        lanes: &[LaneOptions],
    ) -> PyResult<Self> {
        Ok(Self {
            hooks,
            zero: 0i64.into_pyobject(py)?.into_any().unbind(),
            state: Mutex::new(State {
                held: lanes.iter().map(|_| None).collect(),
                lanes: Lanes::new(options, lanes),
                types: FxHashMap::default(),
                routes: Vec::new(),
                running: None,
                armed: false,
                wakes: false,
                closed: false,
                waiters: 0,
            }),
            room: Condvar::new(),
            draining: AtomicU64::new(0),
            thread: AtomicU64::new(this_thread()),
            current: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            stale: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            is_urgent: Arc::default(),
        })
    }

    /// Whether a drain would do something.
    pub(crate) fn has_ready_now(&self) -> bool {
        // Relaxed: read under the interpreter's lock, or as a hint by a caller that looks again.
        self.ready.load(Ordering::Relaxed)
    }

    /// Updates what is read without the lock, after an event came into this lane; returns whether `_wake` must be called.
    #[inline]
    pub(super) fn note_pushed(&self, state: &mut State, lane: usize) -> bool {
        if lane + 1 < state.held.len() {
            // Relaxed: see `dispatch::Stops`.
            self.is_urgent.store(true, Ordering::Relaxed);
        }
        // Relaxed: see `has_ready_now`.
        if !state.armed && self.ready.load(Ordering::Relaxed) {
            return false;
        }
        let ready = state.lanes.is_ready();
        // Relaxed: see `has_ready_now`.
        self.ready.store(ready, Ordering::Relaxed);
        let wake = ready && state.armed;
        state.armed &= !wake;
        wake
    }

    pub(super) fn wake(&self, py: Python<'_>) -> PyResult<()> {
        call_method(self.hooks.bind(py), intern!(py, "_wake"), ()).map(drop)
    }

    pub(super) fn say_drained(&self, py: Python<'_>, done: u64) -> PyResult<()> {
        call_method(self.hooks.bind(py), intern!(py, "_on_drained"), (done,)).map(drop)
    }

    /// Sets the route of a type, by the type's address.
    pub(super) fn replace_route(&self, key: usize, route: Py<Route>) {
        // Dropped behind the lock.
        let _before;
        let mut state = lock(&self.state);
        let known = state.types.get(&key).copied();
        _before = match known {
            Some(index) => Some(std::mem::replace(&mut state.routes[index as usize], route)),
            None => {
                let index = state.routes.len() as u32;
                state.routes.push(route);
                state.types.insert(key, index);
                None
            }
        };
    }

    #[inline]
    pub(super) fn publish(&self, event: &Bound<'_, PyAny>, by_owner: bool, is_consequence: bool) -> PyResult<()> {
        let py = event.py();
        refuse_after_fork(py)?;
        match self.take_easily(event, by_owner)? {
            Some(false) => Ok(()),
            Some(true) => self.wake(py),
            None => call_method(
                self.hooks.bind(py),
                intern!(py, "_publish_slow"),
                (event, by_owner, is_consequence),
            )
            .map(drop),
        }
    }

    /// Takes an event on the short way: it is stamped, its type is declared, and its lane has room to spare. `None`: it
    /// is not such an event.
    #[inline]
    fn take_easily(&self, event: &Bound<'_, PyAny>, by_owner: bool) -> PyResult<Option<bool>> {
        let py = event.py();
        let kind = event.get_type_ptr() as usize;
        match event.getattr(intern!(py, "ts")) {
            Ok(ts) if !ts.is(&self.zero) => {}
            _ => return Ok(None),
        }
        let mut state = lock(&self.state);
        let Some(route) = state.types.get(&kind).copied() else {
            return Ok(None);
        };
        let known = state.routes[route as usize].get();
        let lane = known.lane;
        if state.closed || !state.lanes.has_easy_room(lane) || (known.is_owned && !by_owner) {
            return Ok(None);
        }
        let entry = Entry {
            event: event.clone().unbind(),
            route,
            only: None,
            candle: None,
        };
        state.lanes.push_easily(lane, entry);
        Ok(Some(self.note_pushed(&mut state, lane)))
    }
}
