//! Driving: how a group is moved on: dispatched, stepped, pulled, repeated, or by a thread of its own.
//!
//! ```text
//!   requests ─▶ what is owed ─▶ refill ─▶ open span ─▶ ticks ─▶ end of span ─▶ …        until caught up, or interrupted
//! ```
//! Guarantees: dispatching is not reentrant; after an error it goes on behind the tick that raised it.
//! Does not: decide when.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use headrace_core::market::kind;
use headrace_core::market::tick::Tick;
use headrace_lockfree::{Park, WAIT_MAX, WaitStrategy};
use pyo3::prelude::*;

use super::about::About;
use super::bounds::Bounds;
use super::delivery::Awaiting;
use super::fault::Letter;
use super::group::Group;
use super::group_state::GroupState;
use super::log::flags;
use super::member::Member;
use super::onward::{Nothing, Onward};
use super::plural::edge_before;
use super::stops::Stops;
use super::subscription::SubscriptionShared;
use crate::errors::raise;
use crate::hot::columns::Positions;
use crate::hot::python_call::call;

/// Spans between two looks for signals; a handler in Python looks by itself.
const ROUNDS_PER_LOOK: u32 = 64;

impl Group {
    /// Dispatches what the ring holds. Returns how many ticks were gone through, and what is to be awaited.
    ///
    /// `None`: the group is being dispatched already, above this call or in another thread.
    pub(crate) fn dispatch(&self, py: Python<'_>, now_ns: i64, bounds: Bounds) -> Option<PyResult<(u64, Awaiting)>> {
        self.dispatch_on(py, now_ns, bounds, &mut Nothing)
    }

    /// The same; and when it is caught up, it goes on with what `onward` publishes of later times.
    pub(crate) fn dispatch_on(
        &self,
        py: Python<'_>,
        now_ns: i64,
        bounds: Bounds,
        onward: &mut impl Onward,
    ) -> Option<PyResult<(u64, Awaiting)>> {
        let mut state = self.take(py)?;
        let before = state.position();
        state.delivery.now_ns = now_ns;
        if let Some(stops) = self.stops_of(bounds) {
            stops.begin();
        }
        self.open_entry(&mut state, bounds);
        let result = self.run(py, &mut state, bounds, onward);
        self.close_entry(&mut state, matches!(result, Ok(true)));
        let done = state.position().saturating_sub(before);
        let awaiting = std::mem::take(&mut state.delivery.awaiting);
        Some(self.end(&mut state, result, (done, awaiting)))
    }

    /// A call is over: its value, or the first error.
    pub(super) fn end<T>(&self, state: &mut GroupState, ran: PyResult<bool>, value: T) -> PyResult<T> {
        self.settle(state);
        let raised = state.delivery.raised.take();
        ran.and(raised.map_or(Ok(value), Err))
    }

    #[inline]
    pub(super) fn settle(&self, state: &mut GroupState) {
        // Relaxed: statistics, both of them.
        self.position.store(state.position(), Ordering::Relaxed);
        let last = state.next.checked_sub(1).and_then(|last| state.backlog.get(last));
        self.last_ts
            .store(last.map_or(state.last_ts, |tick| tick.ts_init), Ordering::Relaxed);
        state.delivery.settle();
        if std::mem::take(&mut state.delivery.has_quarantined) {
            self.leave_gate_unless_needed(state);
        }
    }

    pub(super) fn stops_of(&self, bounds: Bounds) -> Option<&Stops> {
        self.stops.get().filter(|_| bounds.has_stops)
    }

    /// Whether a live engine dispatches it.
    pub(crate) fn has_stops(&self) -> bool {
        self.stops.get().is_some()
    }

    /// When the tick was received before which something is due now; None: there is none, or it may be dispatched.
    pub(super) fn held_ns(&self, py: Python<'_>) -> Option<i64> {
        self.with_state(py, |state| {
            let stops = self.stops.get()?;
            let next = state.backlog.get(state.next)?;
            stops.is_due(next.ts_init, state.position()).then_some(next.ts_init)
        })
        .flatten()
    }

    /// What takes effect between two spans.
    fn settle_edge(&self, py: Python<'_>, state: &mut GroupState) {
        if self.requests.has_posts() {
            self.cut_before_answers(state);
            self.answer(state);
        }
        if state.is_stale {
            self.compile(py, state);
        }
        if state.owes_newest {
            state.find_newest();
        }
        state.deliver_owed(py);
    }

    /// Returns whether the group is caught up; else something interrupted it.
    pub(super) fn run(
        &self,
        py: Python<'_>,
        state: &mut GroupState,
        bounds: Bounds,
        onward: &mut impl Onward,
    ) -> PyResult<bool> {
        let mut rounds = 0u32;
        let stops = self.stops_of(bounds);
        let is_at_the_end = |state: &GroupState| state.position() >= bounds.until_position;
        loop {
            if rounds.is_multiple_of(ROUNDS_PER_LOOK) {
                py.check_signals()?;
            }
            rounds = rounds.wrapping_add(1);
            // Relaxed: a stop takes effect soon, and orders nothing.
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if !state.is_span_open() {
                if let ControlFlow::Break(is_caught_up) = self.open_next(py, state, bounds, onward) {
                    return Ok(is_caught_up);
                }
                if !state.is_span_open() {
                    continue;
                }
            }
            self.dispatch_span(py, state, bounds);
            loop {
                let is_urgent = stops.is_some_and(Stops::is_urgent);
                let ends_here = is_urgent || state.is_held(stops) || (bounds.is_cut && is_at_the_end(state));
                let is_cut = ends_here && state.cut_span();
                if !state.is_span_open() && !state.delivery.needs_no_walk() {
                    let span = &state.backlog[state.span_start..state.span_end];
                    state.delivery.end_span(py, span, state.base + state.span_start as u64);
                }
                let is_over = is_cut || stops.is_some_and(Stops::is_urgent) || bounds.overrun().is_some();
                if is_over || state.is_interrupted(bounds) || (is_at_the_end(state) && !bounds.reads_on) {
                    return Ok(false);
                }
                // Relaxed: a stop takes effect soon, and orders nothing.
                if self.requests.has_posts() || self.stop.load(Ordering::Relaxed) || !state.is_used_up() {
                    break;
                }
                // Another round would only find that out: half the cost of a call that brings one tick.
                let now_ns = state.delivery.now_ns;
                state.delivery.run_due(py, now_ns);
                if self.go_by_ticks(py, state, onward) {
                    continue;
                }
                if self.go_on(py, state, onward) {
                    break;
                }
                return Ok(true);
            }
        }
    }

    /// Opens the next span, or goes on to a later time. Break: there is none; whether the group is caught up.
    fn open_next(
        &self,
        py: Python<'_>,
        state: &mut GroupState,
        bounds: Bounds,
        onward: &mut impl Onward,
    ) -> ControlFlow<bool> {
        let is_at_the_end = |state: &GroupState| state.position() >= bounds.until_position;
        self.settle_edge(py, state);
        if state.is_interrupted(bounds) || (is_at_the_end(state) && !bounds.reads_on) {
            return ControlFlow::Break(false);
        }
        if state.delivery.members.is_empty() {
            // No member: no tick is dispatched.
            state.skip_to(state.cursor());
            return self.goes_on(py, state, onward);
        }
        if state.span_end == state.usable && !state.refill(self) {
            state.deliver_owed(py);
            let now_ns = state.delivery.now_ns;
            state.delivery.run_due(py, now_ns);
            return self.goes_on(py, state, onward);
        }
        if state.is_held(self.stops_of(bounds)) {
            state.view.stopped = flags::READ_ON;
            return ControlFlow::Break(false);
        }
        if is_at_the_end(state) && !bounds.is_cut {
            return ControlFlow::Break(false);
        }
        self.open_span(py, state);
        ControlFlow::Continue(())
    }

    fn goes_on(&self, py: Python<'_>, state: &mut GroupState, onward: &mut impl Onward) -> ControlFlow<bool> {
        if self.go_on(py, state, onward) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(true)
        }
    }

    /// Dispatches until the group is closed or stopped; waits without the interpreter's lock.
    pub(crate) fn run_thread(&self, py: Python<'_>, now: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut park = Park::new(self.core.ring.wakeup());
        loop {
            // Relaxed: a stop takes effect soon, and orders nothing. Acquire: see `close`.
            if self.stop.load(Ordering::Relaxed) || self.closed.load(Ordering::Acquire) {
                return Ok(());
            }
            let now_ns: i64 = call(now, ())?.extract()?;
            match self.dispatch(py, now_ns, Bounds::NONE) {
                Some(result) => result?,
                None => {
                    // Another call has it for a moment: it answers a request, or hands out what waits.
                    py.detach(|| park.wait(|| !self.is_busy()));
                    continue;
                }
            };
            let due = self.with_state(py, |state| state.delivery.next_due()).flatten();
            let ready = || {
                !self.is_idle()
                    // Relaxed, Acquire: as above.
                    || self.requests.has_posts()
                    || self.stop.load(Ordering::Relaxed)
                    || self.closed.load(Ordering::Acquire)
            };
            match due {
                Some(due) => {
                    let left = u64::try_from(due.saturating_sub(call(now, ())?.extract()?)).unwrap_or(0);
                    let timeout = std::time::Duration::from_nanos(left).min(WAIT_MAX);
                    py.detach(|| self.core.ring.wakeup().wait(timeout, ready));
                }
                None => {
                    py.detach(|| park.wait(ready));
                }
            }
        }
    }

    /// Hands out everything that waits for a window or an interval, as at the end of a replay.
    pub(crate) fn finish(&self, py: Python<'_>, now_ns: i64) -> Option<PyResult<()>> {
        let mut state = self.take(py)?;
        state.delivery.now_ns = now_ns;
        state.delivery.finish(py);
        Some(self.end(&mut state, Ok(true), ()))
    }

    /// The earliest moment at which there is something to do without a new tick.
    pub(crate) fn next_due(&self, py: Python<'_>) -> Option<i64> {
        self.with_state(py, |state| state.delivery.next_due()).flatten()
    }

    /// Reports that an awaited call failed; true when its subscription may go on.
    pub(crate) fn report_fault(
        &self,
        py: Python<'_>,
        shared: &Arc<SubscriptionShared>,
        handler: u16,
        error: PyErr,
        letter: Option<Letter>,
    ) -> PyResult<bool> {
        let Some(mut state) = self.take(py) else {
            return Ok(false);
        };
        let Some(member) = state.delivery.index_of(shared) else {
            return Ok(false);
        };
        let last = state.next.saturating_sub(1);
        let tick = state.backlog.get(last).copied();
        let position = state.base + last as u64;
        let ticks = tick.as_slice();
        let positions = Positions::From(position);
        let last = || state.delivery.letter_of(py, About::all(ticks, positions));
        let letter = letter.map_or_else(last, Ok);
        state.delivery.judge(py, member, handler, error, letter);
        let running = state.delivery.members.get(member).is_some_and(Member::is_running);
        self.end(&mut state, Ok(true), running)
    }

    /// Takes ticks that a pull subscription holds, at most `room`, or its `batch_max`: a gap only at their beginning.
    pub(crate) fn pull(&self, py: Python<'_>, now_ns: i64, room: Option<usize>) -> Option<PyResult<Vec<Tick>>> {
        let has_none = self.with_state(py, |state| {
            let member = state.delivery.members.first();
            member.is_none_or(|member| member.held.ticks.is_empty())
        })?;
        if has_none && let Err(error) = self.dispatch(py, now_ns, Bounds::STEP)? {
            return Some(Err(error));
        }
        self.with_state(py, |state| {
            let Some(member) = state.delivery.members.first_mut() else {
                return Ok(Vec::new());
            };
            if !member.is_running() {
                member.skip_held();
                return Ok(Vec::new());
            }
            let room = room.unwrap_or(member.options.tuning.batch_max);
            let held = &mut member.held;
            let gap = held.ticks.iter().skip(1).position(|tick| tick.kind == kind::GAP);
            let whole = gap.map_or(held.ticks.len(), |gap| gap + 1);
            let count = edge_before(&held.ticks[..whole], whole.min(room));
            let ticks = held.ticks[..count].to_vec();
            member.shared.delivered.add(held.count_first(count));
            member.held.remove_first(count);
            member.shared.buffered.set(member.count_buffered());
            Ok(ticks)
        })
    }
}

/// The error for a dispatch inside a dispatch.
pub(crate) fn reentrant_dispatch(py: Python<'_>) -> PyErr {
    raise(
        py,
        "ReentrantDispatchError",
        "these subscriptions are being dispatched already, above this call or in another thread: \
         return from the handler first",
    )
}
