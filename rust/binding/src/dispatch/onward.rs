//! Onward: how a dispatch that is caught up goes on to later times, without a return to its caller.
//!
//! ```text
//!   caught up ─▶ go_by_ticks: tick, call, tick, call …  ─┬▶ pass_ahead: quiet ticks, many times at once
//!                                                        └▶ go_on: the next time, however many ticks it has
//! ```
//! Guarantees: in between everything is as if the dispatch had ended and begun again.
//! Does not: publish; that is what it is given.

use headrace_core::market::kind;
use headrace_core::market::tick::Tick;
use pyo3::prelude::*;
use std::sync::atomic::Ordering;

use super::backlog::Backlog;
use super::group::Group;
use super::group_state::GroupState;
use super::quiet::Quiet;
use super::span::call_sites;

/// What a dispatch that is caught up goes on with.
pub(crate) trait Onward {
    /// Publishes the ticks of the next time, and returns that; it may append them to a backlog that it is given. `None`:
    /// the dispatch ends here.
    fn time(&mut self, backlog: Option<&mut Backlog>) -> Option<i64>;

    /// Publishes the next tick, if it is alone at its time and nothing else is to be done before it; it is written to
    /// `tick` then.
    fn tick(&mut self, tick: &mut Tick) -> bool;

    /// Publishes the next ticks as far as they are quiet; `None`: the next one is not.
    fn ahead(&mut self, quiet: Quiet<'_>) -> Option<Ahead<'_>>;
}

/// What was published at once.
pub(crate) struct Ahead<'a> {
    /// Quiet ones.
    pub(crate) ticks: &'a [Tick],
    /// Those of the time behind them, when something there was not as expected.
    pub(crate) rest: &'a [Tick],
    /// The last time of all of them.
    pub(crate) now_ns: i64,
}

/// Nothing: a dispatch of what is on the ring.
pub(super) struct Nothing;

impl Onward for Nothing {
    fn time(&mut self, _backlog: Option<&mut Backlog>) -> Option<i64> {
        None
    }

    fn tick(&mut self, _tick: &mut Tick) -> bool {
        false
    }

    fn ahead(&mut self, _quiet: Quiet<'_>) -> Option<Ahead<'_>> {
        None
    }
}

impl Group {
    /// Caught up: whether there is a later time to go on with.
    pub(super) fn go_on(&self, py: Python<'_>, state: &mut GroupState, onward: &mut impl Onward) -> bool {
        self.settle(state);
        self.running.end();
        if state.delivery.raised.is_some() || self.is_closed() {
            return false;
        }
        let is_used_up = state.is_used_up();
        if is_used_up {
            state.forget_dispatched();
            self.pass_ahead(py, state, onward);
        }
        let mut goes_on = true;
        if state.backlog.is_empty() || !is_used_up {
            let next_ns = onward.time(is_used_up.then_some(&mut state.backlog));
            goes_on = next_ns.is_some();
            state.delivery.now_ns = next_ns.unwrap_or(state.delivery.now_ns);
        }
        let came = state.backlog.len();
        if is_used_up && came > 0 {
            // These need not be read: the reader passes over them.
            state.reader.jump(state.base + came as u64);
            if goes_on && !self.requests.has_posts() && state.is_plain(state.delivery.now_ns) {
                (state.usable, state.span_end) = (came, came);
            }
        }
        goes_on
    }

    /// Passes what is quiet, as far as that goes; what comes behind it may be in the backlog then.
    fn pass_ahead(&self, py: Python<'_>, state: &mut GroupState, onward: &mut impl Onward) {
        while state.backlog.is_empty()
            && !self.requests.has_posts()
            && let Some(quiet) = state.quiet()
            && let Some(Ahead { ticks, rest, now_ns }) = onward.ahead(quiet)
        {
            if let Some(last) = ticks.last() {
                state.last_ts = last.ts_init;
            }
            state.delivery.now_ns = now_ns;
            state.reader.jump(state.base + ticks.len() as u64);
            state.pass_quietly(py, ticks);
            self.settle(state);
            state.backlog.extend(rest);
        }
    }

    /// After a tick that was dispatched: goes on with those that are alone at their time, as long as a handler leaves
    /// nothing to look at. The state is that behind a tick that was dispatched, or came to be dispatched. Returns whether
    /// there was one.
    pub(super) fn go_by_ticks(&self, py: Python<'_>, state: &mut GroupState, onward: &mut impl Onward) -> bool {
        let is_calm = !(state.is_stale || state.owes_newest || state.conflates || state.delivery.watches_lag());
        if !is_calm || state.backlog.len() != 1 {
            return false;
        }
        let mut has_passed = false;
        while self.has_nothing_to_look_at(state) {
            let GroupState {
                backlog,
                base,
                plan,
                sets,
                delivery,
                reader,
                last_ts,
                ..
            } = state;
            let tick = backlog.only();
            let before_ns = tick.ts_init;
            self.running.end();
            if !onward.tick(tick) {
                break;
            }
            has_passed = true;
            *base += 1;
            *last_ts = before_ns;
            reader.jump(*base + 1);
            delivery.now_ns = tick.ts_init;
            let set = plan.set_of(tick).map(|set| &mut sets[set as usize]);
            match set {
                Some(set)
                    if set.is_plain
                        && !delivery.has_due(tick.ts_init)
                        && tick.kind != kind::GAP
                        && tick.ends_event() =>
                {
                    call_sites(py, set, delivery, tick, (*base, 0));
                }
                _ => {
                    // It is dispatched as any other.
                    (state.usable, state.next, state.span_start, state.span_end) = (0, 0, 0, 0);
                    break;
                }
            }
        }
        has_passed
    }

    /// Whether a handler left nothing that is to be looked at before the next tick. The backlog was dispatched.
    #[inline(always)]
    fn has_nothing_to_look_at(&self, state: &GroupState) -> bool {
        let delivery = &state.delivery;
        let is_calm = delivery.is_settled()
            && delivery.raised.is_none()
            && !delivery.has_quarantined
            && !self.requests.has_posts()
            && !self.stop.load(Ordering::Relaxed) // Relaxed: a stop takes effect soon, and orders nothing.
            && !self.is_closed()
            && !delivery.has_due(delivery.now_ns)
            && state.reader.is_gated()
            && state.reader.pending() == 0;
        if is_calm {
            // Relaxed, both of them: statistics, as in `settle`.
            self.position.store(state.base + 1, Ordering::Relaxed);
            self.last_ts.store(state.backlog[0].ts_init, Ordering::Relaxed); // Relaxed: as above.
        }
        is_calm
    }
}
