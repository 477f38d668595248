//! The methods of `BusCore` in Python.
//!
//! Guarantees: methods convert, call, convert; no lock is held while Python runs.
//! Does not: await, stamp events, or judge faults; that is `headrace.bus`.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use headrace_core::lane::{LaneOptions, LanesOptions, Origin, Pushed};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::bus::{BusCore, Entry};
use super::handler::BusHandler;
use super::route::{Keys, Route};
use crate::errors::{internal, raise, refuse_after_fork};
use crate::lock::lock;
use crate::thread::this_thread;

const SHUT_DOWN: &str = "the bus was shut down: it takes no more events";

/// Who holds which lane: handler, lane, number, event, attempt.
type HeldTuple = (Py<BusHandler>, usize, u64, Py<PyAny>, u32);

/// A lane's numbers, as Python makes an object of them.
type LaneNumbers = (u64, u64, u64, u64, u64, u64, u64, usize, usize, usize);

#[pymethods]
impl BusCore {
    /// lanes: (capacity, drops, growth_max), highest priority first. options: (consequences_max, turns_last, grow_at,
    /// grow_ns, shrink_at, shrink_ns).
    #[new]
    fn new(
        py: Python<'_>,
        hooks: Py<PyAny>,
        lanes: Vec<(usize, bool, usize)>,
        options: (usize, u32, f64, i64, f64, i64),
        one_at_a_time: bool,
    ) -> PyResult<Self> {
        refuse_after_fork(py)?;
        let (consequences_max, turns_last, grow_at, grow_ns, shrink_at, shrink_ns) = options;
        let options = LanesOptions {
            consequences_max,
            turns_last,
            one_at_a_time,
            grow_at,
            grow_ns,
            shrink_at,
            shrink_ns,
        };
        let lanes: Vec<LaneOptions> = lanes
            .into_iter()
            .map(|(capacity, drops, growth_max)| LaneOptions {
                capacity,
                drops,
                growth_max,
            })
            .collect();
        Self::with_lanes(py, hooks, options, &lanes)
    }

    /// Sets the handlers and the lane of a type of events; a lane once set stays. key_of : returns an event's key, where
    /// a handler chooses by it. is_owned : only `publish_owned` accepts such events.
    #[pyo3(signature = (event_type, lane, handlers, *, key_of, is_owned))]
    fn set_route(
        &self,
        event_type: Bound<'_, PyAny>,
        lane: usize,
        handlers: Vec<Py<BusHandler>>,
        key_of: Option<Py<PyAny>>,
        is_owned: bool,
    ) -> PyResult<()> {
        let py = event_type.py();
        refuse_after_fork(py)?;
        let key = event_type.as_ptr() as usize;
        let route = Py::new(
            py,
            Route {
                lane,
                event_type: event_type.unbind(),
                handlers,
                is_owned,
                keys: key_of.map(|of| Keys::new(py, of)),
            },
        )?;
        self.replace_route(key, route);
        Ok(())
    }

    /// Calls `_set_routes` before the next event is delivered, since subscriptions joined or left.
    fn mark_stale(&self) {
        // Relaxed: written and read under the interpreter's lock.
        self.stale.store(true, Ordering::Relaxed);
    }

    /// Puts an event in its lane.
    #[pyo3(signature = (event, /))]
    fn publish_nowait(&self, event: &Bound<'_, PyAny>) -> PyResult<()> {
        self.publish(event, false, false)
    }

    /// Puts an event of an owned type in its lane; for the owner of the type.
    #[pyo3(signature = (event, /))]
    fn publish_owned(&self, event: &Bound<'_, PyAny>) -> PyResult<()> {
        self.publish(event, true, false)
    }

    /// Puts an event that follows from what is handled outside of the bus in its lane: a fill, from a quote.
    #[pyo3(signature = (event, /))]
    fn publish_consequence(&self, event: &Bound<'_, PyAny>) -> PyResult<()> {
        self.publish(event, false, true)
    }

    /// Puts an event in its lane if it fits; returns whether it does. `only`: for this handler alone.
    #[pyo3(signature = (event, *, consequence, now_ns, only=None))]
    fn push(
        &self,
        event: &Bound<'_, PyAny>,
        consequence: bool,
        now_ns: i64,
        only: Option<Py<BusHandler>>,
    ) -> PyResult<bool> {
        let py = event.py();
        refuse_after_fork(py)?;
        let kind = event.get_type_ptr() as usize;
        let origin = if consequence {
            Origin::Consequence
        } else {
            Origin::Cause
        };
        let (pushed, wake) = {
            let mut guard = lock(&self.state);
            let state = &mut *guard;
            if state.closed {
                return Err(raise(py, "ClosedError", SHUT_DOWN));
            }
            let route = state
                .types
                .get(&kind)
                .copied()
                .ok_or_else(|| internal("an undeclared type"))?;
            let lane = state.routes[route as usize].get().lane;
            let event = event.clone().unbind();
            let entry = Entry {
                event,
                route,
                only,
                candle: None,
            };
            // A letter drops no other event.
            let may_drop = entry.only.is_none();
            let pushed = state.lanes.push(lane, entry, origin, now_ns, may_drop);
            (pushed, self.note_pushed(state, lane))
        };
        if wake {
            self.wake(py)?;
        }
        // What comes back is dropped here, behind the lock.
        Ok(!matches!(pushed, Pushed::Full(_)))
    }

    /// Whether a cause would be taken by a lane now.
    fn has_room(&self, lane: usize) -> bool {
        lock(&self.state).lanes.has_room(lane)
    }

    /// Waits without the interpreter's lock until a lane would take a cause, for at most `timeout_s` of wall time.
    fn wait_for_room(&self, py: Python<'_>, lane: usize, timeout_s: f64) -> bool {
        let until = Instant::now() + Duration::from_secs_f64(timeout_s.clamp(0.0, 3_600.0));
        py.detach(|| {
            let mut state = lock(&self.state);
            state.waiters += 1;
            while !state.lanes.has_room(lane) && !state.closed {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = self
                    .room
                    .wait_timeout(state, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            state.waiters -= 1;
            state.lanes.has_room(lane)
        })
    }

    /// Calls plain handlers until nothing can go on without awaiting, `max_ns` of wall time are over, or `max_events`
    /// were finished; returns how many were. Inside of a handler it does nothing. Only one thread may drain.
    /// Raises BusError (another thread does), KeyboardInterrupt.
    #[pyo3(signature = (max_ns=None, max_events=None))]
    fn drain(&self, py: Python<'_>, max_ns: Option<u64>, max_events: Option<u64>) -> PyResult<u64> {
        let until = max_ns.map(|max_ns| Instant::now() + Duration::from_nanos(max_ns));
        self.drain_now(py, until, max_events.unwrap_or(u64::MAX))
    }

    /// Calls `_on_drained` after each drain.
    fn set_watched(&self, watched: bool) {
        // Relaxed: written under the interpreter's lock.
        self.watched.store(watched, Ordering::Relaxed);
    }

    /// What an awaited handler, or a consumer's body, came to: `None`, or what it raised. The lane can go on.
    #[pyo3(signature = (lane, error=None))]
    fn release(&self, py: Python<'_>, lane: usize, error: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let Some(mut in_hand) = lock(&self.state).held[lane].take() else {
            return Err(internal("a lane that holds nothing was released"));
        };
        let result = match error {
            None => {
                in_hand.skip();
                Ok(())
            }
            Some(error) => self.fault(py, &mut in_hand, PyErr::from_value(error)),
        };
        if in_hand.is_done() {
            self.finish(in_hand.lane, in_hand.outcome());
        } else {
            self.hold(in_hand, true);
        }
        result
    }

    /// Who holds which lane: (handler, lane, number, event, attempt).
    fn held(&self, py: Python<'_>) -> Vec<HeldTuple> {
        let state = lock(&self.state);
        let held = state.held.iter().flatten();
        held.filter(|in_hand| in_hand.next < in_hand.route.get().handlers.len())
            .map(|in_hand| {
                let handler = in_hand.handler().clone_ref(py);
                let event = in_hand.event.clone_ref(py);
                (handler, in_hand.lane, in_hand.number, event, in_hand.failed + 1)
            })
            .collect()
    }

    /// The event whose plain handler runs in this thread, and that handler's name.
    fn current(&self, py: Python<'_>) -> Option<(Py<PyAny>, Py<PyString>)> {
        // Relaxed: written under the interpreter's lock.
        let (draining, current) = (
            self.draining.load(Ordering::Relaxed),
            self.current.load(Ordering::Relaxed),
        );
        if draining != this_thread() {
            return None;
        }
        let state = lock(&self.state);
        let (event, route) = state.running.as_ref()?;
        let handler = route.get().handlers.get((current & 0xffff).checked_sub(1)? as usize)?;
        Some((event.clone_ref(py), handler.get().name.clone_ref(py)))
    }

    /// (mark, name) of the plain handler that runs now, in whatever thread; the mark is another one at each call.
    fn running(&self, py: Python<'_>) -> Option<(u64, Py<PyString>)> {
        // Relaxed: see `deliver`.
        let current = self.current.load(Ordering::Relaxed);
        let state = lock(&self.state);
        let (_, route) = state.running.as_ref()?;
        let handler = route.get().handlers.get((current & 0xffff).checked_sub(1)? as usize)?;
        Some((current >> 16, handler.get().name.clone_ref(py)))
    }

    /// Makes this thread the bus's own, before its first drain.
    fn adopt_thread(&self) {
        // Relaxed: written under the interpreter's lock.
        self.thread.store(this_thread(), Ordering::Relaxed);
    }

    /// Whether this thread is the bus's own: the one that drained last, or made it.
    fn is_own_thread(&self) -> bool {
        // Relaxed: written under the interpreter's lock.
        self.thread.load(Ordering::Relaxed) == this_thread()
    }

    /// Whether a drain would do something.
    fn has_ready(&self) -> bool {
        self.has_ready_now()
    }

    /// Whether a drain runs, in whatever thread.
    fn is_draining(&self) -> bool {
        // Relaxed: written under the interpreter's lock.
        self.draining.load(Ordering::Relaxed) != 0
    }

    /// Whether nothing waits and nothing is in hand.
    fn is_idle(&self) -> bool {
        lock(&self.state).lanes.is_idle()
    }

    /// Events taken and not finished.
    fn unfinished(&self) -> usize {
        lock(&self.state).lanes.unfinished()
    }

    /// By lane: (published, processed, dead, dropped, refused, gaps, depth_max, left, depth, capacity).
    fn counts(&self, py: Python<'_>) -> PyResult<Vec<LaneNumbers>> {
        refuse_after_fork(py)?;
        let state = lock(&self.state);
        let lanes = &state.lanes;
        Ok((0..state.held.len())
            .map(|lane| {
                let counts = lanes.counts(lane);
                (
                    counts.published,
                    counts.processed,
                    counts.dead,
                    counts.dropped,
                    counts.refused,
                    counts.gaps,
                    counts.depth_max,
                    lanes.left(lane),
                    lanes.depth(lane),
                    lanes.capacity(lane),
                )
            })
            .collect())
    }

    /// Events given to a handler again.
    fn retried(&self) -> u64 {
        // Relaxed: statistics.
        self.retried.load(Ordering::Relaxed)
    }

    /// Resizes lanes by how full they are; `take_resized` returns the changes.
    fn observe(&self, now_ns: i64) {
        let mut state = lock(&self.state);
        for lane in 0..state.held.len() {
            state.lanes.observe(lane, now_ns);
        }
    }

    /// (lane, capacity before, capacity now) of each change since the last call.
    fn take_resized(&self) -> Vec<(usize, usize, usize)> {
        let resized = lock(&self.state).lanes.take_resized();
        resized
            .into_iter()
            .map(|one| (one.lane, one.before, one.after))
            .collect()
    }

    /// Whether a lane is larger than it was made.
    fn has_grown(&self) -> bool {
        lock(&self.state).lanes.has_grown()
    }

    /// Calls `_wake` when an event comes to a bus that had nothing to do.
    fn set_wakes(&self, wakes: bool) {
        let mut state = lock(&self.state);
        state.wakes = wakes;
        state.armed = wakes;
    }

    /// Takes no more events; what waits stays where it is.
    fn close(&self) {
        lock(&self.state).closed = true;
        self.room.notify_all();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.hooks)?;
        // Locked: a call uses it, so it is alive.
        let Ok(state) = self.state.try_lock() else {
            return Ok(());
        };
        state.routes.iter().try_for_each(|route| visit.call(route))?;
        for entry in state.lanes.waiting() {
            visit.call(&entry.event)?;
            visit.call(&entry.only)?;
        }
        state
            .held
            .iter()
            .flatten()
            .try_for_each(|in_hand| in_hand.traverse(&visit))
    }
}
