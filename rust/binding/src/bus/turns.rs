//! Turns: one event after the other, from its lane to the handlers, until nothing can go on without awaiting.
//!
//! ```text
//!   next ─▶ deliver ─┬▶ done: finished when the next turn begins, under one lock
//!                    ├▶ held: until `release`
//!                    └▶ interrupted: goes on at the next drain, behind the handler that was interrupted
//! ```
//! Guarantees: one lock for each turn, and none while Python runs; an error leaves no lane busy for ever.
//! Does not: choose the lane; that is `headrace_core::lane`.

use std::sync::atomic::Ordering;
use std::time::Instant;

use headrace_core::lane::{Dropped, Outcome, Turn};
use pyo3::intern;
use pyo3::prelude::*;

use super::bus::{BusCore, Draining};
use super::in_hand::{InHand, Step};
use crate::errors::{internal, raise, refuse_after_fork};
use crate::hot::python_call::call_method;
use crate::lock::lock;
use crate::thread::this_thread;

/// Events between two looks at signals and the time.
const EVENTS_PER_LOOK: u64 = 256;

/// What a turn is about.
enum Next {
    Nothing,
    Gap(usize, Dropped),
    Event(InHand),
}

impl BusCore {
    /// Ends one turn and begins the next.
    #[inline]
    fn next(&self, py: Python<'_>, finished: Option<(usize, Outcome)>) -> Next {
        // Declared before the lock, so dropped after it: dropping a last reference may run any code.
        let _before;
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        if let Some((lane, outcome)) = finished {
            state.lanes.finish(lane, outcome);
        }
        let next = match state.lanes.turn() {
            None => Next::Nothing,
            Some(Turn::Resumed(lane)) => state.held[lane].take().map_or(Next::Nothing, Next::Event),
            Some(Turn::Gap(lane, dropped)) => Next::Gap(lane, dropped),
            Some(Turn::Item(lane, number, entry)) => {
                let route = &state.routes[entry.route as usize];
                // Mostly the bars of its stream came this way before.
                let known = entry.candle.and_then(|candle| route.get().known_for(py, candle));
                let route = known.unwrap_or_else(|| route.clone_ref(py));
                let mut in_hand = InHand::new(entry.event, route, entry.only, lane, number);
                in_hand.candle = entry.candle;
                Next::Event(in_hand)
            }
        };
        let running = match &next {
            Next::Event(in_hand) => Some((in_hand.event.clone_ref(py), in_hand.route.clone_ref(py))),
            _ => None,
        };
        _before = std::mem::replace(&mut state.running, running);
        if matches!(next, Next::Nothing) {
            state.armed = state.wakes;
            // Relaxed: see `has_ready_now`. While a drain runs, only handlers could read it.
            self.ready.store(state.lanes.is_ready(), Ordering::Relaxed);
        }
        if state.waiters > 0 {
            self.room.notify_all();
        }
        next
    }

    /// Sets the routes whose subscriptions changed since the last event.
    #[inline]
    fn set_stale_routes(&self, py: Python<'_>) -> PyResult<()> {
        // Relaxed: written and read under the interpreter's lock.
        if self.stale.load(Ordering::Relaxed) {
            self.stale.store(false, Ordering::Relaxed);
            call_method(self.hooks.bind(py), intern!(py, "_set_routes"), ())?;
        }
        Ok(())
    }

    /// Ends one turn and leaves the next one for later.
    #[cold]
    fn pause(&self, finished: Option<(usize, Outcome)>) {
        let mut state = lock(&self.state);
        if let Some((lane, outcome)) = finished {
            state.lanes.finish(lane, outcome);
        }
        state.armed = state.wakes;
        // Relaxed: see `has_ready_now`.
        self.ready.store(state.lanes.is_ready(), Ordering::Relaxed);
    }

    /// The gap as an event, in hand for its own subscribers.
    #[cold]
    fn gap(&self, py: Python<'_>, lane: usize, dropped: Dropped) -> PyResult<InHand> {
        let arguments = (lane, dropped.missed, dropped.first, dropped.last);
        let event = call_method(self.hooks.bind(py), intern!(py, "_make_gap"), arguments)?;
        let kind = event.get_type_ptr() as usize;
        let mut state = lock(&self.state);
        let route = state
            .types
            .get(&kind)
            .copied()
            .ok_or_else(|| internal("a bus without gaps"))?;
        let route = state.routes[route as usize].clone_ref(py);
        state.running = Some((event.clone().unbind(), route.clone_ref(py)));
        Ok(InHand::new(event.unbind(), route, None, lane, 0))
    }

    /// The last handler of an event is done with it, outside of a drain.
    pub(super) fn finish(&self, lane: usize, outcome: Outcome) {
        let mut state = lock(&self.state);
        state.lanes.finish(lane, outcome);
        // Relaxed: see `has_ready_now`.
        self.ready.store(state.lanes.is_ready(), Ordering::Relaxed);
    }

    pub(super) fn hold(&self, in_hand: InHand, is_resumed: bool) {
        let mut state = lock(&self.state);
        let lane = in_hand.lane;
        state.held[lane] = Some(in_hand);
        if is_resumed {
            state.lanes.resume(lane);
        }
        // Relaxed: see `has_ready_now`.
        self.ready.store(state.lanes.is_ready(), Ordering::Relaxed);
    }

    /// `drain` of Python.
    pub(crate) fn drain_now(&self, py: Python<'_>, until: Option<Instant>, max_events: u64) -> PyResult<u64> {
        refuse_after_fork(py)?;
        let me = this_thread();
        // Relaxed: written under the interpreter's lock.
        match self.draining.load(Ordering::Relaxed) {
            0 => {}
            thread if thread == me => return Ok(0),
            _ => {
                return Err(raise(
                    py,
                    "BusError",
                    "the bus is drained by another thread right now: drain it on one thread only",
                ));
            }
        }
        self.draining.store(me, Ordering::Relaxed);
        self.thread.store(me, Ordering::Relaxed);
        let draining = Draining(self);
        let done = self.run(py, until, max_events)?;
        drop(draining);
        // Relaxed: written under the interpreter's lock.
        if self.watched.load(Ordering::Relaxed) || lock(&self.state).lanes.has_grown() {
            self.say_drained(py, done)?;
        }
        Ok(done)
    }

    fn run(&self, py: Python<'_>, until: Option<Instant>, max_events: u64) -> PyResult<u64> {
        let mut done = 0;
        let mut finished = None;
        loop {
            let interrupt = match done % EVENTS_PER_LOOK {
                0 => py.check_signals().err(),
                _ => None,
            };
            let interrupt = interrupt.or_else(|| self.set_stale_routes(py).err());
            if interrupt.is_some() || done >= max_events || until.is_some_and(|until| Instant::now() >= until) {
                self.pause(finished);
                return interrupt.map_or(Ok(done), Err);
            }
            let mut in_hand = match self.next(py, finished.take()) {
                Next::Nothing => return Ok(done),
                Next::Gap(lane, dropped) => match self.gap(py, lane, dropped) {
                    Ok(in_hand) => in_hand,
                    Err(error) => {
                        lock(&self.state).lanes.finish(lane, Outcome::Gap);
                        return Err(error);
                    }
                },
                Next::Event(in_hand) => in_hand,
            };
            match self.deliver(py, &mut in_hand) {
                Step::Done => {
                    finished = Some((in_hand.lane, in_hand.outcome()));
                    done += 1;
                }
                Step::Held(awaitable) => {
                    let handler = in_hand.handler().clone_ref(py);
                    if awaitable.is_none() {
                        handler.get().count_call();
                    }
                    let arguments = (
                        &handler,
                        in_hand.lane,
                        in_hand.number,
                        in_hand.event.clone_ref(py),
                        in_hand.failed + 1,
                        awaitable,
                    );
                    let arguments = arguments.into_pyobject(py)?;
                    self.hold(in_hand, false);
                    call_method(self.hooks.bind(py), intern!(py, "_on_held"), arguments)?;
                }
                Step::Interrupted(interrupt) => {
                    self.hold(in_hand, true);
                    return Err(interrupt);
                }
            }
        }
    }
}
